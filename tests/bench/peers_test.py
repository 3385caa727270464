#!/usr/bin/env python3
"""What the comparison with peers rests on: rounding, work counts, exact results by two ways, and Heddle
itself through its C interface from Python. The peers are not needed."""
import importlib.util
import os
import pathlib
import sys
import tempfile

if importlib.util.find_spec("numpy") is None and sys.executable != "/usr/bin/python3":
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])  # Debian's, which set-up gave numpy
try:
    import numpy as np
except ImportError:
    print("skipped: no numpy in this interpreter\nheddle-test: 0 passed, 0 failed, 1 skipped")
    sys.exit(0)

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").resolve()
sys.path.insert(0, str(ROOT / "bench" / "peers"))
import heddle_peer  # noqa: E402
import problem  # noqa: E402

passed, failed = [], []


def check(name, condition, detail=""):
    (passed if condition else failed).append(name)
    if not condition:
        print(f"failed: {name}\n{detail}")


def attention(**changes):
    return dict({"name": "t", "kind": "attention", "B": 1, "Hq": 2, "Hkv": 2, "Tq": 7, "Tk": 7, "D": 16,
                 "causal": True, "window": 0, "softcap": 0.0, "rotate": 1}, **changes)


def retention(kind, **changes):
    return dict({"name": "t", "kind": kind, "B": 2, "H": 3, "T": 37, "Dk": 8, "Dv": 5, "rotate": 1}, **changes)


def brute_pairs(case):
    off = case["Tk"] - case["Tq"]
    return sum(1 for i in range(case["Tq"]) for j in range(case["Tk"])
               if (not case["causal"] or j <= i + off) and (not case["window"] or i + off - j < case["window"]))


def recurrence(case, data):
    """Additive retention token by token."""
    data = {name: array.astype(np.float64) for name, array in data.items()}
    b, t, h, dk = data["q"].shape
    g = data.get("g", np.zeros((b, t, h)))
    if case["kind"] == "retnet":
        g = np.broadcast_to(problem.retnet_decay(h), (b, t, h))
    state = data.get("s0", np.zeros((b, h, dk, case["Dv"])))
    out = []
    for i in range(t):
        state = state * np.exp(g[:, i])[..., None, None] + np.einsum("bhd,bhe->bhde", data["k"][:, i], data["v"][:, i])
        out.append(np.einsum("bhd,bhde->bhe", data["q"][:, i], state) * problem.score_scale(case))
    return np.stack(out, 1)


# Rounding: halfway cases go to even, and a second rounding changes nothing.
check("bf16 rounds to nearest, ties to even",
      problem.round_to([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20], "bf16").tolist() == [1, 1 + 2**-6, 1 + 2**-7])
x = problem.round_to(np.random.default_rng(0).standard_normal(1000), "bf16")
check("bf16 bits hold what was rounded", np.array_equal((problem.to_bf16_bits(x).astype(np.uint32) << 16).view(np.float32), x))

for changes in ({}, {"causal": False, "Tq": 5}, {"Tq": 3, "Tk": 9}, {"window": 4, "Tq": 9, "Tk": 11}, {"Tq": 9, "Tk": 4}):
    case = attention(**changes)
    check(f"pairs {changes}", problem.pairs(case) == brute_pairs(case), f"{problem.pairs(case)} {brute_pairs(case)}")

for kind in ("linear", "retnet", "gated", "mamba2"):
    for step in (False, True):
        case = retention(kind, **({"step": True} if step else {}))
        data = problem.make_inputs(case, "f32", 1)
        rows = problem.sampled_rows(case["T"])
        error = problem.relative_error(problem.exact(case, data, rows), recurrence(case, data)[:, rows])
        check(f"{kind} by pairs = by recurrence, {'with' if step else 'without'} state", error < 1e-12, error)
delta = retention("gdelta")
data = problem.make_inputs(delta, "f32", 1)
data["beta"][:] = 0
check("a delta rule that writes nothing reads nothing", np.all(problem.exact(delta, data, [36]) == 0))

# Heddle through ctypes, on the cases of every shape that attention has.
with tempfile.TemporaryDirectory() as store:
    os.environ["HEDDLE_CACHE"] = store
    heddle_peer.start(2, str(BUILD))
    for changes, dtype, limit in (({}, "f32", 1e-5), ({"Tq": 37, "Tk": 77, "Hkv": 1, "D": 72}, "bf16", 2e-2),
                                  ({"Tq": 1, "Tk": 300, "Hkv": 1, "causal": False}, "f32", 1e-5),
                                  ({"window": 9, "Tq": 50, "Tk": 50}, "f32", 1e-5),
                                  ({"softcap": 5.0, "Tq": 20, "Tk": 20}, "f16", 1e-2)):
        case = attention(**changes)
        data = problem.make_inputs(case, dtype, 3)
        call, result, schedule = heddle_peer.make(case, dtype, data)
        call()
        rows = problem.sampled_rows(case["Tq"])
        error = problem.relative_error(result()[:, rows].astype(np.float64), problem.exact(case, data, rows))
        check(f"Heddle from Python {changes} {dtype}", error < limit and "BM=" in schedule, f"{error} {schedule}")
    try:
        heddle_peer.make(attention(D=-1), "f32", problem.make_inputs(attention(), "f32", 3))
        check("a negative size is refused", False)
    except RuntimeError as refusal:
        check("a negative size is refused", "D" in str(refusal), str(refusal))

print(f"heddle-test: {len(passed)} passed, {len(failed)} failed, 0 skipped")
sys.exit(1 if failed else 0)
