"""The loop back in C, and what its weights' gradients are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.scans.machine.code import Code, Unfit
from minigrad.scans.machine.places import Forward
from minigrad.scans.machine.stage import Stage
from minigrad.scans.step import Line, Slot
from minigrad.scans.text import over_time

STAGES = 4  # the most steps that have a body of their own


class Backward:
    """The loop back of a machine, for the cotangents of the state and outputs that are present.

    An absent one is not 0 (a rule may make NaN of 0), so the first steps back, which fewer
    cotangents reach than the others, have bodies of their own.
    """

    def __init__(self, machine: Forward, present: Sequence[bool]) -> None:
        self.machine, self.step, self.plan = machine, machine.step, machine.plan
        self.code = Code(machine.code.number)
        parts = len(self.plan.state)
        self.stages = [Stage(machine, self.code, present)]
        while self.stages[-1].before != [*present[:parts]]:
            present = [*self.stages[-1].before, *present[parts:]]
            self.stages.append(Stage(machine, self.code, present))
            if len(self.stages) > STAGES:
                raise Unfit
        self.kept, self.begins = self._kept()
        self.run = self._written()

    def _kept(self) -> tuple[dict[Slot, str], dict[Slot, int]]:
        """What keeps a value of every step, and from which step back on."""
        kept: dict[Slot, str] = {}
        begins: dict[Slot, int] = {}
        for k, stage in enumerate(self.stages):
            if any(stage.kept.get(slot) != name for slot, name in kept.items()):
                raise Unfit
            kept |= stage.kept
            begins = dict.fromkeys(stage.kept, k) | begins
        return kept, begins

    def _written(self) -> Callable[..., None]:
        code, machine = self.code, self.machine
        for slot, after in zip(self.plan.state, self.step.after, strict=True):
            before = machine.place(code, after, "(t + step)")
            init = code.array(f"init{slot}")
            code.body.append(f"const T *s{slot} = k + 1 < count ? {before} : {init};")
        *early, last = self.stages
        for k, stage in enumerate(early):
            code.body += [f"if (k == {k}) {{", *stage.body, "} else"]
        code.body += ["{", *last.body, "}"]
        return code.compiled()

    def __call__(
        self,
        steps: range,
        inputs: Any,
        constants: Any,
        saved: Any,
        gs: Sequence[Array | None],
        state: Sequence[Array | None],
        gathered: Any,
        found: Any,
    ) -> list[Array | None]:
        """As the loop in Python."""
        step, machine, count = self.step, self.machine, len(steps)
        arrays: dict[str, Array] = dict(saved.pop()[1])
        shapes = [step.shapes[slot] for slot in self.plan.state]
        carried = [
            np.empty(shape, machine.dtype) if h is None else np.array(h, order="C")
            for h, shape in zip(state, shapes, strict=True)
        ]
        arrays |= {f"h{k}": h for k, h in enumerate(carried)}
        arrays |= {f"gy{k}": np.ascontiguousarray(g) for k, g in enumerate(gs) if g is not None}
        arrays |= {f"found{k}": g for k, g in enumerate(found) if g is not None}
        for slot, name in self.kept.items():
            if name not in arrays:
                arrays[name] = over_time(self.plan.xp, steps, step.shapes[slot], machine.dtype)
        arrays |= {n: np.zeros(size, machine.dtype) for n, size in self.code.totals.items()}
        machine.call(self.run, self.code, steps, arrays)
        adders = dict(zip([c for c in step.constants if step.active[c]], gathered, strict=True))
        held = dict(zip(step.constants, constants, strict=True))
        for line in self.stages[-1].plan.pulled:
            self._gather(line, arrays, held, adders, steps)
        reached = self.stages[:count][-1].before
        return [h if here else None for h, here in zip(carried, reached, strict=True)]

    def _gather(self, line: Line, arrays: Any, held: Any, adders: Any, steps: range) -> None:
        """Give each constant what the steps have for it."""
        mine = [(k, slot) for k, slot in enumerate(line.slots) if slot in adders]
        if line.op.stacks:
            for k, slot in mine:
                if line.outs[0] in self.kept and self.begins[line.outs[0]] < len(steps):
                    adders[slot](self._all_steps(line, k, arrays, held, steps), line.op.fit)
        else:
            columns = self.step.shapes[line.outs[0]][1]
            for slot in {slot for _, slot in mine}:
                total = arrays.pop(f"total{slot}", None)
                if total is not None:
                    adders[slot](total.reshape(-1, columns), line.op.fit)

    def _all_steps(self, line: Line, k: int, arrays: Any, held: Any, steps: range) -> Any:
        """What a product has for its k-th argument, a weight: one product for all steps."""
        step, op, out = self.step, line.op, line.outs[0]
        reached = sorted(steps[self.begins[out] :])
        part = slice(reached[0], reached[-1] + 1)

        def every(slot: Slot) -> Any:
            name = self.kept.get(slot, f"x{slot}")
            return held[slot] if slot in held else arrays[name][part]

        xs: list[Any] = [
            every(a) if keep else None
            for a, keep in zip(line.slots, op.keeps(len(line.slots)), strict=True)
        ]
        asked: tuple[int, ...] = op.shapes_of
        for i in asked:
            if i < len(xs):
                xs[i] = step.shapes[line.slots[i]]
        return op.rules[k](every(out), None, *xs, **line.params)
