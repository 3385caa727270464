#!/usr/bin/env python3
"""gpu_check.py where there is no GPU: it says so, checks nothing and does not fail.

Usage: gpu_check_test.py BUILD_FOLDER. Ends with `heddle-test: N passed, N failed, N skipped`.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CHECK = [sys.executable, str(ROOT / "tools" / "gpu_check.py"), "--build", sys.argv[1]]


def main():
    if pathlib.Path("/dev/nvidia0").exists():
        print("skipped: this computer has a GPU; run `make gpu-check`")
        print("heddle-test: 0 passed, 0 failed, 1 skipped")
        return 0
    os.environ["HEDDLE_CACHE"] = tempfile.mkdtemp(prefix="heddle-gpu-check-")
    done = subprocess.run(CHECK, capture_output=True, text=True, timeout=300)
    good = done.returncode == 0 and "nothing was checked" in done.stdout and "CUDA driver" in done.stdout
    wrong = subprocess.run([*CHECK, "--device", "abacus", "--quick", "--report", "/dev/null"], capture_output=True,
                           text=True, timeout=300)
    good = good and wrong.returncode == 1  # no such device is a failure, not an absence
    if not good:
        print(done.stdout, done.stderr, wrong.stdout, wrong.stderr)
    print(f"heddle-test: {int(good)} passed, {int(not good)} failed, 0 skipped")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
