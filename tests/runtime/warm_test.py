#!/usr/bin/env python3
"""libheddle and the tool need no LLVM, and a stored kernel starts without it in a new process.

The libraries' needs are read with readelf; then a kernel is compiled into an empty store, and a
second process that finds it there must have neither LLVM nor MLIR mapped.
"""
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build")
passed, failed = [], []


def check(name, condition, detail=""):
    (passed if condition else failed).append(name)
    if not condition:
        print(f"failed: {name}\n{detail}")


def needed(path):
    listing = subprocess.run(["readelf", "-d", path], capture_output=True, text=True, check=True).stdout
    return [line.split("[")[1].rstrip("]") for line in listing.splitlines() if "(NEEDED)" in line]


def exported(path):
    listing = subprocess.run(["readelf", "--dyn-syms", "-W", path], capture_output=True, text=True, check=True)
    rows = [line.split() for line in listing.stdout.splitlines()]
    return [row[7].split("@")[0] for row in rows
            if len(row) > 7 and row[4] in ("GLOBAL", "WEAK") and row[6] != "UND" and row[7][0] != "_"]


def probe(store):
    done = subprocess.run([BUILD / "tests" / "heddle_warm_probe", store, ROOT / "patterns" / "causal_softmax.heddle"],
                          capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


for path in (BUILD / "lib" / "libheddle.so", BUILD / "bin" / "heddle"):
    if path.exists():
        found = [name for name in needed(path) if "LLVM" in name or "MLIR" in name or "clang" in name]
        check(f"{path.name} links no LLVM", not found, "\n".join(found))
compiler = BUILD / "lib" / "libheddle-compiler.so"
check("the compiler library shows its one entry point", exported(compiler) == ["heddle_compiler_get_api"],
      "\n".join(exported(compiler)[:20]))

with tempfile.TemporaryDirectory() as store:
    code, output = probe(store)
    check("a first process compiles", code == 0 and output.startswith("compiled\nlaunched\n"), output)
    check("the compiler brought LLVM along", "loaded libLLVM" in output, output)
    code, output = probe(store)
    check("a second process takes the stored kernel, without LLVM", code == 0 and output == "store\nlaunched\n",
          output)

print(f"heddle-test: {len(passed)} passed, {len(failed)} failed, 0 skipped")
sys.exit(1 if failed else 0)
