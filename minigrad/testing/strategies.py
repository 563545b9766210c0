"""What hypothesis needs to draw the inputs of ops: shapes, arrays, indices and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad import creation
from minigrad.tensor import Tensor

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
    from hypothesis.strategies import SearchStrategy
except ImportError as error:
    raise ImportError(
        "minigrad.testing.strategies needs hypothesis, which is not installed; write: "
        "pip install 'minigrad[dev]'"
    ) from error

Shape = tuple[int, ...]
Domain = Sequence[tuple[float, float]]  # intervals, from which elements are taken evenly

PLAIN: Domain = ((-2.0, 2.0),)


def shapes(
    min_dims: int = 0, max_dims: int = 3, min_side: int = 1, max_side: int = 4
) -> SearchStrategy[Shape]:
    """Shapes; with min_side=0 also those of arrays without elements."""
    return st.lists(st.integers(min_side, max_side), min_size=min_dims, max_size=max_dims).map(
        tuple
    )


def arrays(
    shape: Shape | SearchStrategy[Shape],
    dtype: Any = np.float64,
    domain: Domain = PLAIN,
    distinct: bool = False,
) -> SearchStrategy[np.ndarray[Any, Any]]:
    """Arrays with elements from `domain`; with `distinct`, no two of them are close.

    hypothesis draws the shape and a seed: elements of no particular value, which is what a
    derivative is checked at. Give the values that matter (0, ∞, ties) as explicit examples.
    """
    of_shape: SearchStrategy[Shape]
    of_shape = shape if isinstance(shape, SearchStrategy) else st.just(shape)
    fixed = st.just(np.dtype(dtype)), st.just(domain), st.just(distinct)
    return st.builds(_fill, of_shape, *fixed, st.integers(0, 2**32 - 1))


def _fill(
    shape: Shape, dtype: np.dtype[Any], domain: Domain, distinct: bool, seed: int
) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    n = int(np.prod(shape))
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    lows = np.array([low for low, _ in domain], np.float64)
    widths = np.array([high for _, high in domain], np.float64) - lows
    at = rng.random(n)
    if distinct:  # one in the middle half of each of n cells
        at = (rng.permutation(n) + 0.25 + at / 2) / max(n, 1)
    at = at * np.sum(widths)
    ends = np.cumsum(widths)
    which = np.digitize(at, ends[:-1])
    values = at + (lows - ends + widths)[which]
    return (np.floor(values) if dtype.kind in "iu" else values).astype(dtype).reshape(shape)


def broadcastable(shape: Shape) -> SearchStrategy[Shape]:
    """Shapes that broadcast to `shape`: leading axes may be missing, extents may be 1."""
    narrow: SearchStrategy[Shape] = st.tuples(*(st.sampled_from([n, 1]) for n in shape))
    return st.builds(_without_leading, narrow, st.integers(0, len(shape)))


def _without_leading(shape: Shape, n: int) -> Shape:
    return shape[n:]


def mutually_broadcastable(
    n: int, shape: SearchStrategy[Shape] | None = None
) -> SearchStrategy[tuple[Shape, ...]]:
    """n shapes that broadcast together, to a shape drawn from `shape`."""
    result = shapes() if shape is None else shape
    return result.flatmap(
        lambda s: st.permutations([s, *[None] * (n - 1)]).flatmap(
            lambda places: st.tuples(
                *(broadcastable(s) if p is None else st.just(p) for p in places)
            )
        )
    )


def indices(shape: Shape) -> SearchStrategy[Any]:
    """Keys that NumPy takes for an array of `shape`: basic, integer arrays, masks, and mixtures."""
    keys = [hnp.basic_indices(shape, allow_newaxis=True), arrays(shape, np.bool_)]
    if shape and 0 not in shape:
        keys += [hnp.integer_array_indices(shape), _mixed(shape)]
    return st.one_of(keys)


def _mixed(shape: Shape) -> SearchStrategy[tuple[Any, ...]]:
    """Slices, integers and integer arrays of one length, one for each of the leading axes."""
    return st.integers(1, 3).flatmap(
        lambda n: st.tuples(
            *(
                st.one_of(
                    st.slices(side),
                    st.integers(-side, side - 1),
                    arrays((n,), np.int64, ((-side, side),)),
                )
                for side in shape
            )
        ).flatmap(lambda key: st.integers(1, len(key)).map(lambda k: key[:k]))
    )


def tensors(
    shape: Shape | SearchStrategy[Shape],
    dtype: Any = np.float64,
    domain: Domain = PLAIN,
    distinct: bool = False,
    requires_grad: bool = True,
    device: str | None = None,
) -> SearchStrategy[Tensor]:
    """Tensors with elements from `domain`, on the default device; ready for `gradcheck`.

    >>> from hypothesis import given
    >>> from minigrad.testing import gradcheck
    >>> @given(tensors(shapes(), domain=[(0.5, 3.0)]))
    ... def test_log(x):
    ...     gradcheck(lambda x: x.log(), x, order=2)
    >>> test_log()
    """
    return arrays(shape, dtype, domain, distinct).map(
        lambda x: creation.tensor(x, device=device, requires_grad=requires_grad)
    )
