"""Stand-ins for torch's attention functions on CPU tensors. Forward only.

    import heddle.torch
    o = heddle.torch.scaled_dot_product_attention(q, k, v, is_causal=True)       # [batch, heads, tokens, width]
    o = heddle.torch.flex_attention(q, k, v, score_mod=lambda score, b, h, q_idx, kv_idx: score + (q_idx - kv_idx))
"""
import math
from typing import Any, Callable, Optional

import torch

from . import Error, pattern, table, trace

_ALIGN = "top_left"  # torch's query index counts rows from 0, whatever the lengths


def _check(*tensors: torch.Tensor) -> None:
    for name, tensor in zip("qkv", tensors):
        if not isinstance(tensor, torch.Tensor):
            raise Error(f"found {type(tensor).__name__} for {name}, expected a torch tensor")
        if tensor.dim() != 4:
            raise Error(f"found {name} with {tensor.dim()} dimensions, expected 4: batch, heads, tokens, width")
        if tensor.requires_grad and torch.is_grad_enabled():
            raise Error(f"{name} requires a gradient, and kernels are forward only: call under torch.no_grad()")


def _run(text: str, q: Any, k: Any, v: Any, tables: Any, return_lse: bool, options: Any) -> Any:
    # Heddle's order is batch, tokens, heads, width: a view, nothing is copied.
    q, k, v = (tensor.detach().transpose(1, 2) for tensor in (q, k, v))
    o = q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[3]).transpose(1, 2)
    _, lse = pattern(text, **options)(q, k, v, *tables, out=[o, None])
    return (o.transpose(1, 2), lse.transpose(1, 2)) if return_lse else o.transpose(1, 2)


def _grouped(q: torch.Tensor, k: torch.Tensor, enable_gqa: bool) -> None:
    if q.shape[1] != k.shape[1] and not enable_gqa:
        raise Error(f"found {q.shape[1]} heads of q and {k.shape[1]} of k, expected the same, or enable_gqa=True")


def scaled_dot_product_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                                 attn_mask: Optional[torch.Tensor] = None, dropout_p: float = 0.0,
                                 is_causal: bool = False, scale: Optional[float] = None, enable_gqa: bool = False,
                                 **options: Any) -> torch.Tensor:
    """torch.nn.functional.scaled_dot_product_attention, as torch defines it: is_causal counts rows from the first key
    on; a mask of truth values says which pairs count, any other is added to the score."""
    _check(query, key, value)
    _grouped(query, key, enable_gqa)
    if dropout_p != 0.0:
        raise Error(f"found dropout_p = {dropout_p}, expected 0: kernels are for inference", 3)
    if is_causal and attn_mask is not None:
        raise Error("found both attn_mask and is_causal, expected at most one of them")
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    scaled = lambda s, b, h, i, j: s * factor  # noqa: E731
    support = (lambda i, j: j <= i) if is_causal else None
    score = scaled
    if attn_mask is not None:
        while attn_mask.dim() < 4:
            attn_mask = attn_mask.unsqueeze(0)
        bias = table(attn_mask)
        at = [size > 1 for size in attn_mask.shape]

        def read(b: Any, h: Any, i: Any, j: Any) -> Any:
            return bias[tuple(index if varies else 0 for index, varies in zip((b, h, i, j), at))]

        if attn_mask.dtype == torch.bool:
            support = read
        else:
            score = lambda s, b, h, i, j: s * factor + read(b, h, i, j)  # noqa: E731
    text, tables, _ = trace(score, support, align=_ALIGN)
    return _run(text, query, key, value, tables, False, options)


def flex_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                   score_mod: Optional[Callable[..., Any]] = None, block_mask: Any = None,
                   scale: Optional[float] = None, enable_gqa: bool = False, return_lse: bool = False,
                   mask_mod: Optional[Callable[..., Any]] = None, **options: Any) -> Any:
    """torch.nn.attention.flex_attention: score_mod(score, b, h, q_idx, kv_idx) is traced, and so is the mask_mod of
    block_mask (or mask_mod itself). Captured tensors are read through heddle.table(tensor)[...]."""
    _check(query, key, value)
    _grouped(query, key, enable_gqa)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    if block_mask is not None:
        if mask_mod is not None:
            raise Error("found both block_mask and mask_mod, expected at most one of them")
        mask_mod = getattr(block_mask, "mask_mod", None)
        if mask_mod is None:
            raise Error(f"found {type(block_mask).__name__} for block_mask, expected what create_block_mask makes")

    def score(s: Any, b: Any, h: Any, i: Any, j: Any) -> Any:
        return s * factor if score_mod is None else score_mod(s * factor, b, h, i, j)

    support = None if mask_mod is None else lambda b, h, i, j: mask_mod(b, h, i, j)
    text, tables, _ = trace(score, support, align=_ALIGN)
    return _run(text, query, key, value, tables, return_lse, options)


__all__ = ["flex_attention", "scaled_dot_product_attention"]
