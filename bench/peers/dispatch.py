#!/usr/bin/env python3
"""What it costs to get a kernel going: launch_bench beside torch's dispatch of the same call, in one run.

    bench/peers/dispatch.py                     with torch from build/peers-env (bench/peers/compare.py makes it)
    bench/peers/dispatch.py --python /path/to/python-with-torch

One token of 8 heads against 16 keys of width 64, f32, one thread. Overhead is what is left of one token's time without
its work, and the work is an eighth of what eight more tokens (of a batch) cost. torch runs under inference_mode, its
cheapest way. Rounds alternate; the least time counts, and it is the thread's own, so that a busy machine tells little.
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TORCH = """
import time, torch
torch.set_num_threads(1)
attention = torch.nn.functional.scaled_dot_product_attention
with torch.inference_mode():
    for name, batch in (("one_token", 1), ("nine_tokens", 9)):
        q, k, v = (torch.full((batch, 8, tokens, 64), 0.25) for tokens in (1, 16, 16))
        for _ in range(2000): attention(q, k, v)
        best = 1e18
        for _ in range(60):
            start = time.thread_time_ns()
            for _ in range(500): attention(q, k, v)
            best = min(best, time.thread_time_ns() - start)
        print(name, best / 500)
print("version", torch.__version__)
"""


def torch_times(python):
    done = subprocess.run([python, "-c", TORCH], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"dispatch: {python} has no working torch; run bench/peers/compare.py once, or name an interpreter "
                 f"with --python\n{done.stderr[-400:]}")
    return dict(line.split() for line in done.stdout.splitlines())


def heddle_times(build):
    done = subprocess.run([build / "bin" / "launch_bench", "--benchmark_format=json", "--benchmark_repetitions=5",
                           "--benchmark_min_time=0.1"], capture_output=True, text=True, check=True)
    times = {}
    for row in json.loads(done.stdout)["benchmarks"]:
        if row["run_type"] == "iteration":
            unit = {"ns": 1, "us": 1e3, "ms": 1e6}[row["time_unit"]]
            name, clock = row["run_name"].removesuffix("/real_time"), "cpu_time"
            if name != row["run_name"]:  # of another process: this one's own time says nothing
                clock = "real_time"
            times[name] = min(times.get(name, 1e30), row[clock] * unit)
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--python", help="an interpreter with torch")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    python = args.python or str(args.build / "peers-env" / "bin" / "python")
    ours, theirs, version = {}, {}, ""
    for _ in range(args.rounds):
        for name, time in heddle_times(args.build.resolve()).items():
            ours[name] = min(ours.get(name, 1e30), time)
        found = torch_times(python)
        version = found.pop("version")
        for name, time in found.items():
            theirs[name] = min(theirs.get(name, 1e30), float(time))
    for name, time in ours.items():
        print(f"heddle  {name:22} {time:11.0f} ns")
    for name, time in theirs.items():
        print(f"torch   {name:22} {time:11.0f} ns   (version {version})")
    work = (ours["launch/nine_tokens"] - ours["launch/one_token"]) / 8
    held, called = ours["launch/one_token"] - work, ours["call/one_token"] - work
    overhead = theirs["one_token"] - (theirs["nine_tokens"] - theirs["one_token"]) / 8
    print(f"overhead of one token: torch {overhead:.0f} ns; heddle {held:.0f} ns with the kernel held, {called:.0f} ns "
          f"with the kernel found by shape and the workspace sized each time")
    print(f"torch / heddle: {overhead / max(held, ours['launch/zero_rows']):.1f} held, {overhead / called:.1f} found")


if __name__ == "__main__":
    main()
