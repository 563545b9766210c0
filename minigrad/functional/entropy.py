"""Losses over classes: cross entropy of class indices or probabilities, and its last step."""

from __future__ import annotations

from typing import Any, NamedTuple

from minigrad import ops
from minigrad.creation import ones_like
from minigrad.functional.losses import reduced
from minigrad.ops.index import all_below
from minigrad.tensor import Tensor, is_seen


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """l = -w_t ln softmax(x)_t of logits x and the target class t, by log-sum-exp.

    input: (C,), (N, C) or (N, C, d1, …). target: integers without the axis of classes, or
    probabilities of the input's shape: l = -Σ w_c p_c ln softmax(x)_c.
    weight: (C,), one a class. ignore_index: targets of this value count for nothing.
    label_smoothing ε mixes the target with the uniform distribution, (1 - ε) p + ε / C.
    The mean of indices divides by the sum of their weights, that of probabilities by their number;
    where that is 0 (nothing there, or all ignored) it is 0, with gradient 0 (PyTorch: NaN).
    Raises ValueError for shapes that do not fit, IndexError for a class outside 0 … C-1.

    >>> import minigrad as mg
    >>> logits = mg.tensor([[0.0, 0.0], [1000.0, 0.0], [1.0, 2.0]])
    >>> mg.functional.cross_entropy(logits, mg.tensor([1, 0, -100]))
    tensor(0.3465736)
    """
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing must be 0 to 1, got {label_smoothing}")
    _check("cross_entropy", input, weight)
    if target.shape == input.shape:
        return _of_probabilities(input, target, weight, reduction, label_smoothing)
    rows = _rows("cross_entropy", input, target, weight, ignore_index)
    loss, total = ops.softmax_cross_entropy(rows.x, rows.classes)
    loss = rows.weighted(loss)
    if label_smoothing:
        spread = rows.counted(_weighted_sum(total, rows.x, weight) / rows.x.shape[-1])
        loss = (1 - label_smoothing) * loss + label_smoothing * spread
    return rows.reduced("cross_entropy", loss, reduction)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """l = -w_t x_t of log-probabilities x and the target class t; otherwise as `cross_entropy`."""
    _check("nll_loss", input, weight)
    rows = _rows("nll_loss", input, target, weight, ignore_index)
    return rows.reduced("nll_loss", rows.weighted(-rows.picked()), reduction)


class _Rows(NamedTuple):
    """Classes last: the input (…, C), the class of each row, its weight, and whether it counts."""

    x: Tensor
    classes: Tensor
    weight: Tensor | None
    counts: Tensor | None  # None: all do

    def picked(self) -> Tensor:
        """x of the target class, (…)."""
        return ops.gather(self.x, -1, self.classes.unsqueeze(-1)).squeeze(-1)

    def counted(self, loss: Tensor) -> Tensor:
        return loss if self.counts is None else ops.where(self.counts, loss, 0.0)

    def weighted(self, loss: Tensor) -> Tensor:
        loss = self.counted(loss)
        return loss if self.weight is None else loss * self.weight

    def reduced(self, name: str, loss: Tensor, reduction: str) -> Tensor:
        if reduction != "mean" or (self.counts is None and self.weight is None):
            return reduced(name, loss, reduction)
        if self.weight is None:
            assert self.counts is not None
            return ops.sum(loss) / ops.maximum(ops.sum(self.counts.to(loss.dtype)), 1.0)
        total = ops.sum(self.weighted(ones_like(loss)))
        return ops.sum(loss) / ops.where(total.eq(0.0), 1.0, total)


def _rows(
    name: str, input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int
) -> _Rows:
    axis = min(1, input.ndim - 1)
    x = input if axis == input.ndim - 1 else input.movedim(1, -1)
    if target.shape != x.shape[:-1] or target.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected target classes {x.shape[:-1]} of integers for input {input.shape}, "
            f"whose axis {axis} holds the {x.shape[-1]} classes"
            + (f", or probabilities {input.shape}" if name == "cross_entropy" else "")
            + f"; got {target.dtype} of shape {target.shape}"
        )
    classes, counts = target, None
    seen = is_seen(target)
    if not seen or 0 <= ignore_index < x.shape[-1] or not all_below(classes.data, x.shape[-1]):
        counts = target.ne(ignore_index)
        classes = ops.where(counts, target, 0)
        if seen and not all_below(classes.data, x.shape[-1]):
            raise IndexError(
                f"{name}: target classes run from {int(classes.min())} to {int(classes.max())}, "
                f"but the input {input.shape} has {x.shape[-1]} classes (and ignore_index is "
                f"{ignore_index})"
            )
    return _Rows(x, classes, None if weight is None else weight[classes], counts)


def _check(name: str, input: Tensor, weight: Tensor | None) -> None:
    if not input.ndim:
        raise ValueError(f"{name}: expected input (C,), (N, C) or (N, C, …), got a 0-d tensor")
    classes = input.shape[min(1, input.ndim - 1)]
    if weight is not None and weight.shape != (classes,):
        raise ValueError(f"{name}: expected weight ({classes},), one a class, got {weight.shape}")


def _weighted_sum(total: Tensor, x: Tensor, weight: Tensor | None) -> Tensor:
    """Σ_c w_c (total - x_c): what uniform probabilities give, times C."""
    if weight is None:
        return total * float(x.shape[-1]) - ops.sum(x, -1)
    return total * ops.sum(weight) - ops.matmul(x, weight)


def _of_probabilities(
    input: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    if target.dtype.kind != "f":
        raise TypeError(
            f"cross_entropy: a target of the input's shape {input.shape} holds probabilities, "
            f"floats, not {target.dtype}; for classes leave out the axis of classes"
        )
    axis = min(1, input.ndim - 1)
    p = target
    if smoothing:
        p = p * (1 - smoothing) + smoothing / input.shape[axis]
    if weight is not None:
        p = p * weight.reshape(-1, *[1] * (input.ndim - 1 - axis))
    loss: Any = -ops.sum(p * ops.log_softmax(input, axis), axis)
    return reduced("cross_entropy", loss, reduction)
