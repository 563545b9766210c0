"""A line's rules, run on arrays or on traced values; as one op, where they cannot be traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad.backend import Array, Backend
from minigrad.gathering import Later
from minigrad.op import Op
from minigrad.scans.step import Line, Step


def ready(g: Any, fit: Any, shape: tuple[int, ...]) -> Any:
    """A contribution made ready to flow on: run if it waits, and summed over broadcast axes."""
    if type(g) is Later:
        g = g.run()
    if g.shape != shape:
        g = fit(g, shape)
    return g.run() if type(g) is Later else g


def arguments(step: Step, line: Line, ys: list[Any], xs: list[Any]) -> tuple[Any, list[Any]]:
    """The output (or outputs) and the arguments of a line, as its rules want them."""
    op = line.op
    kept: list[Any] = [x if keep else None for x, keep in zip(xs, op.keeps(len(xs)), strict=True)]
    asked: tuple[int, ...] = op.shapes_of
    for i in asked:
        if i < len(kept):
            kept[i] = step.shape_of(line.args[i])
    y = ys if op.several else ys[0]
    return (y if op.saves_y else None), kept


def pulled(
    step: Step, line: Line, gs: list[Any], ys: list[Any], xs: list[Any], needs: Sequence[bool]
) -> Sequence[Any]:
    """Run a line's rules."""
    op = line.op
    y, kept = arguments(step, line, ys, xs)
    g = gs if op.several else gs[0]
    if op.joint:
        return op.pull(g, y, kept, needs, line.params)
    rules = zip(op.rules, needs, strict=False)
    return [rule(g, y, *kept, **line.params) if need else None for rule, need in rules]


class PullOp(Op):
    """The rules of a line as an op, where these cannot be written down as lines themselves."""

    several = True

    def __init__(self, step: Step, line: Line, gs: list[Any], needs: Sequence[bool]) -> None:
        super().__init__(f"{line.op.name}_backward", self._forward)
        self._step, self._line, self._needs = step, line, needs
        self._gs = [g is not None for g in gs]
        self._ys = [line.op.saves_y for _ in line.outs]
        self._xs = line.op.keeps(len(line.args))

    def applied(self, gs: list[Any], ys: list[Any], xs: list[Any]) -> list[Any]:
        """The cotangents of all arguments, None for those that need none."""
        pairs = zip((*gs, *ys, *xs), (*self._gs, *self._ys, *self._xs), strict=True)
        found = iter(self(*(value for value, read in pairs if read)))
        return [next(found) if need else None for need in self._needs]

    def _forward(self, xp: Backend, *given: Array) -> tuple[Array, ...]:
        left = iter(given)
        gs, ys, xs = (
            [next(left) if read else None for read in which]
            for which in (self._gs, self._ys, self._xs)
        )
        step, line = self._step, self._line
        found = pulled(step, line, gs, ys, xs, self._needs)
        like = next(g for g in gs if g is not None)

        def filled(k: int, g: Any) -> Array:
            shape = step.shape_of(line.args[k])
            return xp.zeros(shape, like.dtype) if g is None else ready(g, line.op.fit, shape)

        return tuple([filled(k, g) for k, g in enumerate(found) if self._needs[k]])
