"""A case of bench/cases.json as arrays: inputs from a seed, rounded to the type a peer gets, and exact
results in double on sampled rows. Arrays are [B, T, H, D], float32 holding rounded values."""
import numpy as np

SAMPLED_ROWS = 24


def round_to(x, dtype):
    """The nearest float32 that `dtype` (f32, bf16, f16) holds, ties to even."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    if dtype == "f16":
        return x.astype(np.float16).astype(np.float32)
    if dtype == "bf16":
        bits = x.view(np.uint32)
        rounded = bits + 0x7FFF + ((bits >> 16) & 1)
        return (rounded & 0xFFFF0000).astype(np.uint32).view(np.float32).copy()
    return x


def to_bf16_bits(x):
    """bf16 bits of values that bf16 holds exactly."""
    return (np.ascontiguousarray(x, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)


def is_attention(case):
    return case["kind"] == "attention"


def is_memory_bound(case):
    """Decode and steps: each element is used once or for a few rows."""
    return bool(case.get("step")) or case.get("Tq") == 1


def pairs(case):
    """Unmasked (row, key) pairs of one head."""
    tq, tk = case["Tq"], case["Tk"]
    rows = np.arange(tq, dtype=np.int64) + tk - tq
    high = rows + 1 if case["causal"] else np.full(tq, tk)
    low = np.maximum(0, rows - case["window"] + 1) if case["window"] else 0
    return int(np.sum(np.maximum(high - low, 0)))


def useful_flops(case):
    """Attention: 4 D a pair. Retention: 4 Dk Dv a token and head, delta 6, power the cheaper of its
    pair form and its state form."""
    if is_attention(case):
        return 4 * case["B"] * case["Hq"] * case["D"] * pairs(case)
    heads, dk, dv, t = case["B"] * case["H"], case["Dk"], case["Dv"], case["T"]
    if case["kind"] == "power2":
        return heads * min(4 * t * dv * dk * (dk + 1) // 2, (2 * dk + 2 * dv) * t * (t + 1) // 2)
    return heads * t * dk * dv * (6 if case["kind"] == "gdelta" else 4)


def least_bytes(case, dtype):
    """What one call must move: tensors once, states read and written in f32."""
    size = 4 if dtype == "f32" else 2
    if is_attention(case):
        q = case["B"] * case["Tq"] * case["Hq"] * case["D"]
        k = case["B"] * case["Tk"] * case["Hkv"] * case["D"]
        return size * (2 * q + 2 * k)
    rows = case["B"] * case["T"] * case["H"]
    states = 8 * case["B"] * case["H"] * case["Dk"] * case["Dv"] if case.get("step") else 0
    return size * rows * 2 * (case["Dk"] + case["Dv"]) + states


def make_inputs(case, dtype, seed):
    """{name: array}. Log-decays g are at most 0 and stay float32, as do betas and states."""
    random = np.random.default_rng(seed)
    normal = lambda *shape: round_to(random.standard_normal(shape), dtype)
    b = case["B"]
    if is_attention(case):
        return {"q": normal(b, case["Tq"], case["Hq"], case["D"]),
                "k": normal(b, case["Tk"], case["Hkv"], case["D"]),
                "v": normal(b, case["Tk"], case["Hkv"], case["D"])}
    t, h, dk, dv = case["T"], case["H"], case["Dk"], case["Dv"]
    data = {"q": normal(b, t, h, dk), "k": normal(b, t, h, dk), "v": normal(b, t, h, dv)}
    if case["kind"] == "gdelta":
        data["k"] = round_to(data["k"] / np.linalg.norm(data["k"], axis=-1, keepdims=True), dtype)
        data["beta"] = random.uniform(0, 1, (b, t, h)).astype(np.float32)
    if case["kind"] in ("gated", "mamba2", "gdelta"):
        data["g"] = -random.uniform(0.001, 0.1, (b, t, h)).astype(np.float32)
    if case.get("step"):
        data["s0"] = random.standard_normal((b, h, dk, dv)).astype(np.float32)
    return data


def retnet_decay(heads):
    return np.log(1 - np.exp2(-5.0 - np.arange(heads)))


def score_scale(case):
    """What multiplies q.k: the reciprocal root of the key size; 1 for Mamba-2; 1/Dk inside the square."""
    if is_attention(case):
        return case["D"] ** -0.5
    return {"mamba2": 1.0, "power2": 1.0 / case["Dk"]}.get(case["kind"], case["Dk"] ** -0.5)


# --- exact results -------------------------------------------------------------------------------


def sampled_rows(length):
    rows = {0, 1, length // 2, length - 1} | set(np.random.default_rng(0).integers(0, length, SAMPLED_ROWS))
    return sorted(int(r) for r in rows if 0 <= r < length)


def attention_rows(case, data, rows):
    q, k, v = (data[n].astype(np.float64) for n in "qkv")
    group, off = case["Hq"] // case["Hkv"], case["Tk"] - case["Tq"]
    out = np.empty((case["B"], len(rows), case["Hq"], case["D"]))
    keys = np.arange(case["Tk"])
    for n, row in enumerate(rows):
        at = row + off
        seen = np.ones_like(keys, dtype=bool)
        if case["causal"]:
            seen &= keys <= at
        if case["window"]:
            seen &= at - keys < case["window"]
        for h in range(case["Hq"]):
            s = np.einsum("bd,bjd->bj", q[:, row, h], k[:, seen, h // group]) * score_scale(case)
            if case["softcap"]:
                s = case["softcap"] * np.tanh(s / case["softcap"])
            p = np.exp(s - s.max(axis=-1, keepdims=True))
            out[:, n, h] = np.einsum("bj,bjd->bd", p / p.sum(axis=-1, keepdims=True), v[:, seen, h // group])
    return out


def pair_rows(case, data, rows):
    """Retention with additive updates, from its pairs."""
    q, k, v = (data[n].astype(np.float64) for n in "qkv")
    b, t, h = q.shape[:3]
    decay = np.zeros((b, t, h))
    if case["kind"] == "retnet":
        decay += retnet_decay(h)
    elif "g" in data:
        decay += data["g"]
    total = np.cumsum(decay, axis=1)
    out = np.empty((b, len(rows), h, v.shape[-1]))
    for n, row in enumerate(rows):
        s = np.einsum("bhd,bjhd->bjh", q[:, row], k[:, :row + 1]) * score_scale(case)
        if case["kind"] == "power2":
            s = s ** 2
            s /= np.maximum(s.sum(axis=1, keepdims=True), 1e-300)
        s *= np.exp(total[:, row, None] - total[:, :row + 1])
        out[:, n] = np.einsum("bjh,bjhe->bhe", s, v[:, :row + 1])
        if "s0" in data:
            out[:, n] += np.einsum("bhd,bhde->bhe", q[:, row] * np.exp(total[:, row])[..., None],
                                   data["s0"].astype(np.float64)) * score_scale(case)
    return out


def delta_rows(case, data, rows):
    """Gated DeltaNet by its recurrence."""
    q, k, v, g, beta = (data[n].astype(np.float64) for n in ("q", "k", "v", "g", "beta"))
    b, t, h, dk = q.shape
    state = data["s0"].astype(np.float64).copy() if "s0" in data else np.zeros((b, h, dk, v.shape[-1]))
    out, wanted = [], set(rows)
    for i in range(t):
        state *= np.exp(g[:, i])[..., None, None]
        error = v[:, i] - np.einsum("bhd,bhde->bhe", k[:, i], state)
        state += np.einsum("bhd,bhe->bhde", k[:, i], beta[:, i][..., None] * error)
        if i in wanted:
            out.append(np.einsum("bhd,bhde->bhe", q[:, i], state) * score_scale(case))
    return np.stack(out, axis=1)


def exact(case, data, rows):
    """[B, rows, H, Dv] in double."""
    if is_attention(case):
        return attention_rows(case, data, rows)
    return delta_rows(case, data, rows) if case["kind"] == "gdelta" else pair_rows(case, data, rows)


def relative_error(found, wanted):
    return float(np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), 1e-300))
