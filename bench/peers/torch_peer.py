"""PyTorch: scaled_dot_product_attention, FlexAttention for windows and soft caps, and chunked retention
written with batched matrix products (there is no retention operator)."""
import math

import torch
import torch.nn.functional as F

import problem

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
CHUNK = 64


def start(threads, build):
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)


def heads_first(array, dtype):
    return torch.from_numpy(array).transpose(1, 2).contiguous().to(DTYPES[dtype])


def result_of(box):
    return lambda: box[0].float().transpose(1, 2).numpy()


def attention(case, dtype, data):
    q, k, v = (heads_first(data[n], dtype) for n in "qkv")
    group, box = case["Hq"] // case["Hkv"], [None]
    if case["window"] or case["softcap"]:
        return flex(case, q, k, v)
    if case["Tq"] == 1 and group > 1:  # the query heads of a key head become rows of one product
        b, d = case["B"], case["D"]
        folded = q.reshape(b, case["Hkv"], group, d).contiguous()

        def call():
            box[0] = F.scaled_dot_product_attention(folded, k, v).reshape(b, case["Hq"], 1, d)
        return call, result_of(box), "sdpa, group folded"

    def call():
        box[0] = F.scaled_dot_product_attention(q, k, v, is_causal=case["causal"], enable_gqa=group > 1)
    return call, result_of(box), "sdpa"


compiled = {}


def flex(case, q, k, v):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    window, cap = case["window"], case["softcap"]

    def seen(b, h, i, j):
        return (j <= i) & (i - j < window) if window else j <= i

    def capped(score, b, h, i, j):
        return cap * torch.tanh(score / cap)

    if "flex" not in compiled:
        compiled["flex"] = torch.compile(flex_attention)
    mask = create_block_mask(seen, None, None, case["Tq"], case["Tk"], device="cpu")
    box = [None]

    def call():
        box[0] = compiled["flex"](q, k, v, score_mod=capped if cap else None, block_mask=mask)
    return call, result_of(box), "FlexAttention"


def chunks(x, count):
    return x.reshape(*x.shape[:2], count, CHUNK, *x.shape[3:])


def retention(case, dtype, data):
    """Additive update with one decay a token: pairs inside a chunk, a state between chunks."""
    q, k, v = (heads_first(data[n], dtype) for n in "qkv")
    b, h, t, dk = q.shape
    count, box = t // CHUNK, [None]
    g = torch.zeros(b, h, t)
    if case["kind"] == "retnet":
        g += torch.from_numpy(problem.retnet_decay(h)).float()[None, :, None]
    elif "g" in data:
        g = torch.from_numpy(data["g"]).transpose(1, 2).contiguous()
    scale = problem.score_scale(case)
    past = torch.ones(CHUNK, CHUNK).tril().bool()

    def call():
        total = chunks(g[..., None], count)[..., 0].cumsum(-1)
        weight = (total[..., :, None] - total[..., None, :]).masked_fill(~past, -math.inf).exp().to(q.dtype)
        qc, kc, vc = chunks(q * scale, count), chunks(k, count), chunks(v, count)
        inside = (qc @ kc.transpose(-1, -2) * weight) @ vc
        last = total[..., -1:]
        added = (kc * (last - total).exp()[..., None].to(q.dtype)).transpose(-1, -2) @ vc
        states, state = [], torch.zeros(b, h, dk, v.shape[-1])
        for n in range(count):
            states.append(state.to(q.dtype))
            state = state * last[:, :, n, :, None].exp() + added[:, :, n]
        before = (qc * total.exp()[..., None].to(q.dtype)) @ torch.stack(states, 2)
        box[0] = (inside + before).reshape(b, h, t, -1)
    return call, result_of(box), f"chunked, {CHUNK}"


def power(case, dtype, data):
    """p = 2 by pairs: the square of the scores, normalised."""
    q, k, v = (heads_first(data[n], dtype) for n in "qkv")
    t, box = q.shape[2], [None]
    scale, block = problem.score_scale(case), 512

    def call():
        out = torch.empty_like(v)
        for first in range(0, t, block):
            end = min(first + block, t)
            s = (q[:, :, first:end] * scale) @ k[:, :, :end].transpose(-1, -2)
            w = (s * s).tril(first)
            out[:, :, first:end] = (w @ v[:, :, :end]) / w.float().sum(-1, keepdim=True).to(w.dtype)
        box[0] = out
    return call, result_of(box), f"pairs, blocks of {block}"


def delta(case, dtype, data):
    """Gated delta rule in chunks by the WY transform, the triangular system in float32."""
    q, k, v = (heads_first(data[n], dtype) for n in "qkv")
    b, h, t, dk = q.shape
    count, box, scale = t // CHUNK, [None], problem.score_scale(case)
    g, beta = (torch.from_numpy(data[n]).transpose(1, 2).contiguous() for n in ("g", "beta"))
    past = torch.ones(CHUNK, CHUNK).tril().bool()
    strict = past.logical_and(~torch.eye(CHUNK).bool())
    eye = torch.eye(CHUNK)

    def call():
        total = chunks(g[..., None], count)[..., 0].cumsum(-1)
        weight = (total[..., :, None] - total[..., None, :]).masked_fill(~past, -math.inf).exp()
        qc, kc, vc, bc = chunks(q * scale, count), chunks(k, count), chunks(v, count), chunks(beta[..., None], count)
        system = (kc @ kc.transpose(-1, -2)).float() * weight * bc * strict
        inverse = torch.linalg.solve_triangular(system + eye, eye.expand_as(system), upper=False, unitriangular=True).to(q.dtype)
        u = inverse @ (vc * bc.to(q.dtype))
        w = inverse @ (kc * (bc * total.exp()[..., None]).to(q.dtype))
        inside = (qc @ kc.transpose(-1, -2)) * weight.to(q.dtype)
        last = total[..., -1:]
        k_end, q_start = kc * (last - total).exp()[..., None].to(q.dtype), qc * total.exp()[..., None].to(q.dtype)
        out, state = torch.empty_like(vc), torch.zeros(b, h, dk, v.shape[-1])
        for n in range(count):
            rounded = state.to(q.dtype)
            new = u[:, :, n] - w[:, :, n] @ rounded
            out[:, :, n] = q_start[:, :, n] @ rounded + inside[:, :, n] @ new
            state = state * last[:, :, n, :, None].exp() + k_end[:, :, n].transpose(-1, -2) @ new
        box[0] = out.reshape(b, h, t, -1)
    return call, result_of(box), f"chunked, {CHUNK}"


def step(case, dtype, data):
    """One token: the state is read and written once, in place."""
    q, k, v = (torch.from_numpy(data[n])[:, 0].contiguous().to(DTYPES[dtype]).float() for n in "qkv")
    g = torch.from_numpy(data["g"])[:, 0].exp()[..., None, None]
    first, box, scale = torch.from_numpy(data["s0"]), [None], problem.score_scale(case)
    beta = torch.from_numpy(data["beta"])[:, 0][..., None] if "beta" in data else None
    state = torch.empty_like(first)

    def call():
        torch.mul(first, g, out=state)
        new = v if beta is None else beta * (v - (k[..., None, :] @ state)[..., 0, :])
        state.add_(k[..., :, None] * new[..., None, :])
        box[0] = ((q * scale)[..., None, :] @ state)[..., 0, :][:, :, None]
    return call, result_of(box), "eager step"


def make(case, dtype, data):
    if problem.is_attention(case):
        return attention(case, dtype, data)
    if case.get("step"):
        return step(case, dtype, data)
    return {"power2": power, "gdelta": delta}.get(case["kind"], retention)(case, dtype, data)
