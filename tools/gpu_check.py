#!/usr/bin/env python3
"""Runs everything that needs a GPU, and writes a report: `make gpu-check`.

usage: gpu_check.py [--build build] [--device cuda:0] [--report build/gpu-report.json] [--quick]

For every pattern that an attention form lowers: kernels of several head sizes, element types and irregular lengths run
on the GPU, and each result is compared with the double-precision definition; then a few common problems are timed. Without a GPU it says so and exits with 0: nothing was checked. With one the exit code is 1
if anything failed.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADS = [64, 72, 80, 96, 112, 128]
LENGTHS = [1, 7, 777, 1537]
TIMED = [("causal_softmax", f"B=1,Hq=32,Hk=8,T={t},D={d}") for d in (64, 128) for t in (1024, 4096, 16384)] + [
    ("causal_softmax", "B=8,Hq=32,Hk=8,Tq=1,Tk=8192,D=128")]


def heddle(args, *words):
    """(JSON or None, message) of one command of the tool."""
    command = [str(args.build / "bin" / "heddle"), *words, "--device", args.device, "--quiet", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    try:
        found = json.loads(done.stdout)
        if "error" in found:
            return None, found["error"]["message"]
        return found, done.stderr.strip()
    except json.JSONDecodeError:
        return None, (done.stderr.strip() or done.stdout.strip()).splitlines()[0] if done.stderr or done.stdout else "crashed"


def no_gpu(args):
    """Why there is no GPU to check, or None."""
    found, message = heddle(args, "run", "dense_softmax", "--shape", "B=1,Hq=1,Hk=1,T=16,D=64", "--dtype", "bf16")
    lacking = ("found no CUDA driver", "no GPU on this computer", "GPUs on this computer", "CUDA driver does not start")
    return message if found is None and any(text in message for text in lacking) else None


def attention_patterns(args):
    out = subprocess.run([str(args.build / "bin" / "heddle"), "patterns", "--json"], capture_output=True, text=True,
                         cwd=ROOT, check=True).stdout
    return [p["name"] for p in json.loads(out) if str(p.get("forms", {}).get("attention", "")).startswith("yes")]


def cases(args):
    """(pattern, shape, dtype): a covering choice; --quick takes the library's first."""
    patterns = attention_patterns(args)
    for index, name in enumerate(patterns[:1] if args.quick else patterns):
        for n, d in enumerate(HEADS):
            length = LENGTHS[(index + n) % len(LENGTHS)]
            yield name, f"B=2,Hq=4,Hk=2,T={length},D={d}", "bf16" if (index + n) % 2 else "f16"


def check(args):
    results = []
    for name, shape, dtype in cases(args):
        found, message = heddle(args, "run", name, "--shape", shape, "--dtype", dtype, "--check", "--no-store")
        passed = found is not None and found.get("check", {}).get("passed", False)
        refused = found is None and ("unsupported" in message or "is not given" in message or "not made up" in message)
        results.append({"pattern": name, "shape": shape, "dtype": dtype, "passed": passed, "refused": refused,
                        "message": message, "check": (found or {}).get("check")})
        print(f"{'passed ' if passed else 'refused' if refused else 'FAILED '} {name} {dtype} {shape}"
              f"{'' if passed else ': ' + message}", flush=True)
    return results


def timings(args):
    results = []
    for name, shape in TIMED[:1] if args.quick else TIMED:
        found, message = heddle(args, "bench", name, "--shape", shape, "--dtype", "bf16")
        results.append({"pattern": name, "shape": shape, "result": found, "message": message})
        text = f"{found['median_ms']:.3f} ms, {found['gflops'] / 1e3:.1f} TFLOP/s" if found else "FAILED: " + message
        print(f"timed   {name} bf16 {shape}: {text}", flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", type=pathlib.Path)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--report", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="one pattern, one timing")
    args = parser.parse_args()
    args.build = args.build.resolve()
    if reason := no_gpu(args):
        print(f"gpu-check: nothing was checked: {reason}")
        return 0
    report = {"device": args.device, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
              "checks": check(args), "timings": timings(args)}
    path = args.report or args.build / "gpu-report.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    failed = [c for c in report["checks"] if not c["passed"] and not c["refused"]]
    failed += [t for t in report["timings"] if t["result"] is None]
    passed = sum(c["passed"] for c in report["checks"])
    refused = sum(c["refused"] for c in report["checks"])
    print(f"gpu-check: {passed} passed, {len(failed)} failed, {refused} refused; report in {path}")
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
