#!/usr/bin/env python3
"""The form that is chosen beside the fastest one, by pattern and length.

    bench/forms.py [--threads N] [--lengths 64,512,4096] [PATTERN,KEY=N,.. ..]

Each form of a pattern is timed at each length (the least time of a bench); the table has a line for each, the
chosen form in brackets, and what the choice costs against the best: what to fit the prices of
compiler/forms/FormCost.cpp to."""
import argparse
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEDDLE = ROOT / "build" / "bin" / "heddle"
FORMS = ("attention", "chunked", "recurrent")
CASES = ("linear_attention,H=2,K=64,V=64", "linear_attention,H=2,K=128,V=128", "retnet,H=2,K=64,V=64",
         "gla,H=2,K=64,V=64", "gated_deltanet,H=2,K=64,V=64", "power_retention,H=2,K=64,V=64")


def heddle(*arguments):
    run = subprocess.run([HEDDLE, *arguments, "--json"], capture_output=True, text=True)
    return json.loads(run.stdout) if run.returncode == 0 and run.stdout else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=CASES)
    parser.add_argument("--lengths", default="64,512,4096")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--dtype", default="f32")
    options = parser.parse_args()
    print(f"{'case':36}{'T':>7} " + "".join(f"{form + ' ms':>20}" for form in FORMS) + "   lost by the choice")
    for case in options.cases:
        pattern, *extents = case.split(",")
        for length in options.lengths.split(","):
            shape = ",".join(["B=1", f"T={length}", *extents])
            common = (pattern, "--shape", shape, "--dtype", options.dtype)
            timed = {}
            for form in FORMS:
                result = heddle("bench", *common, "--form", form, "--threads", options.threads)
                if result:
                    timed[form] = result["min_ms"]
            explained = heddle("explain", *common)
            if not timed or not explained:
                print(f"{case:36}{length:>7}  not timed")
                continue
            chosen = explained["form"]
            cell = lambda form: f"[{timed[form]:.3f}]" if form == chosen else f"{timed[form]:.3f}"
            lost = timed[chosen] / min(timed.values()) if chosen in timed else float("nan")
            print(f"{case:36}{length:>7} " + "".join(f"{cell(f) if f in timed else '-':>20}" for f in FORMS)
                  + f"   {lost:.2f} x", flush=True)


if __name__ == "__main__":
    main()
