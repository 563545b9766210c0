"""Where values lie in memory, as C sees them: a pointer, a shape and strides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minigrad.backend import backend_of

Shape = tuple[int, ...]


class View(NamedTuple):
    """A pointer to the first number, and how far numbers lie apart along each axis."""

    at: str
    shape: Shape
    strides: tuple[int | str, ...]  # text where they are known only when the code runs

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def is_dense(self) -> bool:
        """Whether the numbers lie side by side, in order."""
        return all(
            n == 1 or have == want
            for n, have, want in zip(self.shape, self.strides, _strides(self.shape), strict=True)
        )

    def spread(self, shape: Shape) -> View:
        """The view broadcast to a shape."""
        extra = len(shape) - len(self.shape)
        pairs = zip(self.shape, self.strides, shape[extra:], strict=True)
        strides = [stride if have == want else 0 for have, stride, want in pairs]
        return View(self.at, shape, (0,) * extra + tuple(strides))

    def chunk(self, k: int, count: int, dim: int) -> View:
        """The k-th of equal chunks."""
        axis = dim % len(self.shape)
        extent = self.shape[axis] // count
        shape = (*self.shape[:axis], extent, *self.shape[axis + 1 :])
        return View(f"({self.at} + {k * extent} * {self.strides[axis]})", shape, self.strides)

    def permuted(self, axes: Sequence[int]) -> View:
        """The view with its axes in another order."""
        return View(
            self.at, tuple(self.shape[a] for a in axes), tuple(self.strides[a] for a in axes)
        )


def _strides(shape: Shape) -> tuple[int, ...]:
    return tuple([math.prod(shape[k + 1 :]) for k in range(len(shape))])


def dense(at: str, shape: Shape) -> View:
    """Numbers that lie side by side."""
    return View(at, shape, _strides(shape))


def seen_through(forward: Callable[..., Any], view: View, params: dict[str, Any]) -> list[View]:
    """What an op gives that only looks at an array in another way; nothing if it copies."""
    strides = [s for s in view.strides if isinstance(s, int)]
    if len(strides) < len(view.strides):
        return []
    ends = [(n - 1) * stride for n, stride in zip(view.shape, strides, strict=True)]
    first = -sum(end for end in ends if end < 0)  # where the view begins in what it reaches
    base = np.empty(first + sum(end for end in ends if end > 0) + 1, np.int8)
    x = as_strided(base[first:], view.shape, strides)  # a byte is a number: strides count these
    ys: Any = forward(backend_of(base), x, **params)
    parts = cast("tuple[Any, ...]", ys) if isinstance(ys, tuple) else (ys,)
    if not all(np.may_share_memory(y, base) for y in parts):
        return []
    begin = base.ctypes.data + first
    return [View(f"({view.at} + {y.ctypes.data - begin})", y.shape, y.strides) for y in parts]


def merged(views: Sequence[View]) -> tuple[list[int], list[list[int | str]]]:
    """The extents of one shape, and each view's strides, with axes made one where they can be."""
    extents: list[int] = []
    strides: list[list[int | str]] = [[] for _ in views]
    for axis, n in enumerate(views[0].shape):
        if n == 1:
            continue
        here = [view.strides[axis] for view in views]
        known = [s[-1] if s else None for s in strides]
        if extents and all(
            isinstance(a, int) and b == n * a for a, b in zip(here, known, strict=True)
        ):
            extents[-1] *= n
            for s, stride in zip(strides, here, strict=True):
                s[-1] = stride
        else:
            extents.append(n)
            for s, stride in zip(strides, here, strict=True):
                s.append(stride)
    return extents, strides


def assigned(to: View, source: View, how: str = "=") -> str:
    """The statement that copies numbers, or (how="+=") adds them to others."""
    if how == "=" and len(to.shape) == 2 and _is_turned(to, source):
        (rows, columns), (down, along), strides = to.shape, source.strides, to.strides
        given = f"{source.at}, {down}, {along}, {to.at}, {strides[0]}, {strides[1]}"
        return f"move({rows}, {columns}, {given});"
    extents, (into, from_) = merged([to, source])
    if into[-1:] == from_[-1:] == [1]:
        run, n = "add" if how == "+=" else "copy", extents.pop()
        from_at, to_at = _element(source, from_[:-1]), _element(to, into[:-1])
        return f"{_loops(extents)}{run}({n}, &{from_at}, &{to_at});"
    return f"{_loops(extents)}{_element(to, into)} {how} {_element(source, from_)};"


def _is_turned(to: View, source: View) -> bool:
    """Whether a copy may go across the rows of a matrix: how far numbers in them are apart is not
    known, or not 1. (It is 0 where they are all the same.)"""
    apart = (to.strides[1], source.strides[1])
    several = to.shape[1] > 1
    return any(isinstance(stride, str) or (several and stride not in (0, 1)) for stride in apart)


def cleared(to: View) -> str:
    """The statement that makes all numbers 0."""
    extents, (strides,) = merged([to])
    return f"{_loops(extents)}{_element(to, strides)} = 0;"


def _loops(extents: Sequence[int]) -> str:
    return "".join(f"for (intptr_t i{k} = 0; i{k} < {n}; i{k}++) " for k, n in enumerate(extents))


def _element(view: View, strides: Sequence[int | str]) -> str:
    index = [f"i{k} * ({s})" for k, s in enumerate(strides) if s != 0]
    return f"{view.at}[{' + '.join(index) or 0}]"
