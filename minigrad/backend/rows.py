"""Functions along rows: in NumPy's calls, and beside that what becomes of one row, in C."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from minigrad.backend.base import Operand, RowKernel

Forward = Callable[..., Any]


class Rowwise:
    """The forward of an op that works along rows, with its text in C beside it; see `rowwise`."""

    def __init__(self, plain: Forward, signature: str, text: str | Callable[..., str]) -> None:
        self.plain = plain
        self.__name__, self.__doc__ = plain.__name__, plain.__doc__
        reads, gives = signature.split("->")
        self.inputs, self.outputs = _operands(reads), _operands(gives)
        self.text = text
        self._runs: dict[Any, Forward] = {}

    def __call__(self, xp: Any, *xs: Any, **params: Any) -> Any:
        if not xp.native:
            return self.plain(xp, *xs, **params)
        key = (len(xs), *params.items())
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = xp.compile_rows(self.kernel(len(xs), **params), self.plain)
        return run(xp, *xs, **params)

    def kernel(self, count: int, axis: int = -1, **params: Any) -> RowKernel:
        """The kernel of `count` inputs; those that are missing at the end are 0."""
        text = self.text if isinstance(self.text, str) else self.text(**params)
        for absent in self.inputs[count:]:
            text = f"{absent.name} = 0\n{text}"
        return RowKernel(self.__name__, self.inputs[:count], self.outputs, text, axis)


def rowwise(signature: str, text: str | Callable[..., str]) -> Callable[[Forward], Rowwise]:
    """Give a forward along rows a text in C, for `use_native()`; without, the forward runs.

    signature: the arrays that go in and come out, with their axes: x[m,n] has m rows of n numbers,
    r[m,1] (or r[m], without the axis) one number a row, w[n] a number for each place of all rows.
    Rows lie along the last axis, or along the forward's parameter `axis`, -1 or -2.

    text: what becomes of one row, a statement a line. `each y = …` computes a number for each place
    in the row, `sum s = …` and `max s = …` one of all places, and `s = …` one of numbers that the
    row has one of; `total w = …` adds up over all rows, for each place. Expressions are C's, of
    numbers of type T (a literal is `(T)0.5`); n is the row's length. Where the text depends on the
    forward's keyword parameters, it is a function of them.

    >>> import minigrad as mg
    >>> from minigrad.op import Op
    >>> @rowwise("x[m,n] -> y[m,n]", "sum s = x * x\\nr = 1 / sqrt(s)\\neach y = x * r")
    ... def unit(xp, x):
    ...     return x / xp.sqrt((x * x).sum(-1, keepdims=True))
    >>> Op("unit", unit)(mg.tensor([[3.0, 4.0]]))
    tensor([[0.6, 0.8]])
    """

    def with_text(forward: Forward) -> Rowwise:
        return Rowwise(forward, signature, text)

    return with_text


def _operands(text: str) -> tuple[Operand, ...]:
    found = re.findall(r"(\w+)\[(m,n|m,1|m|n)\]", text.replace(" ", ""))
    return tuple([Operand(name, axes) for name, axes in found])
