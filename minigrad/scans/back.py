"""The body of the loop back: each line's rules as statements, last line first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from minigrad.fuse import FusedOp
from minigrad.op import Op
from minigrad.scans.plan import Plan, direct
from minigrad.scans.step import Line, Number, Slot
from minigrad.scans.text import Text, identifier, listed, params_of


class _Shape:
    """Stands for a cotangent: a rule can ask for its shape, and do nothing else with it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape


class Back:
    """What holds each value's cotangent, and the statements so far."""

    def __init__(self, plan: Plan, text: Text) -> None:
        self.plan = plan
        self.text = text
        self.held: dict[Slot, str] = {}
        self.lines: list[str] = []
        self.last: list[str] = []  # statements after the loop
        self.buffers: dict[str, str] = {}  # what holds a value at every step, and the value

    def flow(self, slot: Slot, g: str) -> None:
        """Let a cotangent flow into a value."""
        if not self.plan.step.active[slot]:
            return
        if self.is_end(slot):
            self.end(slot, g)
        elif slot in self.held:
            self.lines.append(f"g{slot} = {self.held[slot]} + {g}")
            self.held[slot] = f"g{slot}"
        else:
            self.held[slot] = g

    def is_end(self, slot: Slot) -> bool:
        """Whether cotangents are gathered for a value, and flow no further."""
        return slot in self.plan.step.constants

    def end(self, slot: Slot, g: str, op: Any = None) -> None:
        """Let a cotangent end in a value, fitted to its shape as the op asks that gives it."""
        fit = "" if op is None else f", {self.text.name(op.fit, 'fit')}"
        self.lines.append(f"add_{self.plan.values[slot]}({g}{fit})")

    def _stacks(self, line: Line, k: int) -> bool:
        """Whether an argument's rule can run once, on what it reads at all steps."""
        constants, stacks = self.plan.step.constants, cast("Op", line.op).stacks
        others = [line.args[i] for i in stacks.get(k, ())]
        return (
            k in stacks
            and line.args[k] in constants
            and len(self.plan.step.shape_of(line.args[k])) <= 2
            and all(isinstance(a, int) and a not in constants for a in others)
        )

    def pull(self, line: Line) -> None:
        """Write the statements of one line's rules."""
        needs = self.plan.needs(line)
        if not self.held.keys() & line.outs:
            return  # nothing flows here: what reads it is constant
        if isinstance(line.op, FusedOp) and direct(line):
            self._pull_fused(line, line.op)
        elif line.op.joint:
            self._pull_jointly(line)
        else:
            for k, rule in enumerate(line.op.rules[: len(line.args)]):
                if needs[k]:
                    pull = self._pull_stacked if self._stacks(line, k) else self._pull_one
                    pull(line, k, rule)

    def _pull_fused(self, line: Line, op: FusedOp) -> None:
        plan = self.plan
        pull = op.puller(tuple([out in self.held for out in line.outs]), plan.needs(line))
        gs = [self.held[out] for out in line.outs if out in self.held]
        gs += [plan.text_of(line.args[k]) for k in pull.derived.xs]
        gs += [plan.values[line.outs[k]] for k in pull.derived.ys]
        found = [f"d{line.outs[0]}_{k}" for k in pull.derived.gives]
        run = self.text.name(pull.op.compiled(plan.xp, saving=False), pull.op.name)
        self.lines.append(f"{listed(found)}= {run}({', '.join(gs)})")
        for k, g in zip(pull.derived.gives, found, strict=True):
            self._deliver(line, k, g)

    def _pull_jointly(self, line: Line) -> None:
        plan, op = self.plan, line.op
        _, ys = plan.reads(line)
        x = self._arguments(line, plan.text_of)
        g = [self.held.get(out, "None") for out in line.outs]
        y = [plan.values[o] if r else "None" for o, r in zip(line.outs, ys, strict=True)]
        several = (f"({listed(g)})", f"({listed(y)})") if op.several else (g[0], y[0])
        needs = plan.needs(line)
        found = [f"d{line.outs[0]}_{k}" for k in range(len(line.args))]
        params = self.text.name(line.params, "params")
        args = f"{', '.join(several)}, ({listed(x)}), {needs}, {params}"
        self.lines.append(f"{listed(found)}= {self.text.name(op.pull, 'pull')}({args})")
        for k, g_k in enumerate(found):
            if needs[k]:
                self._deliver(line, k, g_k)

    def _pull_one(self, line: Line, k: int, rule: Any) -> None:
        g = self.held[line.outs[0]]
        if self._hands_on(line, k, rule):
            slot = line.args[k]
            assert isinstance(slot, int)
            self.flow(slot, g)
            return
        found = f"d{line.outs[0]}_{k}"
        self.lines.append(f"{found} = {self._rule(line, rule, g, self.plan.text_of)}")
        self._deliver(line, k, found)

    def _pull_stacked(self, line: Line, k: int, rule: Any) -> None:
        """A weight's gradient, once for all steps: one large product."""

        def stack(a: Slot | Number) -> str:
            text = self.plan.text_of(a)
            outside = isinstance(a, Number) or a in self.plan.step.constants
            return text if outside else self._buffer(f"all_{text}", text)

        g = self.held[line.outs[0]]
        call = self._rule(line, rule, self._buffer(f"all_{g}", g), stack)
        fit = self.text.name(line.op.fit, "fit")
        self.last.append(f"add_{self.plan.text_of(line.args[k])}({call}, {fit})")

    def _buffer(self, name: str, value: str) -> str:
        """The name of what holds a value at every step."""
        name = identifier(name)
        self.buffers[name] = value
        return name

    def stacking(self) -> list[str]:
        """The statements that note a value of every step; cotangents of inputs are noted anyway."""
        inputs = range(self.plan.step.inputs)
        known = {g: f"gxs{slot}" for slot, g in self.held.items() if slot in inputs}
        lines: list[str] = []
        for buffer, value in self.buffers.items():
            if value in known:
                lines.append(f"{buffer} = {known[value]}")
            else:
                lines.append(f"if {buffer} is None: {buffer} = stack_for({value}, steps)")
                lines.append(f"{buffer}[t] = {value}")
        return lines

    def _rule(self, line: Line, rule: Any, g: str, text_of: Callable[[Slot | Number], str]) -> str:
        """The text of a rule's call."""
        plan, op = self.plan, line.op
        xs = self._arguments(line, text_of)
        y = plan.values[line.outs[0]] if op.saves_y else "None"
        run = self.text.name(rule, f"{op.name}_rule")
        return f"{run}({', '.join([g, y, *xs])}{params_of(self.text, line)})"

    def _arguments(self, line: Line, text_of: Callable[[Slot | Number], str]) -> list[str]:
        """The arguments of a line as its rules want them: the arrays, or their shapes, or None."""
        xs = [
            text_of(a) if read else "None"
            for a, read in zip(line.args, self.plan.reads(line)[0], strict=True)
        ]
        asked: tuple[int, ...] = line.op.shapes_of
        for i in asked:
            if i < len(line.args):
                xs[i] = repr(self.plan.step.shape_of(line.args[i]))
        return xs

    def _hands_on(self, line: Line, k: int, rule: Any) -> bool:
        """Whether a rule gives g itself, whatever it is: then it need not be called."""
        step = self.plan.step
        shapes = [
            step.shape_of(a) if i in line.op.shapes_of else None for i, a in enumerate(line.args)
        ]
        g = _Shape(step.shapes[line.outs[0]])
        if g.shape != step.shape_of(line.args[k]):
            return False
        try:
            return rule(g, None, *shapes, **line.params) is g
        except Exception:  # whatever a rule makes of it
            return False

    def _deliver(self, line: Line, k: int, g: str) -> None:
        """Let what a rule gave flow into the argument: run, and summed over broadcast axes."""
        slot, step = line.args[k], self.plan.step
        assert isinstance(slot, int)
        if self.is_end(slot):
            self.end(slot, g, line.op)
            return
        shape, fit = step.shapes[slot], self.text.name(line.op.fit, "fit")
        waits = "" if isinstance(line.op, FusedOp) else f"{g} is None or type({g}) is Later or "
        like = next(self.held[out] for out in line.outs if out in self.held)
        ready = f"flowed({g}, {fit}, {shape}, {like})"
        self.lines.append(f"if {waits}{g}.shape != {shape}: {g} = {ready}")
        self.flow(slot, g)
