"""Lines of a function that run as one piece of C."""

from __future__ import annotations

import ctypes
import functools
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np

from minigrad.backend import Array, Backend
from minigrad.backend.blas import blas
from minigrad.backend.library import built
from minigrad.backend.native import MOST_LANES
from minigrad.backend.ufunc import ufunc
from minigrad.op import Op
from minigrad.scans.fusing import read_by
from minigrad.scans.machine.code import Code, Refused, Unfit
from minigrad.scans.machine.lines import Lines, can_write
from minigrad.scans.machine.loop import NUMBERS
from minigrad.scans.machine.source import BLOCK
from minigrad.scans.machine.views import Shape, View, assigned, dense
from minigrad.scans.step import Line, Slot, Step


def _piece(_xp: Backend, x: Array, *, begin: int, shape: Shape) -> Array:
    return x[begin : begin + math.prod(shape)].reshape(shape)


_piece_op = Op("piece", _piece)  # of what a block gives in one array
_piece_op.view = True


class Block(Op):
    """Lines that run as one function of arrays, which NumPy calls like its own.

    It gives what is wanted of them; all but results in one array, `packed`, if NumPy could not
    pass so many.
    """

    def __init__(self, step: Step, lines: Sequence[Line], wanted: Collection[Slot]) -> None:
        super().__init__("block", self._forward)
        made = [out for line in lines for out in line.outs]
        read = dict.fromkeys(a for line in lines for a in line.slots)
        self.reads = tuple([a for a in read if a not in made])
        self.gives = tuple([out for out in made if out in wanted])
        if len(self.reads) + len(self.gives) > MOST_LANES:
            self.gives = tuple([out for out in self.gives if out in step.output])
        packed = [out for out in made if out in wanted and out not in self.gives]
        shapes = step.shapes
        sizes = [math.prod(shapes[slot]) for slot in packed]
        self.packed = dict(zip(packed, accumulate(sizes, initial=0), strict=False))
        self.room = sum(sizes)
        self.several = len(self.gives) + bool(packed) > 1
        given = {slot: dense(f"a{slot}", shapes[slot]) for slot in self.reads}
        homes = {slot: dense(f"a{slot}", shapes[slot]) for slot in self.gives}
        results = [*homes.values(), *([dense("all", (self.room,))] if packed else [])]
        homes |= {s: dense(f"(all + {begin})", shapes[s]) for s, begin in self.packed.items()}
        self._function = _Function(step, lines, given, homes, results)

    def _forward(self, _xp: Backend, *xs: Array) -> Any:
        return self._function.run(*xs)


class _Function:
    """The function of what lines read that gives what others read of them; compiled when called."""

    def __init__(
        self,
        step: Step,
        lines: Sequence[Line],
        given: dict[Slot, View],
        homes: dict[Slot, View],
        results: Sequence[View],
    ) -> None:
        dtypes = {step.dtypes[out] for line in lines for out in line.outs}
        if len(dtypes) > 1 or len(given) + len(results) > MOST_LANES:
            raise Unfit
        self.dtype = np.dtype(dtypes.pop())
        self.reads, self.gives = [*given.values()], results
        code = self.code = Code(NUMBERS[self.dtype.char])
        for view in (*self.reads, *results):
            code.array(view.at)
        code.body += Lines(code, replace(step, lines=[*lines]), given, homes, given).body

    @functools.cached_property
    def run(self) -> Callable[..., Any]:
        products = blas()
        assert products is not None, "without it nothing is written"
        arrays = _taken(self.code, self.reads, self.gives)
        library = ctypes.CDLL(str(built(self.code.text(BLOCK, arrays=arrays))))
        reads, gives = (
            ",".join(f"({','.join(map(str, view.shape))})" for view in views)
            for views in (self.reads, self.gives)
        )
        addresses = [products.gemm(self.dtype), products.gemv(self.dtype)]
        counts, signature = (len(self.reads), len(self.gives)), f"{reads}->{gives}"
        return ufunc(library, "block", *counts, signature, [self.code.number], addresses)


def _taken(code: Code, reads: Sequence[View], gives: Sequence[View]) -> str:
    """The statements that find the arrays, with copies of those that are not dense."""
    lines: list[str] = []
    known = len(reads) + len(gives)  # steps of which NumPy tells before an array's strides
    for k, view in enumerate((*reads, *gives)):
        strides = [f"steps[{known + axis}] / SIZE" for axis in range(len(view.shape))]
        known += len(strides)
        there = View(f"((T *)given[{k}])", view.shape, tuple(strides))
        copy = View(f"at[{k}]", view.shape, view.strides)
        apart = zip(view.shape, strides, view.strides, strict=True)
        differs = [f"{have} != {want}" for n, have, want in apart if n > 1]
        lines.append(f"at[{k}] = (T *)given[{k}];")
        if differs:
            room = f"at[{k}] = copies[{k}] = malloc({view.size} * sizeof(T));"
            filled = f" {assigned(copy, there)}" if k < len(reads) else ""
            lines.append(f"if ({' || '.join(differs)}) {{ {room}{filled} }}")
        if differs and k >= len(reads):
            code.after.append(f"if (copies[{k}]) {{ {assigned(there, copy)} }}")
    return "\n".join(f"    {line}" for line in lines)


def blocked(step: Step, wanted: Collection[Slot]) -> Step:
    """The step with the lines that C can do in blocks, as few as can be."""
    return _Blocking(step, wanted).run() if blas() else step


class _Blocking:
    def __init__(self, step: Step, wanted: Collection[Slot]) -> None:
        self.step = step.copy()
        self.wanted = wanted
        self.able = {line.outs for line in step.lines if can_write(step, line)}
        self.maker = {out: line for line in step.lines for out in line.outs}
        self.readers: dict[Slot, list[Line]] = defaultdict(list)
        for line in step.lines:
            for a in line.slots:
                self.readers[a].append(line)

    def run(self) -> Step:
        while True:
            try:
                return self._staged()
            except Refused as refused:
                self.able.remove(refused.line.outs)

    def _staged(self) -> Step:
        stages: dict[int, list[Line]] = defaultdict(list)
        stage_of: dict[Slot, int] = defaultdict(int)
        for line in self.step.lines:
            stage = max((stage_of[a] for a in line.slots), default=0)
            if not (line.op.view and line.outs in self.able):  # which is done where its source is
                stage += stage % 2 != (line.outs in self.able)
            stages[stage].append(line)
            stage_of.update(dict.fromkeys(line.outs, stage))
        lines: list[Line] = []
        for stage, here in sorted(stages.items()):
            lines += self._block(here) if stage % 2 else here
        return replace(self.step, lines=read_by(lines, self.wanted))

    def _block(self, lines: list[Line]) -> list[Line]:
        """Lines as one block, and behind it those that only look at what it gives."""
        inside = {id(line) for line in lines}
        needed = {
            a
            for line in lines
            for a in line.outs
            if a in self.wanted or any(id(reader) not in inside for reader in self.readers[a])
        }
        behind: list[Line] = []
        for line in reversed(lines):
            if line.op.view and needed.intersection(line.outs):
                behind.insert(0, line)
                needed.difference_update(line.outs)
                needed.update(line.slots)
        inner = read_by([*self._views(lines), *lines], needed)
        if sum(not line.op.view for line in inner) < 2:
            return lines
        try:
            block = Block(self.step, inner, needed)
        except Refused:
            raise
        except Unfit:  # too many arrays, say
            return lines
        return [*self._applied(block), *behind]

    def _applied(self, block: Block) -> list[Line]:
        """The line of a block, and what takes apart what it gives in one array."""
        if not block.packed:
            return [Line(block, block.reads, {}, block.gives)]
        step, first = self.step, next(iter(block.packed))
        whole = step.add((block.room,), step.dtypes[first], step.backends[first], active=False)
        pieces = [
            Line(_piece_op, (whole,), {"begin": begin, "shape": step.shapes[slot]}, (slot,))
            for slot, begin in block.packed.items()
        ]
        return [Line(block, block.reads, {}, (*block.gives, whole)), *pieces]

    def _views(self, lines: Sequence[Line]) -> list[Line]:
        """The lines that look at what some lines read, and were done before."""
        found: list[Line] = []
        waiting = [a for line in lines for a in line.slots]
        known = {out for line in lines for out in line.outs}
        while waiting:
            slot = waiting.pop()
            line = self.maker.get(slot)
            if line is not None and slot not in known and line.op.view and line.outs in self.able:
                known.update(line.outs)
                found.append(line)
                waiting += line.slots
        return sorted(found, key=lambda line: line.outs)
