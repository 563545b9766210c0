"""A whole scan as one op: its loops on arrays, and the same lines on Tensors for higher orders."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minigrad import ops
from minigrad.backend import Array, Backend, backend_of
from minigrad.gathering import Gathering
from minigrad.op import Op
from minigrad.scans import emit
from minigrad.scans.fusing import fused
from minigrad.scans.plan import Plan
from minigrad.scans.replay import pull_recorded, run_lines
from minigrad.scans.step import Step
from minigrad.scans.text import over_time
from minigrad.tensor import Tensor

KNOWN = 256  # loops that are kept
VARIANTS = 8  # loops with numbers in their kernels: a step that has new ones each time gets no more
Present = tuple[bool, ...]


class Loops:
    """The compiled loops of steps that run the same code."""

    def __init__(self, step: Step, xp: Backend, numbers: bool = True) -> None:
        self.written = step.bare()  # or another op might get the id of one of its ops, in the key
        self.step = fused(self.written, native=xp.native, numbers=numbers)
        self.xp = xp
        self._results = len(step.after) + len(step.output)
        self._back: dict[Present, tuple[Callable[..., Any], Present]] = {}

    @functools.cached_property
    def forward(self) -> Callable[..., Any]:
        """The loop that only computes."""
        native = self._machine((False,) * self._results)
        if native is not None:
            return native.forward
        return emit.forward(Plan(self.step, self.xp, (False,) * self._results)).compiled()

    @functools.cached_property
    def _plan(self) -> Plan:
        return Plan(self.step, self.xp, (True,) * self._results)

    def _machine(self, present: Present) -> Any:
        """The loops as machine code, where that is wanted and can be."""
        if not self.xp.native:
            return None
        from minigrad.scans.machine import machine  # brings modules that few need

        return machine(Plan(self.step, self.xp, present))

    @functools.cached_property
    def _native(self) -> Any:
        return self._machine((True,) * self._results)

    @functools.cached_property
    def saving(self) -> Callable[..., Any]:
        """The loop that also saves what the way back reads."""
        if self._native is not None:
            return self._native.forward
        return emit.forward(self._plan).compiled()

    def native_backward(self, present: Present, saved: list[Any]) -> Any:
        """The loop back in machine code; None, with what was saved made ready for the other."""
        if self._native is None:
            return None
        loop = self._native.backward(present)
        if loop is None:
            saved[:] = self._native.unpack(saved.pop())
        return loop

    def backward(self, present: Present) -> tuple[Callable[..., Any], Present]:
        """The loop back from the cotangents of the state and outputs that are present, and which
        parts of the state before the step then have one.

        One that is absent is not 0: a rule may make NaN of 0.
        """
        if present not in self._back:
            plan = Plan(self.step, self.xp, present)
            text, before = emit.backward(plan, self._plan.kept)
            self._back[present] = text.compiled(), tuple(before)
        return self._back[present]

    @property
    def source(self) -> str:
        """The texts of both loops."""
        plan = self._plan
        texts = (emit.forward(plan), emit.backward(plan, plan.kept)[0])
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
        loops = loops_of(self.step, xp)
        run = loops.forward if saved is None else loops.saving
        ys = [xp.empty((len(self.steps), *shape), dtype) for shape, dtype in self.results]
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
        count = len(step.output)
        gys, after = g[:count], g[count:]
        found = [
            over_time(xp, self.steps, x.shape[1:], x.dtype) if step.active[k] else None
            for k, x in enumerate(inputs)
        ]
        gathered = [
            Gathering(c.shape) if step.active[slot] else None
            for slot, c in zip(step.constants, constants, strict=True)
        ]
        adders = [one.add for one in gathered if one is not None]
        loops, left = loops_of(step, xp), self.steps
        present = tuple([one is not None for one in (*after, *gys)])
        native = loops.native_backward(present, saved)
        if native is not None:
            left = range(0)
            order = self.steps[::-1]
            after = native(order, inputs, constants, saved, gys, after, adders, found)
        while left:
            present = tuple([one is not None for one in (*after, *gys)])
            loop, before = loops.backward(present)
            # the last step alone, as long as cotangents flow to other parts of the state before it
            count = len(left) if before == present[: len(after)] else 1
            now, left = left[-count:], left[:-count]
            part, order = slice(min(now), max(now) + 1), range(count)[:: -self.steps.step]
            pieces = [_piece(xs, part) for xs in (inputs, gys, found)]
            after = loop(order, pieces[0], constants, saved, pieces[1], after, adders, pieces[2])
        return [*found, *after, *(one and one.settle() for one in gathered)]

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


def _piece(arrays: Sequence[Array | None], part: slice) -> list[Array | None]:
    """Some steps of arrays (T, …)."""
    return [None if x is None else x[part] for x in arrays]
