"""Attention as a function: a mean of values, weighted by how queries and keys agree."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.creation import ones
from minigrad.functional.layers import dropout
from minigrad.random import Generator
from minigrad.tensor import Tensor


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """softmax(scale · Q Kᵀ + mask) V, scale = 1/√E (Vaswani et al., 2017).

    query (…, L, E), key (…, S, E), value (…, S, D); the result (…, L, D). attn_mask broadcasts to
    (…, L, S): booleans, True where attention may go, or numbers that are added. is_causal: query i
    sees keys 0 … i. A query that may see no key gives 0, with gradient 0 (PyTorch: NaN for some).

    Raises ValueError for shapes that do not fit or two masks, TypeError for a mask of integers.

    >>> import minigrad as mg
    >>> q = mg.ones(2, 4)
    >>> mg.functional.scaled_dot_product_attention(q, q, mg.eye(2), is_causal=True)
    tensor([[1. , 0. ],
            [0.5, 0.5]])
    """
    _check_shapes(query, key, value)
    if is_causal:
        if attn_mask is not None:
            raise ValueError("attention: give attn_mask or is_causal, not both")
        attn_mask = causal(query.shape[-2], key.shape[-2], query.device)
    weights = attention_weights(query, key, attn_mask, scale)
    return dropout(weights, dropout_p, generator=generator) @ value


def _check_shapes(query: Tensor, key: Tensor, value: Tensor) -> None:
    fits = min(query.ndim, key.ndim, value.ndim) >= 2
    if not fits or query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            "attention: expected (…, steps, features) each, as query (…, L, E), key (…, S, E) and "
            f"value (…, S, D); got query {query.shape}, key {key.shape}, value {value.shape}"
        )


def causal(queries: int, keys: int, device: str) -> Tensor:
    """True where query i may see key j, which is for j ≤ i: booleans (queries, keys)."""
    return ops.tril(ones(queries, keys, dtype=np.bool_, device=device))


def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Tensor | None = None, scale: float | None = None
) -> Tensor:
    """softmax(scale · Q Kᵀ + mask): how much each query attends to each key, (…, L, S).

    Arguments as in `scaled_dot_product_attention`. A query that may see no key has weights 0.
    """
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    return masked_softmax((query * scale) @ key.mT, attn_mask)


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """softmax over the last axis, where a mask allows it; where it allows nothing, 0.

    scores (…, S). The mask broadcasts to them: booleans, True where a weight may be, or numbers
    that are added to the scores.
    """
    if mask is None:
        return ops.softmax(scores, -1)
    if mask.dtype.kind not in "bf":
        raise TypeError(f"attention: attn_mask must hold booleans or floats, got {mask.dtype}")
    if mask.dtype == np.bool_:
        masked: Any = ops.where(mask, scores, -math.inf)
    else:
        masked = scores + mask
    return ops.softmax(masked, -1)
