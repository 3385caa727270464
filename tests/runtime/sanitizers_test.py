#!/usr/bin/env python3
"""The runtime's tests under sanitizers: addresses and undefined behaviour for all of them, threads for those tagged
[threads]. Builds libheddle and its tests alone, without LLVM, into BUILD/sanitizers. The quick tier builds without
optimisation, which takes a third of the time, and takes the PTX machine from BUILD as it is; `make test-all` builds it
too and runs its own tests.
"""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").resolve()
WHOLE = os.environ.get("HEDDLE_TEST_TIER") == "all"
ALL = ["test_runtime", "test_runtime_c", "test_runtime_handles"] + (["test_runtime_ptx"] if WHOLE else [])
FLAGS = f"-O{int(WHOLE)} -gline-tables-only -fno-sanitize-recover=all"
MACHINE = "lib/libheddle-ptx.so"
COUNTS = re.compile(r"^heddle-test: (\d+) passed, (\d+) failed, (\d+) skipped$", re.M)
# name, sanitizers, programs, which of their tests
RUNS = [("address", "address,undefined", ALL, []), ("thread", "thread", ["test_runtime"], ["[threads]"])]


def cached(name):
    for line in (BUILD / "CMakeCache.txt").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split("=", 1)[1]
    return ""


def run(*command, **more):
    return subprocess.run([str(part) for part in command], text=True, errors="replace", stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **more)


def build(folder, sanitizers, programs):
    done = run("cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, "-DHEDDLE_RUNTIME_ONLY=ON", "-DCMAKE_BUILD_TYPE=None",
               f"-DHEDDLE_SANITIZE={sanitizers}", f"-DCMAKE_CXX_FLAGS={FLAGS}", f"-DCMAKE_C_FLAGS={FLAGS}",
               *(f"-D{name}={cached(name)}" for name in ("CMAKE_C_COMPILER", "CMAKE_CXX_COMPILER",
                                                         "CMAKE_C_COMPILER_LAUNCHER", "CMAKE_CXX_COMPILER_LAUNCHER")))
    if not WHOLE:
        (folder / MACHINE).parent.mkdir(exist_ok=True)
        (folder / MACHINE).unlink(missing_ok=True)
        (folder / MACHINE).symlink_to(BUILD / MACHINE)
    if done.returncode == 0:
        done = run("ninja", "-j2", "-C", folder, *programs, *(["heddle-ptx"] if WHOLE else []))
    return done


def main():
    if "HEDDLE_SANITIZE:STRING=\n" not in (BUILD / "CMakeCache.txt").read_text():
        print("skipped: this build has sanitizers of its own\nheddle-test: 0 passed, 0 failed, 1 skipped")
        return 0
    # A child of fork in a program with threads is what some tests are about; threads of a driver that a test
    # loads by name are not instrumented.
    env = dict(os.environ, TSAN_OPTIONS="die_after_fork=0:halt_on_error=1", UBSAN_OPTIONS="print_stacktrace=1")
    total = [0, 0, 0]
    for name, sanitizers, programs, tests in RUNS:
        folder = BUILD / "sanitizers" / name
        done = build(folder, sanitizers, programs)
        if done.returncode != 0:
            print(f"failed: the build with {sanitizers}\n{done.stdout[-4000:]}")
            total[1] += 1
            continue
        for program in programs:
            # Tests ask for more memory than there is; handles that are kept to be known again are leaks on purpose.
            leaks = "0" if program == "test_runtime_handles" else "1"
            env["ASAN_OPTIONS"] = f"allocator_may_return_null=1:detect_leaks={leaks}"
            done = run(folder / "bin" / program, *tests, env=env, cwd=ROOT, timeout=1800)
            found = COUNTS.findall(done.stdout)
            counts = [int(n) for n in found[-1]] if found else [0, 0, 0]
            if done.returncode != 0 and counts[1] == 0:
                counts[1] = 1
            if counts[1]:
                print(f"failed: {program} with {sanitizers}\n{done.stdout[-8000:]}")
            total = [a + b for a, b in zip(total, counts)]
    print(f"heddle-test: {total[0]} passed, {total[1]} failed, {total[2]} skipped")
    return 1 if total[1] else 0


sys.exit(main())
