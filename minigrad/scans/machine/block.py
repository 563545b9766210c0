"""Lines of a function that run as one piece of C."""

from __future__ import annotations

import ctypes
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minigrad.backend.blas import blas
from minigrad.backend.library import built
from minigrad.backend.native import MOST_LANES
from minigrad.backend.ufunc import ufunc
from minigrad.op import Op
from minigrad.scans.fusing import read_by
from minigrad.scans.machine.code import BLOCK, Code, Unfit
from minigrad.scans.machine.lines import Lines, can_write
from minigrad.scans.machine.loop import NUMBERS
from minigrad.scans.machine.views import View, assigned, dense
from minigrad.scans.step import Line, Slot, Step


class Block(Op):
    """Lines that run as one function of arrays."""

    def __init__(self, step: Step, lines: Sequence[Line], wanted: Collection[Slot]) -> None:
        library = blas()
        if library is None:
            raise Unfit
        made = [out for line in lines for out in line.outs]
        read = dict.fromkeys(a for line in lines for a in line.slots)
        self.reads = tuple([a for a in read if a not in made])
        self.gives = tuple([out for out in made if out in wanted])
        if len({step.dtypes[slot] for slot in made}) > 1:
            raise Unfit
        dtype = np.dtype(step.dtypes[made[0]])
        code = Code(NUMBERS[dtype.char])
        for slot in (*self.reads, *self.gives):
            code.array(f"a{slot}")
        if len(code.arrays) > MOST_LANES:
            raise Unfit
        there = {slot: dense(f"a{slot}", step.shapes[slot]) for slot in (*self.reads, *self.gives)}
        homes = {slot: there[slot] for slot in self.gives}
        given = {slot: there[slot] for slot in self.reads}
        inner = Lines(code, replace(step, lines=[*lines]), given, homes, self.reads)
        code.body += inner.body
        arrays = _taken(code, [there[slot] for slot in self.reads], [*homes.values()])
        text = code.text(BLOCK, arrays=arrays)
        shapes = [f"({','.join(map(str, step.shapes[slot]))})" for slot in (*self.reads, *self.gives)]
        count = len(self.reads)
        self.run = ufunc(
            ctypes.CDLL(str(built(text))),
            "block",
            count,
            len(self.gives),
            f"{','.join(shapes[:count])}->{','.join(shapes[count:])}",
            [code.number],
            [library.gemm(dtype), library.gemv(dtype)],
        )
        super().__init__("block", lambda _xp, *xs: self.run(*xs))
        self.several = len(self.gives) > 1


def _taken(code: Code, reads: Sequence[View], gives: Sequence[View]) -> str:
    """The statements that find the arrays, which are copied where they are not dense."""
    lines: list[str] = []
    stride = len(reads) + len(gives)
    for k, view in enumerate((*reads, *gives)):
        strides = [f"steps[{stride + axis}]" for axis in range(len(view.shape))]
        stride += len(view.shape)
        wanted = [
            f"{have} == {want} * sizeof(T)"
            for have, want, n in zip(strides, view.strides, view.shape, strict=True)
            if n > 1
        ]
        room = code.space(f"copy{k}", view.size)
        lines.append(f"at[{k}] = (T *)given[{k}];")
        copy = View(room, view.shape, view.strides)
        there = View(
            f"((T *)given[{k}])", view.shape, tuple(f"({s} / (intptr_t)sizeof(T))" for s in strides)
        )
        if wanted:
            test = f"if (!({' && '.join(wanted)}))"
            if k < len(reads):
                lines.append(f"{test} {{ at[{k}] = {room}; {assigned(copy, there)} }}")
            else:
                lines.append(f"{test} at[{k}] = {room};")
                code.after.append(f"{test} {{ {assigned(there, copy)} }}")
    return "\n".join(f"    {line}" for line in lines)


def blocked(step: Step, wanted: Collection[Slot]) -> Step:
    """The step with the lines that C can do in blocks, as few as can be."""
    return _Blocking(step, wanted).run()


class _Blocking:
    def __init__(self, step: Step, wanted: Collection[Slot]) -> None:
        self.step, self.wanted = step, wanted
        self.maker = {out: line for line in step.lines for out in line.outs}
        self.readers: dict[Slot, list[Line]] = defaultdict(list)
        for line in step.lines:
            for a in line.slots:
                self.readers[a].append(line)

    def run(self) -> Step:
        stages: dict[int, list[Line]] = defaultdict(list)
        stage_of: dict[Slot, int] = defaultdict(int)
        for line in self.step.lines:
            stage = max((stage_of[a] for a in line.slots), default=0)
            if not line.op.view:  # which is done where its source is
                stage += stage % 2 != can_write(self.step, line)
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
        except Unfit:
            return lines
        return [Line(block, block.reads, {}, block.gives), *behind]

    def _views(self, lines: Sequence[Line]) -> list[Line]:
        """The lines that look at what some lines read, and were done before."""
        found: list[Line] = []
        waiting = [a for line in lines for a in line.slots]
        known = {out for line in lines for out in line.outs}
        while waiting:
            slot = waiting.pop()
            line = self.maker.get(slot)
            if line is not None and slot not in known and line.op.view and can_write(self.step, line):
                known.update(line.outs)
                found.append(line)
                waiting += line.slots
        return sorted(found, key=lambda line: line.outs)

