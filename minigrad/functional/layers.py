"""What layers compute beside activations: look-up, dropout, padding."""

from __future__ import annotations

from collections.abc import Sequence

from minigrad import ops
from minigrad.creation import arange
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
