"""How the arguments of ops are drawn, family by family."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from minigrad.testing.strategies import (
    PLAIN,
    Domain,
    arrays,
    broadcastable,
    indices,
    mutually_broadcastable,
)
from tests.ops.row import Case, Draw, Sides

Drawing = Callable[[Draw, Sides], Case]

TIES: Domain = ((-1, 2),)  # few integers, so that many are equal


# ---- elementwise -----------------------------------------------------------------------------


def together(domains: Sequence[Domain], dtypes: Sequence[Any]) -> Drawing:
    """Arrays that broadcast with each other, one of each domain."""

    def draw(d: Draw, sides: Sides) -> Case:
        sizes = d(mutually_broadcastable(len(domains), sides.shapes()))
        each = zip(sizes, dtypes, domains, strict=True)
        return Case(tuple(d(arrays(s, kind, of)) for s, kind, of in each), {})

    return draw


def not_finite(d: Draw, sides: Sides) -> Case:
    which = d(arrays(sides.shapes(), np.int64, ((0, 4),)))
    return Case((np.choose(which, [0.5, math.nan, math.inf, -math.inf]),), {})


def masked(d: Draw, sides: Sides) -> Case:
    x = d(arrays(sides.shapes()))
    mask = d(broadcastable(x.shape).flatmap(lambda s: arrays(s, np.bool_)))
    return Case((x, mask), {"value": -7.0})


# ---- along axes ------------------------------------------------------------------------------


def axis(ndim: int) -> st.SearchStrategy[int]:
    return st.integers(-ndim, ndim - 1)


def axes(ndim: int) -> st.SearchStrategy[Any]:
    """None, an axis from either end, or several axes."""
    if ndim == 0:
        return st.none()
    several = st.permutations(range(ndim)).flatmap(
        lambda p: st.integers(1, ndim).map(lambda k: tuple(p[:k]))
    )
    return st.one_of(st.none(), axis(ndim), several)


def x_and(
    *,
    least: int = 0,
    domain: Domain = PLAIN,
    dtype: Any = np.float64,
    **options: Callable[[tuple[int, ...]], st.SearchStrategy[Any]],
) -> Drawing:
    """One array of distinct elements, and params drawn from strategies that know its shape."""

    def draw(d: Draw, sides: Sides) -> Case:
        x = d(arrays(sides.shapes(least), dtype, domain, distinct=True))
        return Case((x,), {name: d(of(x.shape)) for name, of in options.items()})

    return draw


def any_bool(_shape: Any) -> st.SearchStrategy[bool]:
    return st.booleans()


def one_axis(shape: tuple[int, ...]) -> st.SearchStrategy[int]:
    return axis(len(shape))


def one_axis_or_none(shape: tuple[int, ...]) -> st.SearchStrategy[int | None]:
    return st.none() | axis(len(shape)) if shape else st.none()


def some_axes(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    return axes(len(shape))


def topk(d: Draw, sides: Sides) -> Case:
    x = d(arrays(sides.shapes(1), distinct=True))
    dim = d(axis(x.ndim))
    k = d(st.integers(0, x.shape[dim]))
    return Case((x,), {"k": k, "dim": dim, "largest": d(st.booleans())})


def scaled(d: Draw, sides: Sides) -> Case:
    """x, and a weight and perhaps a bias over its last axes, or over the last but one."""
    x = d(arrays(sides.shapes(1), distinct=True))
    dim = d(st.sampled_from([-1, -2][: x.ndim]))
    shape = x.shape[-d(st.integers(1, x.ndim)) :] if dim == -1 else x.shape[-2:-1]
    parameters = [d(arrays(shape)) for _ in range(d(st.integers(1, 2)))]
    return Case((x, *parameters), {"eps": 0.1, "centre": d(st.booleans()), "dim": dim})


# ---- index -----------------------------------------------------------------------------------


def keyed(d: Draw, sides: Sides) -> Case:
    x = d(arrays(sides.shapes()))
    return Case((x,), {"key": d(indices(x.shape))})


def picked(d: Draw, sides: Sides) -> Case:
    """x, and indices into one axis, of x's shape elsewhere."""
    x = d(arrays(sides.shapes(1)))
    dim = d(axis(x.ndim))
    extent = x.shape[dim]
    shape = list(x.shape)
    shape[dim] = d(st.integers(0, 3)) if extent else 0
    return Case((x, d(arrays(tuple(shape), np.int64, ((-extent, extent),)))), {"dim": dim})


def selected(d: Draw, sides: Sides) -> Case:
    x = d(arrays(sides.shapes(1)))
    dim = d(axis(x.ndim))
    extent = x.shape[dim]
    n = d(st.integers(0, 4)) if extent else 0
    return Case((x, d(arrays((n,), np.int64, ((0, extent),)))), {"dim": dim})


def looked_up(d: Draw, sides: Sides) -> Case:
    rows = d(st.integers(1, 3))
    weight = d(arrays((rows, d(sides.side))))
    return Case((weight, d(arrays(sides.shapes(), np.int64, ((0, rows),)))), {})


def classified(d: Draw, sides: Sides) -> Case:
    """x (…, C), and one of the C classes for each row."""
    x = d(arrays(sides.shapes(1)))
    return Case((x, d(arrays(x.shape[:-1], np.int64, ((0, max(1, x.shape[-1])),)))), {})


def widths(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    pair = st.tuples(st.integers(0, 2), st.integers(0, 2))
    return st.tuples(*[pair] * len(shape))


# ---- shape -----------------------------------------------------------------------------------


def reshaped(d: Draw, sides: Sides) -> Case:
    """A shape of as many elements: factors of the extents, in another order."""
    x = d(arrays(sides.shapes()))
    factors = [
        n for side in x.shape for n in ((2, side // 2) if side and side % 2 == 0 else (side,))
    ]
    target = list(d(st.permutations(factors)))
    if target and x.size and d(st.booleans()):
        target[d(st.integers(0, len(target) - 1))] = -1
    return Case((x,), {"shape": tuple(target)})


def orders(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    return st.permutations(range(len(shape))).map(tuple)


def expanded(d: Draw, sides: Sides) -> Case:
    shape = d(sides.shapes())
    return Case((d(arrays(d(broadcastable(shape)))),), {"shape": shape})


def summed(d: Draw, sides: Sides) -> Case:
    shape = d(sides.shapes())
    return Case((d(arrays(shape)),), {"shape": d(broadcastable(shape))})


def flat_range(d: Draw, sides: Sides) -> Case:
    x = d(arrays(sides.shapes(1)))
    ends = sorted([d(st.integers(0, x.ndim - 1)), d(st.integers(0, x.ndim - 1))])
    return Case((x,), {"start_dim": ends[0], "end_dim": ends[1] - d(st.sampled_from([0, x.ndim]))})


def flipped(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    return orders(shape).flatmap(lambda p: st.integers(0, len(p)).map(lambda k: p[:k]))


def rolled(d: Draw, sides: Sides) -> Case:
    x = d(arrays(sides.shapes(1)))
    dims = d(flipped(x.shape))
    return Case((x,), {"shifts": tuple(d(st.integers(-3, 3)) for _ in dims), "dims": dims})


def repeats(shape: tuple[int, ...]) -> st.SearchStrategy[Any]:
    return st.lists(st.integers(0, 2), min_size=len(shape), max_size=len(shape) + 1).map(tuple)


def joined(d: Draw, sides: Sides) -> Case:
    """Arrays that differ along one axis only."""
    shape = list(d(sides.shapes(1)))
    dim = d(axis(len(shape)))
    xs = []
    for _ in range(d(st.integers(1, 3))):
        shape[dim] = d(st.integers(0, 3))
        xs.append(d(arrays(tuple(shape))))
    return Case(tuple(xs), {"dim": dim})


def stacked(d: Draw, sides: Sides) -> Case:
    shape = d(sides.shapes())
    xs = tuple(d(arrays(shape)) for _ in range(d(st.integers(1, 3))))
    return Case(xs, {"dim": d(axis(len(shape) + 1))})


def parted(d: Draw, sides: Sides) -> Case:
    """A size of the parts, or the sizes of all."""
    x = d(arrays(sides.shapes(1)))
    dim = d(axis(x.ndim))
    cuts = sorted(d(st.lists(st.integers(0, x.shape[dim]), max_size=2)))
    sizes = np.diff([0, *cuts, x.shape[dim]]).tolist()
    return Case((x,), {"split_size": d(st.integers(1, 3) | st.just(sizes)), "dim": dim})


# ---- products --------------------------------------------------------------------------------


def vectors(d: Draw, sides: Sides) -> Case:
    """Matrix products in which a or b, or both, are vectors."""
    n, k, m = d(sides.side), d(sides.side), d(sides.side)
    a, b = d(st.sampled_from([((k,), (k,)), ((n, k), (k,)), ((k,), (k, m)), ((k,), (2, k, m))]))
    return Case((d(arrays(a)), d(arrays(b))), {})


def matrices(d: Draw, sides: Sides) -> Case:
    """Matrix products whose leading axes broadcast."""
    n, k, m = d(sides.side), d(sides.side), d(sides.side)
    lead = Sides(0, 2, sides.min_side, sides.max_side).shapes()
    before_a, before_b = d(mutually_broadcastable(2, lead))
    return Case((d(arrays((*before_a, n, k))), d(arrays((*before_b, k, m)))), {})


def columns(d: Draw, sides: Sides) -> Case:
    """W, x with features first, and a bias for each row or for each element."""
    n, k, b = d(sides.side), d(sides.side), d(sides.side)
    lead = d(Sides(0, 1, sides.min_side, sides.max_side).shapes())
    bias = d(st.sampled_from([(n,), (n, 1), (n, b), (*lead, n, b)]))
    return Case((d(arrays((n, k))), d(arrays((*lead, k, b))), d(arrays(bias))), {})


def features(d: Draw, sides: Sides) -> Case:
    """x with features last, W, and perhaps a bias."""
    k, n = d(sides.side), d(sides.side)
    lead = d(Sides(0, 2, sides.min_side, sides.max_side).shapes())
    xs = [d(arrays((*lead, k))), d(arrays((n, k)))]
    return Case((*xs, d(arrays((n,)))) if d(st.booleans()) else tuple(xs), {})


EQUATIONS = ("ij,jk->ik", "ij,jk", "bij,bjk->bik", "i,j->ij", "ij->ji", "ij->i", "ij->",
             "bi,ij,bj->b", "i,i,i->", "ij,kj->k", "ij,ij->ij", "a,b,ab->a", ",i->i")  # fmt: skip


def contracted(d: Draw, sides: Sides) -> Case:
    equation = d(st.sampled_from(EQUATIONS))
    inputs = equation.split("->")[0].split(",")
    extent = {c: d(sides.side) for c in sorted(set("".join(inputs)))}
    shapes = [tuple(extent[c] for c in names) for names in inputs]
    return Case(tuple(d(arrays(s)) for s in shapes), {"equation": equation})
