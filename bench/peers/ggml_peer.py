"""ggml (the library under llama.cpp) through ctypes: flash_attn_ext, gated_linear_attn, ssm_scan and gated_delta_net.
16 bits: keys and values in f16; its retention operators know f32 alone. compare.py builds the library."""
import ctypes
import os
import pathlib

import numpy as np

import problem

F32, F16, I32 = 0, 1, 26
library, threads_wanted = None, 1


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


def start(threads, build):
    global library, threads_wanted
    threads_wanted = threads
    folder = pathlib.Path(os.environ.get("HEDDLE_GGML") or pathlib.Path(build) / "peers-env" / "ggml" / "bin")
    library = {n: ctypes.CDLL(str(folder / f"libggml{n}.so"), mode=ctypes.RTLD_GLOBAL) for n in ("-base", "-cpu")}
    base, pointer = library["-base"], ctypes.c_void_p
    for name in ("ggml_init", "ggml_new_tensor_4d", "ggml_get_data", "ggml_flash_attn_ext", "ggml_gated_linear_attn",
                 "ggml_ssm_scan", "ggml_gated_delta_net", "ggml_new_graph"):
        getattr(base, name).restype = pointer
    library["-cpu"].ggml_cpu_init()


class Graph:
    """One operator on tensors of its own."""

    def __init__(self, size):
        self.base = library["-base"]
        room = 256 << 20  # beside the tensors: what the operator works in
        self.context = ctypes.c_void_p(self.base.ggml_init(InitParams(size + room, None, False)))

    def tensor(self, array, kind, extents):
        """A tensor that holds `array`; `extents` innermost first."""
        made = ctypes.c_void_p(self.base.ggml_new_tensor_4d(self.context, kind, *(ctypes.c_int64(e) for e in extents)))
        typed = np.ascontiguousarray(array, dtype={F32: np.float32, F16: np.float16, I32: np.int32}[kind])
        ctypes.memmove(self.base.ggml_get_data(made), typed.ctypes.data, typed.nbytes)
        return made

    def call(self, result):
        graph = ctypes.c_void_p(self.base.ggml_new_graph(self.context))
        self.base.ggml_build_forward_expand(graph, result)
        run = library["-cpu"].ggml_graph_compute_with_ctx

        def call(keep=self):
            if run(self.context, graph, threads_wanted) != 0:
                raise RuntimeError("ggml_graph_compute failed")
        return call

    def read(self, result, shape):
        count = int(np.prod(shape))
        memory = (ctypes.c_float * count).from_address(self.base.ggml_get_data(result))
        return np.frombuffer(memory, dtype=np.float32).reshape(shape)


def attention(case, dtype, data):
    b, tq, tk, d, heads, kv = (case[n] for n in ("B", "Tq", "Tk", "D", "Hq", "Hkv"))
    graph = Graph(24 * (b * d * (tq * heads + tk * kv)) + 2 * tq * tk)
    kind = F32 if dtype == "f32" else F16
    q = graph.tensor(data["q"].transpose(0, 2, 1, 3), F32, (d, tq, heads, b))
    k, v = (graph.tensor(data[n].transpose(0, 2, 1, 3), kind, (d, tk, kv, b)) for n in "kv")
    mask = ctypes.c_void_p(None)
    if case["causal"]:
        at = np.arange(tq)[:, None] + tk - tq
        seen = np.arange(tk) <= at
        if case["window"]:
            seen &= at - np.arange(tk) < case["window"]
        mask = graph.tensor(np.where(seen, 0, -np.inf), F16, (tk, tq, 1, 1))
    scale = ctypes.c_float(problem.score_scale(case))
    result = ctypes.c_void_p(graph.base.ggml_flash_attn_ext(graph.context, q, k, v, mask, scale, ctypes.c_float(0), ctypes.c_float(case["softcap"])))
    return graph.call(result), lambda: graph.read(result, (b, tq, heads, d)), "flash_attn_ext" + (", f16 keys" if kind == F16 else "")


def retention(case, dtype, data):
    if case["kind"] == "power2":
        raise NotImplementedError("no such operator")
    b, t, h, dk, dv = (case[n] for n in ("B", "T", "H", "Dk", "Dv"))
    graph = Graph(4 * b * t * h * (6 * dk + 4 * dv) + 16 * b * h * dk * dv)
    state = data.get("s0", np.zeros((b, h, dk, dv), dtype=np.float32))
    shape, scale = (b, t, h, dv), problem.score_scale(case)
    decay = np.zeros((b, t, h)) if case["kind"] == "linear" else data.get("g")
    if case["kind"] == "retnet":
        decay = np.broadcast_to(problem.retnet_decay(h), (b, t, h))
    base, context = graph.base, graph.context
    if case["kind"] == "gdelta":
        q, k, v = (graph.tensor(data[n], F32, (data[n].shape[-1], h, t, b)) for n in "qkv")
        g, beta = (graph.tensor(data[n], F32, (1, h, t, b)) for n in ("g", "beta"))
        s = graph.tensor(state.transpose(0, 1, 3, 2), F32, (dk, dv, h, b))
        result = ctypes.c_void_p(base.ggml_gated_delta_net(context, q, k, v, g, beta, s, ctypes.c_int64(1)))
        return graph.call(result), lambda: graph.read(result, shape), "gated_delta_net"
    if dk == dv:
        q, k, v = (graph.tensor(data[n], F32, (dk, h, b * t, 1)) for n in "qkv")
        gate = np.broadcast_to(np.exp(decay)[..., None], (b, t, h, dk))
        g = graph.tensor(gate, F32, (dk, h, b * t, 1))
        s = graph.tensor(state, F32, (dk * dv * h, b, 1, 1))
        result = ctypes.c_void_p(base.ggml_gated_linear_attn(context, k, v, q, g, s, ctypes.c_float(scale)))
        return graph.call(result), lambda: graph.read(result, shape), "gated_linear_attn"
    # ssm_scan takes softplus of dt, decays by exp(-that) and multiplies x by it.
    delta = np.maximum(-decay.astype(np.float64), 1e-12)
    s = graph.tensor(state.transpose(0, 1, 3, 2), F32, (dk, dv, h, b))
    x = graph.tensor(data["v"] / delta[..., None], F32, (dv, h, t, b))
    dt = graph.tensor(np.log(np.expm1(delta)), F32, (h, t, b, 1))
    a = graph.tensor(np.full(h, -1.0), F32, (1, h, 1, 1))
    k, q = (graph.tensor(data[n] * (scale if n == "q" else 1), F32, (dk, h, t, b)) for n in "kq")
    ids = graph.tensor(np.arange(b), I32, (b, 1, 1, 1))
    result = ctypes.c_void_p(base.ggml_ssm_scan(context, s, x, dt, a, k, q, ids, ctypes.c_int64(1)))
    return graph.call(result), lambda: graph.read(result, shape), "ssm_scan"


def make(case, dtype, data):
    return (attention if problem.is_attention(case) else retention)(case, dtype, data)
