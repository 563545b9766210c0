"""The loop forward in C, and where each value of a step lives."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backend import Array
from minigrad.backend.blas import Blas
from minigrad.fuse import FusedOp
from minigrad.scans.machine.code import Code, Unfit, product, size_of
from minigrad.scans.plan import Plan
from minigrad.scans.step import Line, Slot

_NUMBERS = {"f": "float", "d": "double"}


class Forward:
    """Where each value of a step lives, and the code that moves it through time.

    Every result that the way back or the next step reads has its place for each step, (T, …);
    the others share one place.
    """

    def __init__(self, plan: Plan, library: Blas) -> None:
        self.plan = plan
        self.step = plan.step
        self.blas = library
        self._check()
        self.dtype = np.dtype(self.step.dtypes[0])
        made = {out for line in self.step.lines for out in line.outs}
        outputs = dict(reversed([(slot, k) for k, slot in enumerate(self.step.output)]))
        self.output_of = {slot: k for slot, k in outputs.items() if slot in made}
        wanted = {slot for slot in (*plan.kept, *self.step.after) if slot in made}
        self.lasting = sorted(wanted - self.output_of.keys())
        self.passing = sorted(made - wanted - self.output_of.keys())
        self.code = Code(_NUMBERS[self.dtype.char])
        self.run = self._forward()

    def _check(self) -> None:
        step = self.step
        made = {out for line in step.lines for out in line.outs}
        alike = len(set(step.dtypes)) == 1 and step.dtypes[0] in _NUMBERS
        if not alike or not set(step.after) <= made or len({*step.after}) != len(step.after):
            raise Unfit
        for slot in (*range(step.inputs + step.state), *made):
            if len(step.shapes[slot]) != 2 or not size_of(step.shapes[slot]):
                raise Unfit
        for line in step.lines:
            if any(not isinstance(a, int) for a in line.args):
                raise Unfit
            if line.op.name in ("matmul", "affine"):
                if line.args[0] not in step.constants or line.args[1] in step.constants:
                    raise Unfit
            elif not isinstance(line.op, FusedOp):
                raise Unfit

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
            return f"({code.array(f'v{slot}')} + {t} * {size})"
        return code.array(f"v{slot}")

    def lanes(self, code: Code, slot: Slot, count: int, dim: int | None, common: Any) -> list[str]:
        """Pointers to the equal chunks of a value, each dense and of the common shape."""
        shape = self.step.shapes[slot]
        whole = (1,) * (2 - len(shape)) + shape
        if dim is not None and (dim % 2 or len(shape) != 2):
            raise Unfit
        part = (whole[0] // count, whole[1])
        if part == common:
            place, size = self.place(code, slot), size_of(part)
            return [f"({place} + {k * size})" for k in range(count)]
        if slot not in self.step.constants:
            raise Unfit
        return [self._spread(code, slot, k, part, common) for k in range(count)]

    def _spread(self, code: Code, slot: Slot, k: int, part: Any, common: Any) -> str:
        """A constant, written out once in the common shape."""
        name = f"e{slot}_{k}_{part[0]}_{part[1]}"
        if name not in code.arrays:
            rows = "i" if part[0] > 1 else "0"
            columns = "j" if part[1] > 1 else "0"
            source = f"{code.array(f'c{slot}')}[({k * part[0]} + {rows}) * {part[1]} + {columns}]"
            loop = f"for (int i = 0; i < {common[0]}; i++) for (int j = 0; j < {common[1]}; j++)"
            code.before.append(f"{loop} {code.array(name)}[i * {common[1]} + j] = {source};")
        return name

    def spaces(self, code: Code, common: dict[str, int], arrays: dict[str, Array]) -> Any:
        """The addresses of a function's arrays; those that nobody has named are made here."""
        for name in code.arrays:
            if name not in arrays:
                arrays[name] = np.empty(common[name], self.dtype)
        return (ctypes.c_void_p * len(code.arrays))(*[arrays[n].ctypes.data for n in code.arrays])

    # ---- forward -----------------------------------------------------------------------------

    def _forward(self) -> Callable[..., None]:
        step, code = self.step, self.code
        self.sizes: dict[str, int] = {}
        for slot in self.plan.state:
            code.before.append(f"const T *s{slot} = {code.array(f'init{slot}')};")
        for line in step.lines:
            code.body += self._product(line) if line.op.stacks else self._kernel(line)
        for k, slot in enumerate(step.output):
            size = size_of(step.shapes[slot])
            if self.output_of.get(slot) != k:
                target = f"{code.array(f'y{k}')} + t * {size}"
                code.body.append(f"copy({size}, {self.place(code, slot)}, {target});")
        for slot, after in zip(self.plan.state, step.after, strict=True):
            code.body.append(f"s{slot} = {self.place(code, after)};")
        return code.compiled()

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
                source = self._spread(code, b[0], 0, (rows, 1), (rows, columns))
                self.sizes[source] = rows * columns
            else:
                raise Unfit
            statements.append(f"copy({rows * columns}, {source}, {out});")
        inner = step.shapes[x][0]
        given = (self.place(code, weight), self.place(code, x), out)
        return [*statements, product(rows, inner, columns, *given, transposed=False, add=bool(b))]

    def _kernel(self, line: Line) -> list[str]:
        code, step, op = self.code, self.step, line.op
        common = step.shapes[line.outs[0]]
        kernel = op.kernel(saving=self.plan.recorded)
        pointers: list[str] = []
        for lanes, slot in zip(kernel.inputs, line.slots, strict=True):
            pointers += self.lanes(code, slot, len(lanes.names), lanes.dim, common)
        self.sizes.update({p: size_of(common) for p in pointers if p.startswith("e")})
        outs = line.outs if self.plan.recorded else line.outs[: op.visible]
        if any(step.shapes[out] != common for out in outs):
            raise Unfit
        pointers += [self.place(code, out) for out in outs]
        return [code.kernel(kernel, size_of(common), pointers)]

    def forward(
        self, steps: range, inputs: Any, state: Any, constants: Any, saved: Any, outputs: Any
    ) -> list[Array]:
        """As the loop in Python; what the way back reads is saved all at once."""
        step = self.step
        arrays = {f"x{k}": np.ascontiguousarray(x) for k, x in enumerate(inputs)}
        pairs = zip(self.plan.state, state, strict=True)
        arrays |= {f"init{slot}": np.ascontiguousarray(s) for slot, s in pairs}
        pairs = zip(step.constants, constants, strict=True)
        arrays |= {f"c{slot}": np.ascontiguousarray(c) for slot, c in pairs}
        arrays |= {f"y{k}": y for k, y in enumerate(outputs)}
        sizes = {f"v{slot}": size_of(step.shapes[slot]) for slot in (*self.lasting, *self.passing)}
        sizes |= {f"v{slot}": sizes[f"v{slot}"] * len(steps) for slot in self.lasting}
        at = self.spaces(self.code, sizes | self.sizes, arrays)
        self.run(
            steps.start,
            len(steps),
            steps.step,
            at,
            self.blas.gemm(self.dtype),
            self.blas.gemv(self.dtype),
        )
        if saved is not None:
            saved.append(arrays)
        return [self.at_all(arrays, slot, len(steps))[steps[-1]].copy() for slot in step.after]

    def at_all(self, arrays: dict[str, Array], slot: Slot, count: int) -> Array:
        """A value at every step, (T, …)."""
        name = f"y{self.output_of[slot]}" if slot in self.output_of else f"v{slot}"
        return arrays[name].reshape(count, *self.step.shapes[slot])
