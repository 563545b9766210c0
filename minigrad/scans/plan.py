"""What the loops of a step keep and pull, found out before they are written."""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.backend import Backend
from minigrad.fuse import FusedOp
from minigrad.scans.step import Line, Number, Slot, Step
from minigrad.scans.text import numbered


class Plan:
    """What a step's values are called in its loops, where cotangents flow, and what is kept."""

    def __init__(self, step: Step, xp: Backend, present: Sequence[bool]) -> None:
        """present: which parts of the next state, then which outputs, get a cotangent."""
        self.step = step
        self.xp = xp
        self.recorded = any(present)
        self.present_results = present
        self.state = range(step.inputs, step.inputs + step.state)
        values = [*numbered("x", step.inputs), *numbered("s", step.state)]
        self.values = dict(enumerate(values))
        self.values.update((slot, f"c{k}") for k, slot in enumerate(step.constants))
        for line in step.lines:
            self.values.update((out, f"v{out}") for out in line.outs)
        self.flowing = self._flowing()
        self.pulled = [
            line for line in reversed(step.lines) if self.flowing.intersection(line.outs)
        ]
        read = self._read()
        made = {*self.state, *(out for line in step.lines for out in line.outs)}
        self.kept = sorted(read & made)  # the parts of the state and the results
        self.inputs_read = sorted(read & set(range(step.inputs)))

    def _flowing(self) -> set[Slot]:
        """The values that a cotangent reaches."""
        step = self.step
        results = zip((*step.after, *step.output), self.present_results, strict=True)
        flowing = {slot for slot, here in results if here and step.active[slot]}
        for line in reversed(step.lines):
            if flowing.intersection(line.outs):
                wanted = zip(line.args, self._gives(line, flowing), strict=True)
                flowing.update(a for a, gives in wanted if gives and isinstance(a, int))
        return flowing

    def _gives(self, line: Line, flowing: set[Slot]) -> Sequence[bool]:
        """Which arguments get a cotangent: a fused function knows where nothing flows."""
        needs = self.needs(line)
        if isinstance(line.op, FusedOp) and direct(line):
            present = tuple([out in flowing for out in line.outs])
            gives = line.op.puller(present, needs).derived.gives
            return [k in gives for k in range(len(needs))]
        return needs

    def _read(self) -> set[Slot]:
        """What some rule reads."""
        read: set[Slot] = set()
        for line in self.pulled:
            xs, ys = self.reads(line)
            read.update(
                a for a, wanted in zip(line.args, xs, strict=True) if wanted and isinstance(a, int)
            )
            read.update(y for y, wanted in zip(line.outs, ys, strict=True) if wanted)
        return read

    # ---- what a line needs on the way back ---------------------------------------------------

    def present(self, line: Line) -> tuple[bool, ...]:
        """Which outputs a cotangent reaches."""
        return tuple([out in self.flowing for out in line.outs])

    def needs(self, line: Line) -> tuple[bool, ...]:
        """Which arguments want a cotangent."""
        return tuple([isinstance(a, int) and self.step.active[a] for a in line.args])

    def reads(self, line: Line) -> tuple[list[bool], list[bool]]:
        """Which arguments and outputs the rules read."""
        op = line.op
        if isinstance(op, FusedOp) and direct(line):
            derived = op.puller(self.present(line), self.needs(line)).derived
            xs = [k in derived.xs for k in range(len(line.args))]
            return xs, [k in derived.ys for k in range(len(line.outs))]
        keeps = op.keeps(len(line.args))
        return list(keeps), [op.saves_y] * len(line.outs)

    def text_of(self, a: Slot | Number) -> str:
        """An argument in the text."""
        return self.values[a] if isinstance(a, int) else repr(a.value)


def direct(line: Line) -> bool:
    """Whether a fused op's kernel takes the arguments as they are: arrays only."""
    return not any(isinstance(a, Number) for a in line.args)
