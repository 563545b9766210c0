"""The lines of a step in C: each op's statements, on values that lie where their views say."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, cast

from minigrad.backend import Lanes, RowKernel
from minigrad.backend.base import Operand
from minigrad.backend.rows import Rowwise
from minigrad.fuse import FusedOp
from minigrad.op import Op
from minigrad.ops.broadcast import expand_to, sum_to
from minigrad.ops.contract import affine_op, column_sum, linear_op, matmul_op, matvec_op
from minigrad.ops.reduce import mean_op, sum_op
from minigrad.ops.shape import cat_op, stack_op, zeros_op
from minigrad.scans.machine.code import Code, Refused, Unfit
from minigrad.scans.machine.products import layout, product
from minigrad.scans.machine.views import (
    Shape,
    View,
    assigned,
    cleared,
    dense,
    merged,
    seen_through,
)
from minigrad.scans.step import Line, Slot, Step

_SUM = RowKernel("sum", (Operand("x", "m,n"),), (Operand("y", "m"),), "sum s = x\ny = s", -1)
_MEAN = RowKernel("mean", (Operand("x", "m,n"),), (Operand("y", "m"),), "sum s = x\ny = s / n", -1)

Write = Callable[["Lines", Line], None]


def can_write(step: Step, line: Line) -> bool:
    """Whether a line may be one that C can do, of numbers of one kind that it has."""
    dtypes = {step.dtypes[a] for a in (*line.slots, *line.outs)} - {"?"}
    numbers = step.dtypes[line.outs[0]] in "fd" and len(dtypes) == 1
    full = all(0 not in step.shapes[a] for a in (*line.slots, *line.outs))
    return numbers and full and Lines.writer_of(line) is not None


class Lines:
    """The statements of a step's lines, and where each value is."""

    def __init__(
        self,
        code: Code,
        step: Step,
        places: Mapping[Slot, View],
        homes: Mapping[Slot, View],
        fixed: Collection[Slot],
    ) -> None:
        """places: where the values are that the step is given, `fixed` those that stay the same
        from step to step; homes: where values must be made, if not just anywhere."""
        self.code, self.step = code, step
        self.at = dict(places)
        self.homes = homes
        self.fixed = fixed
        self.body: list[str] = []
        self._copies: dict[View, View] = {}  # of what stays the same
        for line in step.lines:
            try:
                self._write(line)
            except Unfit:
                raise Refused(line) from None

    def _write(self, line: Line) -> None:
        write = self.writer_of(line)
        if write is None:
            raise Unfit
        write(self, line)

    # ---- places ------------------------------------------------------------------------------

    def _made(self, slot: Slot) -> View:
        """The place for a value that is about to be made."""
        if slot in self.homes:
            self.at[slot] = self.homes[slot]
        else:
            self.at[slot] = self._room(f"v{slot}", self.step.shapes[slot])
        return self.at[slot]

    def _room(self, name: str, shape: Shape) -> View:
        view = dense(name, shape)
        self.code.space(name, view.size)
        return view

    def _dense(self, slot: Slot, view: View) -> View:
        """A view of a value, or a copy, that lies side by side."""
        if view.is_dense:
            return view
        if view in self._copies:
            return self._copies[view]
        copy = self._room(f"e{self.code.rooms}", view.shape)
        if slot in self.fixed:
            self._copies[view] = copy
        (self.code.before if slot in self.fixed else self.body).append(assigned(copy, view))
        return copy

    def _known(self, slot: Slot) -> View:
        """Where a value is; a matrix of which the code learns how it lies is copied if it must."""
        view = self.at[slot]
        if not all(isinstance(stride, int) for stride in view.strides):
            (rows, columns), (down, along) = view.shape, view.strides
            room = self._room(f"f{slot}_room", view.shape)
            given = f"{rows}, {columns}, {view.at}, {down}, {along}, {room.at}"
            self.body.append(f"const T *const f{slot} = dense({given});")
            self.at[slot] = dense(f"f{slot}", view.shape)
        return self.at[slot]

    # ---- ops ---------------------------------------------------------------------------------

    def _zeros(self, line: Line) -> None:
        self.body.append(cleared(self._made(line.outs[0])))

    def _view(self, line: Line) -> None:
        (x,) = line.slots
        if line.op is expand_to:  # of few numbers NumPy's backend makes a copy
            found = [self._known(x).spread(line.params["shape"])]
        else:
            found = seen_through(line.op.forward, self._known(x), line.params)
        if not found:
            found = seen_through(line.op.forward, self._dense(x, self.at[x]), line.params)
        if len(found) != len(line.outs):
            raise Unfit
        for out, view in zip(line.outs, found, strict=True):
            if out in self.homes:
                self.body.append(assigned(self._made(out), view))
            else:
                self.at[out] = view

    def _joined(self, line: Line) -> None:
        out, dim = self._made(line.outs[0]), cast("int", line.params["dim"])
        if not out.is_dense:
            raise Unfit
        offset = 0
        for slot in line.slots:
            view = self._known(slot)
            if line.op is stack_op:  # with the new axis
                view = View(
                    view.at,
                    (*view.shape[:dim], 1, *view.shape[dim:]),
                    (*view.strides[:dim], 0, *view.strides[dim:]),
                )
            there = View(f"({out.at} + {offset})", view.shape, out.strides)
            self.body.append(assigned(there, view))
            offset += view.shape[dim] * math.prod(out.shape[dim + 1 :])

    def _product(self, line: Line) -> None:
        """W x, and W x + b: b is copied first, and the product added."""
        op, (a, b, *bias) = line.op, line.slots
        out, x, y = self._made(line.outs[0]), self._known(a), self._known(b)
        result = out
        if op is linear_op:  # x Wᵀ of rows x
            n = x.shape[-1]
            x = dense(self._dense(a, x).at, (x.size // n, n))
            y = y.permuted((1, 0))
            result = dense(out.at, (x.shape[0], y.shape[1]))
        elif op is matvec_op:
            y = View(y.at, (*y.shape, 1), (*y.strides, 1))
            result = dense(out.at, (*out.shape, 1))
        elif len(x.shape) > 2 and len(y.shape) == 2:
            x = dense(self._dense(a, x).at, (x.size // x.shape[-1], x.shape[-1]))
            result = dense(out.at, (x.shape[0], y.shape[1]))
        if len(x.shape) != 2 or len(y.shape) != 2 or not result.is_dense:
            raise Unfit
        for k in bias:
            source = self.at[k]
            if op is affine_op and len(source.shape) == 1:  # one number a row
                source = View(source.at, (*source.shape, 1), (*source.strides, 0))
            self.body.append(assigned(out, source.spread(out.shape)))
        factors = self._factor(a, x), self._factor(b, y)
        self.body.append(product(*factors, result, add=bool(bias)))

    def _factor(self, slot: Slot, view: View) -> View:
        """A matrix as the BLAS takes it."""
        return self._dense(slot, view) if layout(view) is None else view

    def _kernel(self, line: Line) -> None:
        kernel = line.op.kernel(saving=self.step.saves(line))
        outs = list(zip(line.outs, kernel.outputs, strict=False))
        slot, lanes = outs[0]
        common = self._lane_shape(slot, lanes)
        pointers: list[str] = []
        for slot, lanes in zip(line.slots, kernel.inputs, strict=True):
            for part in self._lanes(self._known(slot), lanes):
                pointers.append(self._dense(slot, part.spread(common)).at)
        after: list[str] = []
        for slot, lanes in outs:
            if self._lane_shape(slot, lanes) != common:
                raise Unfit
            for k, part in enumerate(self._lanes(self._made(slot), lanes)):
                room = part if part.is_dense else self._room(f"d{slot}_{k}", common)
                pointers.append(room.at)
                after += [] if room is part else [assigned(part, room)]
        self.body += [self.code.kernel(kernel, math.prod(common), pointers), *after]

    def _lane_shape(self, slot: Slot, lanes: Lanes) -> Shape:
        shape = list(self.step.shapes[slot])
        if lanes.dim is not None:
            shape[lanes.dim] //= len(lanes.names)
        return tuple(shape)

    def _lanes(self, view: View, lanes: Lanes) -> list[View]:
        """The chunks in which a kernel takes or gives a value; or the whole."""
        if lanes.dim is None:
            return [view]
        count = len(lanes.names)
        return [view.chunk(k, count, lanes.dim) for k in range(count)]

    # ---- along rows --------------------------------------------------------------------------

    def _along_rows(self, line: Line) -> None:
        kernel: RowKernel = line.op.forward.kernel(len(line.slots), **line.params)
        extents = [*self.step.shapes[line.slots[0]]]
        if kernel.axis == -2:
            if len(extents) > 2:
                raise Unfit
            extents.reverse()
        lead, n = tuple(extents[:-1]), extents[-1]
        shapes = {"m,n": (*lead, n), "m,1": (*lead, 1), "m": lead, "n": (n,)}
        operands = (*kernel.inputs, *kernel.outputs)
        arrays: list[tuple[str, int, int]] = []
        for k, (slot, operand) in enumerate(zip((*line.slots, *line.outs), operands, strict=True)):
            view = self._made(slot) if k >= len(line.slots) else self._known(slot)
            if kernel.axis == -2 and "," in operand.axes:
                view = view.permuted((1, 0))
            if view.shape != shapes[operand.axes]:
                raise Unfit
            if operand in kernel.outputs and operand.axes == "n":
                self.body.append(cleared(view))
            split = 0 if operand.axes == "n" else len(lead)
            arrays.append(self._rows(slot, view, split, made=k >= len(line.slots)))
        self.body.append(self.code.rows(kernel, math.prod(lead), n, arrays))

    def _rows(self, slot: Slot, view: View, split: int, made: bool) -> tuple[str, int, int]:
        """A view as rows: how far these are apart (the first `split` axes), and numbers in one."""
        down, along = _apart(view, split)
        if down is None or along is None:
            view = self._dense(slot, view)
            down, along = _apart(view, split)
        if down is None or along is None or (made and view.at != self.at[slot].at):
            raise Unfit
        return view.at, down, along

    def _sum(self, line: Line) -> None:
        (x,), (out,) = line.slots, line.outs
        view, axes = self._known(x), self._summed(line)
        kept = [a for a in range(len(view.shape)) if a not in axes]
        view = view.permuted([*kept, *sorted(axes)])
        to = self._made(out)
        if not to.is_dense:
            raise Unfit
        rows = self._rows(x, view, len(kept), made=False)
        m = math.prod(view.shape[: len(kept)])
        kernel = _MEAN if line.op is mean_op else _SUM
        self.body.append(self.code.rows(kernel, m, view.size // m, [rows, (to.at, 1, 0)]))

    def _summed(self, line: Line) -> set[int]:
        """The axes over which an op sums."""
        shape, params = self.step.shapes[line.slots[0]], line.params
        if line.op is column_sum:
            return {*range(len(shape))} - {len(shape) - 2}
        if line.op is sum_to:
            extra = len(shape) - len(params["shape"])
            return {a for a, n in enumerate(shape) if a < extra or n != params["shape"][a - extra]}
        return set(params["dim"])

    # ---- which of these writes a line --------------------------------------------------------

    _of_ops: ClassVar[dict[Op, Write]] = {
        **dict.fromkeys((matmul_op, matvec_op, affine_op, linear_op), _product),
        **dict.fromkeys((sum_op, mean_op, sum_to, column_sum), _sum),
        **dict.fromkeys((cat_op, stack_op), _joined),
        zeros_op: _zeros,
    }

    @staticmethod
    def writer_of(line: Line) -> Write | None:
        """What writes a line; None where nothing does."""
        op = line.op
        if len(line.slots) < len(line.args):  # numbers are parts of kernels only
            return None
        if isinstance(op, FusedOp):
            return Lines._kernel
        if isinstance(op.forward, Rowwise):
            return Lines._along_rows
        return Lines._of_ops.get(op, Lines._view if op.view else None)


def _apart(view: View, split: int) -> tuple[int | None, int | None]:
    """How far the numbers along the first axes, and the others, are from each other."""
    axes = range(len(view.shape))
    return _one_stride(view, axes[:split]), _one_stride(view, axes[split:])


def _one_stride(view: View, axes: Sequence[int]) -> int | None:
    """How far the numbers along some axes are from each other, if that is one number."""
    extents, (strides,) = merged([view.permuted(axes)])
    if not extents:
        return 0 if not axes else 1
    stride = strides[0]
    return stride if len(extents) == 1 and isinstance(stride, int) else None
