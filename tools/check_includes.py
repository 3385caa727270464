#!/usr/bin/env python3
"""Checks who may include whom (README.md, "Folders"). Prints each breach; exit code 1 if any."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#include\s*[<"]([^">]+)[">]', re.M)
BOUNDARY = r"compiler/Plugin\.h"
DATA = r"runtime/(Result|Error|Artifact|Request|DType|Tensor|Version|CudaFiles)\.h"
MLIR = r"(mlir|llvm|lld)/"
# folder -> what its sources may include besides the standard library, fmt and generated .inc files
RULES = [
    ("ir/layout", [r"ir/layout/"]),
    ("ir", [r"ir/", MLIR]),
    ("runtime", [r"runtime/", BOUNDARY]),
    ("compiler/forms", [r"ir/", r"compiler/(?!passes/|targets/)", MLIR, DATA]),
    ("compiler/passes", [r"ir/", r"compiler/(?!forms/|targets/)", MLIR, DATA]),
    ("compiler/targets", [r"ir/", r"compiler/(?!forms/|passes/)", MLIR, DATA]),
    ("compiler/Plugin", [r"ir/", r"compiler/", r"autotune/", MLIR, r"runtime/"]),
    ("compiler", [r"ir/", r"compiler/", MLIR, DATA]),
    ("autotune", [r"autotune/", r"compiler/(Compiler|KernelFacts|Oracle|schedule/|machine/)", DATA, r"runtime/(heddle|Sha256)\.h"]),
]
PROJECT = re.compile(r"(ir|compiler|runtime|autotune|tools|tests|bench|mlir|llvm|lld)/")


def allowed(path):
    for folder, patterns in RULES:
        if path.startswith(folder):
            return folder, re.compile("|".join(patterns))
    return None, None


def main():
    breaches = 0
    for source in sorted(p for suffix in ("h", "cpp", "td") for p in ROOT.rglob(f"*.{suffix}")):
        path = source.relative_to(ROOT).as_posix()
        folder, pattern = allowed(path)
        if folder is None or path.startswith("build"):
            continue
        for include in INCLUDE.findall(source.read_text()):
            own = folder != "ir/layout" and include.endswith(".inc")
            if PROJECT.match(include) and not own and not pattern.match(include):
                print(f"{path}: {folder} may not include {include}")
                breaches += 1
    print(f"include rule: {breaches} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
