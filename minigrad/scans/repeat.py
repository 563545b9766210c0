"""Running a step once more, to see that it does what was written down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad.op import Op
from minigrad.scans.step import Line, Slot, Traced, Unwritable, Writer, comparable, frozen
from minigrad.tape import Node, mode
from minigrad.tensor import Tensor

_FLOWING = "efdgFDG"  # the characters of dtypes that have gradients


class Repeat(Writer):
    """A second run of a step. It computes nothing: shapes are as they were, if the ops are.

    Raises Unwritable where the step does something else than the first time.
    """

    def __init__(self, first: Writer, since: int) -> None:
        """since: the newest node of the tape before the first run."""
        self.step, self.values, self.several = first.step, first.values, first.several
        self.open = True
        self._slots: dict[int, Slot] = {}
        self._since = since
        self._lines = iter(zip(first.step.lines, first.several, strict=True))
        self._constants = iter(first.step.constants.items())
        self._held: list[Any] = []  # or another constant might get the id of one

    def write(self, op: Op, xs: Sequence[Any], params: dict[str, Any]) -> Any:
        """Compare one op with the line that was written."""
        operands = self.fitted(op, self.operands(xs))
        line, several = next(self._lines, (None, False))
        if (
            line is None
            or op is not line.op
            or comparable(operands) != comparable(line.args)
            or ((params or line.params) and frozen(params) != frozen(line.params))
            or self._records(op, line) != self.step.active[line.outs[0]]
        ):
            raise Unwritable("it does something else the second time")
        made = [Traced(self, out) for out in line.outs[: op.visible]]
        return tuple(made) if several else made[0]

    def _records(self, op: Op, line: Line) -> bool:
        """Whether a gradient may flow to a result."""
        return (
            op.differentiable
            and mode.recording
            and self.step.dtypes[line.outs[0]] in _FLOWING
            and any(self.step.active[a] for a in line.slots)
        )

    def new_constant(self, x: Any) -> Slot:
        """The slot of what was read in this place, if it is the same."""
        slot, known = next(self._constants, (-1, None))
        if x is not known and not _same(x, known, self._since):
            raise Unwritable("it reads something else the second time")
        self._held.append(x)
        return slot

    def end(self, after: tuple[Slot, ...], output: tuple[Slot, ...]) -> None:
        """Compare what the step gives."""
        if next(self._lines, None) or (after, output) != (self.step.after, self.step.output):
            raise Unwritable("it gives something else the second time")


def _same(x: Any, y: Any, since: int) -> bool:
    """Whether two tensors that are made anew at each run (`W.T`) are the same.

    So it is if the tape, from node `since` on, shows that both came from the same tensors by the
    same ops.
    """
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        return False
    return x.edge is not None and y.edge is not None and _same_edges(x.edge, y.edge, since)


def _same_edges(a: Any, b: Any, since: int) -> bool:
    (p, i), (q, k) = a, b
    if p is q:
        return i == k
    if not (isinstance(p, Node) and isinstance(q, Node)) or min(p.order, q.order) <= since:
        return False
    alike = p.op is q.op and i == k and frozen(p.params) == frozen(q.params)
    known = None not in p.edges and None not in q.edges  # other arguments left no trace
    return (
        alike
        and known
        and all(_same_edges(e, f, since) for e, f in zip(p.edges, q.edges, strict=True))
    )
