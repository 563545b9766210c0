"""What layers compute beside activations: linear maps, look-up, dropout, padding, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad import ops
from minigrad.creation import arange, ones
from minigrad.random import Generator, bernoulli_mask
from minigrad.tensor import Tensor


def embedding(index: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Rows of `weight` (V, E) by integer `index` (…), as (…, E).

    The row `padding_idx`, if given, gets no gradient. Raises IndexError for an index outside V.

    >>> import minigrad as mg
    >>> mg.functional.embedding(mg.tensor([2, 0]), mg.eye(3))
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    if index.dtype.kind not in "iu":
        raise TypeError(f"embedding: index must hold integers, got {index.dtype}; write x.long()")
    if weight.ndim != 2:
        raise ValueError(f"embedding: expected weight (rows, features), got {weight.shape}")
    rows = ops.embedding(weight, index)
    if padding_idx is None:
        return rows
    if not -weight.shape[0] <= padding_idx < weight.shape[0]:
        raise ValueError(f"padding_idx {padding_idx} is not among the {weight.shape[0]} rows")
    padding = (index % weight.shape[0]).eq(padding_idx % weight.shape[0]).unsqueeze(-1)
    return ops.where(padding, rows.detach(), rows)


def one_hot(index: Tensor, num_classes: int = -1) -> Tensor:
    """1 at the place that `index` (…) names and 0 elsewhere, (…, num_classes) in int64.

    num_classes: by default the largest index + 1. Raises ValueError for an index outside.

    >>> import minigrad as mg
    >>> mg.functional.one_hot(mg.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if index.dtype.kind not in "iu":
        raise TypeError(f"one_hot: index must hold integers, got {index.dtype}; write x.long()")
    if num_classes == -1:
        if not index.numel():
            raise ValueError("one_hot: no index to read num_classes from: give it")
        num_classes = int(index.max()) + 1
    if index.numel() and not 0 <= int(index.min()) <= int(index.max()) < num_classes:
        raise ValueError(
            f"one_hot: index runs from {int(index.min())} to {int(index.max())}, but there are "
            f"{num_classes} classes"
        )
    return index.unsqueeze(-1).eq(arange(num_classes, device=index.device)).long()


def dropout(
    x: Tensor, p: float = 0.5, training: bool = True, generator: Generator | None = None
) -> Tensor:
    """Each element 0 with probability p, else divided by 1 - p (Srivastava et al., 2014).

    Not training, x as it is. `generator`: where the random numbers come from.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be a probability, got {p}")
    if not training or p == 0:
        return x
    if p == 1:
        return x * 0.0
    return x * bernoulli_mask(x.shape, 1 - p, x, generator)


def pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """x with `value` added at its borders: pad = (before, after) of the last axis, then of the
    last but one, and so on. A negative number takes elements away. The mode must be "constant".

    >>> import minigrad as mg
    >>> mg.functional.pad(mg.tensor([[1.0, 2.0]]), (1, 0, 0, 1))
    tensor([[0., 1., 2.],
            [0., 0., 0.]])
    """
    if mode != "constant":
        raise NotImplementedError(f"pad: the mode must be 'constant', got {mode!r}")
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ValueError(
            f"pad: expected (before, after) for up to {x.ndim} axes of x {x.shape}, the last "
            f"first; got {tuple(pad)}"
        )
    given = list(zip(pad[::2], pad[1::2], strict=True))
    widths = [(0, 0)] * (x.ndim - len(given)) + given[::-1]
    for (before, after), n in zip(widths, x.shape, strict=True):
        if min(before, 0) + min(after, 0) + n < 0:
            raise ValueError(f"pad: {tuple(pad)} takes away more than x {x.shape} has")
    if any(min(pair) < 0 for pair in widths):
        kept = [
            slice(max(0, -b), n - max(0, -a)) for (b, a), n in zip(widths, x.shape, strict=True)
        ]
        x = x[tuple(kept)]
        widths = [(max(0, b), max(0, a)) for b, a in widths]
    return ops.pad_constant(x, widths, value) if any(map(any, widths)) else x


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

    >>> import minigrad as mg
    >>> q = mg.ones(2, 4)
    >>> mg.functional.scaled_dot_product_attention(q, q, mg.eye(2), is_causal=True)
    tensor([[1. , 0. ],
            [0.5, 0.5]])
    """
    _check_attention(query, key, value, attn_mask, is_causal)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores: Any = (query * scale) @ key.mT
    if is_causal:
        attn_mask = ops.tril(
            ones(query.shape[-2], key.shape[-2], dtype=np.bool_, device=query.device)
        )
    if attn_mask is not None and attn_mask.dtype == np.bool_:
        scores = ops.where(attn_mask, scores, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return dropout(ops.softmax(scores, -1), dropout_p, generator=generator) @ value


def _check_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, is_causal: bool
) -> None:
    shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ValueError(f"attention: expected (…, steps, features) each, got {shapes}")
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2]:
        raise ValueError(
            "attention: expected query (…, L, E), key (…, S, E) and value (…, S, D), got " + shapes
        )
    if is_causal and mask is not None:
        raise ValueError("attention: give attn_mask or is_causal, not both")
    if mask is not None and mask.dtype.kind not in "bf":
        raise TypeError(f"attention: attn_mask must hold booleans or floats, got {mask.dtype}")
