"""The loop forward in C, and where each value of a step lives."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backend import Array, Lanes
from minigrad.backend.blas import Blas
from minigrad.fuse import FusedOp
from minigrad.ops.contract import affine_op, matmul_op
from minigrad.scans.machine.code import Code, Unfit, padded, product, size_of
from minigrad.scans.machine.rows import row_statements
from minigrad.scans.plan import Plan
from minigrad.scans.step import Line, Slot

_NUMBERS = {"f": "float", "d": "double"}


@functools.cache  # ctypes makes the type anew otherwise, which is a reference cycle
def _pointers(count: int) -> type[ctypes.Array[Any]]:
    return ctypes.c_void_p * count


class Forward:
    """Where each value of a step lives, and the code that moves it through time.

    Every result that the way back or the next step reads has its place for each step, (T, …);
    the others share one place.
    """

    def __init__(self, plan: Plan, library: Blas) -> None:
        self.plan = plan
        self.step = plan.step
        self.blas = library
        self.dtype = self._number()
        self._check()
        made = {out for line in self.step.lines for out in line.outs}
        outputs = dict(reversed([(slot, k) for k, slot in enumerate(self.step.output)]))
        self.output_of = {slot: k for slot, k in outputs.items() if slot in made}
        wanted = {slot for slot in (*plan.kept, *self.step.after) if slot in made}
        self.lasting: dict[Slot, int] = {}  # where each begins, for one step
        self.room = 0
        for slot in sorted(wanted - self.output_of.keys()):
            self.lasting[slot] = self.room
            self.room += padded(size_of(self.step.shapes[slot]))
        self.code = Code(_NUMBERS[self.dtype.char])
        self.run = self._forward()

    def _check(self) -> None:
        step = self.step
        made = {out for line in step.lines for out in line.outs}
        if not set(step.after) <= made or len({*step.after}) != len(step.after):
            raise Unfit
        for slot in (*range(step.inputs + step.state), *made):
            if len(step.shapes[slot]) != 2 or not size_of(step.shapes[slot]):
                raise Unfit
        for line in step.lines:
            if any(not isinstance(a, int) for a in line.args):
                raise Unfit
            if line.op.stacks and not self._is_product(line):
                raise Unfit

    def _is_product(self, line: Line) -> bool:
        """Whether a line is W x, or W x + b, of a weight W and a value x of the step."""
        (weight, x, *_), constants = line.args, self.step.constants
        return line.op in (matmul_op, affine_op) and weight in constants and x not in constants

    def _number(self) -> np.dtype[Any]:
        """The one dtype of all values but masks, which are only read."""
        step = self.step
        given = {*range(step.inputs), *step.constants}
        made = {out for line in step.lines for out in line.outs}
        dtypes = {slot: step.dtypes[slot] for slot in {*given, *self.plan.state, *made}}
        numbers = {*dtypes.values()} - {"?"}
        masks = {slot for slot, dtype in dtypes.items() if dtype == "?"}
        if (
            len(numbers) != 1
            or not numbers <= _NUMBERS.keys()
            or not masks <= given - {*step.output}
        ):
            raise Unfit
        return np.dtype(numbers.pop())

    # ---- places ------------------------------------------------------------------------------

    def place(self, code: Code, slot: Slot, t: str = "t") -> str:
        """A pointer to a value at step t."""
        step, size = self.step, size_of(self.step.shapes[slot])
        if slot < step.inputs:
            return f"({code.array(f'x{slot}')} + {t} * {size})"
        if slot in self.plan.state:
            return f"s{slot}"
        if slot in step.constants:
            return code.array(f"c{slot}")
        if slot in self.output_of:
            return f"({code.array(f'y{self.output_of[slot]}')} + {t} * {size})"
        if slot in self.lasting:
            return f"({code.array('saved')} + count * {self.lasting[slot]} + {t} * {size})"
        return code.space(f"v{slot}", size)

    def lanes(
        self, code: Code, body: list[str], slot: Slot, lanes: Lanes, common: tuple[int, ...]
    ) -> list[str]:
        """Pointers to the equal chunks of a value, each dense and of the common shape."""
        shape, count = self.step.shapes[slot], len(lanes.names)
        whole = (1,) * (2 - len(shape)) + shape
        if lanes.dim is not None and (lanes.dim % 2 or len(shape) != 2):
            raise Unfit
        part = (whole[0] // count, whole[1])
        if part == common:
            place, size = self.place(code, slot), size_of(part)
            return [f"({place} + {k * size})" for k in range(count)]
        return [self.spread(code, body, slot, k, part, common) for k in range(count)]

    def spread(
        self,
        code: Code,
        body: list[str],
        slot: Slot,
        k: int,
        part: tuple[int, ...],
        common: tuple[int, ...],
    ) -> str:
        """A chunk of a value, written out in the common shape: once if it is a constant."""
        name = f"e{slot}_{k}_{part[0]}_{part[1]}_{common[0]}_{common[1]}"
        known = code.has(name)
        code.space(name, size_of(common))
        if not known or slot not in self.step.constants:
            rows = "i" if part[0] > 1 else "0"
            columns = "j" if part[1] > 1 else "0"
            source = f"{self.place(code, slot)}[({k * part[0]} + {rows}) * {part[1]} + {columns}]"
            loop = f"for (int i = 0; i < {common[0]}; i++) for (int j = 0; j < {common[1]}; j++)"
            lines = code.before if slot in self.step.constants else body
            lines.append(f"{loop} {name}[i * {common[1]} + j] = {source};")
        return name

    def call(
        self, run: Callable[..., None], code: Code, steps: range, arrays: dict[str, Array]
    ) -> None:
        """Run a function on its arrays."""
        arrays = arrays | {"work": np.empty(code.room, self.dtype)}
        at = _pointers(len(code.arrays))(*[arrays[n].ctypes.data for n in code.arrays])
        gemm, gemv = self.blas.gemm(self.dtype), self.blas.gemv(self.dtype)
        run(steps.start, len(steps), steps.step, at, gemm, gemv)

    # ---- forward -----------------------------------------------------------------------------

    def _forward(self) -> Callable[..., None]:
        step, code = self.step, self.code
        for slot in self.plan.state:
            code.before.append(f"const T *s{slot} = {code.array(f'init{slot}')};")
        for line in step.lines:
            code.body += self._statements(line)
        for k, slot in enumerate(step.output):
            size = size_of(step.shapes[slot])
            if self.output_of.get(slot) != k:
                target = f"{code.array(f'y{k}')} + t * {size}"
                code.body.append(f"copy({size}, {self.place(code, slot)}, {target});")
        for slot, after in zip(self.plan.state, step.after, strict=True):
            code.body.append(f"s{slot} = {self.place(code, after)};")
        return code.compiled()

    def _statements(self, line: Line) -> list[str]:
        if line.op.stacks:
            return self._product(line)
        if isinstance(line.op, FusedOp):
            return self._kernel(line)
        return row_statements(
            self.code, line, self.step.shapes, lambda slot: self.place(self.code, slot)
        )

    def _product(self, line: Line) -> list[str]:
        """W x, or W x + b: b is copied first, and the product added."""
        code, step = self.code, self.step
        weight, x, *b = line.slots
        out = self.place(code, line.outs[0])
        rows, columns = step.shapes[line.outs[0]]
        statements: list[str] = []
        if b:
            shape = step.shapes[b[0]]
            if shape == (rows, columns):
                source = self.place(code, b[0])
            elif shape in ((rows,), (rows, 1)) and b[0] in step.constants:
                source = self.spread(code, code.before, b[0], 0, (rows, 1), (rows, columns))
            else:
                raise Unfit
            statements.append(f"copy({rows * columns}, {source}, {out});")
        inner = step.shapes[x][0]
        given = (self.place(code, weight), self.place(code, x), out)
        return [*statements, product(rows, inner, columns, *given, transposed=False, add=bool(b))]

    def _kernel(self, line: Line) -> list[str]:
        code, op = self.code, line.op
        common = self.step.shapes[line.outs[0]]
        kernel = op.kernel(saving=self.plan.recorded)
        outs = line.outs if self.plan.recorded else line.outs[: op.visible]
        if any(self.step.shapes[out] != common for out in outs):
            raise Unfit
        body: list[str] = []
        pointers: list[str] = []
        for lanes, slot in zip(kernel.inputs, line.slots, strict=True):
            pointers += self.lanes(code, body, slot, lanes, common)
        pointers += [self.place(code, out) for out in outs]
        return [*body, code.kernel(kernel, size_of(common), pointers)]

    def forward(
        self, steps: range, inputs: Any, state: Any, constants: Any, saved: Any, outputs: Any
    ) -> list[Array]:
        """As the loop in Python; what the way back reads is saved all at once."""
        step = self.step
        arrays = {f"x{k}": self._numbers(x) for k, x in enumerate(inputs)}
        pairs = zip(self.plan.state, state, strict=True)
        arrays |= {f"init{slot}": self._numbers(s) for slot, s in pairs}
        pairs = zip(step.constants, constants, strict=True)
        arrays |= {f"c{slot}": self._numbers(c) for slot, c in pairs}
        arrays |= {f"y{k}": y for k, y in enumerate(outputs)}
        arrays["saved"] = np.empty(len(steps) * self.room, self.dtype)
        self.call(self.run, self.code, steps, arrays)
        if saved is not None:
            saved.append((steps, arrays))
        return [self.at_all(arrays, slot, len(steps))[steps[-1]].copy() for slot in step.after]

    def _numbers(self, x: Array) -> Array:
        """An argument as the loop reads it: dense, masks as 1 and 0."""
        return np.ascontiguousarray(x, self.dtype)

    def at_all(self, arrays: dict[str, Array], slot: Slot, count: int) -> Array:
        """A value at every step, (T, …)."""
        shape = (count, *self.step.shapes[slot])
        if slot in self.output_of:
            return arrays[f"y{self.output_of[slot]}"].reshape(shape)
        begin = count * self.lasting[slot]
        return arrays["saved"][begin : begin + size_of(shape)].reshape(shape)

    def unpack(self, saved: tuple[range, dict[str, Array]]) -> list[tuple[Array, ...]]:
        """What was saved, as the loop in Python has it: step by step."""
        steps, arrays = saved
        step, plan = self.step, self.plan

        def value(slot: Slot, k: int) -> Array:
            if slot not in plan.state:
                return self.at_all(arrays, slot, len(steps))[steps[k]]
            after = step.after[slot - step.inputs]
            return value(after, k - 1) if k else arrays[f"init{slot}"]

        return [tuple([value(slot, k) for slot in plan.kept]) for k in range(len(steps))]
