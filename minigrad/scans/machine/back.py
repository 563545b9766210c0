"""The loop back in C."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.backend import Array, Kernel
from minigrad.scans.machine.code import Code, Unfit, product, size_of
from minigrad.scans.machine.places import Forward
from minigrad.scans.step import Line, Slot


class Backward:
    """The loop back of a machine."""

    def __init__(self, machine: Forward) -> None:
        self.machine = machine
        self.plan, self.step = machine.plan, machine.step
        self.code = Code(machine.code.number)
        self.sizes = machine.sizes
        self.begun: set[Slot] = set()
        self.kept: set[Slot] = set()  # whose cotangents are kept for every step
        for line in self.plan.pulled:
            if line.op.stacks and any(map(self._is_wanted_constant, line.slots)):
                self.kept.add(line.outs[0])
        self.run = self._written()

    def _is_wanted_constant(self, a: Slot) -> bool:
        return a in self.step.constants and self.step.active[a]

    # ---- places ------------------------------------------------------------------------------

    def g(self, slot: Slot) -> str:
        """A pointer to the cotangent of a value."""
        size, name = size_of(self.step.shapes[slot]), self.code.array(f"g{slot}")
        each = slot < self.step.inputs or slot in self.kept
        return f"({name} + t * {size})" if each else name

    def flow(self, slot: Slot, source: str, size: int, offset: int = 0) -> None:
        """Add numbers to (a chunk of) what flows into a value."""
        step = self.step
        if slot in step.constants:
            self.code.body.append(
                f"add({size}, {source}, {self._total(slot, offset + size)} + {offset});"
            )
            return
        verb = "add" if slot in self.begun else "copy"
        self.code.body.append(f"{verb}({size}, {source}, {self.g(slot)} + {offset});")

    def _total(self, slot: Slot, size: int) -> str:
        """Where what flows into a constant is summed over time."""
        name = f"total{slot}"
        self.sizes[name] = max(self.sizes.get(name, 0), size)
        return self.code.array(name)

    # ---- the text ----------------------------------------------------------------------------

    def _written(self) -> Callable[..., None]:
        step, code, machine = self.step, self.code, self.machine
        for slot in self.plan.state:
            init, after = code.array(f"init{slot}"), step.after[slot - step.inputs]
            before = machine.place(code, after, "(t + step)")
            code.body.append(f"const T *s{slot} = k + 1 < count ? {before} : {init};")
        for slot, after in zip(self.plan.state, step.after, strict=True):
            self._seed(after, code.array(f"h{slot}"))
        for k, slot in enumerate(step.output):
            size = size_of(step.shapes[slot])
            self._seed(slot, f"({code.array(f'gy{k}')} + t * {size})")
        for line in self.plan.pulled:
            if self.begun.intersection(line.outs):  # else what reads it is constant
                (self._pull_product if line.op.stacks else self._pull_kernel)(line)
        for slot in self.plan.state:
            size, h = size_of(step.shapes[slot]), f"h{slot}"
            began = slot in self.begun
            code.body.append(f"copy({size}, {self.g(slot)}, {h});" if began else _zero(h, size))
        for k in range(step.inputs):
            if step.active[k] and k not in self.begun:
                code.body.append(_zero(self.g(k), size_of(step.shapes[k])))
        return code.compiled()

    def _seed(self, slot: Slot, source: str) -> None:
        if self.step.active[slot]:
            self.flow(slot, source, size_of(self.step.shapes[slot]))
            self.begun.add(slot)

    def _pull_product(self, line: Line) -> None:
        step, code = self.step, self.code
        weight, x, *b = line.slots
        rows, columns = step.shapes[line.outs[0]]
        inner = step.shapes[x][0]
        g = self.g(line.outs[0])
        if step.active[x]:
            given = (self.machine.place(code, weight), g, self.g(x))
            add = x in self.begun
            code.body.append(product(inner, rows, columns, *given, transposed=True, add=add))
            self.begun.add(x)
        if b and step.active[b[0]] and b[0] not in step.constants:
            self.flow(b[0], g, rows * columns)
            self.begun.add(b[0])

    def _pull_kernel(self, line: Line) -> None:
        plan, code, step = self.plan, self.code, self.step
        common = step.shapes[line.outs[0]]
        size = size_of(common)
        gs = [out for out in line.outs if out in self.begun]
        pull = line.op.puller(tuple([out in gs for out in line.outs]), plan.needs(line))
        kernel: Kernel = pull.op.kernel()
        taken: tuple[int, ...] = pull.derived.xs
        gives: tuple[int, ...] = pull.derived.gives
        given: tuple[int, ...] = pull.derived.ys
        slots = [line.slots[k] for k in taken]
        pointers = [self.g(out) for out in gs]
        for lanes, slot in zip(kernel.inputs[len(gs) :], slots, strict=False):
            found = self.machine.lanes(code, slot, len(lanes.names), lanes.dim, common)
            self.sizes.update({p: size for p in found if p.startswith("e")})
            pointers += found
        pointers += [self.machine.place(code, line.outs[k]) for k in given]
        after: list[tuple[Slot, str, int]] = []
        for k, lanes in zip(gives, kernel.outputs, strict=True):
            slot = line.slots[k]
            count = len(lanes.names)
            again = slot in self.begun or slot in step.constants
            if slot not in step.constants and size_of(step.shapes[slot]) != count * size:
                raise Unfit
            for i in range(count):
                if again:
                    name = f"tmp{len(after)}"
                    self.sizes[name] = max(self.sizes.get(name, 0), size)
                    pointers.append(code.array(name))
                    after.append((slot, name, i * size))
                else:
                    pointers.append(f"({self.g(slot)} + {i * size})")
            if slot not in step.constants:
                self.begun.add(slot)
        code.body.append(code.kernel(kernel, size, pointers))
        for slot, name, offset in after:
            self.flow(slot, name, size, offset)

    # ---- running -----------------------------------------------------------------------------

    def __call__(
        self,
        steps: range,
        inputs: Any,
        constants: Any,
        saved: Any,
        gs: Any,
        state: Any,
        gathered: Any,
        found: Any,
    ) -> list[Array]:
        """As the loop in Python."""
        step, machine, count = self.step, self.machine, len(steps)
        arrays: dict[str, Array] = dict(saved.pop())
        carried = [np.array(h, order="C") for h in state]
        arrays |= {f"h{slot}": h for slot, h in zip(self.plan.state, carried, strict=True)}
        arrays |= {f"gy{k}": np.ascontiguousarray(g) for k, g in enumerate(gs)}
        arrays |= {f"g{k}": g for k, g in enumerate(found) if g is not None}
        sizes = {
            f"g{slot}": size_of(s) * (count if slot in self.kept else 1)
            for slot, s in enumerate(step.shapes)
        }
        arrays |= {
            n: np.zeros(self.sizes[n], machine.dtype)
            for n in self.code.arrays
            if n.startswith("total")
        }
        at = machine.spaces(self.code, sizes | self.sizes, arrays)
        gemm, gemv = machine.blas.gemm(machine.dtype), machine.blas.gemv(machine.dtype)
        self.run(steps.start, count, steps.step, at, gemm, gemv)
        adders = dict(zip([c for c in step.constants if step.active[c]], gathered, strict=True))
        held = dict(zip(step.constants, constants, strict=True))
        for line in self.plan.pulled:
            self._gather(line, arrays, held, adders, steps)
        return carried

    def _gather(self, line: Line, arrays: Any, held: Any, adders: Any, steps: range) -> None:
        """Give each constant what the steps have for it."""
        mine = [(k, slot) for k, slot in enumerate(line.slots) if slot in adders]
        if line.op.stacks and line.outs[0] in self.begun:
            for k, slot in mine:
                adders[slot](self._all_steps(line, k, arrays, held, steps), line.op.fit)
        elif not line.op.stacks:
            columns = self.step.shapes[line.outs[0]][1]
            for slot in {slot for _, slot in mine}:
                total = arrays.pop(f"total{slot}", None)
                if total is not None:
                    adders[slot](total.reshape(-1, columns), line.op.fit)

    def _all_steps(self, line: Line, k: int, arrays: Any, held: Any, steps: range) -> Any:
        """What a product has for its k-th argument, a weight: one product for all steps."""
        step, op = self.step, line.op
        g = arrays[f"g{line.outs[0]}"].reshape(len(steps), *step.shapes[line.outs[0]])
        xs: list[Any] = [
            (held[a] if a in held else self._stack(a, arrays, steps)) if keep else None
            for a, keep in zip(line.slots, op.keeps(len(line.slots)), strict=True)
        ]
        asked: tuple[int, ...] = op.shapes_of
        for i in asked:
            if i < len(xs):
                xs[i] = step.shapes[line.slots[i]]
        return op.rules[k](g, None, *xs, **line.params)

    def _stack(self, slot: Slot, arrays: dict[str, Array], steps: range) -> Array:
        """A value at every step, (T, …)."""
        step, count = self.step, len(steps)
        if slot < step.inputs:
            return arrays[f"x{slot}"]
        if slot not in self.plan.state:
            return self.machine.at_all(arrays, slot, count)
        after = self.machine.at_all(arrays, step.after[slot - step.inputs], count)
        init = arrays[f"init{slot}"][None]
        ahead = steps.step < 0  # back in time, so that the scan itself went up
        return np.concatenate([init, after[:-1]] if ahead else [after[1:], init])


def _zero(place: str, size: int) -> str:
    return f"for (int i = 0; i < {size}; i++) {place}[i] = 0;"
