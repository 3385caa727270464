#!/usr/bin/env python3
"""Builds the Python package against this build and runs tests/runtime/python_suite.py in it.

The interpreter is $HEDDLE_TEST_PYTHON, else the environment that tools/setup.sh makes in .cache/python-env. It
needs nanobind and scikit-build-core; torch's part is skipped where torch is not installed.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").resolve()
PYTHON = os.environ.get("HEDDLE_TEST_PYTHON", str(ROOT / ".cache" / "python-env" / "bin" / "python"))


def run(*command, **more):
    return subprocess.run([str(part) for part in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          **more)


def finish(passed, failed, skipped):
    print(f"heddle-test: {passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


ready = os.path.exists(PYTHON) and run(PYTHON, "-c", "import nanobind, scikit_build_core, numpy").returncode == 0
if not ready:
    print(f"skipped: {PYTHON} lacks nanobind, scikit-build-core or numpy; tools/setup.sh installs them from PyPI")
    finish(0, 0, 1)
if "fsanitize" in (BUILD / "CMakeCache.txt").read_text() or "HEDDLE_SANITIZE:STRING=\n" not in (
        BUILD / "CMakeCache.txt").read_text():
    print("skipped: a build with sanitizers cannot be loaded into Python")
    finish(0, 0, 1)

with tempfile.TemporaryDirectory() as scratch:
    # Without network: what the build needs is installed. The build folder is kept for the next run.
    done = run(PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation",
               "--target", scratch, f"--config-settings=build-dir={BUILD}/python",
               f"--config-settings=cmake.define.HEDDLE_BUILD={BUILD}",
               ROOT / "runtime" / "python")
    if done.returncode != 0:
        print("failed: pip install\n" + done.stdout)
        finish(0, 1, 0)
    env = dict(os.environ, PYTHONPATH=scratch, HEDDLE_CACHE=f"{scratch}/store", HEDDLE_TOOL=str(BUILD / "bin" / "heddle"))
    for variable in ("HEDDLE_COMPILER", "HEDDLE_PATTERNS"):
        env.pop(variable, None)
    done = run(PYTHON, ROOT / "tests" / "runtime" / "python_suite.py", env=env, cwd=scratch, timeout=800)
    print(done.stdout, end="")
    sys.exit(done.returncode)
