"""Lines of a step that are neither products nor elementwise: along rows, and pieces of arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from minigrad.backend import RowKernel
from minigrad.backend.rows import Rowwise
from minigrad.ops.shape import cat_op, split_op
from minigrad.scans.machine.code import Code, Unfit, size_of
from minigrad.scans.step import Line, Slot

Shape = tuple[int, ...]
Place = Callable[[Slot], str]


def row_statements(code: Code, line: Line, shapes: Sequence[Shape], place: Place) -> list[str]:
    """The line in C, where `place` gives a pointer to each value."""
    if len(line.slots) < len(line.args):
        raise Unfit
    if isinstance(line.op.forward, Rowwise):
        return _along_rows(code, line, shapes, place)
    if line.op is split_op:
        return _pieces(line, line.slots[0], line.outs, shapes, place, apart=True)
    if line.op is cat_op:
        return _pieces(line, line.outs[0], line.slots, shapes, place, apart=False)
    raise Unfit


def _along_rows(code: Code, line: Line, shapes: Sequence[Shape], place: Place) -> list[str]:
    kernel: RowKernel = line.op.forward.kernel(len(line.slots), **line.params)
    height, width = shapes[line.slots[0]]
    # of each kind of operand: its shape, how far its rows are from each other, and numbers in a row
    if kernel.axis == -1:
        m, n = height, width
        kinds = {"m,n": ((m, n), n, 1), "m,1": ((m, 1), 1, 0)}
    else:
        n, m = height, width
        kinds = {"m,n": ((n, m), 1, m), "m,1": ((1, m), 1, 0)}
    kinds |= {"m": ((m,), 1, 0), "n": ((n,), 0, 1)}
    arrays: list[tuple[str, int, int]] = []
    statements: list[str] = []
    pairs = zip((*kernel.inputs, *kernel.outputs), (*line.slots, *line.outs), strict=True)
    for operand, slot in pairs:
        shape, down, along = kinds[operand.axes]
        if shapes[slot] != shape:
            raise Unfit
        arrays.append((place(slot), down, along))
        if operand in kernel.outputs and operand.axes == "n":
            statements.append(f"clear(1, {n}, {place(slot)}, {n});")
    return [*statements, code.rows(kernel, m, n, arrays)]


def _pieces(
    line: Line,
    whole: Slot,
    parts: Sequence[Slot],
    shapes: Sequence[Shape],
    place: Place,
    apart: bool,
) -> list[str]:
    """Copy a matrix to the pieces of its rows, or these to it."""
    if line.params["dim"] or len(shapes[whole]) != 2:
        raise Unfit
    lines: list[str] = []
    offset = 0
    for part in parts:
        there, size = f"{place(whole)} + {offset}", size_of(shapes[part])
        pair = (there, place(part)) if apart else (place(part), there)
        lines.append(f"copy({size}, {', '.join(pair)});")
        offset += size
    return lines
