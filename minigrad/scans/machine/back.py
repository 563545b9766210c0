"""The loop back in C, and what its weights' gradients are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.ops.elementwise import undo_broadcast
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
        self.taken = {slot: name for stage in self.stages for slot, name in stage.taken.items()}
        self.run = self._written()

    def _kept(self) -> tuple[dict[Slot, str], dict[Slot, int]]:
        """What keeps the cotangents of every step, and from which step back on."""
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
            np.empty(shape, machine.dtype) if h is None else np.array(h, machine.dtype, order="C")
            for h, shape in zip(state, shapes, strict=True)
        ]
        arrays |= {f"h{k}": h for k, h in enumerate(carried)}
        arrays |= {
            f"gy{k}": np.ascontiguousarray(g, machine.dtype)
            for k, g in enumerate(gs)
            if g is not None
        }
        arrays |= {f"found{k}": g for k, g in enumerate(found) if g is not None}
        for slot, name in (*self.kept.items(), *self.taken.items()):
            if name not in arrays:
                arrays[name] = over_time(self.plan.xp, steps, step.shapes[slot], machine.dtype)
        for stage in self.stages:
            for name, (_, shape) in stage.totals.items():
                arrays[name] = np.zeros(shape, machine.dtype)
        machine.call(self.run, self.code, steps, arrays)
        adders = dict(zip([c for c in step.constants if step.active[c]], gathered, strict=True))
        held = dict(zip(step.constants, constants, strict=True))
        reached = self.stages[:count]
        totals = {name: slot for stage in reached for name, (slot, _) in stage.totals.items()}
        for name, slot in totals.items():
            adders[slot](arrays[name], undo_broadcast)
        for line in reached[-1].plan.pulled:
            self._gather(line, arrays, held, adders, steps)
        return [h if here else None for h, here in zip(carried, reached[-1].before, strict=True)]

    def _gather(self, line: Line, arrays: Any, held: Any, adders: Any, steps: range) -> None:
        """Give the weight and bias of a product what the steps have for them."""
        if self.begins.get(line.outs[0], len(steps)) < len(steps):
            for k, slot in enumerate(line.slots):
                if slot in adders:
                    adders[slot](self._all_steps(line, k, arrays, held, steps), line.op.fit)

    def _all_steps(self, line: Line, k: int, arrays: Any, held: Any, steps: range) -> Any:
        """What a product has for its k-th argument, a constant: one product for all steps."""
        step, op, out = self.step, line.op, line.outs[0]
        reached = sorted(steps[self.begins[out] :])
        part = slice(reached[0], reached[-1] + 1)

        def every(slot: Slot) -> Any:
            if slot in held:
                return held[slot]
            x = arrays.get(self.taken.get(slot, f"x{slot}"))
            return None if x is None else x[part]  # not taken: its weight is frozen

        xs: list[Any] = [
            every(a) if keep else None
            for a, keep in zip(line.slots, op.keeps(len(line.slots)), strict=True)
        ]
        asked: tuple[int, ...] = op.shapes_of
        for i in asked:
            if i < len(xs):
                xs[i] = step.shapes[line.slots[i]]
        return op.rules[k](arrays[self.kept[out]][part], None, *xs, **line.params)
