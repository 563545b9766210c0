"""One step of the loop back in C: where cotangents are, and the statements that move them."""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.backend import Kernel
from minigrad.fuse import FusedOp, Pull
from minigrad.scans.machine.code import Code, Unfit, product, size_of
from minigrad.scans.machine.places import Forward
from minigrad.scans.machine.rows import row_statements
from minigrad.scans.machine.rules import rule_of
from minigrad.scans.plan import Plan
from minigrad.scans.step import Line, Slot


class Stage:
    """The body of a step of the loop back, for the cotangents that reach the step."""

    def __init__(self, machine: Forward, code: Code, present: Sequence[bool]) -> None:
        self.machine, self.code, self.step = machine, code, machine.step
        self.plan = Plan(self.step, machine.plan.xp, present)
        self.body: list[str] = []
        self.at: dict[Slot, str] = {}  # where the cotangents that have begun are
        # the arrays that keep something of every step: cotangents, and values that products took
        self.kept: dict[Slot, str] = {}
        self.taken: dict[Slot, str] = {}
        self.totals: dict[str, tuple[Slot, tuple[int, ...]]] = {}  # what flows into constants

        state = len(self.step.after)
        results = (*self.step.after, *self.step.output)
        for k, (slot, here) in enumerate(zip(results, present, strict=True)):
            if here and self.step.active[slot]:
                name = self.code.array(f"h{k}" if k < state else f"gy{k - state}")
                shape = self.step.shapes[slot]
                self.flow(slot, name if k < state else f"({name} + t * {size_of(shape)})", shape)
        for line in self.plan.pulled:
            if self.at.keys() & line.outs:  # else what reads it is constant
                self._pull(line)
        self._end()

    @property
    def before(self) -> list[bool]:
        """Which parts of the state before the step have a cotangent."""
        return [slot in self.at for slot in self.plan.state]

    # ---- cotangents --------------------------------------------------------------------------

    def _own(self, slot: Slot) -> str:
        """The place of a value's cotangent, for one step."""
        return self.code.space(f"g{slot}", size_of(self.step.shapes[slot]))

    def flow(self, slot: Slot, source: str, shape: tuple[int, ...]) -> None:
        """Add numbers to what flows into a value; those for a constant may be of a wider shape."""
        size = size_of(shape)
        if slot in self.step.constants:
            name = self.code.array("_".join(map(str, ("total", slot, *shape))))
            self.totals[name] = slot, shape
            self.body.append(f"add({size}, {source}, {name});")
        elif slot in self.at:
            self.body.append(f"add({size}, {source}, {self._written(slot)});")
        else:
            self.at[slot] = source  # read where it is

    def _written(self, slot: Slot) -> str:
        """The place of a cotangent that has begun, and will be changed."""
        own, source = self._own(slot), self.at[slot]
        if source != own:
            self.body.append(f"copy({size_of(self.step.shapes[slot])}, {source}, {own});")
            self.at[slot] = own
        return own

    def _pull(self, line: Line) -> None:
        if line.op.stacks:
            self._pull_product(line)
        elif isinstance(line.op, FusedOp):
            self._pull_kernel(line)
        else:
            self._pull_rule(line)

    def _pull_product(self, line: Line) -> None:
        step, active = self.step, self.step.active
        weight, x, *b = line.slots
        rows, columns = step.shapes[line.outs[0]]
        g = self.at[line.outs[0]]
        if active[x]:
            add = x in self.at
            target = self.at[x] = self._written(x) if add else self._own(x)
            given = (self.machine.place(self.code, weight), g, target)
            inner = step.shapes[x][0]
            self.body.append(product(inner, rows, columns, *given, transposed=True, add=add))
        if b and active[b[0]] and b[0] not in step.constants:
            self.flow(b[0], g, (rows, columns))

    def _pull_kernel(self, line: Line) -> None:
        step, common = self.step, self.step.shapes[line.outs[0]]
        size, (rows, columns) = size_of(common), common
        gs = [out for out in line.outs if out in self.at]
        present = tuple([out in gs for out in line.outs])
        pull: Pull = line.op.puller(present, self.plan.needs(line))
        kernel: Kernel = pull.op.kernel()
        taken, gives, given = pull.derived.xs, pull.derived.gives, pull.derived.ys
        pointers = [self.at[out] for out in gs]
        for k, lanes in zip(taken, kernel.inputs[len(gs) :], strict=False):
            pointers += self.machine.lanes(self.code, self.body, line.slots[k], lanes, common)
        pointers += [self.machine.place(self.code, line.outs[k]) for k in given]
        after: list[tuple[Slot, str, tuple[int, ...]]] = []
        for k, lanes in zip(gives, kernel.outputs, strict=True):
            slot, count = line.slots[k], len(lanes.names)
            again = slot in self.at or slot in step.constants
            if slot not in step.constants and size_of(step.shapes[slot]) != count * size:
                raise Unfit
            place = self.code.space(f"d{len(after)}", count * size) if again else self._own(slot)
            if again:
                after.append((slot, place, (count * rows, columns)))
            else:
                self.at[slot] = place
            pointers += [f"({place} + {i * size})" for i in range(count)]
        self.body.append(self.code.kernel(kernel, size, pointers))
        for slot, place, shape in after:
            self.flow(slot, place, shape)

    def _pull_rule(self, line: Line) -> None:
        """Another line: its rules, if these are lines that can be written in C."""
        rule = rule_of(self.plan, line, [out in self.at for out in line.outs])
        shapes, name = rule.step.shapes, f"r{line.outs[0]}"
        places = [
            self.at[slot] if flows else self.machine.place(self.code, slot)
            for slot, flows in rule.given
        ]
        places += [f"{name}_{k}" for k in range(len(places), len(shapes))]
        for inner in rule.step.lines:
            for out in inner.outs:
                self.code.space(places[out], size_of(shapes[out]))
            self.body += row_statements(self.code, inner, shapes, places.__getitem__)
        for k, found in rule.gives.items():
            slot = line.slots[k]
            if slot in self.step.constants or shapes[found] != self.step.shapes[slot]:
                raise Unfit
            self.flow(slot, places[found], shapes[found])

    # ---- the end of a step -------------------------------------------------------------------

    def _end(self) -> None:
        """Keep what products over all steps read; hand the state's cotangents on."""
        step, plan = self.step, self.plan
        for line in plan.pulled:
            if line.op.stacks and line.outs[0] in self.at:
                self._keep(line)
        for slot in range(step.inputs):
            if step.active[slot]:
                self._store(f"found{slot}", slot, self.at.get(slot))
        carried = [slot for slot in plan.state if slot in self.at]
        for slot in carried:
            if self.at[slot] in [f"h{k}" for k in range(step.state)]:
                self._written(slot)  # it would be overwritten
        for slot in carried:
            size = size_of(step.shapes[slot])
            name = self.code.array(f"h{slot - step.inputs}")
            self.body.append(f"copy({size}, {self.at[slot]}, {name});")

    def _keep(self, line: Line) -> None:
        """Keep what the rules of a product's weight and bias read, at every step."""
        step, (out, *_), (weight, x, *_b) = self.step, line.outs, line.slots
        constants = [a for a in line.slots if a in step.constants and step.active[a]]
        if not constants:
            return
        same = [k for k in range(step.inputs) if step.active[k] and self.at.get(k) == self.at[out]]
        self.kept[out] = f"found{same[0]}" if same else f"kept{out}"
        if not same:
            self._store(f"kept{out}", out, self.at[out])
        if weight in constants and x >= step.inputs and x not in self.taken:
            self.taken[x] = f"taken{x}"
            self._store(f"taken{x}", x, self.machine.place(self.code, x))

    def _store(self, name: str, slot: Slot, source: str | None) -> None:
        """Keep a value of this step among those of all steps, as `over_time` lays them; or 0."""
        rows, columns = self.step.shapes[slot]
        offset, stride = (columns, f"count * {columns}") if columns > 1 else (rows, "1")
        to = f"{self.code.array(name)} + t * {offset}, {stride}"
        what = "clear(" if source is None else f"store({source}, "
        self.body.append(f"{what}{rows}, {columns}, {to});")
