"""Losses of equally shaped input and target: regression, binary and distribution losses."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from minigrad import ops
from minigrad.fuse import Fused, fuse
from minigrad.tensor import Tensor

LEAST = math.exp(-100)  # of smaller probabilities the logarithm is -100: a loss stays finite


def reduced(name: str, loss: Tensor, reduction: str) -> Tensor:
    """The loss of each element, or their mean or sum; the mean of none is 0, with gradient 0."""
    if reduction == "mean":
        return ops.mean(loss)
    if reduction == "sum":
        return ops.sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(f"{name}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}")


def _check_shapes(name: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        raise ValueError(
            f"{name}: expected input and target of one shape, got {input.shape} and {target.shape};"
            " they are not broadcast, as that is seldom meant (reshape or expand one of them)"
        )


@functools.lru_cache(maxsize=64)
def _with(function: Callable[..., Any], constant: float) -> Fused:
    """`function` of input and target alone, fused, for one value of its constant."""

    def fused(x: Any, t: Any) -> Any:
        return function(x, t, constant)

    fused.__name__ = function.__name__.lstrip("_")
    return fuse(fused)


# ---- regression ------------------------------------------------------------------------------


@fuse
def _squared(x: Any, t: Any) -> Any:
    return ops.square(x - t)


@fuse
def _absolute(x: Any, t: Any) -> Any:
    return ops.abs(x - t)


def _smooth_l1(x: Any, t: Any, beta: float) -> Any:
    d = ops.abs(x - t)
    return ops.where(d < beta, (0.5 / beta) * (d * d), d - 0.5 * beta)


def _huber(x: Any, t: Any, delta: float) -> Any:
    d = ops.abs(x - t)
    return ops.where(d <= delta, 0.5 * (d * d), delta * (d - 0.5 * delta))


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """l = (x - t)², of each element or as mean or sum; the shapes must be equal.

    Raises ValueError for unequal shapes (PyTorch broadcasts with a warning). The mean of no
    elements is 0, with gradient 0 (PyTorch: NaN). Both hold for every loss here.

    >>> import minigrad as mg
    >>> mg.functional.mse_loss(mg.tensor([1.0, 2.0]), mg.tensor([1.0, 4.0]))
    tensor(2.)
    """
    _check_shapes("mse_loss", input, target)
    return reduced("mse_loss", _squared(input, target), reduction)


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """l = |x - t|; the gradient where x = t is 0."""
    _check_shapes("l1_loss", input, target)
    return reduced("l1_loss", _absolute(input, target), reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """l = ½ d² / beta where d = |x - t| < beta, else d - ½ beta (Girshick, 2015)."""
    _check_shapes("smooth_l1_loss", input, target)
    if beta < 0:
        raise ValueError(f"smooth_l1_loss: beta must not be negative, got {beta}")
    if beta == 0:
        return l1_loss(input, target, reduction)
    return reduced("smooth_l1_loss", _with(_smooth_l1, beta)(input, target), reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0
) -> Tensor:
    """l = ½ d² where d = |x - t| ≤ delta, else delta · (d - ½ delta) (Huber, 1964)."""
    _check_shapes("huber_loss", input, target)
    if delta <= 0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    return reduced("huber_loss", _with(_huber, delta)(input, target), reduction)


# ---- binary classification -------------------------------------------------------------------


def _log(p: Any) -> Any:
    return ops.where(p > LEAST, ops.log(ops.where(p > LEAST, p, 1.0)), -100.0)


@fuse
def _binary(p: Any, t: Any) -> Any:
    return -(t * _log(p) + (1.0 - t) * _log(1.0 - p))


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, reduction: str = "mean"
) -> Tensor:
    """l = -w · (t ln p + (1 - t) ln(1 - p)) of probabilities p; the logarithms end at -100.

    weight broadcasts to the input. Raises ValueError for p outside [0, 1]. Where a logarithm has
    ended, its gradient is 0: binary_cross_entropy_with_logits is exact there, and cheaper.

    >>> import minigrad as mg
    >>> mg.functional.binary_cross_entropy(mg.tensor([0.5, 1.0]), mg.tensor([1.0, 1.0]))
    tensor(0.3465736)
    """
    _check_shapes("binary_cross_entropy", input, target)
    if input.numel() and not (float(input.min()) >= 0 and float(input.max()) <= 1):
        raise ValueError(
            "binary_cross_entropy: expected probabilities from 0 to 1, got input from "
            f"{float(input.min())} to {float(input.max())}; for logits call "
            "binary_cross_entropy_with_logits"
        )
    loss = _binary(input, target)
    return reduced("binary_cross_entropy", loss if weight is None else loss * weight, reduction)


@fuse
def _binary_logits(x: Any, t: Any) -> Any:
    return ops.softplus(x) - x * t


@fuse
def _binary_logits_weighted(x: Any, t: Any, pos_weight: Any) -> Any:
    return (1.0 - t) * x + (1.0 + (pos_weight - 1.0) * t) * ops.softplus(-x)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """l = -w · (p⁺ t ln σ(x) + (1 - t) ln(1 - σ(x))) of logits x, without overflow.

    weight w, and pos_weight p⁺, the weight of positive examples, broadcast to the input.

    >>> import minigrad as mg
    >>> x = mg.tensor([0.0, 1000.0])
    >>> mg.functional.binary_cross_entropy_with_logits(x, mg.tensor([1.0, 1.0]), reduction="sum")
    tensor(0.6931472)
    """
    name = "binary_cross_entropy_with_logits"
    _check_shapes(name, input, target)
    if pos_weight is None:
        loss = _binary_logits(input, target)
    else:
        loss = _binary_logits_weighted(input, target, pos_weight)
    return reduced(name, loss if weight is None else loss * weight, reduction)


# ---- distributions ---------------------------------------------------------------------------


@fuse
def _divergence(x: Any, t: Any) -> Any:
    return ops.where(t > 0, t * (ops.log(ops.where(t > 0, t, 1.0)) - x), 0.0)


@fuse
def _divergence_of_logs(x: Any, t: Any) -> Any:
    return ops.exp(t) * (t - x)


def kl_div(
    input: Tensor, target: Tensor, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """l = t · (ln t - x), the Kullback-Leibler divergence of t from the log-probabilities x.

    With log_target, target holds ln t. The reduction "batchmean", the sum over the first extent,
    is the divergence itself; "mean" also divides by the number of classes. t = 0 gives 0.
    """
    _check_shapes("kl_div", input, target)
    loss: Tensor = (_divergence_of_logs if log_target else _divergence)(input, target)
    if reduction == "batchmean":
        return ops.sum(loss) / max(1, loss.shape[0] if loss.ndim else 1)
    return reduced("kl_div", loss, reduction)
