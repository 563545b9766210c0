"""The step back: what a step's rules do with cotangents, written down as a step of its own."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from minigrad import ops
from minigrad.backend import Array, Backend, backend_of
from minigrad.gathering import Later
from minigrad.op import Op
from minigrad.ops.broadcast import sum_to
from minigrad.ops.contract import column_sum, matmul_op
from minigrad.scans.fusing import fused
from minigrad.scans.rules import PullOp, arguments, pulled, ready
from minigrad.scans.step import Line, Number, Slot, Step, Traced, Writer, frozen

_SUMS = (sum_to, column_sum)


@dataclass(frozen=True)
class End:
    """A place where a cotangent flows into a value from outside: what `run(*args)` gives.

    It runs once for each step, or (`stacked`) once on what all steps have for its arguments.
    """

    slot: Slot
    place: tuple[Slot, int]  # the line, by what it makes, and the argument: whatever cotangents are
    run: Callable[..., Any] | None  # None: the one argument flows as it is
    args: tuple[Slot | Number, ...]
    params: dict[str, Any]
    fit: Callable[..., Any] | None  # undoes broadcasting
    stacked: bool = False

    @property
    def slots(self) -> list[Slot]:
        """The arguments that are values of the step back."""
        return [a for a in self.args if isinstance(a, int)]

    @property
    def op(self) -> Op | None:
        """The op that waits to run, if that is what flows."""
        return cast("Number", self.args[0]).value if self.run is Later else None


@dataclass(frozen=True)
class Back:
    """The step back, for the cotangents of a step's results that are present.

    Its slots go on where the step's own end: up to `known` they are the step's, the cotangents of
    outputs are further inputs, those of the next state are its state.
    """

    step: Step
    known: int
    outside: Collection[Slot]
    seeds: dict[int, Slot]  # the cotangents that come, by the place of the result they are of
    found: dict[Slot, Slot]  # those of the step's inputs and state
    ends: tuple[End, ...]  # what flows into values from outside, in order

    @property
    def read(self) -> set[Slot]:
        """The step's values that it reads."""
        slots = [a for line in self.step.lines for a in line.slots]
        slots += [a for end in self.ends for a in end.slots]
        return {a for a in slots if a < self.known}

    def stacked(self) -> dict[tuple[Slot, int, int], Slot]:
        """What is wanted of all steps: by its place in an end, which does not depend on what is
        present."""
        return {
            (*end.place, k): a
            for end in self.ends
            if end.stacked
            for k, a in enumerate(end.args)
            if isinstance(a, int) and a not in self.outside
        }


def reverse(
    step: Step,
    xp: Backend,
    present: Sequence[bool],
    outside: Collection[Slot],
    *,
    waiting: Collection[Slot] | None = None,
    stack: bool = False,
    numbers: bool = True,
) -> Back:
    """Write down what flows back through a step, from its results whose cotangents are `present`
    (of the next state, then of the outputs) to its inputs and state, and to values from `outside`.

    Products may wait for others that end in the same value from outside, of all or of those given.
    With `stack`, ends that can run once for all steps are marked so. `numbers`: see `fused`.
    """
    back = _Sweep(step, xp, outside, outside if waiting is None else waiting, stack).run(present)
    return replace(back, step=fused(back.step, native=xp.native, numbers=numbers))


class _Shapes(Writer):
    """A writer that keeps no values: of these, only shapes and dtypes count."""

    def new(self, data: Array, active: bool) -> Traced:
        like = _zeros(backend_of(data), data.shape, data.dtype)
        return super().new(like, active)


def _zeros(xp: Backend, shape: tuple[int, ...], dtype: Any) -> Array:
    """Zeros that take no memory."""
    return xp.broadcast_to(xp.zeros((), dtype), shape)


class _Sweep:
    """The rules of a step's lines, run on traced values, last line first."""

    def __init__(
        self,
        step: Step,
        xp: Backend,
        outside: Collection[Slot],
        waiting: Collection[Slot],
        stack: bool,
    ) -> None:
        self.step = step
        self.xp = xp
        self.outside, self.waiting = outside, waiting
        self.stack = stack
        self.writer = _Shapes((), ())
        self.held: dict[Slot, Any] = {}  # cotangents: traced, or waiting
        self.ends: list[End] = []
        self.known = [self._value(slot) for slot in range(len(step.shapes))]
        read = Counter([*step.after, *step.output, *(a for line in step.lines for a in line.slots)])
        # what one line makes (Wᵀ) and one reads: what waits is carried through it, as on the tape
        self.carriers = {
            line.outs[0] for line in step.lines if line.op.through and read[line.outs[0]] == 1
        }

    def _value(self, slot: Slot) -> Traced:
        """A value like that of a slot."""
        step = self.step
        like = _zeros(step.backends[slot], step.shapes[slot], step.dtypes[slot])
        return self.writer.new(like, False)

    def run(self, present: Sequence[bool]) -> Back:
        step = self.step
        results = (*step.after, *step.output)
        here = [k for k, slot in enumerate(results) if present[k] and step.active[slot]]
        outputs = [k for k in here if k >= len(step.after)]
        state = here[: len(here) - len(outputs)]
        seeds = {k: self._value(results[k]) for k in (*outputs, *state)}
        for k in here:
            self._flow(results[k], seeds[k])
        with np.errstate(all="ignore"):
            for line in reversed(step.lines):
                if self.held.keys() & line.outs:
                    self._pull(line)
        if self.xp.native and not self.stack:
            self.ends = self._together()
        slots = {k: g.slot for k, g in seeds.items()}
        found = {slot: g.slot for slot, g in self.held.items()}  # where no line has pulled it on
        back = self._written(len(outputs), len(state), found)
        return Back(back, len(self.known), self.outside, slots, found, tuple(self.ends))

    def _written(self, outputs: int, state: int, found: dict[Slot, Slot]) -> Step:
        """The lines so far as a step, whose outputs are all that is wanted of it."""
        written, step = self.writer.step, self.step
        made = {out for line in written.lines for out in line.outs}
        ended = (a for end in self.ends for a in end.slots if a in made)
        return replace(
            written,
            inputs=len(self.known) + outputs,
            state=state,
            after=tuple([found[slot] for slot in step.before if slot in found]),
            output=tuple(dict.fromkeys([*found.values(), *ended])),
        )

    # ---- one line ----------------------------------------------------------------------------

    def _pull(self, line: Line) -> None:
        gs = [self.held.pop(out, None) for out in line.outs]
        needs = [isinstance(a, int) and self.step.active[a] for a in line.args]
        if isinstance(gs[0], Later):
            self._carry(line, gs[0])
            return
        if not line.op.joint:
            for k, rule in enumerate(line.op.rules[: len(line.args)]):
                if needs[k] and line.args[k] in self.outside:
                    self._pull_outside(line, k, rule, gs[0])
                    needs[k] = False
        if any(needs):
            for k, g in enumerate(self._cotangents(line, gs, needs)):
                if g is not None:
                    self._deliver(line, k, g)

    def _pull_outside(self, line: Line, k: int, rule: Callable[..., Any], g: Traced) -> None:
        """Pull a cotangent to a value from outside: by lines, unless the rule runs apart."""
        if self._stacks(line, k):
            self._end(line, k, rule, g, stacked=True)
            return
        before = len(self.writer.step.lines)
        try:
            found = self._run(line, [g], [i == k for i in range(k + 1)])[k]
            if isinstance(found, Later):
                frozen(found.params)  # or raises, if they hold values of the step
        except Exception:  # a rule that is not made of ops alone
            del self.writer.step.lines[before:]
            self._end(line, k, rule, g)
        else:
            if found is not None:
                self._deliver(line, k, found)

    def _stacks(self, line: Line, k: int) -> bool:
        """Whether a rule can run once, on what it reads of all steps."""
        wanted: tuple[int, ...] = line.op.stacks.get(k, ())
        others = [line.args[i] for i in wanted]
        return (
            self.stack
            and k in line.op.stacks
            and len(self.step.shape_of(line.args[k])) <= 2
            and all(isinstance(a, int) and a not in self.outside for a in others)
        )

    def _end(
        self, line: Line, k: int, rule: Callable[..., Any], g: Traced, stacked: bool = False
    ) -> None:
        """Note that a rule's run ends in a value from outside."""
        y, xs = arguments(self.step, line, [*line.outs], [*line.args])
        args = tuple([a if isinstance(a, (int, Number)) else Number(a) for a in (g.slot, y, *xs)])
        slot, place = cast("Slot", line.args[k]), (line.outs[0], k)
        self.ends.append(End(slot, place, rule, args, line.params, line.op.fit, stacked))

    def _carry(self, line: Line, g: Later) -> None:
        """Let what waits for a result wait for the argument; or run it, if it cannot."""
        later = line.op.through(g, line.params)
        if later is None:
            self.held[line.outs[0]] = g.run()
            self._pull(line)
        else:
            self._deliver(line, 0, self._ready(line, 0, later))

    def _cotangents(self, line: Line, gs: list[Any], needs: Sequence[bool]) -> Sequence[Any]:
        """What a line's rules give for the arguments that need a cotangent, None for others."""
        before = len(self.writer.step.lines)
        try:
            return self._run(line, gs, needs)
        except Exception:  # a rule that is not made of ops alone runs as it stands
            del self.writer.step.lines[before:]
            return PullOp(self.step, line, gs, needs).applied(gs, *self._values(line))

    def _run(self, line: Line, gs: list[Any], needs: Sequence[bool]) -> list[Any]:
        found = pulled(self.step, line, gs, *self._values(line), needs)
        pairs = zip(found, needs, strict=False)
        return [self._ready(line, k, g) if need else None for k, (g, need) in enumerate(pairs)]

    def _values(self, line: Line) -> tuple[list[Any], list[Any]]:
        """What a line gives, and its arguments."""
        ys = [self.known[out] for out in line.outs]
        return ys, [a.value if isinstance(a, Number) else self.known[a] for a in line.args]

    def _ready(self, line: Line, k: int, g: Any) -> Any:
        """What a rule gave, made ready to flow on, unless it may wait."""
        slot, fit = cast("Slot", line.args[k]), line.op.fit
        waits = slot in self.waiting or (slot in self.carriers and fit is None)
        if isinstance(g, Later) and self.stack and g.op in _SUMS:
            g = g.run()  # what is added up before the loop ends, or after
        if g is None or (waits and isinstance(g, (Traced, Later))):
            return g
        return ready(g, fit, self.step.shapes[slot])

    def _deliver(self, line: Line, k: int, g: Any) -> None:
        """Let what a rule gave flow into the argument."""
        slot = cast("Slot", line.args[k])
        if slot in self.outside:
            waits = type(g) is Later
            args = (Number(g.op), *(x.slot for x in g.xs)) if waits else (g.slot,)
            run, params = (Later, g.params) if waits else (None, {})
            self.ends.append(End(slot, (line.outs[0], k), run, args, params, line.op.fit))
        elif type(g) is Later:
            self.held[slot] = g
        else:
            self._flow(slot, g)

    def _together(self) -> list[End]:
        """The ends with what waits for a value as one product, what flows there as one sum.

        So the tape would do, but here it is lines, which C can run.
        """
        kinds: dict[object, list[End]] = {}
        for end in self.ends:
            shapes = [self.writer.step.shapes[a] for a in end.slots]
            kind: object = id(end)
            if end.run is None or end.op in _SUMS:
                kind = end.slot, end.op, shapes[0], end.fit
            elif end.op is matmul_op and {*map(len, shapes)} == {2}:
                kind = end.slot, end.op
            kinds.setdefault(kind, []).append(end)
        return [ends[0] if len(ends) == 1 else self._joined(ends) for ends in kinds.values()]

    def _joined(self, ends: Sequence[End]) -> End:
        """The sum of ends of one kind."""
        first, columns = ends[0], zip(*(end.slots for end in ends), strict=True)
        parts = [[Traced(self.writer, a) for a in column] for column in columns]
        if first.op is matmul_op:
            made = ops.cat(parts[0], 1), ops.cat(parts[1], 0)
        else:
            made = (functools.reduce(ops.add, parts[0]),)
        fixed = first.args[: len(first.args) - len(made)]  # what waits, if it does
        return replace(first, args=(*fixed, *(g.slot for g in made)))

    def _flow(self, slot: Slot, g: Traced) -> None:
        """Let a cotangent flow into a value of the step."""
        if slot in self.outside:
            self.ends.append(End(slot, (slot, -1), None, (g.slot,), {}, None))
        elif slot in self.held:
            self.held[slot] = ops.add(self.held[slot], g)
        else:
            self.held[slot] = g
