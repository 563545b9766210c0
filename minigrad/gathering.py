"""What flows into one value on the way back: a sum, and contributions that wait for their like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Value = Any  # an array, or a Tensor when the backward pass is itself recorded
Fit = Callable[[Value, tuple[int, ...]], Value]  # undoes broadcasting

# What waits for one value is summed before it holds more than this many bytes.
WAITING_LIMIT = 32 * 2**20


class Later:
    """An application of an op that has not run: a contribution that waits for its like."""

    __slots__ = ("op", "params", "xs")

    def __init__(self, op: Any, *xs: Value, **params: Any) -> None:
        self.op = op
        self.xs = xs
        self.params = params

    def run(self) -> Value:
        return self.op(*self.xs, **self.params)


class Gathering:
    """What has flowed into one value so far: a running total, and applications that wait."""

    __slots__ = ("in_place", "owned", "shape", "total", "waiting", "waiting_bytes")

    def __init__(self, shape: tuple[int, ...], in_place: bool = True) -> None:
        self.shape = shape
        self.in_place = in_place  # whether what is added may be written: arrays, not Tensors
        self.total: Value = None
        self.owned = False  # whether `total` was made here, so that it may be written
        self.waiting: dict[Any, list[Later]] = {}
        self.waiting_bytes = 0

    def add(self, g: Value, fit: Fit | None = None) -> None:
        if g is None:
            return
        if fit is not None and g.shape != self.shape:
            g = fit(g, self.shape)
        if type(g) is Later:
            self.waiting.setdefault(g.op, []).append(g)
            self.waiting_bytes += sum(x.nbytes for x in g.xs)
            if self.waiting_bytes > WAITING_LIMIT:
                self.settle()
        elif self.total is None:
            self.total = g
        elif self.owned and self.in_place and self.total.dtype == g.dtype:
            self.total += g
        else:
            self.total = self.total + g
            self.owned = True

    def settle(self) -> Value:
        """Run what waits, all applications of one op together, and give the total."""
        for op, applications in self.waiting.items():
            into = self.total if self.owned and self.total.ndim else None  # NumPy's 0-d is constant
            summed = op.settle(into, applications)
            merged = into is not None or self.total is None
            self.total = summed if merged else self.total + summed
            self.owned = True
        self.waiting.clear()
        self.waiting_bytes = 0
        return self.total
