#!/usr/bin/env python3
"""bench/compare.py: what counts as slower, faster, gone, new."""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def write(folder, name, runs):
    path = pathlib.Path(folder) / name
    benchmarks = [dict(name=f"{n}/iterations:9/manual_time", of_peak=share, spread=spread)
                  for n, share, spread in runs]
    benchmarks.append({"name": "failed/iterations:9", "error_occurred": True, "of_peak": 0.5})
    benchmarks.append({"name": "peak/fma32/iterations:1", "gflops": 118.0})
    path.write_text(json.dumps({"context": {}, "benchmarks": benchmarks}))
    return str(path)


def compare(before, after):
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "bench/compare.py"), write(folder, "a.json", before),
                   write(folder, "b.json", after)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    words = {line.split()[0]: line.split()[-1] for line in done.stdout.splitlines()}
    return done.returncode, words


def main():
    quiet = 0.001
    same = [("full", 0.90, quiet)]
    checks = {
        "equal runs": compare(same, same) == (0, {"full": "%"}),
        "1 % is noise": compare(same, [("full", 0.891, quiet)])[0] == 0,
        "a loss of 5 %": compare(same, [("full", 0.855, quiet)]) == (1, {"full": "slower"}),
        "a gain of 5 %": compare(same, [("full", 0.945, quiet)]) == (0, {"full": "faster"}),
        "5 % within 3 spreads": compare(same, [("full", 0.855, 0.02)])[0] == 0,
        "gone": compare(same, []) == (1, {"full": "gone"}),
        "new": compare([], same) == (0, {"full": "new"}),
    }
    for name, passed in checks.items():
        if not passed:
            print("failed:", name)
    failed = sum(not passed for passed in checks.values())
    print(f"heddle-test: {len(checks) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
