"""What the Python package must do, beside plain numpy formulas and torch's own functions. Run by python_test.py."""
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import traceback

import numpy as np

import heddle
from heddle import _trace

try:
    import torch
    import heddle.torch
except ImportError:
    torch = None

tests, skipped = [], []


def test(function):
    tests.append(function)
    return function


def needs_torch(function):
    if torch is None:
        skipped.append(function.__name__)
    else:
        tests.append(function)
    return function


def random(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape).astype(dtype)


def problem(tq, tk, hq=4, hk=2, d=32, batch=2):
    return random(batch, tq, hq, d, seed=1), random(batch, tk, hk, d, seed=2), random(batch, tk, hk, d, seed=3)


def reference(q, k, v, score, support):
    """Softmax attention in double precision by the definition; score and support take arrays."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    batch, tq, hq, d = q.shape
    tk, group = k.shape[1], hq // k.shape[2]
    b, h, row, j = np.ogrid[:batch, :hq, :tq, :tk]
    i = row + tk - tq
    s = np.einsum("bihd,bjhd->bhij", q, np.repeat(k, group, axis=2))
    s = score(s, b, h, i, j, row) if score else s / np.sqrt(d)
    s = np.where(np.broadcast_to(support(b, h, i, j, row), s.shape) if support else True, s, -np.inf)
    top = s.max(axis=3, keepdims=True, initial=-np.inf)
    p = np.exp(s - np.where(np.isfinite(top), top, 0))
    total = p.sum(axis=3, keepdims=True)
    p = np.divide(p, total, out=np.zeros_like(p), where=total > 0)
    return np.einsum("bhij,bjhd->bihd", p, np.repeat(v, group, axis=2))


def close(found, expected, limit=2e-5):
    error = np.abs(np.asarray(found, np.float64) - expected).max(initial=0)
    assert error < limit, f"error {error}"


def refuses(call, *parts, kind=heddle.Error):
    try:
        call()
    except kind as error:
        for part in parts:
            assert part in str(error), f"no '{part}' in: {error}"
        return
    raise AssertionError(f"not refused, expected: {parts}")


CAUSAL = lambda b, h, i, j, row: j <= i  # noqa: E731


@test
def kernels_of_the_library():
    kernel = heddle.kernel("causal_softmax")
    assert kernel.inputs == ["q", "k", "v"] and kernel.results == ["o", "lse"]
    for tq, tk in ((1, 1), (1, 777), (7, 7), (33, 129)):
        q, k, v = problem(tq, tk)
        o, lse = kernel(q, k, v=v)
        assert isinstance(o, np.ndarray) and o.dtype == np.float32 and lse.shape == (2, tq, 4)
        close(o, reference(q, k, v, None, CAUSAL))
    assert kernel.info(q, k, v)["form"] == "attention"
    window = heddle.kernel("sliding_window")
    q, k, v = problem(40, 40)
    for w in (1, 7, 100):
        close(window(q, k, v, W=w)[0], reference(q, k, v, None, lambda b, h, i, j, row: (j <= i) & (i - j < w)))
    capped = heddle.kernel("softcap")
    close(capped(q, k, v, cap=2.0)[0],
          reference(q, k, v, lambda s, b, h, i, j, row: 2 * np.tanh(s / np.sqrt(32) / 2), CAUSAL))


@test
def traced_functions():
    q, k, v = problem(19, 45)
    cases = [
        (None, lambda i, j: j <= i, None, CAUSAL),
        (lambda s, h, i, j: s / 6 - abs(i - j) / (h + 1), None,
         lambda s, b, h, i, j, row: s / 6 - abs(i - j) / (h + 1), None),
        (lambda s, b, h, i, j: 3 * heddle.tanh(s / 3), lambda b, h, i, j: (i // 8 == j // 8) | (j < 2),
         lambda s, b, h, i, j, row: 3 * np.tanh(s / 3), lambda b, h, i, j, row: (i // 8 == j // 8) | (j < 2)),
        (lambda s: heddle.where(s > 0, s, s * 0.5), lambda row, j: ~(j > row + 3),
         lambda s, b, h, i, j, row: np.where(s > 0, s, s * 0.5), lambda b, h, i, j, row: ~(j > row + 3)),
        (lambda s, i, j: s / 6 - (i - (j - 1)) * 0.125, lambda i, j: (i - j) % 3 == 0,
         lambda s, b, h, i, j, row: s / 6 - (i - (j - 1)) * 0.125, lambda b, h, i, j, row: (i - j) % 3 == 0),
        (lambda s, i, j: heddle.where(j <= i, s * 0.1, -float("inf")), None,
         lambda s, b, h, i, j, row: s * 0.1, CAUSAL),
    ]
    for n, (score, support, want_score, want_support) in enumerate(cases):
        close(heddle.attention(q, k, v, score=score, support=support), reference(q, k, v, want_score, want_support))


@test
def tables_and_parameters():
    q, k, v = problem(9, 21)
    bias, keep = random(4, 21), np.arange(21) % 3 != 1
    table, mask, shift = heddle.table(bias), heddle.table(keep), heddle.parameter("W", 4)
    text = heddle.trace(lambda s, h, j: s + table[h, j], lambda j: mask[j])[0]
    assert "%t0: tensor<f32, N0_0 x N0_1>" in text and "%t1: tensor<u8, N1_0>" in text, text
    got = heddle.attention(q, k, v, score=lambda s, h, j: s / 6 + table[h, j], support=lambda j: mask[j])
    close(got, reference(q, k, v, lambda s, b, h, i, j, row: s / 6 + bias[h, j], lambda b, h, i, j, row: keep[j]))
    for w in (1, 5):
        got = heddle.attention(q, k, v, support=lambda i, j: (j <= i) & (i - j < shift), parameters={"W": w})
        close(got, reference(q, k, v, None, lambda b, h, i, j, row: (j <= i) & (i - j < w)))


@test
def what_cannot_be_traced_is_named():
    q, k, v = problem(3, 3)
    bias = random(4, 4)
    attention = lambda **given: lambda: heddle.attention(q, k, v, **given)  # noqa: E731
    kind = heddle.TraceError
    refuses(attention(score=lambda s, i, j: s if j <= i else 0 * s), "`if`", "(j <= i)", "heddle.where", kind=kind)
    refuses(attention(support=lambda i, j: j <= i and j > 2), "`and`", "(j <= i)", kind=kind)
    refuses(attention(support=lambda i, j: 0 <= j < 3), "chained comparison", kind=kind)
    refuses(attention(score=lambda s, h, j: s + bias[h, j]), "array indexed by a symbol", "bias[h, j]", "heddle.table",
            kind=kind)
    refuses(attention(score=lambda s: __import__("math").exp(s)), "called on (s)", kind=kind)
    refuses(attention(score=lambda s, i, j: s + (j <= i)), "(j <= i), a truth value, beside `+`", kind=kind)
    refuses(attention(support=lambda i, j: i - j), "support that returns (i - j), a integer", kind=kind)
    refuses(attention(score=lambda s: "s"), "returns str", kind=kind)
    refuses(attention(score=lambda s: s.clip(0, 1)), "(s).clip", kind=kind)
    refuses(attention(score=lambda s: s + float("inf")), "infinity", kind=kind)
    refuses(attention(score=lambda a, b, c, d, e, f: a), "at most 5", kind=kind)
    refuses(attention(parameters={"W": 3}), "found the parameters W")


@test
def texts_parse_back_to_the_same_value():
    """Random expressions: the text, read by Python after respelling, has the value of the function."""
    import random as plain
    generator = plain.Random(5)

    def grow(depth):
        if depth == 0:
            return generator.choice([lambda i, j: i, lambda i, j: j, lambda i, j: 3, lambda i, j: -2])
        a, b = grow(depth - 1), grow(generator.randrange(depth))
        return generator.choice([
            lambda i, j: a(i, j) + b(i, j), lambda i, j: a(i, j) - b(i, j), lambda i, j: a(i, j) * b(i, j),
            lambda i, j: a(i, j) % (abs(b(i, j)) + 1), lambda i, j: a(i, j) // (abs(b(i, j)) + 1),
            lambda i, j: -a(i, j), lambda i, j: b(i, j) - a(i, j)])

    for _ in range(300):
        function = grow(4)
        text = repr(_trace.lift(function(_trace.symbol("i"), _trace.symbol("j"))))
        respelled = text.replace(" div ", " // ").replace(" mod ", " % ")
        for i, j in ((0, 0), (5, 3), (2, 7)):
            assert eval(respelled, {"i": i, "j": j, "abs": abs}) == function(i, j), text


@test
def tensors_are_not_copied():
    q, k, v = problem(8, 8)
    out, lse = np.full_like(q, np.nan), np.full((2, 8, 4), np.nan, np.float32)
    kernel = heddle.kernel("causal_softmax")
    results = kernel(q, k, v, out=[out, lse])
    assert results[0] is out and results[1] is lse
    close(out, reference(q, k, v, None, CAUSAL))
    wide = random(2, 8, 6, 32)  # q and k are views of one tensor, with strides
    close(kernel(wide[:, :, :4], wide[:, :, 4:], v)[0], reference(wide[:, :, :4], wide[:, :, 4:], v, None, CAUSAL))
    turned = np.ascontiguousarray(q.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3)
    close(kernel(turned, k, v)[0], reference(q, k, v, None, CAUSAL))
    frozen = q.copy()
    frozen.flags.writeable = False
    close(kernel(frozen, k, v)[0], reference(q, k, v, None, CAUSAL))


@test
def results_outlive_everything_else():
    q, k, v = problem(5, 5)
    o = heddle.attention(q, k, v)
    expected = o.copy()
    for _ in range(20):
        heddle.attention(q + 1, k, v)
        gc.collect()
    assert (o == expected).all() and o.ctypes.data % 64 == 0


@test
def bad_input_is_refused_and_life_goes_on():
    q, k, v = problem(4, 6)
    kernel = heddle.kernel("causal_softmax")
    refuses(lambda: heddle.kernel("causal_sofmax"), "found no pattern 'causal_sofmax'", "causal_softmax")
    refuses(lambda: heddle.pattern("nonsense"), "")
    refuses(lambda: kernel(q, k), "no input v")
    refuses(lambda: kernel(q, k, v, v), "found 4 inputs", "q, k, v")
    refuses(lambda: kernel(q, k, "v"), "found str for v")
    refuses(lambda: kernel(q, None, v), "found NoneType for k")
    refuses(lambda: kernel(q, k, v.astype(np.float64)), "found v of type f64, expected f32 as q")
    refuses(lambda: kernel(q, k, v.astype(np.complex64)), "v", "f64, f32, f16")
    refuses(lambda: kernel(q, k, v[:, :5]), "Tk = 6 in k but Tk = 5 in v")
    refuses(lambda: kernel(q[0], k, v), "q with 3 dimensions")
    refuses(lambda: kernel(q, k, v, W=3), "'W'", "it has none")
    refuses(lambda: heddle.kernel("sliding_window")(q, k, v, W=1.5), "W")
    refuses(lambda: heddle.kernel("sliding_window")(q, k, v, W="x"), "found str for the parameter W")
    refuses(lambda: kernel(q[..., ::2], k[..., ::2], v), "innermost")
    refuses(lambda: kernel(q, k, v, out=[q, None]), "found the result o in memory that q lies in")
    refuses(lambda: kernel(q, k, v, out=[np.broadcast_to(np.float32(0), q.shape), None]), "writable")
    refuses(lambda: kernel(q, k, v, out=[None]), "found 1 results in out, expected 2: o, lse")
    refuses(lambda: heddle.kernel("causal_softmax", on_miss="panic"), "on_miss='panic'")
    refuses(lambda: heddle.Context(device="abacus"), "'abacus'")
    try:
        heddle.kernel("causal_softmax", on_miss="refuse", schedule="BM=64")(q[:, :, :2], k[:, :, :1], v[:, :, :1])
    except heddle.Error as error:
        assert error.status == 4 and error.notes and error.notes[0].startswith("request key")
    close(kernel(q, k, v)[0], reference(q, k, v, None, CAUSAL))


@test
def contexts_of_ones_own():
    q, k, v = problem(3, 3, d=48)
    refused = heddle.Context(use_store=False, compile=False, threads=1)
    refuses(lambda: heddle.kernel("causal_softmax", context=refused), "not allowed")
    own = heddle.Context(use_store=False, threads=1)
    kernel = heddle.kernel("dense_softmax", context=own)
    close(kernel(q, k, v)[0], reference(q, k, v, None, None))
    assert kernel.info(q, k, v)["source"] == "compiled"


class DeviceArray:
    """A tensor in the memory of the PTX machine, by the driver's functions, as a GPU framework would hand it over."""
    NAMES = {"f32": ("f", 2, 32), "bf16": ("H", 4, 16), "u8": ("B", 1, 8)}
    made, driver = [], None

    class Managed(ctypes.Structure):
        _fields_ = [("data", ctypes.c_uint64), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                    ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
                    ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
                    ("byte_offset", ctypes.c_uint64), ("manager", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]

    def __init__(self, shape, dtype, data=None):
        if DeviceArray.driver is None:
            library = os.path.join(os.path.dirname(heddle.__file__), "libheddle-ptx.so")
            DeviceArray.driver = ctypes.CDLL(library)
        letter, code, bits = self.NAMES[dtype]
        self.host = np.zeros(shape, letter) if data is None else np.ascontiguousarray(data)
        self.pointer = ctypes.c_uint64()
        assert self.driver.cuMemAlloc_v2(ctypes.byref(self.pointer), ctypes.c_size_t(max(self.host.nbytes, 1))) == 0
        assert self.driver.cuMemcpyHtoD_v2(self.pointer, ctypes.c_void_p(self.host.ctypes.data),
                                           ctypes.c_size_t(self.host.nbytes)) == 0
        self.extents = (ctypes.c_int64 * max(len(shape), 1))(*shape)
        self.managed = self.Managed(self.pointer.value, 2, 0, len(shape), code, bits, 1,
                                    ctypes.addressof(self.extents), None, 0, None, None)
        DeviceArray.made.append(self)

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **ignored):
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        return new(ctypes.addressof(self.managed), b"dltensor", None)

    def numpy(self):
        assert self.driver.cuMemcpyDtoH_v2(ctypes.c_void_p(self.host.ctypes.data), self.pointer,
                                           ctypes.c_size_t(self.host.nbytes)) == 0
        return self.host


@test
def tensors_of_a_gpu():
    """On the PTX machine: the caller's memory and stream, results and workspace from the caller's allocator."""
    gpu = heddle.Context(device="ptx:80", allocate=DeviceArray, threads=1)
    kernel = heddle.kernel("causal_softmax", context=gpu)
    q, k, v = problem(5, 40, d=64, batch=1)
    half = lambda x: (x.view(np.uint32) >> 16).astype(np.uint16)  # noqa: E731  bf16 by truncation
    full = lambda x: (x.astype(np.uint32) << 16).view(np.float32)  # noqa: E731
    there = [DeviceArray(x.shape, "bf16", half(x)) for x in (q, k, v)]
    try:
        o, lse = kernel(*there)
    except heddle.Error as error:
        if "NVRTC" not in str(error):
            raise
        print("skipped: tensors_of_a_gpu: no NVRTC")
        return
    want = reference(*(full(half(x)) for x in (q, k, v)), None, CAUSAL)
    close(full(o.numpy()), want, 2e-2)
    assert isinstance(lse, DeviceArray) and lse.host.shape == (1, 5, 4)
    own = [DeviceArray(q.shape, "bf16"), None]
    assert kernel(*there, out=own, stream=1)[0] is own[0]  # 1: CUDA's default stream, without waiting
    close(full(own[0].numpy()), want, 2e-2)
    refuses(lambda: kernel(q, k, v), "found q on another device, expected memory of ptx:80")
    refuses(lambda: kernel(*there, out=[np.zeros_like(q), None]), "found o on another device")
    refuses(lambda: kernel(*there, stream="main"), "found str for stream")
    refuses(lambda: heddle.kernel("causal_softmax")(*there), "found q on another device, expected memory of cpu")
    refuses(lambda: heddle.kernel("causal_softmax", context=heddle.Context(device="ptx:80"))(*there),
            "Context(allocate=...)")
    refuses(lambda: heddle.kernel("causal_softmax")(q, k, v, stream=1), "found a stream for a kernel of the CPU")


FROM_BUNDLE = """
import sys
sys.path.insert(0, {folder!r})
sys.modules["torch"] = None  # which loads NVRTC for its own use
import numpy as np
import heddle
from python_suite import CAUSAL, DeviceArray, close, problem, reference
device = {device!r}
here = heddle.Context(device=device, bundles=[{bundle!r}], use_store=False, compile=False, threads=1,
                      compiler="/nowhere/compiler.so", allocate=DeviceArray if device != "cpu" else None)
q, k, v = problem(5, 40, d=64, batch=1)
half = lambda x: (x.view(np.uint32) >> 16).astype(np.uint16)
full = lambda x: (x.astype(np.uint32) << 16).view(np.float32)
if device == "cpu":
    close(heddle.kernel("causal_softmax", context=here)(q, k, v)[0], reference(q, k, v, None, CAUSAL))
else:
    there = [DeviceArray(x.shape, "bf16", half(x)) for x in (q, k, v)]
    o = heddle.kernel("causal_softmax", context=here)(*there)[0]
    close(full(o.numpy()), reference(*(full(half(x)) for x in (q, k, v)), None, CAUSAL), 2e-2)
print([line for line in open("/proc/self/maps") if any(part in line for part in ("LLVM", "MLIR", "nvrtc"))])
"""


@test
def a_bundle_needs_neither_llvm_nor_nvrtc():
    tool = os.environ.get("HEDDLE_TOOL")
    if not tool:
        print("skipped: a_bundle_needs_neither_llvm_nor_nvrtc: $HEDDLE_TOOL does not name the command-line tool")
        return
    with tempfile.TemporaryDirectory() as folder:
        shapes, bundle = os.path.join(folder, "shapes"), os.path.join(folder, "bundle")
        with open(shapes, "w") as file:
            file.write("B=1,Hq=4,Hk=2,Tq=5,Tk=40,D=64\nB=1,Hq=4,Hk=2,Tq=5,Tk=40,D=64,dtype=bf16\n")
        devices = {"cpu": "cpu"}
        build = lambda *more: subprocess.run(  # noqa: E731
            [tool, "build", "--patterns", "causal_softmax", "--quiet", *more], capture_output=True,
            text=True, env=dict(os.environ, HEDDLE_CACHE=folder + "/store"))
        done = build("--for", "cpu", "--shapes", shapes, "-o", bundle)
        assert done.returncode == 0, done.stderr
        only_half = os.path.join(folder, "half")
        with open(only_half, "w") as file:
            file.write("B=1,Hq=4,Hk=2,Tq=5,Tk=40,D=64,dtype=bf16\n")
        gpu = os.path.join(folder, "gpu")
        done = build("--for", "sm_80,cpu", "--shapes", only_half, "-o", gpu)
        assert done.returncode == 0 or "NVRTC" in done.stderr, done.stderr
        if done.returncode == 0:
            devices["ptx:80"] = "gpu"
        for device in devices:
            code = FROM_BUNDLE.format(folder=os.path.dirname(os.path.abspath(__file__)), device=device,
                                      bundle=bundle if device == "cpu" else gpu)
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
            assert done.stdout == "[]\n", done.stdout + done.stderr


@test
def a_compiler_of_another_version_is_refused():
    path = next(line.split()[-1] for line in open("/proc/self/maps") if "libheddle.so" in line)
    broken = heddle.Context(use_store=False, compiler=path, threads=1)
    refuses(lambda: heddle.kernel("causal_softmax", context=broken), "another version", "install both from the same")
    missing = heddle.Context(use_store=False, compiler="/nowhere/compiler.so", threads=1)
    refuses(lambda: heddle.kernel("causal_softmax", context=missing), "/nowhere/compiler.so")


@test
def tuning_keeps_the_winner():
    q, k, v = problem(64, 64, d=16)
    seen = []
    report = heddle.tune("causal_softmax", q, k, v, budget=2, progress=lambda *said: seen.append(said))
    assert report["winner"] and seen, report
    info = heddle.kernel("causal_softmax").info(q, k, v)
    assert info["tuned"], info
    close(heddle.kernel("causal_softmax")(q, k, v)[0], reference(q, k, v, None, CAUSAL))


@test
def the_package_works_without_torch():
    code = ("import sys; sys.modules['torch'] = None\nimport numpy, heddle\n"
            "x = numpy.ones((1, 4, 1, 16), 'f')\nassert (heddle.attention(x, x, x) == 1).all()\n"
            "try:\n  import heddle.torch\nexcept ImportError:\n  print('fine')\n")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.stdout == "fine\n", done.stdout + done.stderr


@test
def a_second_process_needs_no_compiler():
    # numpy's memory starts at any multiple of 16 bytes: wherever it starts, the kernel is the same.
    store = os.path.join(os.environ["HEDDLE_CACHE"], "two-processes")
    code = ("import sys, numpy as np, heddle\nflat = np.ones(512 + 32, 'f')\n"
            "start = -flat.ctypes.data % 64 // 4 + int(sys.argv[1])\n"
            "q = flat[start:start + 512].reshape(2, 2, 4, 32); k = q[:, :, :2]\n"
            "heddle.kernel('causal_softmax')(q, k, k)\n"
            "print(any('LLVM' in line or 'MLIR' in line for line in open('/proc/self/maps')))")
    for start, loaded in ((0, "True\n"), (4, "False\n")):
        done = subprocess.run([sys.executable, "-c", code, str(start)], capture_output=True, text=True,
                              env=dict(os.environ, HEDDLE_CACHE=store))
        assert done.stdout == loaded, done.stdout + done.stderr


@needs_torch
def torch_tensors():
    q, k, v = (torch.from_numpy(x) for x in problem(7, 9))
    o, lse = heddle.kernel("causal_softmax")(q, k, v)
    assert isinstance(o, torch.Tensor) and isinstance(lse, torch.Tensor)
    close(o.numpy(), reference(q, k, v, None, CAUSAL))
    half = [x.to(torch.bfloat16) for x in (q, k, v)]
    o = heddle.kernel("causal_softmax")(*half)[0]
    assert o.dtype == torch.bfloat16
    close(o.float().numpy(), reference(*(x.float() for x in half), None, CAUSAL), 2e-2)
    q.requires_grad_()
    refuses(lambda: heddle.kernel("causal_softmax")(q, k, v), "q requires a gradient")
    refuses(lambda: heddle.torch.scaled_dot_product_attention(q, k, v), "q requires a gradient")
    with torch.no_grad():
        close(heddle.kernel("causal_softmax")(q, k, v)[0].numpy(), reference(q, k, v, None, CAUSAL))


def torch_problem(tq, tk, d, dtype, hq=4, hk=4):
    torch.manual_seed(tq + tk + d)
    make = lambda heads, tokens: torch.randn(2, heads, tokens, d).to(dtype)  # noqa: E731
    return make(hq, tq), make(hk, tk), make(hk, tk)


@needs_torch
def scaled_dot_product_attention_as_torchs_own():
    theirs, ours = torch.nn.functional.scaled_dot_product_attention, heddle.torch.scaled_dot_product_attention
    for dtype, limit in ((torch.float32, 2e-5), (torch.bfloat16, 2e-2)):
        for tq, tk, d in ((1, 1, 64), (1, 777, 64), (7, 7, 72), (33, 65, 64), (65, 33, 80)):
            q, k, v = torch_problem(tq, tk, d, dtype)
            mask = torch.rand(2, 1, tq, tk) < 0.7
            mask[..., 0] = True
            bias = torch.randn(4, tq, tk).to(dtype)
            for given in ({}, {"is_causal": True}, {"scale": 0.25}, {"attn_mask": mask}, {"attn_mask": bias}):
                found = ours(q, k, v, **given)
                assert found.shape == q.shape and found.dtype == dtype
                close(found.float().numpy(), theirs(q.double(), k.double(), v.double(), **{
                    name: value.double() if torch.is_tensor(value) and value.dtype != torch.bool else value
                    for name, value in given.items()}).numpy(), limit)
    q, k, v = torch_problem(5, 5, 64, torch.float32, 4, 2)
    close(ours(q, k, v, enable_gqa=True).numpy(),
          theirs(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1)).numpy())
    refuses(lambda: ours(q, k, v), "enable_gqa")
    refuses(lambda: ours(q, q, q, dropout_p=0.1), "dropout_p")
    refuses(lambda: ours(q, q, q, attn_mask=mask, is_causal=True), "both")
    refuses(lambda: ours(q[0], q, q), "3 dimensions")
    refuses(lambda: ours(q.numpy(), q, q), "ndarray")


@needs_torch
def flex_attention_as_torchs_own():
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    ours = heddle.torch.flex_attention
    q, k, v = torch_problem(128, 128, 64, torch.float32)
    document = torch.arange(128) // 48
    table = heddle.table(document)
    mods = [
        None,
        lambda score, b, h, q_idx, kv_idx: score + (q_idx - kv_idx) * 0.01,
        lambda score, b, h, q_idx, kv_idx: 5 * torch.tanh(score / 5),
        lambda score, b, h, q_idx, kv_idx: torch.where(q_idx >= kv_idx, score, -float("inf")),
        lambda score, b, h, q_idx, kv_idx: score * (h + 1),
    ]
    for mod in mods:
        close(ours(q, k, v, score_mod=mod).numpy(), flex_attention(q, k, v, score_mod=mod).numpy())
    causal = lambda b, h, q_idx, kv_idx: q_idx >= kv_idx  # noqa: E731
    block_mask = create_block_mask(causal, None, None, 128, 128, device="cpu")
    o, lse = ours(q, k, v, block_mask=block_mask, return_lse=True)
    want, want_lse = flex_attention(q, k, v, block_mask=block_mask, return_lse=True)
    close(o.numpy(), want.numpy())
    close(lse.numpy(), want_lse.numpy())
    theirs = lambda b, h, q_idx, kv_idx: document[q_idx] == document[kv_idx]  # noqa: E731
    mine = lambda b, h, q_idx, kv_idx: table[q_idx] == table[kv_idx]  # noqa: E731
    want = flex_attention(q, k, v, block_mask=create_block_mask(theirs, None, None, 128, 128, device="cpu"))
    close(ours(q, k, v, mask_mod=mine).numpy(), want.numpy())
    refuses(lambda: ours(q, k, v, mask_mod=theirs), "torch tensor indexed by", "heddle.table", kind=heddle.TraceError)


def main():
    failed = 0
    only = sys.argv[1] if len(sys.argv) > 1 else ""
    chosen = [function for function in tests if only in function.__name__]
    for function in chosen:
        try:
            function()
        except Exception:
            failed += 1
            print(f"failed: {function.__name__}\n{traceback.format_exc()}")
    for name in skipped:
        print(f"skipped: {name}: torch is not installed")
    print(f"heddle-test: {len(chosen) - failed} passed, {failed} failed, {len(skipped)} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
