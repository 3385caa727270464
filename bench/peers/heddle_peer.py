"""Heddle through its C interface (runtime/heddle.h), with ctypes: default schedules, or a sweep's
winners if the store holds them."""
import ctypes
import pathlib

import numpy as np

import problem

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
DTYPES = {"f32": 2, "bf16": 3, "f16": 4}


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("flags", ctypes.c_uint32), ("threads", ctypes.c_int32),
                ("device", ctypes.c_char_p), ("store_directory", ctypes.c_char_p), ("compiler", ctypes.c_char_p),
                ("compiler_build", ctypes.c_char_p), ("log", ctypes.c_void_p), ("log_user", ctypes.c_void_p)]


class Extent(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_int64)]


class Parameter(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("value", ctypes.c_double)]


class Request(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("tensors", ctypes.c_void_p), ("tensor_count", ctypes.c_size_t),
                ("extents", ctypes.POINTER(Extent)), ("extent_count", ctypes.c_size_t),
                ("parameters", ctypes.POINTER(Parameter)), ("parameter_count", ctypes.c_size_t),
                ("dtype", ctypes.c_int32), ("on_miss", ctypes.c_int32),
                ("deadline_ms", ctypes.c_int32), ("form", ctypes.c_char_p), ("schedule", ctypes.c_char_p),
                ("flags", ctypes.c_char_p)]


class KernelInfo(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("source", ctypes.c_int32), ("is_tuned", ctypes.c_int32),
                ("is_stand_in", ctypes.c_int32), ("compile_ms", ctypes.c_double), ("load_ms", ctypes.c_double),
                ("name", ctypes.c_char_p), ("target", ctypes.c_char_p), ("form", ctypes.c_char_p),
                ("schedule", ctypes.c_char_p)]


class TensorInfo(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("dtype", ctypes.c_int32),
                ("rank", ctypes.c_int32), ("is_result", ctypes.c_int32)]


class Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("dtype", ctypes.c_int32), ("rank", ctypes.c_int32),
                ("shape", ctypes.c_int64 * 8), ("strides", ctypes.c_int64 * 8)]


class Call(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("tensors", ctypes.POINTER(Tensor)), ("tensor_count", ctypes.c_size_t),
                ("parameters", ctypes.POINTER(Parameter)), ("parameter_count", ctypes.c_size_t),
                ("workspace", ctypes.c_void_p), ("workspace_bytes", ctypes.c_int64), ("stream", ctypes.c_void_p)]


library, context = None, ctypes.c_void_p()


def check(status, error):
    if status != 0:
        library.heddle_error_message.restype = ctypes.c_char_p
        raise RuntimeError(library.heddle_error_message(error).decode())


def start(threads, build):
    global library
    library = ctypes.CDLL(str(pathlib.Path(build) / "lib" / "libheddle.so"))
    library.heddle_kernel_tensor_count.restype = ctypes.c_size_t
    options = Options(size=ctypes.sizeof(Options), threads=threads)
    error = ctypes.c_void_p()
    check(library.heddle_context_create(ctypes.byref(options), ctypes.byref(context), ctypes.byref(error)), error)


def pattern_of(case):
    """File, extents, run-time parameters and constants of a case."""
    if not problem.is_attention(case):
        name = case["kind"] + ("_step" if case.get("step") else "")
        extents = {"B": case["B"], "T": case["T"], "H": case["H"], "K": case["Dk"], "V": case["Dv"]}
        return HERE / "patterns" / f"{name}.heddle", extents, {}, {}
    extents = {"B": case["B"], "Hq": case["Hq"], "Hk": case["Hkv"], "Tq": case["Tq"], "Tk": case["Tk"],
               "D": case["D"], "Dv": case["D"]}
    name, launch, constants = "causal_softmax" if case["causal"] else "dense_softmax", {}, {}
    if case["window"]:
        name, launch = "sliding_window", {"W": case["window"]}
    if case["softcap"]:
        name, constants = "softcap", {"cap": case["softcap"]}
    return ROOT / "patterns" / f"{name}.heddle", extents, launch, constants


def parameters(values):
    return (Parameter * max(1, len(values)))(*[Parameter(n.encode(), v) for n, v in values.items()])


def aligned(shape, size):
    """Zeroed bytes for a tensor, at a multiple of 64."""
    count = int(np.prod(shape, dtype=np.int64)) * size
    raw = np.zeros(count + 64, dtype=np.uint8)
    at = -raw.ctypes.data % 64
    return raw[at:at + count]


def fill(memory, array, dtype):
    if dtype == DTYPES["bf16"]:
        memory.view(np.uint16)[:] = problem.to_bf16_bits(array).ravel()
    else:
        memory.view(np.float16 if dtype == DTYPES["f16"] else np.float32)[:] = array.ravel()


def read(memory, shape, dtype):
    if dtype == DTYPES["bf16"]:
        return (memory.view(np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)
    return memory.view(np.float16 if dtype == DTYPES["f16"] else np.float32).reshape(shape)


def result_shape(case, name):
    if problem.is_attention(case):
        return (case["B"], case["Tq"], case["Hq"]) + ((case["D"],) if name == "o" else ())
    if name == "o":
        return (case["B"], case["T"], case["H"], case["Dv"])
    return (case["B"], case["H"], case["Dk"], case["Dv"])


def make(case, dtype, data):
    file, extents, launch, constants = pattern_of(case)
    return kernel_of(file, extents, launch, constants, lambda name: result_shape(case, name), dtype, data,
                     heads_first=("k", "v") if problem.is_attention(case) and case["Tq"] == 1 else ())


def kernel_of(file, extents, launch, constants, shape_of, dtype, data, heads_first=()):
    """(call, result, schedule) of a pattern's kernel on `data`; `shape_of` gives the shapes of results. Inputs named in
    `heads_first` lie head by head, as caches of other libraries do: kernels take any strides."""
    entries = (Extent * len(extents))(*[Extent(n.encode(), v) for n, v in extents.items()])
    request = Request(size=ctypes.sizeof(Request), extents=entries, extent_count=len(extents),
                      parameters=parameters(constants), parameter_count=len(constants), dtype=DTYPES[dtype])
    pattern, kernel, error = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    check(library.heddle_pattern_create(context, file.read_bytes(), None, ctypes.byref(pattern), ctypes.byref(error)),
          error)
    check(library.heddle_kernel_get(pattern, ctypes.byref(request), ctypes.byref(kernel), ctypes.byref(error)), error)

    count = library.heddle_kernel_tensor_count(kernel)
    tensors, memories, output = (Tensor * count)(), [], None
    for n in range(count):
        info = TensorInfo(size=ctypes.sizeof(TensorInfo))
        check(library.heddle_kernel_tensor(kernel, n, ctypes.byref(info), ctypes.byref(error)), error)
        name = info.name.decode()
        shape = shape_of(name) if info.is_result else data[name].shape
        memory = aligned(shape, 4 if info.dtype == DTYPES["f32"] else 2)
        order = (0, 2, 1, 3) if name in heads_first else range(len(shape))
        if not info.is_result:
            fill(memory, data[name].transpose(order), info.dtype)
        if name == "o":
            output = (memory, shape, info.dtype)
        memories.append(memory)
        strides = [0] * len(shape)
        for at, d in enumerate(order):
            strides[d] = int(np.prod([shape[e] for e in order[at + 1:]], dtype=np.int64))
        tensors[n] = Tensor(memory.ctypes.data, info.dtype, len(shape), (ctypes.c_int64 * 8)(*shape),
                            (ctypes.c_int64 * 8)(*strides))
    values = parameters(launch)
    work = Call(size=ctypes.sizeof(Call), tensors=tensors, tensor_count=count, parameters=values,
                parameter_count=len(launch))
    needed = ctypes.c_int64()
    check(library.heddle_kernel_workspace(kernel, ctypes.byref(work), ctypes.byref(needed), ctypes.byref(error)), error)
    workspace = aligned((needed.value,), 1)
    work.workspace, work.workspace_bytes = workspace.ctypes.data, needed.value
    info = KernelInfo(size=ctypes.sizeof(KernelInfo))
    check(library.heddle_kernel_describe(kernel, ctypes.byref(info), ctypes.byref(error)), error)
    run, address = library.heddle_kernel_launch, ctypes.byref(work)

    def call(memories=memories, workspace=workspace, values=values):
        check(run(kernel, address, ctypes.byref(error)), error)

    return call, lambda: read(*output), info.schedule.decode()
