"""OpenVINO's scaled_dot_product_attention on the CPU, in f32 or, for 16 bits, bf16 inside."""
import numpy as np
import openvino
from openvino import opset13 as ops

import problem

threads_wanted = 1


def start(threads, build):
    global threads_wanted
    threads_wanted = threads


def make(case, dtype, data):
    if not problem.is_attention(case):
        raise NotImplementedError("no such operator")
    if case["softcap"]:
        raise NotImplementedError("no soft caps")
    b, tq, tk, d, heads, kv = (case[n] for n in ("B", "Tq", "Tk", "D", "Hq", "Hkv"))
    arrays = [np.ascontiguousarray(data[n].transpose(0, 2, 1, 3)) for n in "qkv"]
    q, k, v = (ops.parameter(a.shape, np.float32) for a in arrays)

    def spread(x):  # grouped heads: each key head serves its group
        if heads == kv:
            return x
        five = ops.reshape(x, np.array([b, kv, 1, tk, d]), False)
        wide = ops.broadcast(five, np.array([b, kv, heads // kv, tk, d]))
        return ops.reshape(wide, np.array([b, heads, tk, d]), False)

    mask = []
    if case["window"]:
        at = np.arange(tq)[:, None] + tk - tq
        seen = (np.arange(tk) <= at) & (at - np.arange(tk) < case["window"])
        mask = [ops.constant(np.where(seen, 0, -np.inf).astype(np.float32))]
    out = ops.scaled_dot_product_attention(q, spread(k), spread(v), *mask, causal=case["causal"] and not mask)
    model = openvino.Model([out], [q, k, v])
    compiled = openvino.Core().compile_model(model, "CPU", {
        "INFERENCE_NUM_THREADS": threads_wanted, "INFERENCE_PRECISION_HINT": "f32" if dtype == "f32" else "bf16",
        "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    for n, array in enumerate(arrays):
        request.set_input_tensor(n, openvino.Tensor(array, shared_memory=True))

    def call(keep=(compiled, arrays)):
        request.infer()
    return call, lambda: request.get_output_tensor(0).data.transpose(0, 2, 1, 3), "sdpa"
