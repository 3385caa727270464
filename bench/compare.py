#!/usr/bin/env python3
"""Compares two JSON files of tools/run_bench.sh: bench/compare.py before.json after.json

Rates are compared as shares of the peak of their own run. A change beyond 3 spreads of the noisier
run (and 2 % at least) is marked; exit code 1 if something became slower by that much or vanished.
"""
import argparse
import json
import sys


def kernels(path):
    """name -> (share of the peak, spread); cases that were skipped with an error are left out."""
    with open(path) as file:
        runs = json.load(file)["benchmarks"]
    return {run["name"].split("/iterations")[0]: (run["of_peak"], run.get("spread", 0.0))
            for run in runs if "of_peak" in run and not run.get("error_occurred")}


def compare(before, after):
    """Yields (name, before, after, verdict) with verdict one of '', faster, slower, gone, new."""
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield name, before[name][0], None, "gone"
        elif name not in before:
            yield name, None, after[name][0], "new"
        else:
            (old, old_spread), (new, new_spread) = before[name], after[name]
            change = new / old - 1
            limit = max(3 * old_spread, 3 * new_spread, 0.02)
            verdict = "" if abs(change) <= limit else "faster" if change > 0 else "slower"
            yield name, old, new, verdict


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before")
    parser.add_argument("after")
    args = parser.parse_args()
    bad = 0
    for name, old, new, verdict in compare(kernels(args.before), kernels(args.after)):
        text = ["-" if share is None else f"{100 * share:.1f} %" for share in (old, new)]
        print(f"{name:32} {text[0]:>8} {text[1]:>8}  {verdict}")
        bad += verdict in ("slower", "gone")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
