#!/usr/bin/env python3
"""From source to cubin in CPU time: Heddle beside Triton on causal attention, in one run, taking turns.

usage: compare_compile.py [--build build] [--repeats 3] [--json]

Triton comes from PyPI into <build>/baselines/triton, an environment of its own (some 200 MB, once). Nothing is launched
and no GPU is needed. Each figure is the least of the repeats in a warm process; "start" is that of a fresh process to
its first cubin. Exit code 1 if either side fails.
"""
import argparse
import json
import pathlib
import resource
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CASES = [(80, 64), (80, 128), (90, 64), (90, 128)]


def environment(build):
    """The Python of an environment with triton, made on first use."""
    folder = build / "baselines" / "triton"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"compare_compile: installing triton from PyPI into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "triton"],
                       check=True)
        (folder / "ready").touch()
    return python


def run(command):
    """Output of a program and the CPU seconds it and its children took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"compare_compile: {' '.join(map(str, command))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def heddle_warm(build, arch, d):
    out, _ = run([build / "bin" / "compile_bench", f"--benchmark_filter=causal_softmax/d{d}/sm_{arch}/cubin",
                  "--benchmark_format=json"])
    runs = [b for b in json.loads(out)["benchmarks"] if b.get("run_type") == "iteration"]
    wrong = [b["error_message"] for b in runs if b.get("error_occurred")]
    if wrong or not runs:
        sys.exit(f"compare_compile: {wrong[0] if wrong else 'compile_bench has no such case'}")
    return min(b["cpu_time"] for b in runs) / 1e3


def triton_warm(python, arch, d):
    out, _ = run([python, HERE / "triton_attention.py", arch, d, 2])
    return min(json.loads(out)["warm"])


def heddle_start(build, arch, d):
    folder = build / "baselines" / "kernel"
    shape = f"B=1,Hq=16,Hk=16,T=4096,D={d}"
    _, seconds = run([build / "bin" / "heddle", "compile", "causal_softmax", "--shape", shape, "--dtype", "bf16",
                      "--target", f"sm_{arch}", "--no-store", "-o", folder])
    return seconds


def measure(build, python, arch, d, repeats):
    out, started = run([python, HERE / "triton_attention.py", arch, d, 0])
    cold = json.loads(out)
    ours, theirs = [], []
    for _ in range(repeats):  # in turn: the machine's speed changes from second to second
        ours.append(heddle_warm(build, arch, d))
        theirs.append(triton_warm(python, arch, d))
    return {"arch": f"sm_{arch}", "D": d, "heddle_s": min(ours), "heddle_start_s": heddle_start(build, arch, d),
            "triton_s": min(theirs), "triton_start_s": started, "triton_first_s": cold["cold"],
            "triton_version": cold["version"], "ratio": min(theirs) / min(ours)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", type=pathlib.Path)
    parser.add_argument("--repeats", default=3, type=int)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    build = args.build.resolve()
    python = environment(build)
    rows = [measure(build, python, arch, d, args.repeats) for arch, d in CASES]
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print("CPU seconds to a cubin, causal attention, bf16")
    print(f"{'':8}{'D':>5}{'heddle':>9}{'triton':>9}{'ratio':>8}{'  process to first cubin: heddle':>34}{'triton':>9}")
    for row in rows:
        print(f"{row['arch']:8}{row['D']:5}{row['heddle_s']:9.3f}{row['triton_s']:9.3f}{row['ratio']:7.1f}x"
              f"{row['heddle_start_s']:34.3f}{row['triton_start_s']:9.3f}")


if __name__ == "__main__":
    main()
