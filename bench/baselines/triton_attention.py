"""Causal attention in Triton, in the style of its tutorial: what a Triton user writes. Compiled ahead of time for a
named GPU, nothing is launched. Run by compare_compile.py in an environment that has triton.

usage: triton_attention.py ARCH D REPEATS    -> one line of JSON: CPU seconds of each compile, children (ptxas) included
"""
import json
import os
import resource
import sys
import tempfile

os.environ["TRITON_ALWAYS_COMPILE"] = "1"
os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # Heddle's code has none either
os.environ["TRITON_DEFAULT_FP_FUSION"] = "1"
os.environ["TRITON_CACHE_DIR"] = tempfile.mkdtemp(prefix="triton-cache-")

import triton  # noqa: E402
import triton.language as tl  # noqa: E402
from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402


@triton.jit
def attend(q, k, v, o, lse, scale, heads, length, stride_b, stride_h, stride_t,
           D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr):
    tile = tl.program_id(0)
    head = tl.program_id(1)
    base = (head // heads).to(tl.int64) * stride_b + (head % heads).to(tl.int64) * stride_h
    rows = tile * BM + tl.arange(0, BM)
    columns = tl.arange(0, D)
    queries = tl.load(q + base + rows[:, None] * stride_t + columns[None, :], mask=rows[:, None] < length, other=0.0)
    maximum = tl.full([BM], float("-inf"), tl.float32)
    total = tl.zeros([BM], tl.float32)
    result = tl.zeros([BM, D], tl.float32)
    factor = scale * 1.44269504
    # full tiles, then the tiles the diagonal cuts
    for start in range(0, tile * BM, BN):
        keys = start + tl.arange(0, BN)
        kt = tl.load(k + base + keys[None, :] * stride_t + columns[:, None])
        scores = tl.dot(queries, kt) * factor
        above = tl.maximum(maximum, tl.max(scores, 1))
        weights = tl.exp2(scores - above[:, None])
        shrink = tl.exp2(maximum - above)
        total = total * shrink + tl.sum(weights, 1)
        values = tl.load(v + base + keys[:, None] * stride_t + columns[None, :])
        result = tl.dot(weights.to(values.dtype), values, result * shrink[:, None])
        maximum = above
    for start in range(tile * BM, tl.minimum((tile + 1) * BM, length), BN):
        keys = start + tl.arange(0, BN)
        kt = tl.load(k + base + keys[None, :] * stride_t + columns[:, None], mask=keys[None, :] < length, other=0.0)
        scores = tl.dot(queries, kt) * factor
        scores = tl.where((keys[None, :] <= rows[:, None]) & (keys[None, :] < length), scores, float("-inf"))
        above = tl.maximum(maximum, tl.max(scores, 1))
        weights = tl.exp2(scores - above[:, None])
        shrink = tl.exp2(maximum - above)
        total = total * shrink + tl.sum(weights, 1)
        values = tl.load(v + base + keys[:, None] * stride_t + columns[None, :], mask=keys[:, None] < length, other=0.0)
        result = tl.dot(weights.to(values.dtype), values, result * shrink[:, None])
        maximum = above
    tl.store(o + base + rows[:, None] * stride_t + columns[None, :], (result / total[:, None]).to(o.dtype.element_ty),
             mask=rows[:, None] < length)
    tl.store(lse + head * length + rows, maximum / 1.44269504 + tl.log(total), mask=rows < length)


def cpu_seconds():
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def main():
    arch, d, repeats = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    signature = {"q": "*bf16", "k": "*bf16", "v": "*bf16", "o": "*bf16", "lse": "*fp32", "scale": "fp32", "heads": "i32",
                 "length": "i32", "stride_b": "i32", "stride_h": "i32", "stride_t": "i32",
                 "D": "constexpr", "BM": "constexpr", "BN": "constexpr"}
    aligned = {(n,): [["tt.divisibility", 16]] for n in (0, 1, 2, 3, 4, 8, 9, 10)}
    source = ASTSource(fn=attend, signature=signature, constexprs={"D": d, "BM": 128, "BN": 64}, attrs=aligned)
    options = {"num_warps": 8 if d > 64 else 4, "num_stages": 3 if d <= 64 else 2}
    seconds, size = [], 0
    for _ in range(repeats + 1):  # the first loads what is loaded once
        before = cpu_seconds()
        compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
        seconds.append(cpu_seconds() - before)
        size = len(compiled.asm["cubin"])
    print(json.dumps({"version": triton.__version__, "cold": seconds[0], "warm": seconds[1:], "cubin_bytes": size}))


main()
