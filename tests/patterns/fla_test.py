#!/usr/bin/env python3
"""An outside guard: the meaning of the library's retention patterns against the naive functions of
flash-linear-attention (PyPI fla-core), whose files are loaded by path, since importing the package wants a GPU.

Needs an interpreter with torch, einops, numpy and fla-core: this one, $HEDDLE_PEERS_PYTHON, or the environment that
`make bench-peers` makes in build/peers-env; without one every case is counted as skipped. The per-token maps round a
mix are written out here in torch; the mix itself is flash-linear-attention's.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench" / "peers"))
from fla_files import naive  # noqa: E402

BUILD = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build").resolve()
PACKAGES = ("torch", "einops", "numpy", "fla")
CASES = []


def case(function):
    CASES.append(function)
    return function


def find_interpreter():
    """An interpreter that has the packages, or None."""
    for python in (sys.executable, os.environ.get("HEDDLE_PEERS_PYTHON"), str(BUILD / "peers-env" / "bin" / "python")):
        probe = f"import importlib.util as u, sys; sys.exit(not all(u.find_spec(p) for p in {PACKAGES!r}))"
        if python and pathlib.Path(python).exists() and subprocess.run([python, "-c", probe]).returncode == 0:
            return python
    return None


def definition(pattern, tensors, results):
    """The results of a library pattern by its definition in double precision."""
    with tempfile.TemporaryDirectory() as folder:
        for name, tensor in tensors.items():
            np.save(f"{folder}/{name}.npy", tensor.numpy())
        inputs = ",".join(f"{name}={folder}/{name}.npy" for name in tensors)
        outputs = ",".join(f"{name}={folder}/out_{name}.npy" for name in results)
        done = subprocess.run([str(BUILD / "bin" / "heddle"), "run", pattern, "--dtype", "f32", "--definition", "--input", inputs,
                               "--output", outputs, "--no-store"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [torch.from_numpy(np.load(f"{folder}/out_{name}.npy")) for name in results]


B, T, H, K, V = 2, 37, 3, 8, 6


def normal(*shape):
    return torch.randn(shape, generator=random)


def uniform(*shape, low=0.0, high=1.0):
    return torch.rand(shape, generator=random) * (high - low) + low


def qkv():
    return normal(B, T, H, K), normal(B, T, H, K), normal(B, T, H, V)


def first(x):
    return x.transpose(1, 2).contiguous()


def l2norm(x):
    return x * torch.rsqrt((x * x).sum(-1, keepdim=True) + 1e-6)


def rms(x, eps=1e-5, dims=(-1,)):
    return x * torch.rsqrt((x * x).mean(dims, keepdim=True) + eps)


def layer_norm(x, eps):
    return (x - x.mean(-1, keepdim=True)) * torch.rsqrt(x.var(-1, keepdim=True, unbiased=False) + eps)


# Each case gives the pattern, its tensors, its results' names, and what they must be.


@case
def linear_attention():
    q, k, v = qkv()
    s0, z0 = normal(B, H, K, V), uniform(B, H, K)
    elu1 = lambda x: F.elu(x) + 1
    o, (s, z) = naive("linear_attn", "naive_recurrent_linear_attn")(
        elu1(q), elu1(k), v, initial_state=(s0, z0[:, None]), output_final_state=True, normalize=True)
    return dict(q=q, k=k, v=v, s0=s0, z0=z0), dict(o=o, s=s, z=z[:, 0])


@case
def retnet():
    q, k, v = qkv()
    gate = normal(B, T, H, V)
    angle = torch.arange(T)[:, None, None] * 10000.0 ** (-torch.arange(0, K, 2) / K)

    def rotate(x):
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1).flatten(-2)
    o = first(naive("retention", "naive_retention")(first(rotate(q)), first(rotate(k)), first(v)))
    return dict(q=q, k=k, v=v, gate=gate, s0=torch.zeros(B, H, K, V)), dict(y=layer_norm(o, 1e-6) * F.silu(gate))


@case
def lightning():
    q, k, v = qkv()
    gate, rate, s0 = normal(B, T, H, V), -uniform(H), normal(B, H, K, V)
    o, s = naive("simple_gla", "naive_recurrent_simple_gla")(F.silu(q), F.silu(k), v, rate.expand(B, T, H), initial_state=s0)
    return dict(q=q, k=k, v=v, gate=gate, rate=rate, s0=s0), dict(y=rms(o, 1e-6, (-2, -1)) * gate, s=s)


@case
def mamba2():
    q, k, x = qkv()
    dt, z, s0 = normal(B, T, H), normal(B, T, H, V), normal(B, H, K, V)
    dt_bias, a_log, skip, gamma = normal(H), normal(H), normal(H), normal(H, V)
    delta = F.softplus(dt + dt_bias)
    o, s = naive("simple_gla", "naive_recurrent_simple_gla")(
        q, k, delta[..., None] * x, -a_log.exp() * delta, scale=1.0, initial_state=s0)
    y = gamma * rms((o + skip[:, None] * x) * F.silu(z))
    return dict(c=q, b=k, x=x, dt=dt, z=z, dt_bias=dt_bias, a_log=a_log, skip=skip, gamma=gamma, s0=s0), dict(y=y, s=s)


@case
def gla():
    q, k, v = qkv()
    raw, gate, gamma, s0 = normal(B, T, H, K), normal(B, T, H, V), normal(V), normal(B, H, K, V)
    o, s = naive("gla", "naive_recurrent_gla")(q, k, v, F.logsigmoid(raw) / 16, s0, True)
    return dict(q=q, k=k, v=v, raw=raw, gate=gate, gamma=gamma, s0=s0), dict(y=gamma * rms(o) * F.silu(gate), s=s)


@case
def hgrn2():
    q, raw, v = qkv()
    lb, s0 = uniform(H, K), normal(B, H, K, V)
    f = lb + (1 - lb) * torch.sigmoid(raw)
    o, s = naive("gla", "naive_recurrent_gla")(q, 1 - f, v, f.log(), s0, True)
    return dict(q=q, raw=raw, v=v, lb=lb, s0=s0), dict(o=o, s=s)


@case
def deltanet():
    q, k, v = qkv()
    beta, s0 = uniform(B, T, H), normal(B, H, K, V)
    o, s = naive("delta_rule", "delta_rule_recurrence")(first(l2norm(F.silu(q))), first(l2norm(F.silu(k))), first(v), first(beta), s0)
    return dict(q=q, k=k, v=v, beta=beta, s0=s0), dict(o=first(o), s=s)


@case
def gated_deltanet():
    q, k, v = qkv()
    a, b, z, s0 = normal(B, T, H), normal(B, T, H), normal(B, T, H, V), normal(B, H, K, V)
    a_log, bias, gamma = normal(H), normal(H), normal(V)
    o, s = naive("gated_delta_rule", "naive_recurrent_gated_delta_rule")(
        l2norm(q), l2norm(k), v, b.sigmoid(), -a_log.exp() * F.softplus(a + bias), initial_state=s0, output_final_state=True)
    return dict(q=q, k=k, v=v, a=a, b=b, z=z, a_log=a_log, bias=bias, gamma=gamma, s0=s0), dict(y=gamma * rms(o, 1e-6) * F.silu(z), s=s)


@case
def kda():
    q, k, v = qkv()
    f, b, gate, s0 = normal(B, T, H, K), normal(B, T, H), normal(B, T, H, V), normal(B, H, K, V)
    a_log, bias, gamma = normal(H), normal(H, K), normal(V)
    g = -a_log.exp()[:, None] * F.softplus(f + bias)
    o, s = naive("kda", "naive_recurrent_kda")(l2norm(q), l2norm(k), v, g, b.sigmoid(), initial_state=s0, output_final_state=True)
    return (dict(q=q, k=k, v=v, f=f, b=b, gate=gate, a_log=a_log, bias=bias, gamma=gamma, s0=s0),
            dict(y=gamma * rms(o) * gate.sigmoid(), s=s))


@case
def deltaproduct():
    n = 2
    q, k, v = normal(B, T, H, K), normal(B, T, n, H, K), normal(B, T, n, H, V)
    beta, g, s0 = uniform(B, T, n, H), -uniform(B, T, H), normal(B, H, K, V)
    o, s = naive("gated_delta_product", "naive_recurrent_gated_delta_product")(
        l2norm(q), l2norm(k).flatten(1, 2), v.flatten(1, 2), g, beta.flatten(1, 2), K**-0.5, initial_state=s0, num_householder=n)
    return dict(q=q, k=k, v=v, beta=beta, g=g, s0=s0), dict(o=o, s=s)


@case
def gated_deltanet2():
    q, k, v = qkv()
    g, erase, write, s0 = -uniform(B, T, H, K), uniform(B, T, H, K), uniform(B, T, H, V), normal(B, H, K, V)
    o, s = naive("gdn2", "naive_recurrent_gdn2")(l2norm(q), l2norm(k), v, g, erase, write, initial_state=s0, output_final_state=True)
    return dict(q=q, k=k, v=v, g=g, erase=erase, write=write, s0=s0), dict(o=o, s=s)


@case
def rwkv6():
    r, k, v = qkv()
    w, u, s0 = normal(B, T, H, K), normal(H, K), normal(B, H, K, V)
    o, s = naive("rwkv6", "naive_recurrent_rwkv6", "recurrent_naive")(
        first(r), first(k), first(v), first(-w.exp()), u, scale=1.0, initial_state=s0, output_final_state=True)
    return dict(r=r, k=k, v=v, w=w, u=u, s0=s0), dict(o=first(o), s=s)


@case
def rwkv7():
    r, k, v = qkv()
    w, kappa, alpha, gate = normal(B, T, H, K), normal(B, T, H, K), uniform(B, T, H, K), normal(B, T, H, V)
    xi, rho, norm_w, norm_b, s0 = normal(H, K), normal(H, K), normal(H, V), normal(H, V), normal(B, H, K, V)
    kh, kt = l2norm(kappa), k * (1 + (alpha - 1) * xi)
    g = -torch.exp(torch.tensor(-0.5)) * w.sigmoid()
    o, s = naive("generalized_delta_rule/dplr", "dplr_recurrence")(
        *(first(x) for x in (r * K**0.5, kt, v, -kh, kh * alpha, g)), s0)
    bonus = (r * kt * rho).sum(-1, keepdim=True)
    y = (layer_norm(first(o), 0.00064) * norm_w + norm_b + bonus * v) * gate
    return (dict(r=r, k=k, v=v, w=w, kappa=kappa, alpha=alpha, gate=gate, xi=xi, rho=rho, norm_w=norm_w, norm_b=norm_b, s0=s0),
            dict(y=y, s=s))


@case
def based():
    q, k, v = qkv()
    return dict(q=q, k=k, v=v), dict(o=first(naive("based", "naive_parallel_based")(first(q), first(k), first(v))))


@case
def rebased():
    q, k, v = qkv()
    gamma_q, beta_q, gamma_k, beta_k = (normal(H, K) for _ in range(4))
    qn, kn = gamma_q * layer_norm(q, 1e-5) + beta_q, gamma_k * layer_norm(k, 1e-5) + beta_k
    o = first(naive("rebased", "naive_parallel_rebased")(first(qn), first(kn), first(v)))
    return dict(q=q, k=k, v=v, gamma_q=gamma_q, beta_q=beta_q, gamma_k=gamma_k, beta_k=beta_k), dict(o=o)


@case
def forgetting():
    q, k, v = normal(B, T, 2 * H, K), normal(B, T, H, K), normal(B, T, H, V)
    g = -uniform(B, T, 2 * H)
    return dict(q=q, k=k, v=v, g=g), dict(o=naive("forgetting_attn", "naive_forgetting_attn")(q, k, v, g))


@case
def log_linear():
    q, k, v = qkv()
    g, raw = -uniform(B, T, H), normal(B, T, H, 7)  # 37 tokens have levels 0 to 6
    return dict(q=q, k=k, v=v, g=g, raw=raw), dict(o=naive("log_linear_attn", "naive_log_linear_attn")(q, k, v, g, F.softplus(raw)))


def main():
    passed, failed = [], []
    for function in CASES:
        random.manual_seed(len(function.__name__))
        try:
            tensors, wanted = function()
            for name, found in zip(wanted, definition(function.__name__, tensors, wanted)):
                error = float((found - wanted[name].double()).norm() / wanted[name].double().norm())
                assert error < 2e-5, f"{name}: relative error {error:.1e}"
            passed.append(function.__name__)
        except Exception as problem:
            failed.append(function.__name__)
            print(f"failed: {function.__name__}: {type(problem).__name__}: {problem}")
    print(f"heddle-test: {len(passed)} passed, {len(failed)} failed, 0 skipped")
    return 1 if failed else 0


python = find_interpreter()
if python is None:
    print("skipped: no interpreter with " + ", ".join(PACKAGES) + "; `make bench-peers` makes one")
    print(f"heddle-test: 0 passed, 0 failed, {len(CASES)} skipped")
    sys.exit(0)
if python != sys.executable:
    os.execv(python, [python, *sys.argv])

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

random = torch.Generator()
sys.exit(main())
