"""A row of the table of ops: an op, how to draw its arguments, and what NumPy makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from minigrad.testing.strategies import shapes

Draw = Callable[[st.SearchStrategy], Any]


class Case(NamedTuple):
    """Array arguments, and the others by name."""

    xs: tuple[np.ndarray, ...]
    params: dict[str, Any]


class Sides(NamedTuple):
    """How many axes arguments may have, and of what extents."""

    min_dims: int
    max_dims: int
    min_side: int
    max_side: int

    def shapes(self, min_dims: int = 0) -> st.SearchStrategy[tuple[int, ...]]:
        low = max(self.min_dims, min_dims)
        return shapes(low, max(self.max_dims, low), self.min_side, self.max_side)

    @property
    def side(self) -> st.SearchStrategy[int]:
        return st.integers(self.min_side, self.max_side)


ORDINARY = Sides(0, 3, 1, 3)
EMPTY = Sides(1, 3, 0, 2)  # some axes may have no elements


@dataclass(frozen=True)
class Row:
    """An op, and all that its tests are derived from.

    `reference` takes NumPy arrays and the same params, and raises ValueError where the op shall.
    Arrays of floats are what a gradient is checked for; `smooth` is whether there is one.
    """

    function: Callable[..., Any]
    reference: Callable[..., Any]
    draw: Callable[[Draw, Sides], Case]
    smooth: bool = True
    call: Callable[..., Any] | None = None  # where it is not function(*xs, **params)
    variant: str = ""

    @property
    def name(self) -> str:
        return self.function.__name__ + (f"-{self.variant}" if self.variant else "")

    def cases(self, sides: Sides = ORDINARY) -> st.SearchStrategy[Case]:
        return st.composite(lambda draw: self.draw(draw, sides))()

    def run(self, xs: Sequence[Any], params: dict[str, Any]) -> Any:
        return (self.call or self.function)(*xs, **params)
