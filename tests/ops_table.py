"""One row per op: how to draw its arguments, and what NumPy says the result is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

import minigrad as mg
from minigrad.testing.strategies import PLAIN, Domain
from tests.ops import draws
from tests.ops.draws import TIES, any_bool, one_axis, one_axis_or_none, some_axes, x_and
from tests.ops.row import Row

B, F = np.bool_, np.float64

# ---- elementwise: domains keep away from kinks and poles -----------------------------------------

NONZERO: Domain = ((-2.0, -0.2), (0.2, 2.0))
POSITIVE: Domain = ((0.3, 3.0),)
BETWEEN_INTEGERS: Domain = ((-1.9, -1.1), (-0.9, -0.1), (0.1, 0.9))
BETWEEN_HALVES: Domain = ((-1.4, -0.6), (-0.4, 0.4), (0.6, 1.4))
UNITS: Domain = ((-1.04, -1.0), (1.0, 1.04))  # to divide BETWEEN_INTEGERS by
EVEN: Domain = ((-2.0, -1.2), (0.1, 0.9))  # nothing here is near anything in ODD
ODD: Domain = ((-1.0, -0.1), (1.1, 1.9))
AROUND_HALF: Domain = ((-2.0, -0.6), (-0.4, 0.4), (0.6, 2.0))


def elementwise(
    function: Any, reference: Any, *domains: Domain, dtypes: Any = (), smooth: bool = True
) -> Row:
    domains = domains or (PLAIN,)
    return Row(function, reference, draws.together(domains, dtypes or [F] * len(domains)), smooth)


def predicate(function: Any, reference: Any, *dtypes: Any) -> Row:
    return elementwise(function, reference, *[TIES] * len(dtypes), dtypes=dtypes, smooth=False)


ELEMENTWISE = [
    elementwise(mg.exp, np.exp),
    elementwise(mg.log, np.log, POSITIVE),
    elementwise(mg.log1p, np.log1p, ((-0.7, 2.0),)),
    elementwise(mg.expm1, np.expm1),
    elementwise(mg.sqrt, np.sqrt, POSITIVE),
    elementwise(mg.tanh, np.tanh),
    elementwise(mg.sigmoid, lambda x: 1 / (1 + np.exp(-x))),
    elementwise(mg.erf, np.vectorize(math.erf, otypes=[F])),
    elementwise(mg.softplus, lambda x: np.log1p(np.exp(x))),
    elementwise(mg.sin, np.sin),
    elementwise(mg.cos, np.cos),
    elementwise(mg.tan, np.tan, ((-1.2, 1.2),)),
    elementwise(mg.atan, np.arctan),
    elementwise(mg.sinh, np.sinh),
    elementwise(mg.cosh, np.cosh),
    elementwise(mg.neg, np.negative),
    elementwise(mg.square, np.square),
    elementwise(mg.abs, np.abs, NONZERO),
    elementwise(mg.sign, np.sign, NONZERO),
    elementwise(mg.relu, lambda x: np.maximum(x, 0), NONZERO),
    elementwise(mg.floor, np.floor, BETWEEN_INTEGERS),
    elementwise(mg.ceil, np.ceil, BETWEEN_INTEGERS),
    elementwise(mg.round, np.round, BETWEEN_HALVES),
    elementwise(mg.add, np.add, PLAIN, PLAIN),
    elementwise(mg.sub, np.subtract, PLAIN, PLAIN),
    elementwise(mg.mul, np.multiply, PLAIN, PLAIN),
    elementwise(mg.div, np.divide, PLAIN, NONZERO),
    elementwise(mg.pow, np.power, POSITIVE, PLAIN),
    elementwise(mg.remainder, np.remainder, BETWEEN_INTEGERS, UNITS),
    elementwise(mg.floor_divide, np.floor_divide, BETWEEN_INTEGERS, UNITS),
    elementwise(mg.maximum, np.maximum, EVEN, ODD),
    elementwise(mg.minimum, np.minimum, EVEN, ODD),
    elementwise(mg.logaddexp, np.logaddexp, PLAIN, PLAIN),
    elementwise(mg.where, np.where, PLAIN, PLAIN, PLAIN, dtypes=(B, F, F)),
    elementwise(mg.clamp, np.clip, EVEN, ((-1.1, -0.5),), ((1.0, 1.1),)),
    predicate(mg.eq, np.equal, F, F),
    predicate(mg.ne, np.not_equal, F, F),
    predicate(mg.lt, np.less, F, F),
    predicate(mg.le, np.less_equal, F, F),
    predicate(mg.gt, np.greater, F, F),
    predicate(mg.ge, np.greater_equal, F, F),
    predicate(mg.logical_and, np.logical_and, F, B),
    predicate(mg.logical_or, np.logical_or, F, B),
    predicate(mg.logical_xor, np.logical_xor, F, B),
    predicate(mg.logical_not, np.logical_not, F),
    predicate(mg.bitwise_and, np.bitwise_and, B, B),
    predicate(mg.bitwise_or, np.bitwise_or, B, B),
    predicate(mg.bitwise_xor, np.bitwise_xor, B, B),
    predicate(mg.bitwise_not, np.bitwise_not, B),
    Row(mg.isnan, np.isnan, draws.not_finite, smooth=False),
    Row(mg.isinf, np.isinf, draws.not_finite, smooth=False),
    Row(mg.isfinite, np.isfinite, draws.not_finite, smooth=False),
]

# ---- along axes ------------------------------------------------------------------------------


def axes_of(dim: Any, ndim: int) -> tuple[int, ...]:
    """`dim` as NumPy's axis: all of them for None."""
    return tuple(range(ndim)) if dim is None else (dim,) if isinstance(dim, int) else dim


def along(reference: Callable[..., Any]) -> Callable[..., Any]:
    """A function of (x, axis=tuple, keepdims=), as one of (x, dim=, keepdim=)."""

    def wrapped(x: np.ndarray, dim: Any, keepdim: bool = False, **params: Any) -> Any:
        return reference(x, axis=axes_of(dim, x.ndim), keepdims=keepdim, **params)

    return wrapped


def refuse_empty(x: np.ndarray, axis: tuple[int, ...]) -> None:
    if 0 in [x.shape[a] for a in axis]:
        raise ValueError("of no elements")


def mean(x: np.ndarray, axis: Any, keepdims: bool = False) -> Any:
    return x.sum(axis=axis, keepdims=keepdims) / max(math.prod(x.shape[a] for a in axis), 1)


def var(x: np.ndarray, axis: Any, keepdims: bool, correction: int) -> Any:
    d = x - mean(x, axis, keepdims=True)
    n = math.prod(x.shape[a] for a in axis)
    return (d * d).sum(axis=axis, keepdims=keepdims) / max(n - correction, 1)


def length(x: np.ndarray, axis: Any, keepdims: bool, p: Any) -> Any:
    p = 2 if p == "fro" else p
    return (np.abs(x) ** p).sum(axis=axis, keepdims=keepdims) ** (1 / p)


def std(x: np.ndarray, axis: Any, keepdims: bool, correction: int) -> Any:
    return np.sqrt(var(x, axis, keepdims, correction))


def logsumexp(x: np.ndarray, axis: Any, keepdims: bool) -> Any:
    refuse_empty(x, axis)
    return np.log(np.exp(x).sum(axis=axis, keepdims=keepdims))


def standardize(x: np.ndarray, dim: Any, eps: float, centre: bool) -> Any:
    axis = axes_of(dim, x.ndim)
    refuse_empty(x, axis)
    d = x - x.mean(axis=axis, keepdims=True) if centre else x
    return d / np.sqrt((d * d).mean(axis=axis, keepdims=True) + eps)


def layer_norm(
    x: np.ndarray, weight: np.ndarray, bias: Any = None, dim: int = -1, **options: Any
) -> np.ndarray:
    bias = np.zeros_like(weight) if bias is None else bias
    if dim == -2:
        return standardize(x, dim, **options) * weight[:, None] + bias[:, None]
    return standardize(x, tuple(range(-weight.ndim, 0)), **options) * weight + bias


def softmax(x: np.ndarray, dim: int) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(axis=dim, keepdims=True)


def softmax_cross_entropy(x: np.ndarray, classes: np.ndarray) -> tuple[Any, Any]:
    total = logsumexp(x, axis=(-1,), keepdims=False)
    return total - np.take_along_axis(x, classes[..., None], -1)[..., 0], total


def argsort(x: np.ndarray, dim: int, descending: bool) -> np.ndarray:
    return np.argsort(-x if descending else x, axis=dim, kind="stable")


def sort(x: np.ndarray, dim: int, descending: bool) -> tuple[np.ndarray, np.ndarray]:
    index = argsort(x, dim, descending)
    return np.take_along_axis(x, index, axis=dim), index


def topk(x: np.ndarray, k: int, dim: int, largest: bool) -> tuple[np.ndarray, ...]:
    return tuple(np.take(part, range(k), dim) for part in sort(x, dim, largest))


def extreme(find: Any) -> Any:
    """What max and min give along an axis: values and indices."""

    def reference(x: np.ndarray, dim: int, keepdim: bool) -> Any:
        index = np.expand_dims(find(x, axis=dim), dim)
        pair = np.take_along_axis(x, index, axis=dim), index
        return pair if keepdim else tuple(np.squeeze(part, dim) for part in pair)

    return reference


def one_or_none(reference: Any) -> Any:
    return lambda x, dim, keepdim: reference(x, axis=dim, keepdims=keepdim)


REDUCED = x_and(dim=some_axes, keepdim=any_bool)
REDUCED_ONCE = x_and(dim=one_axis_or_none, keepdim=any_bool)
CORRECTED = x_and(dim=some_axes, keepdim=any_bool, correction=lambda _: st.integers(0, 2))
NORMED = x_and(dim=some_axes, keepdim=any_bool, p=lambda _: st.sampled_from([1, 2, 3, "fro"]))
SORTED = x_and(least=1, dim=one_axis, descending=any_bool)
TRUTHS = x_and(dim=some_axes, keepdim=any_bool, dtype=B)
AN_AXIS = x_and(least=1, dim=one_axis)

REDUCTIONS = [
    Row(mg.sum, along(np.sum), REDUCED),
    Row(mg.mean, along(mean), REDUCED),
    Row(mg.var, along(var), CORRECTED),
    Row(mg.std, along(std), CORRECTED),
    Row(mg.norm, along(length), NORMED),
    Row(mg.amax, along(np.amax), REDUCED),
    Row(mg.amin, along(np.amin), REDUCED),
    Row(mg.max, extreme(np.argmax), x_and(least=1, dim=one_axis, keepdim=any_bool)),
    Row(mg.min, extreme(np.argmin), x_and(least=1, dim=one_axis, keepdim=any_bool)),
    Row(mg.max, np.max, x_and(), variant="all"),
    Row(mg.min, np.min, x_and(), variant="all"),
    Row(mg.argmax, one_or_none(np.argmax), REDUCED_ONCE, smooth=False),
    Row(mg.argmin, one_or_none(np.argmin), REDUCED_ONCE, smooth=False),
    Row(mg.any, along(np.any), TRUTHS, smooth=False),
    Row(mg.all, along(np.all), TRUTHS, smooth=False),
    Row(mg.prod, one_or_none(np.prod), REDUCED_ONCE),
    Row(mg.cumsum, lambda x, dim: np.cumsum(x, axis=dim), AN_AXIS),
    Row(mg.logsumexp, along(logsumexp), REDUCED),
    Row(mg.softmax, softmax, AN_AXIS),
    Row(mg.log_softmax, lambda x, dim: np.log(softmax(x, dim)), AN_AXIS),
    Row(mg.softmax_cross_entropy, softmax_cross_entropy, draws.classified),
    Row(
        mg.standardize,
        standardize,
        x_and(dim=some_axes, eps=lambda _: st.just(0.1), centre=any_bool),
    ),
    Row(
        mg.layer_norm,
        layer_norm,
        draws.scaled,
    ),
    Row(mg.argsort, argsort, SORTED, smooth=False),
    Row(mg.sort, sort, SORTED),
    Row(mg.topk, topk, draws.topk),
    Row(mg.allclose, np.allclose, draws.together([TIES, TIES], [F, F]), smooth=False),
]

# ---- index -----------------------------------------------------------------------------------

INDEX = [
    Row(mg.getitem, lambda x, key: x[key], draws.keyed),
    Row(
        mg.gather,
        lambda x, index, dim: np.take_along_axis(x, index, axis=dim),
        draws.picked,
        call=lambda x, index, dim: mg.gather(x, dim, index),
    ),
    Row(
        mg.index_select,
        lambda x, index, dim: np.take(x, index, axis=dim),
        draws.selected,
        call=lambda x, index, dim: mg.index_select(x, dim, index),
    ),
    Row(mg.embedding, lambda weight, index: weight[index], draws.looked_up),
    Row(mg.masked_fill, lambda x, mask, value: np.where(mask, value, x), draws.masked),
    Row(
        mg.pad_constant,
        lambda x, widths, value: np.pad(x, widths, constant_values=value) if x.ndim else x,
        x_and(widths=draws.widths, value=lambda _: st.just(-1.5)),
    ),
]

# ---- shape -----------------------------------------------------------------------------------


def spread(function: Any, name: str) -> Callable[..., Any]:
    """A function of (x, *name), as one of (x, name=)."""
    return lambda x, **params: function(x, *params[name])


def flatten(x: np.ndarray, start_dim: int, end_dim: int) -> np.ndarray:
    end = end_dim % x.ndim
    return x.reshape(*x.shape[:start_dim], math.prod(x.shape[start_dim : end + 1]),
                     *x.shape[end + 1 :])  # fmt: skip


def split(x: np.ndarray, split_size: Any, dim: int) -> tuple[np.ndarray, ...]:
    if isinstance(split_size, int):
        cuts = range(split_size, x.shape[dim], split_size)
    else:
        cuts = np.cumsum(split_size)[:-1]
    return tuple(np.split(x, cuts, dim))


def chunk(x: np.ndarray, chunks: int, dim: int) -> tuple[np.ndarray, ...]:
    extent = x.shape[dim]
    return split(x, math.ceil(extent / chunks) if extent else [0] * chunks, dim)


def squeeze(x: np.ndarray, dim: int | None) -> np.ndarray:
    return x if dim is not None and x.shape[dim] != 1 else np.squeeze(x, dim)


def sum_to(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    full = (1,) * (x.ndim - len(shape)) + shape
    axes = tuple(i for i, n in enumerate(full) if n != x.shape[i])
    return x.sum(axis=axes).reshape(shape)


def of_list(function: Any) -> Callable[..., Any]:
    return lambda *xs, **params: function(xs, **params)


DIAGONAL = x_and(least=2, diagonal=lambda _: st.integers(-2, 2))

SHAPE = [
    Row(mg.reshape, np.reshape, draws.reshaped, call=spread(mg.reshape, "shape")),
    Row(mg.permute, lambda x, dims: x.transpose(dims), x_and(dims=draws.orders),
        call=spread(mg.permute, "dims")),
    Row(mg.transpose, lambda x, dim0, dim1: x.swapaxes(dim0, dim1),
        x_and(least=1, dim0=one_axis, dim1=one_axis)),
    Row(mg.movedim, np.moveaxis, x_and(least=1, source=one_axis, destination=one_axis)),
    Row(mg.expand, np.broadcast_to, draws.expanded, call=spread(mg.expand, "shape")),
    Row(mg.expand_to, np.broadcast_to, draws.expanded),
    Row(mg.sum_to, sum_to, draws.summed),
    Row(mg.squeeze, squeeze,
        x_and(dim=one_axis_or_none)),
    Row(mg.unsqueeze, lambda x, dim: np.expand_dims(x, axis=dim),
        x_and(dim=lambda s: draws.axis(len(s) + 1))),
    Row(mg.flatten, flatten, draws.flat_range),
    Row(mg.flip, lambda x, dims: np.flip(x, axis=dims), x_and(dims=draws.flipped),
        call=spread(mg.flip, "dims")),
    Row(mg.roll, lambda x, shifts, dims: np.roll(x, shifts, axis=dims), draws.rolled),
    Row(mg.tril, lambda x, diagonal: np.tril(x, k=diagonal), DIAGONAL),
    Row(mg.triu, lambda x, diagonal: np.triu(x, k=diagonal), DIAGONAL),
    Row(mg.repeat, lambda x, sizes: np.tile(x, reps=sizes), x_and(sizes=draws.repeats),
        call=spread(mg.repeat, "sizes")),
    Row(mg.clone, np.copy, x_and()),
    Row(mg.cast, lambda x, to: x.astype(to),
        x_and(to=lambda _: st.sampled_from([np.dtype(c) for c in "fdi"])), smooth=False,
        call=lambda x, to: mg.cast(x, dtype=to)),
    Row(mg.transfer, lambda x, **_: x, x_and(to=lambda _: st.just("cpu"))),
    Row(mg.cat, lambda *xs, dim: np.concatenate(xs, dim), draws.joined, call=of_list(mg.cat)),
    Row(mg.stack, lambda *xs, dim: np.stack(xs, dim), draws.stacked, call=of_list(mg.stack)),
    Row(mg.split, split, draws.parted),
    Row(mg.chunk, chunk, x_and(least=1, chunks=lambda _: st.integers(1, 4), dim=one_axis)),
    Row(mg.unbind, lambda x, dim: tuple(np.moveaxis(x, dim, 0)), AN_AXIS),
]  # fmt: skip

# ---- products --------------------------------------------------------------------------------


def affine(weight: np.ndarray, x: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return weight @ x + (bias[:, None] if bias.ndim == 1 else bias)


PRODUCTS = [
    Row(mg.matmul, np.matmul, draws.matrices),
    Row(mg.matmul, np.matmul, draws.vectors, variant="vectors"),
    Row(mg.affine, affine, draws.columns),
    Row(mg.linear, lambda x, weight, bias=0.0: x @ weight.T + bias, draws.features),
    Row(
        mg.einsum,
        lambda *xs, equation: np.einsum(equation, *xs),
        draws.contracted,
        call=lambda *xs, equation: mg.einsum(equation, *xs),
    ),
]

ROWS = [*ELEMENTWISE, *REDUCTIONS, *INDEX, *SHAPE, *PRODUCTS]
