"""onnxruntime's contributed operators on the CPU: GroupQueryAttention, MultiHeadAttention and
LinearAttention. 16 bits: f16 (bf16 cases too: these operators have no bf16 on the CPU)."""
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

import problem

threads_wanted = 1


def start(threads, build):
    global threads_wanted
    threads_wanted = threads
    onnxruntime.set_default_logger_severity(4)


def session(op, inputs, outputs, attributes):
    """A model of one operator. inputs: {name: array}, an empty name where an input is left out."""
    kinds = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16,
             np.dtype(np.int32): TensorProto.INT32}
    named = {n: a for n, a in inputs if n}
    kind = kinds[named["query"].dtype]
    graph = helper.make_graph(
        [helper.make_node(op, [n for n, _ in inputs], outputs, domain="com.microsoft", **attributes)], "one",
        [helper.make_tensor_value_info(n, kinds[a.dtype], a.shape) for n, a in named.items()],
        [helper.make_tensor_value_info(n, kind, None) for n in outputs])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)])
    model.ir_version = 10
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads_wanted, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = made.io_binding()
    for name, array in named.items():
        binding.bind_cpu_input(name, array)
    for name in outputs:
        binding.bind_output(name, "cpu")

    def call(keep=(made, named)):
        made.run_with_iobinding(binding)
    return call, binding


def make(case, dtype, data):
    kind = np.float32 if dtype == "f32" else np.float16
    pack = lambda a: np.ascontiguousarray(a.reshape(a.shape[0], a.shape[1], -1).astype(kind))
    q, k, v = (pack(data[n]) for n in "qkv")
    label = "" if dtype == "f32" else ", f16"
    if problem.is_attention(case):
        heads, b, tq, d = case["Hq"], case["B"], case["Tq"], case["D"]
        shape = (b, tq, heads, d)
        if not case["causal"] and case["Hq"] == case["Hkv"] or case["causal"] and not (
                case["Hq"] != case["Hkv"] or case["window"] or case["softcap"]):
            op = "MultiHeadAttention"
            call, binding = session(op, [("query", q), ("key", k), ("value", v)], ["out"],
                                    {"num_heads": heads, "unidirectional": int(case["causal"])})
        else:
            op = "GroupQueryAttention"
            past = case["Tk"] - tq
            cached = lambda a: np.ascontiguousarray(a[:, :past].transpose(0, 2, 1, 3).astype(kind))
            keys = np.full(b, case["Tk"] - 1, dtype=np.int32)
            fresh = lambda a: pack(a[:, past:])
            inputs = [("query", q), ("key", fresh(data["k"])), ("value", fresh(data["v"])),
                      ("past_key", cached(data["k"])) if past else ("", None),
                      ("past_value", cached(data["v"])) if past else ("", None),
                      ("seqlens", keys), ("total", np.array(case["Tk"], dtype=np.int32))]
            attributes = {"num_heads": heads, "kv_num_heads": case["Hkv"]}
            if case["window"]:
                attributes["local_window_size"] = case["window"]
            if case["softcap"]:
                attributes["softcap"] = case["softcap"]
            call, binding = session(op, inputs, ["out", "present_key", "present_value"], attributes)
    else:
        if case["kind"] == "power2":
            raise NotImplementedError("no such operator")
        rule = {"linear": "linear", "gdelta": "gated_delta"}.get(case["kind"], "gated")
        b, t, h = case["B"], case["T"], case["H"]
        shape, op = (b, t, h, case["Dv"]), "LinearAttention"
        decay = data.get("g")
        if case["kind"] == "retnet":
            decay = np.broadcast_to(problem.retnet_decay(h).astype(np.float32), (b, t, h))
        inputs = [("query", q), ("key", k), ("value", v),
                  ("state", np.ascontiguousarray(data["s0"].astype(kind))) if "s0" in data else ("", None),
                  ("decay", pack(decay[..., None])) if decay is not None else ("", None),
                  ("beta", pack(data["beta"][..., None])) if "beta" in data else ("", None)]
        call, binding = session(op, inputs, ["out", "present"],
                                {"q_num_heads": h, "kv_num_heads": h, "update_rule": rule, "scale": problem.score_scale(case)})
    return call, lambda: binding.copy_outputs_to_cpu()[0].reshape(shape), op + label
