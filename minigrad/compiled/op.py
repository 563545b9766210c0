"""A function that was written down as one op: straight code on arrays, and the same lines back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from minigrad.backend import Backend
from minigrad.compiled import text
from minigrad.op import Op
from minigrad.scans.fusing import fused
from minigrad.scans.plan import Plan
from minigrad.scans.replay import pull_recorded, run_lines
from minigrad.scans.step import Step
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
        self.fused = fused(self.step, native=xp.native, numbers=True)
        self.copied = copied  # which results lie in the memory of an argument
        self._back: dict[tuple[tuple[bool, ...], tuple[bool, ...]], Any] = {}

    def _first(self, *xs: Any) -> Any:
        """The forward until it has run: compiles itself."""
        self.forward = self.saving_forward = text.forward(self._plan, self.copied).compiled()
        return self.forward(*xs)

    @property
    def _plan(self) -> Plan:
        step = self.fused
        return Plan(step, self.xp, tuple([step.active[slot] for slot in step.output]))

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
            step = _flowing_to(self.fused, key[1])
            plan = Plan(step, self.xp, key[0])
            self._back[key] = text.backward(plan, self._plan.kept).compiled()
        return self._back[key]

    def _replay(self, xs: Sequence[Any]) -> Iterator[Any]:
        step = self.step
        values = run_lines(step, dict(zip(text.ends(step), xs, strict=True)))
        return (values[slot] for slot in step.output)

    @property
    def source(self) -> str:
        """The texts of the function and of the way back."""
        plan = self._plan
        texts = [text.forward(plan, self.copied)]
        if plan.recorded:
            texts.append(text.backward(plan, plan.kept))
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
