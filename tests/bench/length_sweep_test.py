#!/usr/bin/env python3
"""bench/length_sweep.py: the order of growth of known curves, and a sweep over small lengths."""
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

if importlib.util.find_spec("numpy") is None and sys.executable != "/usr/bin/python3":
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])  # Debian's, which set-up gave numpy
if importlib.util.find_spec("numpy") is None:
    print("skipped: no numpy in this interpreter\nheddle-test: 0 passed, 0 failed, 1 skipped")
    sys.exit(0)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").resolve()
sys.path.insert(0, str(ROOT / "bench"))
import length_sweep  # noqa: E402


def sweep(folder):
    """A sweep of LSEL from 64 to 256 tokens; the curves it wrote."""
    out = pathlib.Path(folder) / "lengths"
    command = [sys.executable, str(ROOT / "bench/length_sweep.py"), "--build", str(BUILD), "--lengths", "64,128,256",
               "--beside-to", "128", "--out", str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(done.stderr)
        return {}, ""
    drawn = xml.etree.ElementTree.parse(out.with_suffix(".svg")).getroot()
    curves = len(drawn.findall("{http://www.w3.org/2000/svg}polyline"))
    return json.loads(out.with_suffix(".json").read_text())["times_ms"], curves


def main():
    linear = [(n, 3.0 * n) for n in (4096, 8192, 65536)]
    quadratic = [(n, 0.5 * n * n) for n in (100, 200, 700)]
    with tempfile.TemporaryDirectory() as folder:
        times, curves = sweep(folder)
    checks = {
        "a linear curve": abs(length_sweep.order_of_growth(linear) - 1) < 1e-9,
        "a quadratic curve": abs(length_sweep.order_of_growth(quadratic) - 2) < 1e-9,
        "all lengths of both patterns": {name: len(curve) for name, curve in times.items()} == {"lsel": 3, "causal_softmax": 2},
        "a line each": curves == 2,
    }
    for name, passed in checks.items():
        if not passed:
            print("failed:", name)
    failed = sum(not passed for passed in checks.values())
    print(f"heddle-test: {len(checks) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
