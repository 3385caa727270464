"""Heddle: kernels for attention and retention patterns, specialised to shape and machine, compiled on first use.

    o, lse = heddle.kernel("causal_softmax")(q, k, v)                      # [batch, tokens, heads, width]
    o = heddle.attention(q, k, v, score=lambda s, h, i, j: s - abs(i - j) / (h + 1), support=lambda i, j: j <= i)
    o, state = heddle.pattern(text)(q, k, v, g=g, beta=beta)
    heddle.tune("causal_softmax", q, k, v)

Tensors are numpy's, torch's or whatever has __dlpack__, and are not copied; results are of the kind of the first
input. They lie on the CPU, or on the GPU of a Context(device="cuda"), whose launches go into torch's current stream.
Kernels are kept in a store on disk; whatever goes wrong is a heddle.Error.
"""
import json
import os
import pathlib
import sys
import threading
from typing import Any, Callable, Dict, Optional, Sequence, Tuple, Union

from . import _core, _trace
from ._errors import Error, TraceError
from ._trace import (cos, erf, exp, exp2, log, log2, maximum, minimum, parameter, rsqrt, sigmoid, silu, sin, softplus,
                     sqrt, table, tanh, where)

__version__ = _core.version()
__all__ = ["Context", "Error", "Kernel", "TraceError", "attention", "context", "kernel", "pattern", "set_context",
           "tune", "where", "table", "parameter", "minimum", "maximum", "exp", "exp2", "log", "log2", "sqrt", "rsqrt",
           "tanh", "sigmoid", "softplus", "silu", "sin", "cos", "erf"]

_TORCH = {"f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "i64": "int64", "i32": "int32",
          "i8": "int8", "u8": "uint8"}
_LEGACY_STREAM = 1  # CU_STREAM_LEGACY: the default stream, without waiting for its end
_MISS = {"wait": 0, "stand_in": 1, "refuse": 2}


def _library() -> pathlib.Path:
    given = os.environ.get("HEDDLE_PATTERNS")
    return pathlib.Path(given) if given else pathlib.Path(__file__).resolve().parent / "patterns"


class Context:
    """A device, a store, a compiler and the kernels found so far. One is made when it is first needed; make your own
    to choose device ("cpu", "cuda", "cuda:1", "ptx:80"), threads, the store's folder, bundles, or to forbid compiling.
    `allocate(shape, dtype)` makes results and workspaces on a GPU, dtype being "f32", "bf16", ...; torch.empty if it is
    not given."""

    def __init__(self, *, device: str = "cpu", threads: int = 0, store: Optional[str] = None, use_store: bool = True,
                 compile: bool = True, trust_shared: bool = False, winners: bool = True, bundles: Sequence[str] = (),
                 store_bytes: int = 0, compile_threads: int = 1, compile_bytes: int = 0,
                 compiler: Optional[str] = None, allocate: Optional[Callable[..., Any]] = None):
        self.device, self._allocate = device, allocate
        self._core = _core.Context.create(device, threads, store, use_store, compile, trust_shared, winners,
                                          [str(path) for path in bundles], store_bytes, compile_threads,
                                          compile_bytes, compiler)
        self._patterns: Dict[Tuple[str, Optional[str]], _core.Pattern] = {}

    def _pattern(self, text: str, name: Optional[str]) -> _core.Pattern:
        known = self._patterns.get((text, name))
        if known is None:
            known = self._patterns[text, name] = self._core.pattern(text, name, self.device)
        return known

    def _allocator(self, inputs: Sequence[Any]) -> Optional[Callable[..., Any]]:
        """What makes memory on the device, near these tensors. None: the CPU's is made here."""
        if self.device == "cpu" or self._allocate is not None:
            return self._allocate
        like = inputs[0] if inputs else None
        if _framework(like) != "torch":
            raise Error(f"found {type(like).__name__} for a kernel on {self.device}, expected torch tensors, or "
                        "Context(allocate=...) to say how results and workspaces are made there")
        torch = sys.modules["torch"]
        return lambda shape, dtype: torch.empty(shape, dtype=getattr(torch, _TORCH[dtype]), device=like.device)

    def _stream(self, given: Any, inputs: Sequence[Any]) -> Optional[int]:
        """The stream that a launch goes into, by number: the one that was given, or torch's current one."""
        like = inputs[0] if inputs else None
        if given is None and self.device != "cpu" and _framework(like) == "torch" and like.is_cuda:
            given = sys.modules["torch"].cuda.current_stream(like.device)
        if given is None:
            return None
        number = getattr(given, "cuda_stream", given)
        if not isinstance(number, int):
            raise Error(f"found {type(given).__name__} for stream, expected torch's, or a CUstream by number")
        return number or _LEGACY_STREAM


_lock = threading.Lock()
_default: Optional[Context] = None


def context() -> Context:
    """The context of calls that name none."""
    global _default
    with _lock:
        if _default is None:
            _default = Context()
        return _default


def set_context(given: Optional[Context]) -> None:
    """Makes this the context of calls that name none."""
    global _default
    with _lock:
        _default = given


def _framework(tensor: Any) -> str:
    module = type(tensor).__module__.partition(".")[0]
    return module if module in ("torch", "numpy") else "other"


class Kernel:
    """A pattern that can be called: inputs by position or name, parameters by name. The code for the shapes of a call
    is found, or compiled, when it is called."""

    def __init__(self, context: Context, core: _core.Pattern, options: _core.Options):
        self._context, self._core, self._options = context, core, options
        self._inputs = [row.name for row in core.tensors if not row.is_result]
        self._results = [row.name for row in core.tensors if row.is_result]
        self._scalars = [*core.parameters, *core.constants]

    @property
    def name(self) -> str:
        return self._core.name

    @property
    def inputs(self) -> "list[str]":
        return list(self._inputs)

    @property
    def results(self) -> "list[str]":
        return list(self._results)

    @property
    def parameters(self) -> "list[str]":
        """Names of run-time parameters and of constants, which are compiled in."""
        return list(self._scalars)

    def __repr__(self) -> str:
        return f"heddle.Kernel({self.name}: {', '.join(self._inputs)} -> {', '.join(self._results)})"

    def _bind(self, tensors: Sequence[Any], named: Dict[str, Any]) -> "tuple[list[Any], dict[str, float]]":
        bound = list(tensors)
        if len(bound) > len(self._inputs):
            raise Error(f"found {len(bound)} inputs for {self.name}, expected {len(self._inputs)}: "
                        f"{', '.join(self._inputs)}")
        for name in self._inputs[len(bound):]:
            if name not in named:
                raise Error(f"found no input {name} for {self.name}, expected {', '.join(self._inputs)}")
            bound.append(named.pop(name))
        for name, tensor in zip(self._inputs, bound):
            if getattr(tensor, "requires_grad", False) and sys.modules["torch"].is_grad_enabled():
                raise Error(f"{name} requires a gradient, and kernels are forward only: call under torch.no_grad()")
        for name, value in named.items():
            if name not in self._scalars:
                raise Error(f"found {name!r}, expected a parameter of {self.name}: "
                            f"{', '.join(self._scalars) or 'it has none'}")
            if not isinstance(value, (int, float)):
                raise Error(f"found {type(value).__name__} for the parameter {name}, expected a number")
        return bound, {name: float(value) for name, value in named.items()}

    def __call__(self, *tensors: Any, out: Optional[Sequence[Any]] = None, stream: Any = None, **named: Any) -> Any:
        """The results: one, or a tuple. `out`: tensors to write them to, None for those to be made. `stream`: of a
        GPU, torch's or a CUstream by number; the call does not wait for its end."""
        bound, values = self._bind(tensors, named)
        framework = _framework(bound[0]) if bound else "numpy"
        given = list(out) if isinstance(out, (list, tuple)) else None if out is None else [out]
        results = self._core.run(bound, values, given, framework, self._options, self._context._allocator(bound),
                                 self._context._stream(stream, bound))
        return results[0] if len(results) == 1 else results

    def info(self, *tensors: Any, **named: Any) -> Dict[str, Any]:
        """How the kernel for these tensors came about: source, form, schedule, tuned, times, notes."""
        bound, values = self._bind(tensors, named)
        return self._core.info(bound, values, self._options, self._context._allocator(bound))

    def tune(self, *tensors: Any, budget: int = 0,
             progress: Optional[Callable[[int, int, str], Optional[bool]]] = None, **named: Any) -> Dict[str, Any]:
        """Measures schedules on these tensors, each checked against the definition, and keeps the winner in the store.
        `budget`: most candidates (0: all legal ones). `progress(done, total, note)` returns False to stop."""
        bound, values = self._bind(tensors, named)
        return json.loads(self._core.tune(bound, values, budget, progress, self._context._allocator(bound)))


def _options(form: Optional[str], schedule: Union[str, Dict[str, int], None], on_miss: str,
             deadline_ms: int) -> _core.Options:
    if on_miss not in _MISS:
        raise Error(f"found on_miss={on_miss!r}, expected one of {', '.join(_MISS)}")
    options = _core.Options()
    options.form = form
    if isinstance(schedule, dict):
        schedule = ",".join(f"{knob}={value}" for knob, value in sorted(schedule.items()))
    options.schedule = schedule
    options.on_miss, options.deadline_ms = _MISS[on_miss], deadline_ms
    return options


def pattern(text: str, name: Optional[str] = None, *, context: Optional[Context] = None, form: Optional[str] = None,
            schedule: Union[str, Dict[str, int], None] = None, on_miss: str = "wait", deadline_ms: int = 0) -> Kernel:
    """A kernel for a pattern's text; `name` if it has several. `on_miss`: what happens when code has to be compiled
    (wait, stand_in, refuse; see heddle_miss in heddle.h)."""
    chosen = context or globals()["context"]()
    return Kernel(chosen, chosen._pattern(text, name), _options(form, schedule, on_miss, deadline_ms))


def kernel(name: str, **options: Any) -> Kernel:
    """A kernel of the library by name ("gated_deltanet"), or of the pattern file at a path. Options as of pattern."""
    path = pathlib.Path(name) if "/" in name or name.endswith(".heddle") else _library() / f"{name}.heddle"
    if not path.is_file():
        known = sorted(file.stem for file in _library().glob("*.heddle"))
        near = [other for other in known if name[:4] in other] or known[:5]
        raise Error(f"found no pattern '{name}' ({path}), expected a file, or one of the library such as "
                    f"{', '.join(near[:5])}", 4)
    return pattern(path.read_text(), **options)


def trace(score: Optional[Callable[..., Any]] = None, support: Optional[Callable[..., Any]] = None, *,
          align: str = "bottom_right") -> "tuple[str, list[Any], dict[str, float]]":
    """Text, tables and parameters of attention with this score and support; what attention() calls. `align`: whether
    the last query stands at the last key (bottom_right) or the first at the first (top_left)."""
    tables = _trace.Tables()
    traced = _trace.trace(score, ["s", "b", "h", "i", "j"], "score") if score else None
    if traced is None:
        s = _trace.symbol("s")
        traced = s * _trace.call("rsqrt", _trace.REAL, _trace.Expr(lambda names: "D", _trace.ATOM, _trace.INT))
    kept = _trace.trace(support, ["b", "h", "i", "j"], "support") if support else None
    text = _trace.attention_text(traced, kept, tables, align)
    return text, [one.array for one in tables.arrays], dict(tables.parameters)


def attention(q: Any, k: Any, v: Any, *, score: Optional[Callable[..., Any]] = None,
              support: Optional[Callable[..., Any]] = None, return_lse: bool = False, out: Any = None,
              parameters: Optional[Dict[str, float]] = None, **options: Any) -> Any:
    """Softmax attention of q [batch, Tq, Hq, D] over k and v [batch, Tk, Hk, D or Dv].

    score(s, b, h, i, j) maps the raw product of a pair to its logit (default: s / sqrt(D)); support(b, h, i, j) says
    which pairs count (default: all). i and j are positions, the last query being that of the last key; `row` is the
    raw index of the query. Arguments may be any of these by name. Use heddle's functions (tanh, where, ...), `&` and
    `|`; heddle.table(array)[...] reads an array, heddle.parameter(name, default) is a number that `parameters` may
    change from call to call. Options as of heddle.pattern."""
    text, tables, defaults = trace(score, support)
    unknown = set(parameters or {}) - set(defaults)
    if unknown:
        raise Error(f"found the parameters {', '.join(sorted(unknown))}, expected some of "
                    f"{', '.join(defaults) or 'none'}")
    given = [out, None] if out is not None else None
    o, lse = pattern(text, **options)(q, k, v, *tables, out=given, **(parameters or {}))
    return (o, lse) if return_lse else o


def tune(what: Union[str, Kernel], *tensors: Any, budget: int = 0,
         progress: Optional[Callable[[int, int, str], Optional[bool]]] = None, **named: Any) -> Dict[str, Any]:
    """Kernel.tune, for a kernel or a name of the library."""
    return (kernel(what) if isinstance(what, str) else what).tune(*tensors, budget=budget, progress=progress, **named)
