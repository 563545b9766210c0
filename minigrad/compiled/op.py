"""A function that was written down as one op: straight code on arrays, and the same lines back."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from minigrad.backend import Backend
from minigrad.compiled import text
from minigrad.op import Op
from minigrad.scans.fusing import fused, read_by
from minigrad.scans.replay import pull_recorded, run_lines
from minigrad.scans.reverse import Back, reverse
from minigrad.scans.step import Line, Slot, Step
from minigrad.scans.text import Text
from minigrad.tensor import Tensor


class CompiledOp(Op):
    """The lines of a function: arguments and constants to results.

    What the way back reads of the values between are hidden outputs.
    """

    joint = True
    several = True

    def __init__(self, name: str, step: Step, xp: Backend, copied: Sequence[bool]) -> None:
        super().__init__(name, self._first)
        self.saving_forward = self.forward
        self.saves_xs = self.saves_y = True
        self.differentiable = any(step.active[slot] for slot in step.output)
        self.visible = len(step.output)
        self.xp = xp
        self.step = step.bare()
        passive = replace(self.step, active=[False] * len(step.active))
        lines = self.step if self.differentiable else passive  # no gradient is stopped on its way
        self.fused = fused(lines, native=xp.native, numbers=True)
        self.copied = copied  # which results lie in the memory of an argument
        self._back: dict[tuple[tuple[bool, ...], tuple[bool, ...]], Any] = {}

    def _first(self, *xs: Any) -> Any:
        """The forward until it has run: compiles itself."""
        self.forward = self.saving_forward = self._forward.compiled()
        return self.forward(*xs)

    @property
    def _forward(self) -> Text:
        step, (_, kept) = self._running, self._kept
        lines = read_by(step.lines, [*step.output, *kept])
        return text.forward(replace(step, lines=lines), kept, self.copied)

    @functools.cached_property
    def _read(self) -> list[Slot]:
        """What the way back reads of the values between arguments and results."""
        step = self.fused
        outside = [*text.ends(step), *step.output]
        return sorted(self._reverse(step, [True] * len(step.output)).read.difference(outside))

    @functools.cached_property
    def _running(self) -> Step:
        """The lines as they run forward."""
        return self._in_blocks(self.fused, [*self.fused.output, *self._read])

    @functools.cached_property
    def _kept(self) -> tuple[list[Line], list[Slot]]:
        """Lines that look again at what is kept for the way back, and what that is."""
        step, needed, looks = self._running, {*self._read}, list[Line]()
        for line in reversed(step.lines):
            if line.op.view and needed.intersection(line.outs):
                looks.insert(0, line)
                needed.difference_update(line.outs)
                needed.update(line.slots)
        return looks, sorted(needed.difference([*text.ends(step), *step.output]))

    def _reverse(self, step: Step, present: Sequence[bool]) -> Back:
        return reverse(step, self.xp, present, {*text.ends(step)}, waiting=step.constants)

    def _in_blocks(self, step: Step, wanted: Sequence[Slot]) -> Step:
        if not self.xp.native:
            return step
        from minigrad.scans.machine.block import blocked  # brings modules that few need

        return blocked(step, wanted)

    def pull(
        self, g: Any, y: Any, xs: Sequence[Any], needs: Sequence[bool], params: dict[str, Any]
    ) -> Sequence[Any]:
        if any(isinstance(x, Tensor) for x in xs):
            return pull_recorded(self._replay, g, xs, needs)
        return self._backward(g, needs)(g, y, xs)

    last_pull = pull

    def _backward(self, g: Sequence[Any], needs: Sequence[bool]) -> Any:
        """The way back from the cotangents that are present to the arguments that need one."""
        key = tuple([one is not None for one in g[: self.visible]]), tuple(needs)
        if key not in self._back:
            self._back[key] = self._pulled(*key).compiled()
        return self._back[key]

    def _pulled(self, present: Sequence[bool], needs: Sequence[bool]) -> Text:
        running = self._running
        # with the slots of what runs, so that those of the way back are others
        step = replace(running, lines=self.fused.lines)
        back = self._reverse(_flowing_to(step, needs), present)
        looks, kept = self._kept
        lines = replace(back.step, lines=[*looks, *back.step.lines])
        wanted = [a for end in back.ends for a in end.slots]
        back = replace(back, step=self._in_blocks(lines, wanted))
        return text.backward(running, back, kept)

    def _replay(self, xs: Sequence[Any]) -> Iterator[Any]:
        step = self.step
        values = run_lines(step, dict(zip(text.ends(step), xs, strict=True)))
        return (values[slot] for slot in step.output)

    @property
    def source(self) -> str:
        """The texts of the function and of the way back."""
        texts = [self._forward]
        if self.differentiable:
            present, needs = (True,) * len(self.step.output), (True,) * len(text.ends(self.step))
            texts.append(self._pulled(present, needs))
        return "\n\n".join(one.source for one in texts)


def _flowing_to(step: Step, needs: Sequence[bool]) -> Step:
    """The step with cotangents only where they flow to arguments that need one."""
    active = [*step.active]
    for slot, need in zip(text.ends(step), needs, strict=True):
        active[slot] &= need
    for line in step.lines:
        flows = any(active[a] for a in line.slots)
        for out in line.outs:
            active[out] &= flows
    return replace(step, active=active)
