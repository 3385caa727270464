#!/usr/bin/env python3
"""Installs the build into a scratch folder, builds the sample engine against it and runs it: with the
compiler, from the store it filled, and from a bundle with the compiler library taken away. The engine's
process must never have LLVM mapped when nothing is compiled.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").resolve()
passed, failed, skipped = [], [], []


def check(name, condition, detail=""):
    (passed if condition else failed).append(name)
    if not condition:
        print(f"failed: {name}\n{detail}")


def run(*command, env=None):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600,
                          env=dict(os.environ, **(env or {})))
    return done.returncode, done.stdout + done.stderr


def cached(name):
    for line in (BUILD / "CMakeCache.txt").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split("=", 1)[1]
    return ""


def loads_llvm(command):
    """The loader's own report of the libraries it opened."""
    code, output = run(*command, env={"LD_DEBUG": "libs"})
    return code, "calling init" in output and any(
        name in line for line in output.splitlines() if "calling init" in line
        for name in ("libLLVM", "libMLIR", "heddle-compiler"))


def engine(folder, prefix):
    code, output = run("cmake", "-S", HERE / "engine", "-B", folder / "engine", f"-DCMAKE_PREFIX_PATH={prefix}",
                       f"-DCMAKE_CXX_COMPILER={cached('CMAKE_CXX_COMPILER')}",
                       f"-DCMAKE_C_COMPILER={cached('CMAKE_C_COMPILER')}")
    check("find_package(heddle) finds the install", code == 0, output)
    code, output = run("cmake", "--build", folder / "engine")
    check("the sample engine builds against the install", code == 0, output)
    program, store = folder / "engine" / "sample_engine", folder / "store"
    if not program.exists():
        return
    code, output = run(program, store)
    check("the engine compiles its kernels and gets them right", code == 0 and "40 steps" in output, output)
    code, llvm = loads_llvm([program, store])
    check("from its store it needs no LLVM", code == 0 and not llvm)

    shapes = folder / "shapes.txt"
    shapes.write_text("# one problem a line\nHq=4 Hk=2 D=32 Tq=1 Tk=1\nHq=4,Hk=2,D=32,Tq=1,Tk=40\n")
    bundle = folder / "kernels.bundle"
    code, output = run(prefix / "bin" / "heddle", "build", "--for", "cpu,x86-avx2", "--patterns", "causal_softmax",
                       "--shapes", shapes, "-o", bundle, env={"HEDDLE_CACHE": str(folder / "build")})
    check("heddle build makes a bundle", code == 0 and bundle.exists(), output)
    for library in prefix.rglob("libheddle-compiler.so*"):
        library.unlink()
    code, output = run(program, folder / "none", bundle)
    check("the engine runs from the bundle without a compiler", code == 0 and "40 steps" in output, output)
    code, llvm = loads_llvm([program, folder / "none", bundle])
    check("from a bundle it needs no LLVM", code == 0 and not llvm)
    check("with a bundle alone it keeps nothing", not (folder / "none").exists())


def plain_c(folder, prefix):
    if not shutil.which("pkg-config"):
        skipped.append("pkg-config")
        print("skipped: pkg-config is not installed")
        return
    package = next(prefix.rglob("heddle.pc"))
    env = {"PKG_CONFIG_PATH": str(package.parent)}
    code, flags = run("pkg-config", "--cflags", "--libs", "heddle", env=env)
    check("pkg-config knows heddle", code == 0, flags)
    library = next(prefix.rglob("libheddle.so")).parent
    code, output = run(cached("CMAKE_C_COMPILER"), "-std=c11", "-Wall", "-Werror", HERE / "engine" / "engine.c",
                       *flags.split(), f"-Wl,-rpath,{library}", "-o", folder / "plain")
    check("a C program builds with pkg-config", code == 0, output)
    code, output = run(folder / "plain")
    check("the C program runs", code == 0 and output.startswith("heddle 0."), output)
    check("libheddle is under 3 MB stripped", stripped_bytes(library / "libheddle.so", folder) < 3 << 20)


def stripped_bytes(library, folder):
    target = folder / "stripped.so"
    subprocess.run(["strip", "-o", str(target), str(library.resolve())], check=True)
    return target.stat().st_size


with tempfile.TemporaryDirectory() as scratch:
    scratch = pathlib.Path(scratch)
    code, output = run("cmake", "--install", BUILD, "--prefix", scratch / "prefix")
    check("the build installs", code == 0, output)
    if code == 0:
        engine(scratch, scratch / "prefix")
        plain_c(scratch, scratch / "prefix")

print(f"heddle-test: {len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped")
sys.exit(1 if failed else 0)
