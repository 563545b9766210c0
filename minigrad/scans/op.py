"""A whole scan as one op: its loops on arrays, and the same lines on Tensors for higher orders."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from minigrad import ops
from minigrad.backend import Array, Backend, backend_of
from minigrad.gathering import Gathering
from minigrad.op import Op
from minigrad.scans import emit
from minigrad.scans.fusing import fused
from minigrad.scans.replay import pull_recorded, run_lines
from minigrad.scans.reverse import Back, End, reverse
from minigrad.scans.stacks import Stacked, Stacks
from minigrad.scans.step import Slot, Step
from minigrad.scans.text import Text, as_seen, over_time
from minigrad.tensor import Tensor

KNOWN = 256  # loops that are kept
VARIANTS = 8  # loops with numbers in their kernels: a step that has new ones each time gets no more
Present = tuple[bool, ...]


class Loop(NamedTuple):
    """A loop back: it takes and gives the cotangents of the state."""

    run: Callable[..., Any]
    before: Present  # which parts of the state have one before the steps
    ends: tuple[End, ...]


class Loops:
    """The compiled loops of steps that run the same code."""

    def __init__(self, step: Step, xp: Backend, numbers: bool = True) -> None:
        self.written = step.bare()  # or another op might get the id of one of its ops, in the key
        self.numbers = numbers
        self.step = fused(self.written, native=xp.native, numbers=numbers)
        self.xp = xp
        self._back: dict[tuple[Present, bool], Loop | None] = {}

    @functools.cached_property
    def forward(self) -> Callable[..., Any]:
        """The loop that only computes."""
        step = replace(self.step, active=[False] * len(self.step.active))
        return self._in_c(step, ()) or emit.forward(step, None).compiled()

    @functools.cached_property
    def saving(self) -> Callable[..., Any]:
        """The loop that also saves what the way back reads."""
        return self.native or emit.forward(self.step, self._kept).compiled()

    @functools.cached_property
    def native(self) -> Any:
        """The saving loop in C, where that is wanted and can be; it knows how to go on in C."""
        return self._in_c(self.step, self._kept)

    def _in_c(self, step: Step, kept: Sequence[Slot]) -> Any:
        if not self.xp.native:
            return None
        from minigrad.scans.machine import forward  # brings modules that few need

        return forward(step, kept)

    @functools.cached_property
    def full(self) -> Back:
        """The step back from all cotangents that there can be."""
        return self._reverse((True,) * (len(self.step.after) + len(self.step.output)))

    def _reverse(self, present: Present) -> Back:
        outside = self.step.constants
        return reverse(self.step, self.xp, present, outside, stack=True, numbers=self.numbers)

    @functools.cached_property
    def _kept(self) -> list[Slot]:
        """What is saved of a step: parts of the state and results."""
        return sorted(self.full.read.difference(range(self.step.inputs), self.step.constants))

    @functools.cached_property
    def stacks(self) -> Stacks:
        """Where what is wanted of all steps is kept."""
        return Stacks(self.step, self.full)

    def backward(self, present: Present, in_c: bool) -> Loop | None:
        """The loop back from the cotangents of the state and outputs that are present; or None if
        it cannot be had in C.

        One that is absent is not 0: a rule may make NaN of 0.
        """
        key = present, in_c
        if key not in self._back:
            back = self._reverse(present)
            if in_c:
                run = self.native.back(back, self.stacks.written(back))
            else:
                run = self._backward(back).compiled()
            before = tuple([slot in back.found for slot in self.step.before])
            ends = tuple([end for end in back.ends if end.stacked])
            self._back[key] = Loop(run, before, ends) if run else None
        return self._back[key]

    def _backward(self, back: Back) -> Text:
        return emit.backward(self.step, back, self._kept, self.stacks.written(back))

    @property
    def source(self) -> str:
        """The texts of both loops."""
        texts = emit.forward(self.step, self._kept), self._backward(self.full)
        return "\n\n".join(text.source for text in texts)


_known: dict[object, Loops] = {}
_variants: dict[object, int] = {}  # how many loops there were of steps that differ in numbers


def loops_of(step: Step, xp: Backend) -> Loops:
    """The loops of a step; steps that run the same code share them."""
    key = (xp, xp.native, step.key)
    loops = _known.get(key)
    if loops is None:
        if len(_known) >= KNOWN:
            _known.pop(next(iter(tuple(_known))), None)  # another thread may have done it
        if len(_variants) >= KNOWN:
            _variants.clear()
        alike = (xp, xp.native, step.key_without_numbers)
        _variants[alike] = _variants.get(alike, 0) + 1
        loops = _known[key] = Loops(step, xp, numbers=_variants[alike] <= VARIANTS)
    return loops


class ScanOp(Op):
    """The steps of one scan: inputs (T, …), state and constants to outputs (T, …) and state."""

    joint = True
    several = True

    # Methods where other ops hold functions: an op of every call must not be a reference cycle.
    def __init__(self, step: Step, steps: range, results: Sequence[Array]) -> None:  # pyright: ignore[reportMissingSuperCall]
        self.name = self.__name__ = "scan"
        self.rules = ()
        self.differentiable = self.saves_xs = True
        self.saves_y = False
        self.shapes_of = ()
        self.visible = None
        self.step = step
        self.steps = steps
        self.results = [(y.shape, y.dtype) for y in results]
        self.active_results = [step.active[slot] for slot in (*step.output, *step.after)]
        self.saved_steps: list[tuple[Array, ...]] = []

    # ---- forward -----------------------------------------------------------------------------

    def forward(self, xp: Backend, *xs: Array) -> tuple[Array, ...]:
        return self._run(None, xp, *xs)

    def saving_forward(self, xp: Backend, *xs: Array) -> tuple[Array, ...]:
        self.saved_steps = []
        return self._run(self.saved_steps, xp, *xs)

    def _run(self, saved: list[tuple[Array, ...]] | None, xp: Backend, *xs: Array) -> Any:
        self.loops = loops_of(self.step, xp)  # the way back reads what these have saved
        run = self.loops.forward if saved is None else self.loops.saving
        ys = [as_seen(xp, self.steps, shape, dtype) for shape, dtype in self.results]
        state = run(self.steps, *self._parts(xs), saved, ys)
        return (*ys, *state)

    def _parts(self, xs: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """The arguments apart: inputs, state and constants."""
        n, m = self.step.inputs, self.step.inputs + self.step.state
        return xs[:n], xs[n:m], xs[m:]

    # ---- backward ----------------------------------------------------------------------------

    def pull(
        self, g: Any, y: Any, xs: Sequence[Any], needs: Sequence[bool], params: dict[str, Any]
    ) -> Sequence[Any]:
        return self._pull(g, xs, needs, self.saved_steps.copy())

    def last_pull(
        self, g: Any, y: Any, xs: Sequence[Any], needs: Sequence[bool], params: dict[str, Any]
    ) -> Sequence[Any]:
        return self._pull(g, xs, needs, self.saved_steps)

    def _pull(
        self, g: Sequence[Any], xs: Sequence[Any], needs: Sequence[bool], saved: list[Any]
    ) -> Sequence[Any]:
        """The loop back on arrays, which takes what was saved from the list as it goes."""
        if any(isinstance(x, Tensor) for x in xs):
            return pull_recorded(self._replay, g, xs, needs)
        step, xp = self.step, backend_of(xs[0])
        inputs, _, constants = self._parts(xs)
        found = [
            over_time(xp, self.steps, x.shape[1:], x.dtype) if step.active[k] else None
            for k, x in enumerate(inputs)
        ]
        gathered = {
            slot: Gathering(c.shape)
            for slot, c in zip(step.constants, constants, strict=True)
            if step.active[slot]
        }
        stacks = self.loops.stacks.made(xp, self.steps, found)
        adders = [one.add for one in gathered.values()]
        state = self._loop_back(g, xs, saved, adders, found, stacks)
        saved.clear()
        for end, flowing in stacks.flowing(dict(zip(step.constants, constants, strict=True))):
            gathered[end.slot].add(flowing, end.fit)
        totals = [one and one.settle() for one in map(gathered.get, step.constants)]
        return [*found, *state, *totals]

    def _loop_back(
        self,
        g: Sequence[Any],
        xs: Sequence[Any],
        saved: list[Any],
        adders: list[Any],
        found: list[Any],
        stacks: Stacked,
    ) -> Sequence[Any]:
        """Run the steps back, last first; gives the cotangents of the first state."""
        loops, left, outputs = self.loops, self.steps, len(self.step.output)
        inputs, _, constants = self._parts(xs)
        gys, state, in_c = g[:outputs], g[outputs:], loops.native is not None
        while left:
            present = tuple([one is not None for one in (*state, *gys)])
            if not any(present):  # what flowed has come to its end
                for gx in found:
                    if gx is not None:
                        gx[min(left) : max(left) + 1] = 0
                break
            loop = loops.backward(present, in_c)
            if loop is None:
                saved[:], in_c = loops.native.unpack(*saved, len(left)), False
                continue
            # the last step alone, as long as cotangents flow to other parts of the state before it
            count = len(left) if loop.before == present[: len(state)] else 1
            order, left = left[-count:][::-1], left[:-count]
            state = loop.run(order, inputs, constants, saved, gys, state, adders, found, stacks)
            stacks.reached(loop.ends, order)
        return state

    def _replay(self, xs: Sequence[Any]) -> Iterator[Any]:
        """Outputs and state from the lines, op by op, on Tensors."""
        step = self.step
        inputs, state, constants = self._parts(xs)
        cut = [ops.unbind(x) for x in inputs]
        held = dict(zip(step.constants, constants, strict=True))
        outputs: dict[int, tuple[Any, ...]] = {}
        for t in self.steps:
            values = run_lines(step, dict(enumerate((*(x[t] for x in cut), *state))) | held)
            state = [values[slot] for slot in step.after]
            outputs[t] = tuple([values[slot] for slot in step.output])
        for k in range(len(step.output)):
            yield ops.stack([outputs[t][k] for t in sorted(outputs)])
        yield from state
