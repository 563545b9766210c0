"""Lines of a function that run as one piece of C."""

from __future__ import annotations

import ctypes
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minigrad.backend import Array, Backend
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
    """Lines that run as one function of arrays, which NumPy calls like its own."""

    def __init__(self, step: Step, lines: Sequence[Line], wanted: Collection[Slot]) -> None:
        super().__init__("block", self._forward)
        made = [out for line in lines for out in line.outs]
        read = dict.fromkeys(a for line in lines for a in line.slots)
        self.reads = tuple([a for a in read if a not in made])
        self.gives = tuple([out for out in made if out in wanted])
        self.several = len(self.gives) > 1
        self._run = _compiled(step, lines, self.reads, self.gives)

    def _forward(self, _xp: Backend, *xs: Array) -> Any:
        return self._run(*xs)


def _compiled(
    step: Step, lines: Sequence[Line], reads: Sequence[Slot], gives: Sequence[Slot]
) -> Callable[..., Any]:
    """The function of what lines read that gives what others read of them."""
    library, dtypes = blas(), {step.dtypes[out] for line in lines for out in line.outs}
    if library is None or len(dtypes) > 1 or len(reads) + len(gives) > MOST_LANES:
        raise Unfit
    dtype = np.dtype(dtypes.pop())
    code = Code(NUMBERS[dtype.char])
    given, homes = (
        {slot: dense(code.array(f"a{slot}"), step.shapes[slot]) for slot in slots}
        for slots in (reads, gives)
    )
    code.body += Lines(code, replace(step, lines=[*lines]), given, homes, reads).body
    text = code.text(BLOCK, arrays=_taken(code, [*given.values()], [*homes.values()]))
    signature = "->".join(
        ",".join(f"({','.join(map(str, view.shape))})" for view in views.values())
        for views in (given, homes)
    )
    return ufunc(
        ctypes.CDLL(str(built(text))),
        "block",
        len(reads),
        len(gives),
        signature,
        [code.number],
        [library.gemm(dtype), library.gemv(dtype)],
    )


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
            if (
                line is not None
                and slot not in known
                and line.op.view
                and can_write(self.step, line)
            ):
                known.update(line.outs)
                found.append(line)
                waiting += line.slots
        return sorted(found, key=lambda line: line.outs)
