"""A function that was written down as text: its lines, and the lines back, on arrays."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from minigrad.fuse import FusedOp
from minigrad.gathering import Gathering, Later
from minigrad.scans.back import Back
from minigrad.scans.emit import application
from minigrad.scans.plan import Plan
from minigrad.scans.step import Line, Slot, Step
from minigrad.scans.text import Text, listed


def ends(step: Step) -> list[Slot]:
    """The values from outside: arguments, and constants."""
    return [*range(step.inputs), *step.constants]


def hidden(step: Step, kept: Sequence[Slot]) -> list[Slot]:
    """What is kept for the way back, but is no result."""
    return [slot for slot in kept if slot not in step.output]


def forward(plan: Plan, copied: Sequence[bool]) -> Text:
    """The function that computes the results, and what the way back reads."""
    step, value = plan.step, plan.values
    text = Text(f"forward(_xp, {', '.join(value[slot] for slot in ends(step))})")
    text.lines += [application(plan, text, line) for line in step.lines]
    results = [
        f"{value[slot]}{'.copy()' * copy}" for slot, copy in zip(step.output, copied, strict=True)
    ]
    results += [value[slot] for slot in hidden(step, plan.kept)]
    text.lines.append(f"return ({listed(results)})")
    return text


def backward(plan: Plan, kept: Sequence[Slot]) -> Text:
    """The function that gives the cotangents of the arguments, from those that are present."""
    step, value, text = plan.step, plan.values, Text("backward(gs, ys, xs)")
    back = _Back(plan, text)
    results = [*step.output, *hidden(step, kept)]
    gs = [f"g_{k}" for k in range(len(results))]
    for slot, g, here in zip(step.output, gs, plan.present_results, strict=False):
        if here:
            back.flow(slot, g)
    for line in plan.pulled:
        back.pull(line)
    found = [back.found(slot) for slot in ends(step)]
    text.lines += [
        f"({listed(gs)}) = gs",
        f"({listed([value[slot] for slot in results])}) = ys",
        f"({listed([value[slot] for slot in ends(step)])}) = xs",
        *_released(back.lines, found),
        f"return ({listed(found)})",
    ]
    return text


class _Back(Back):
    """Cotangents that flow once, and end in every value from outside."""

    def __init__(self, plan: Plan, text: Text) -> None:
        super().__init__(plan, text)
        step = plan.step
        self.ended: dict[Slot, list[str]] = {slot: [] for slot in ends(step)}
        read = Counter([*step.output, *(a for line in step.lines for a in line.slots)])
        # results (Wᵀ) that one line reads: what waits is carried through them, as on the tape
        self.carriers = {
            line.outs[0] for line in step.lines if line.op.through and read[line.outs[0]] == 1
        }

    def is_end(self, slot: Slot) -> bool:
        return slot in self.ended

    def end(self, slot: Slot, g: str, op: Any = None) -> None:
        if op is not None and op.fit is not None:
            shape, fit = self.plan.step.shapes[slot], self.text.name(op.fit, "fit")
            given = "" if isinstance(op, FusedOp) else f"{g} is not None and "
            self.lines.append(f"if {given}{g}.shape != {shape}: {g} = {fit}({g}, {shape})")
        self.ended[slot].append(g)

    def _deliver(self, line: Line, k: int, g: str) -> None:
        slot = line.args[k]
        if slot in self.carriers and line.op.fit is None:
            self.held[cast("Slot", slot)] = g  # which may wait
        else:
            super()._deliver(line, k, g)

    def _pull_one(self, line: Line, k: int, rule: Any) -> None:
        (out,) = line.outs
        if out not in self.carriers:
            super()._pull_one(line, k, rule)
            return
        found = f"d{out}_{k}"
        op, params = self.text.name(line.op, line.op.name), self.text.name(line.params, "params")
        xs = self._arguments(line, self.plan.text_of)
        given = ", ".join([op, params, self.held[out], "None", *xs])
        self.lines.append(f"{found} = {self.text.name(carried, 'carried')}({given})")
        self._deliver(line, k, found)

    def _stacks(self, line: Line, k: int) -> bool:
        return False

    def found(self, slot: Slot) -> str:
        """The text of what has flowed into a value from outside."""
        gs, shape = self.ended[slot], self.plan.step.shapes[slot]
        if len(gs) < 2:
            return gs[0] if gs else "None"
        return f"{self.text.name(gathered, 'gathered')}({shape}, {', '.join(gs)})"


def carried(op: Any, params: dict[str, Any], g: Any, *xs: Any) -> Any:
    """The cotangent of an op's first argument; what waits goes on waiting, where it can."""
    if type(g) is Later:
        later = op.through(g, params)
        if later is not None:
            return later
        g = g.run()
    return None if g is None else op.rules[0](g, *xs, **params)


def gathered(shape: tuple[int, ...], *gs: Any) -> Any:
    """The sum of what flows into one value; what waits runs together."""
    total = Gathering(shape)
    for g in gs:
        total.add(g)
    return total.settle()


def _released(lines: Sequence[str], found: Sequence[str]) -> list[str]:
    """The statements, and after each, one that lets go of the cotangents it was last to read."""
    seen = set(_cotangents(" ".join(found)))
    released: list[str] = []
    for line in reversed(lines):
        last = [name for name in dict.fromkeys(_cotangents(line)) if name not in seen]
        seen.update(last)
        released += [f"del {', '.join(last)}"] if last else []
        released.append(line)
    return released[::-1]


def _cotangents(text: str) -> list[str]:
    return re.findall(r"\b(?:d\d+_\d+|g\d+)\b", text)
