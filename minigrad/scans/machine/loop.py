"""The loops of a step in C: where each value lives through time."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad.backend import Array
from minigrad.backend.blas import Blas
from minigrad.scans.machine.code import Code, Unfit, padded
from minigrad.scans.machine.lines import Lines
from minigrad.scans.machine.views import View, assigned, cleared, dense
from minigrad.scans.reverse import Back, End
from minigrad.scans.step import Slot, Step
from minigrad.scans.text import has_columns

NUMBERS = {"f": "float", "d": "double"}
Arrays = dict[str, Array]


@functools.cache  # ctypes makes the type anew otherwise, which is a reference cycle
def _pointers(count: int) -> type[ctypes.Array[Any]]:
    return ctypes.c_void_p * count


@functools.cache
def _extents(count: int) -> type[ctypes.Array[Any]]:
    return ctypes.c_ssize_t * count


class Saved(NamedTuple):
    """What a loop forward leaves for the loop back: its arrays by name."""

    steps: range
    arrays: Arrays


class Forward:
    """The loop forward.

    Every result that the way back or the next step reads has its place for each step, (T, …);
    the others share one place.
    """

    def __init__(self, step: Step, kept: Sequence[Slot], library: Blas) -> None:
        self.step, self.kept, self.blas = step, kept, library
        self.state = step.before
        self.dtype = number_of(step, {*range(step.inputs), *step.constants}, self.state)
        made = {out for line in step.lines for out in line.outs}
        if not set(step.after) <= made or len({*step.after}) != len(step.after):
            raise Unfit
        wanted = {slot for slot in (*kept, *step.after) if slot in made}
        self.lasting: dict[Slot, int] = {}  # where each begins, for one step
        self.room = 0
        for slot in sorted(wanted):
            self.lasting[slot] = self.room
            self.room += padded(_size(step, slot))
        self.code = Code(NUMBERS[self.dtype.char])
        self.run = self._written()

    def place(self, code: Code, slot: Slot, t: str = "t") -> View:
        """Where a value of step t is, if it has a place for each step; or one from outside."""
        step, shape, size = self.step, self.step.shapes[slot], _size(self.step, slot)
        if slot < step.inputs:
            return code.timed(f"x{slot}", shape)
        if slot in self.state:
            at = f"s{slot}"
        elif slot in step.constants:
            at = code.array(f"c{slot}")
        else:
            at = f"({code.array('saved')} + count * {self.lasting[slot]} + {t} * {size})"
        return dense(at, shape)

    def _written(self) -> Callable[..., None]:
        step, code = self.step, self.code
        given = (*range(step.inputs), *self.state, *step.constants)
        lines = Lines(
            code,
            step,
            {slot: self.place(code, slot) for slot in given},
            {slot: self.place(code, slot) for slot in self.lasting},
            step.constants,
        )
        for slot in self.state:
            code.before.append(f"const T *s{slot} = {code.array(f'init{slot}')};")
        code.body += lines.body
        for k, slot in enumerate(step.output):
            code.body.append(assigned(code.timed(f"y{k}", step.shapes[slot]), lines.at[slot]))
        for slot, after in zip(self.state, step.after, strict=True):
            code.body.append(f"s{slot} = {lines.at[after].at};")
        return code.loop()

    def __call__(
        self, steps: range, inputs: Any, state: Any, constants: Any, saved: Any, outputs: Any
    ) -> list[Array]:
        """As the loop in Python; what the way back reads is saved all at once."""
        step = self.step
        arrays = {f"x{k}": self.numbers(x, timed=True) for k, x in enumerate(inputs)}
        arrays |= _named("init", self.state, map(self.numbers, state))
        arrays |= _named("c", step.constants, map(self.numbers, constants))
        arrays |= {f"y{k}": y for k, y in enumerate(outputs)}
        arrays["saved"] = np.empty(len(steps) * self.room, self.dtype)
        call(self.run, self.code, self.blas, steps, slice(0, len(steps)), arrays)
        if saved is not None:
            saved.append(Saved(steps, arrays))
        return [self._at_all(arrays, slot, len(steps))[steps[-1]].copy() for slot in step.after]

    def numbers(self, x: Array, timed: bool = False) -> Array:
        """An argument as the loop reads it: masks as 1 and 0, and dense if it must be."""
        strided = timed and has_columns(x.shape[1:])
        y = np.asarray(x, self.dtype, order=None if strided else "C")
        return y if y.flags.aligned else y.copy()  # or strides are no whole numbers of elements

    def _at_all(self, arrays: Arrays, slot: Slot, count: int) -> Array:
        """A value at every step, (T, …)."""
        shape = (count, *self.step.shapes[slot])
        begin = count * self.lasting[slot]
        return arrays["saved"][begin : begin + count * _size(self.step, slot)].reshape(shape)

    def unpack(self, saved: Saved, count: int) -> list[tuple[Array, ...]]:
        """What was saved, as the loop in Python has it: step by step, of the first `count`."""
        (steps, arrays), step = saved, self.step

        def value(slot: Slot, k: int) -> Array:
            if slot not in self.state:
                return self._at_all(arrays, slot, len(steps))[steps[k]]
            after = step.after[slot - step.inputs]
            return value(after, k - 1) if k else arrays[f"init{slot}"]

        return [tuple([value(slot, k) for slot in self.kept]) for k in range(count)]

    def back(self, back: Back, stacked: Mapping[int, Slot]) -> Backward | None:
        """The loop back from the cotangents that are present, if it can be done in C."""
        try:
            return Backward(self, back, stacked)
        except Unfit:
            return None


class Backward:
    """The loop back, for the cotangents that are present."""

    def __init__(self, forward: Forward, back: Back, stacked: Mapping[int, Slot]) -> None:
        if back.step.constants:
            raise Unfit
        self.forward, self.back, self.stacked = forward, back, stacked
        self.step = forward.step
        self.code = Code(forward.code.number)
        self.single = [end for end in back.ends if not end.stacked]
        if any(end.run is not None for end in self.single):
            raise Unfit
        number_of(back.step, back.read, back.seeds.values())
        self.run = self._written()

    def _shape(self, slot: Slot) -> tuple[int, ...]:
        return self.back.step.shapes[slot]

    def _total(self, end: End) -> str:
        """What adds up what flows into a value from outside, in the shape in which it comes."""
        return "_".join(map(str, ("total", end.slot, *self._shape(end.slots[0]))))

    def _written(self) -> Callable[..., None]:
        step, back, code = self.step, self.back, self.code
        lines = Lines(code, back.step, self._given(), self._carried(), step.constants)
        code.body += lines.body
        for end in self.single:
            (g,) = end.slots
            total = dense(code.array(self._total(end)), self._shape(g))
            code.body.append(assigned(total, lines.at[g], "+="))
        for k in range(step.inputs):
            if step.active[k]:
                to = code.timed(f"gx{k}", step.shapes[k])
                source = back.found.get(k)
                code.body.append(cleared(to) if source is None else assigned(to, lines.at[source]))
        for number, slot in self.stacked.items():
            to = code.timed(f"stack{number}", self._shape(slot))
            code.body.append(assigned(to, lines.at[slot]))
        self._hand_on(lines)
        return code.loop()

    def _given(self) -> dict[Slot, View]:
        """Where what the step reads is; with the statements that find it."""
        step, back, code, forward = self.step, self.back, self.code, self.forward
        count = len(step.after)
        places = {slot: forward.place(code, slot) for slot in sorted(back.read)}
        for slot in back.read.intersection(forward.state):
            after = step.after[slot - step.inputs]
            before = forward.place(code, after, "(t + step)").at
            init = code.array(f"init{slot}")
            code.body.append(f"const T *s{slot} = k + 1 < count ? {before} : {init};")
        for k, slot in back.seeds.items():
            shape = self._shape(slot)
            if k < count:
                code.before.append(f"const T *h{k} = {code.array(f'given{k}')};")
                places[slot] = dense(f"h{k}", shape)
            else:
                places[slot] = code.timed(f"gy{k - count}", shape)
        return places

    def _carry(self, k: int) -> View:
        """The place of a part of the state's cotangent: two, one for every other step."""
        shape = self.step.shapes[self.forward.state[k]]
        size = padded(math.prod(shape))
        return dense(f"({self.code.space(f'carry{k}', 2 * size)} + (k & 1) * {size})", shape)

    def _carried(self) -> dict[Slot, View]:
        """Where the cotangents of the state before the step are made."""
        parts = {k: self.back.found.get(slot) for k, slot in enumerate(self.forward.state)}
        return {slot: self._carry(k) for k, slot in reversed(parts.items()) if slot is not None}

    def _hand_on(self, lines: Lines) -> None:
        """The state's cotangents for the step before, and behind the loop, as results."""
        code, back = self.code, self.back
        handed: list[str] = []
        for k, slot in enumerate(self.forward.state):
            if slot in back.found:
                g, home = lines.at[back.found[slot]], self._carry(k)
                if g != home:
                    code.body.append(assigned(home, g))
                if k not in back.seeds:
                    code.before.append(f"const T *h{k};")
                handed.append(f"h{k} = {home.at};")
                code.after.append(f"copy({home.size}, h{k}, {code.array(f'h{k}_out')});")
        code.body += handed

    def __call__(
        self,
        order: range,
        inputs: Any,
        constants: Any,
        saved: Any,
        gs: Sequence[Array | None],
        state: Sequence[Array | None],
        adders: Any,
        found: Any,
        stacks: Any,
    ) -> list[Array | None]:
        """As the loop in Python."""
        step, dtype = self.step, self.forward.dtype
        steps, arrays = saved[0]
        arrays = {**arrays}
        given = {f"given{k}": g for k, g in enumerate(state) if g is not None}
        arrays |= {name: self.forward.numbers(g) for name, g in given.items()}
        given = {f"gy{k}": g for k, g in enumerate(gs) if g is not None}
        arrays |= {name: self.forward.numbers(g, timed=True) for name, g in given.items()}
        carried = [
            np.empty(step.shapes[slot], dtype) if slot in self.back.found else None
            for slot in self.forward.state
        ]
        arrays |= {f"h{k}_out": h for k, h in enumerate(carried) if h is not None}
        arrays |= {f"gx{k}": g for k, g in enumerate(found) if g is not None}
        arrays |= {f"stack{number}": stacks[number] for number in self.stacked}
        ends = {self._total(end): end for end in self.single}
        totals = {name: np.zeros(self._shape(end.slots[0]), dtype) for name, end in ends.items()}
        back = steps[::-1]
        begin = (order[0] - back[0]) // back.step
        span = slice(begin, begin + len(order))
        call(self.run, self.code, self.forward.blas, back, span, arrays | totals)
        adding = dict(zip([c for c in step.constants if step.active[c]], adders, strict=True))
        for name, end in ends.items():
            adding[end.slot](totals[name], end.fit)
        return carried


def call(
    run: Callable[..., None], code: Code, blas: Blas, steps: range, span: slice, arrays: Arrays
) -> None:
    """Run a loop on its arrays, for some of the steps."""
    dtype = np.dtype(np.float32 if code.number == "float" else np.float64)
    arrays = arrays | {"work": np.empty(code.room, dtype)}
    at = _pointers(len(code.arrays))(*[arrays[n].ctypes.data for n in code.arrays])
    apart = [stride // dtype.itemsize for name in code.strided for stride in arrays[name].strides]
    numbers = steps.start, steps.step, span.start, span.stop, len(steps)
    run(*numbers, at, _extents(len(apart))(*apart), blas.gemm(dtype), blas.gemv(dtype))


def number_of(step: Step, given: Any, more: Any) -> np.dtype[Any]:
    """The one dtype of a step's values but masks, which are only read; none may be empty."""
    made = {out for line in step.lines for out in line.outs[: line.op.visible]}
    masks = {slot for slot in given if step.dtypes[slot] == "?"}
    dtypes = {step.dtypes[slot] for slot in {*given, *more, *made} - masks}
    if len(dtypes) != 1 or not dtypes <= NUMBERS.keys() or masks.intersection(step.output):
        raise Unfit
    if not all(_size(step, slot) for slot in {*given, *more, *made}):
        raise Unfit
    return np.dtype(dtypes.pop())


def _named(prefix: str, slots: Any, arrays: Any) -> Arrays:
    return {f"{prefix}{slot}": x for slot, x in zip(slots, arrays, strict=True)}


def _size(step: Step, slot: Slot) -> int:
    return math.prod(step.shapes[slot])
