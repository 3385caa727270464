"""flash-linear-attention's plain functions (PyPI fla-core): its kernels are Triton's and want a GPU, so what it has for
a CPU are the naive chunked and recurrent functions."""
import torch

from fla_files import naive
import problem
import torch_peer


def start(threads, build):
    torch_peer.start(threads, build)


def make(case, dtype, data):
    if problem.is_attention(case):
        raise NotImplementedError("no attention")
    if case["kind"] == "power2":
        raise NotImplementedError("no naive function of power attention")
    q, k, v = (torch.from_numpy(data[n]).to(torch_peer.DTYPES[dtype]) for n in "qkv")
    named = {n: torch.from_numpy(data[n]) for n in ("g", "beta") if n in data}
    if "s0" in data:
        named.update(initial_state=torch.from_numpy(data["s0"]), output_final_state=True)
    if case["kind"] == "retnet":
        named["g"] = torch.from_numpy(problem.retnet_decay(case["H"])).float().expand(case["B"], case["T"], case["H"])
    folder = {"linear": "linear_attn", "gdelta": "gated_delta_rule"}.get(case["kind"], "simple_gla")
    name = f"naive_{'recurrent' if case.get('step') else 'chunk'}_{folder}"
    function, box, scale = naive(folder, name), [None], problem.score_scale(case)

    def call():
        found = function(q, k, v, scale=scale, **named)
        box[0] = found[0] if isinstance(found, tuple) else found
    return call, lambda: box[0].float().numpy(), name
