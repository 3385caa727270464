#!/usr/bin/env python3
"""Runs every test program, lit suite and test script, and adds up what they count.

The last line is `N passed, N failed, N skipped`; the exit code is 0 only if nothing failed and
something passed. Programs are build/bin/test_*; lit suites are the folders of tests/ with a
lit.cfg.py; scripts are tests/**/*_test.py, which print the same closing line themselves.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
COUNTS = re.compile(r"^heddle-test: (\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
LONGEST = ("test_patterns", "test_patterns_random", "test_compiler_cuda", "sanitizers_test.py")  # begin first, so that none runs alone at the end
LIT = re.compile(r"^\s*(Passed|Failed|Unsupported|Skipped|Unresolved|Timed Out)\s*:\s*(\d+)", re.M)


def lit_counts(output):
    found = {name: int(n) for name, n in LIT.findall(output)}
    failed = sum(found.get(k, 0) for k in ("Failed", "Unresolved", "Timed Out"))
    return found.get("Passed", 0), failed, found.get("Unsupported", 0) + found.get("Skipped", 0)


def own_counts(output):
    found = COUNTS.findall(output)
    return tuple(int(n) for n in found[-1]) if found else None


def suites(build, want_all, only):
    """Yields (name, command, reader of counts)."""
    for program in sorted((build / "bin").glob("test_*")):
        yield program.name, [str(program)], own_counts
    for config in sorted((ROOT / "tests").rglob("lit.cfg.py")):
        folder = config.parent
        command = ["/usr/lib/llvm-22/bin/lit", "-sv", "-j2", "--param", f"build={build}", str(folder)]
        yield f"lit {folder.relative_to(ROOT)}", command, lit_counts
    for script in sorted((ROOT / "tests").rglob("*_test.py")):
        yield str(script.relative_to(ROOT)), [sys.executable, str(script), str(build)], own_counts


def run(name, command, reader, env, limit):
    start = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, timeout=limit,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        output, code = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        output = (late.stdout or b"").decode(errors="replace") + f"\nran past {limit} s"
        code = 124
    counts = reader(output)
    if counts is None:  # crashed before it could count
        counts = (0, 1, 0)
    passed, failed, skipped = counts
    if code != 0 and failed == 0:
        failed = 1
    return name, output, (passed, failed, skipped), time.monotonic() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="build folder (default: build)")
    parser.add_argument("--all", action="store_true", help="the whole product, not the covering array")
    parser.add_argument("--only", help="run only suites whose name contains this")
    parser.add_argument("-v", "--verbose", action="store_true", help="print the output of passing suites too")
    args = parser.parse_args()

    build = (ROOT / args.build).resolve()
    env = dict(os.environ, HEDDLE_TEST_TIER="all" if args.all else "quick")
    # libMLIR and libLLVM are not instrumented: containers that cross into them look poisoned.
    env.setdefault("ASAN_OPTIONS", "allow_user_poisoning=0:detect_container_overflow=0")
    chosen = [s for s in suites(build, args.all, args.only) if not args.only or args.only in s[0]]
    chosen.sort(key=lambda suite: not suite[0].endswith(LONGEST))
    total = [0, 0, 0]
    limit = 7200 if args.all else 2400
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        jobs = [pool.submit(run, *suite, env, limit) for suite in chosen]
        for job in concurrent.futures.as_completed(jobs):
            name, output, counts, seconds = job.result()
            total = [a + b for a, b in zip(total, counts)]
            print(f"{name}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped ({seconds:.1f} s)", flush=True)
            if counts[1] or args.verbose:
                print("\n".join("    " + line for line in output.splitlines()[-200:]), flush=True)
            elif counts[2]:
                print("\n".join("    " + line for line in output.splitlines() if line.startswith("skipped:")))
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 0 if total[1] == 0 and total[0] > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
