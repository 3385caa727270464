#!/usr/bin/env python3
"""Mutants of Heddle's own CUDA kernels: does the PTX machine notice?

Usage: mutants.py BUILD_FOLDER [--count N] [--seed S] [--verbose]. Kernels of the library are compiled to PTX, one
instruction that is executed at a time is made wrong (mutate.py), and the result is run with `heddle ptx run --check-races`, with copies
that take effect early and late. A mutant is caught if the machine refuses it or finds something, or if a result differs
from the kernel's own by more than rounding. The kernel's own result is compared with the interpreter by `heddle verify`,
which has to find it clean. 40 mutants are drawn, with HEDDLE_TEST_TIER=all 360.
Ends with `heddle-test: N passed, N failed, N skipped`: a kernel and the score count as tests.
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import mutate  # noqa: E402

SCRATCH = pathlib.Path(tempfile.mkdtemp(prefix="heddle-mutants-"))

# Pattern, shape, options; small, with tails along every axis, and more than two stages' worth of tiles.
KERNELS = [
    ("causal_softmax", "B=1,Hq=2,Hk=1,T=150,D=64", ["--dtype", "bf16"]),
    ("softcap", "B=1,Hq=1,Hk=1,T=215,D=72", ["--dtype", "f16"]),
    ("dense_softmax", "B=1,Hq=1,Hk=1,T=200,D=64", ["--dtype", "bf16"]),
]
SPREADS = (1.0, 8.0)  # of queries and keys: with the second, a maximum that is missed overflows
SIZES = {"f32": 4, "f16": 2, "bf16": 2, "f64": 8, "i32": 4, "i64": 8, "u8": 1, "i8": 1, "e4m3": 1, "e5m2": 1}
LIMIT = 0.02  # of the largest number of a result


def floor_div(a, b):
    return a // b


FUNCTIONS = {"ceildiv": lambda a, b: -(-a // b), "floordiv": floor_div, "min": min, "max": max}


def to_bits(value, dtype):
    if dtype == "f32":
        return struct.pack("<f", value)
    if dtype == "f16":
        return struct.pack("<e", value)
    if dtype == "bf16":
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
        return struct.pack("<H", (bits + 0x7fff + (bits >> 16 & 1)) >> 16)
    return struct.pack({"i32": "<i", "i64": "<q"}[dtype], 1)


def numbers(data, dtype):
    if dtype == "f16":
        return struct.unpack(f"<{len(data) // 2}e", data)
    if dtype == "bf16":
        return struct.unpack(f"<{len(data) // 2}f", b"".join(b"\0\0" + data[i:i + 2] for i in range(0, len(data), 2)))
    if dtype == "f32":
        return struct.unpack(f"<{len(data) // 4}f", data)
    return list(data)


class Kernel:
    """A compiled kernel with inputs: runs PTX text as its description says."""

    def __init__(self, heddle, pattern, shape, options):
        self.heddle, self.name = heddle, f"{pattern} {shape} {' '.join(options)}"
        folder = SCRATCH / f"{pattern}{len(list(SCRATCH.iterdir()))}"
        words = [pattern, "--shape", shape, "--target", "sm_80", *options]
        self.words = words
        self.refusal = ""
        done = subprocess.run([heddle, "compile", *words, "-o", folder], capture_output=True, text=True)
        if done.returncode:
            self.refusal = done.stderr.strip()
            return
        self.description = json.loads((folder / "kernel.json").read_text())
        self.ptx = next(folder.glob("*.ptx")).read_text()
        shown = json.loads(subprocess.run([heddle, "explain", *words, "--json"], capture_output=True, text=True, check=True).stdout)
        self.extents = {**self.description["static_dims"], **shown.get("extents", {})}
        for part in shape.split(","):
            name, value = part.split("=")
            for known in ([name + "q", name + "k"] if name == "T" else ["Hq", "Hk"] if name == "H" else [name]):
                self.extents.setdefault(known, int(value))
            self.extents[name] = int(value)
        self.extents.setdefault("G", self.extents.get("Hq", 1) // self.extents.get("Hk", 1))
        self.extents.setdefault("Dv", self.extents.get("D", 0))
        self.inputs = []
        for spread in SPREADS:
            part = folder / str(spread)
            part.mkdir()
            self.make_tensors(part, spread)
            self.inputs.append(self.files)
        self.executed = set()

    def scalar(self, entry):
        return self.extents.get(entry["name"], entry["default"])

    def evaluate(self, formula):
        values = {s["name"]: int(self.scalar(s)) for s in self.description["scalars"]}
        return int(eval(str(formula), {"__builtins__": {}}, {**FUNCTIONS, **values}))

    def make_tensors(self, folder, spread):
        draw = random.Random(7)
        self.files, self.shapes = {}, {}
        for tensor in self.description["tensors"]:
            shape = [int(d) if d.isdigit() else self.extents[d] for d in tensor["shape"]]
            count = 1
            for extent in shape:
                count *= extent
            path = folder / f"{tensor['name']}.bin"
            if tensor["result"]:
                path.write_bytes(bytes(count * SIZES[tensor["dtype"]]))
            else:
                wide = spread if tensor["name"] in ("q", "k") else 1.0
                path.write_bytes(b"".join(to_bits(draw.gauss(0, wide), tensor["dtype"]) for _ in range(count)))
            self.files[tensor["name"]], self.shapes[tensor["name"]] = path, shape

    def block(self, workspace):
        """The bytes of the kernels' one argument, with the files whose addresses go into it."""
        data = bytearray(self.description["block_bytes"])
        places = []
        for a in self.description["arguments"]:
            at = a["offset"]
            if a["kind"] == "scalar":
                entry = next(s for s in self.description["scalars"] if s["name"] == a["scalar"])
                data[at:at + 8] = struct.pack("<d" if entry["kind"] == "float parameter" else "<q",
                                              self.scalar(entry) if entry["kind"] == "float parameter" else int(self.scalar(entry)))
            elif a["kind"] == "tensor stride":
                stride = 1
                for extent in self.shapes[a["tensor"]][a["dimension"] + 1:]:
                    stride *= extent
                data[at:at + 8] = struct.pack("<q", stride)
            elif a["kind"] == "tensor pointer":
                places.append((at, a["tensor"]))
            elif a["kind"] == "workspace pointer":
                places.append((at, workspace[a["buffer"]]))
        return bytes(data), places

    def run(self, text, copies, inputs):
        """(what was found or "", results by name)"""
        folder = pathlib.Path(tempfile.mkdtemp(dir=SCRATCH))
        (folder / "k.ptx").write_text(text)
        files = dict(self.inputs[inputs])
        workspace = []
        for i, formula in enumerate(self.description["workspace_bytes"]):
            workspace.append(f"workspace {i}")
            files[workspace[-1]] = None if (size := self.evaluate(formula)) else "null"
            self.sizes = {**getattr(self, "sizes", {}), workspace[-1]: size}
        data, places = self.block(workspace)
        (folder / "block.bin").write_bytes(data)
        results = {t["name"] for t in self.description["tensors"] if t["result"]}
        for launch in self.description["launches"]:
            grid = [self.evaluate(g) for g in launch["grid"]]
            if 0 in grid:
                continue
            spec, outs = str(folder / "block.bin"), []
            for at, name in places:
                source = files[name]
                spec += f"@{at}={source}" if source else f"@{at}=empty:{self.sizes[name]}:u8"
                if name in results or name in workspace:
                    files[name] = files[name] if name not in workspace or source else None
                    outs.append((name, at, folder / f"{name.replace(' ', '')}.bin"))
            words = [self.heddle, "ptx", "run", folder / "k.ptx", "--entry", launch["entry"], "--grid", ",".join(map(str, grid)),
                     "--block", ",".join(map(str, launch["block"])), "--shared", str(self.evaluate(launch["shared_bytes"])),
                     "--arg-bytes", spec, "--check-races", "--copies", copies, "--threads", "1", "--max-steps", "3000000", "--counts", "--json"]
            for name, at, path in outs:
                words += ["--out", f"0@{at}={path}"]
            done = subprocess.run(list(map(str, words)), capture_output=True, text=True)
            if done.returncode:
                try:
                    return json.loads(done.stdout)["findings"][0]["message"], {}
                except (ValueError, KeyError, IndexError):
                    return (done.stderr or done.stdout).strip(), {}
            if text is self.ptx:
                self.executed |= {line for line, _ in json.loads(done.stdout)["executed"]}
            for name, at, path in outs:
                files[name] = path
        return "", {t["name"]: numbers(pathlib.Path(files[t["name"]]).read_bytes(), t["dtype"])
                    for t in self.description["tensors"] if t["result"]}

    def differs(self, results, inputs):
        for name, expected in self.expected[inputs].items():
            largest = max([abs(v) for v in expected if v == v and abs(v) < 1e30] or [1.0])
            for a, b in zip(expected, results[name]):
                if a != b and not abs(a - b) <= LIMIT * largest:
                    return f"{name} differs: {b} instead of {a}"
        return ""

    def prove(self):
        """The kernel as it is: right, and clean."""
        done = subprocess.run([self.heddle, "verify", *self.words], capture_output=True, text=True)
        if done.returncode:
            return done.stdout + done.stderr
        self.expected = []
        for inputs, copies in enumerate(("late", "early")):
            found, results = self.run(self.ptx, copies, inputs)
            if found:
                return found
            self.expected.append(results)
        return ""

    def judge(self, mutant):
        """How a mutant was caught, or ""."""
        text = mutate.mutated(self.ptx, mutant)
        for inputs, copies in enumerate(("late", "early")):
            found, results = self.run(text, copies, inputs)
            why = found or self.differs(results, inputs)
            if why:
                return why
        return ""


def chosen(kernels, count, seed):
    """As many of each operator as there are to have, the same for the same seed."""
    draw = random.Random(seed)
    by_operator = collections.defaultdict(list)
    for kernel in kernels:
        for mutant in mutate.mutants(kernel.ptx):
            if mutant[1] + 1 in kernel.executed:
                by_operator[mutant[0]].append((kernel, mutant))
    for group in by_operator.values():
        draw.shuffle(group)
    picked = []
    while len(picked) < count and any(by_operator.values()):
        for group in by_operator.values():
            if group and len(picked) < count:
                picked.append(group.pop())
    return picked


# Line by line why these compute the same (README.md says more): operator, a piece of the line.
EQUIVALENT = []


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("--count", type=int, default=360 if os.environ.get("HEDDLE_TEST_TIER") == "all" else 40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    heddle = str(pathlib.Path(args.build).resolve() / "bin" / "heddle")
    passed = failed = skipped = 0
    kernels = []
    for pattern, shape, options in KERNELS:
        kernel = Kernel(heddle, pattern, shape, options)
        wrong = kernel.refusal or kernel.prove()
        if kernel.refusal:
            print(f"skipped: {kernel.name}: {wrong}")
            skipped += 1
        elif wrong:
            print(f"FAILED: {kernel.name}, as it is: {wrong}")
            failed += 1
        else:
            kernels.append(kernel)
            passed += 1
    if kernels:
        picked = chosen(kernels, args.count, args.seed)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            verdicts = list(pool.map(lambda pair: pair[0].judge(pair[1]), picked))
        scores = collections.defaultdict(lambda: [0, 0])
        survivors = []
        for (kernel, mutant), verdict in zip(picked, verdicts):
            equal = not verdict and any(o == mutant[0] and piece in mutant[2] for o, piece in EQUIVALENT)
            scores[mutant[0]][0] += bool(verdict) or equal
            scores[mutant[0]][1] += 1
            if args.verbose and verdict:
                print(f"{mutant[0]}: {mutant[2]}\n    {verdict.splitlines()[0][:160]}")
            if not verdict and not equal:
                survivors.append((kernel, mutant))
        for name, (caught, total) in sorted(scores.items()):
            print(f"{name:34} {caught:4} of {total:4}")
        for kernel, mutant in survivors:
            print(f"survived: {kernel.name}: line {mutant[1] + 1}: {mutant[0]}\n    {mutant[2]}\n    {mutant[3].strip()}")
        share = 1 - len(survivors) / len(picked)
        print(f"{len(picked)} mutants, {len(picked) - len(survivors)} caught: {100 * share:.1f} %")
        passed, failed = (passed + 1, failed) if share >= 0.98 else (passed, failed + 1)
    print(f"heddle-test: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
