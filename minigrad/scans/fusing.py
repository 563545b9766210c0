"""The elementwise lines of a step as fused ops: what can run as one kernel becomes one line."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from minigrad.fuse import FusedOp, FuseError
from minigrad.fuse.symbol import trace
from minigrad.ops import Elementwise
from minigrad.ops.shape import split_op
from minigrad.scans.groups import grouped
from minigrad.scans.step import Line, Number, Slot, Step

KNOWN = 256  # fused ops that are kept


@dataclass(frozen=True)
class Source:
    """What one argument of a group is: a value, or one that is taken apart into equal chunks."""

    slot: Slot
    values: tuple[Slot, ...]  # the value itself, or its chunks
    dim: int | None = None


def fused(step: Step, *, native: bool, numbers: bool) -> Step:
    """The step with each group of elementwise lines as one fused op.

    A value's equal pieces (`gates.chunk(4)`) become chunks of one argument. With `native` kernels,
    single lines and those with masks gain by it, too. Python numbers become part of the op's code;
    without `numbers`, lines that have some stay as they are.
    """
    made = replace(step.copy(), lines=[])
    pieces, readers = _pieces(step), _readers(step)
    for group in grouped(step, lambda line: _is_fusible(step, line, native, numbers)):
        kernel = group.joins and (native or len(group.lines) > 1)
        line = _fused_line(made, step, group.lines, pieces, readers) if kernel else None
        made.lines += group.lines if line is None else [line]
    made.lines = read_by(made.lines, (*made.after, *made.output))
    return made


def read_by(lines: Sequence[Line], wanted: Collection[Slot]) -> list[Line]:
    """The lines that something wanted is computed from."""
    read = {*wanted}
    found: list[Line] = []
    for line in reversed(lines):
        if read.intersection(line.outs):
            read.update(line.slots)
            found.append(line)
    return found[::-1]


def _is_fusible(step: Step, line: Line, masks: bool, numbers: bool) -> bool:
    """Whether a line is elementwise and may be a part of a fused op."""
    op, outs = line.op, line.outs
    ours = isinstance(op, Elementwise) or (isinstance(op, FusedOp) and op.inline is not None)
    values = [a.value for a in line.args if isinstance(a, Number)]
    plain = all(type(value) in (int, float) for value in values) and (numbers or not values)
    if not ours or not plain or line.params or not line.slots:
        return False
    dtypes = {step.dtypes[a] for a in (*line.slots, *outs)} - ({"?"} if masks else set())
    # a gradient that the step has stopped must not flow
    flows = any(step.active[a] for a in line.slots)
    stopped = flows and not all(step.active[y] or step.dtypes[y] == "?" for y in outs)
    return len(dtypes) == 1 and dtypes < {"e", "f", "d"} and not stopped


def _pieces(step: Step) -> dict[Slot, Source]:
    """The pieces of values that the step has split into equal ones."""
    found: dict[Slot, Source] = {}
    for line in step.lines:
        if line.op is split_op and len(set(line.params["sizes"])) == 1:
            (whole,) = line.slots
            # a gradient that the step has stopped must not flow into the whole
            if step.active[whole] == step.active[line.outs[0]]:
                found.update(dict.fromkeys(line.outs, Source(whole, line.outs, line.params["dim"])))
    return found


def _fused_line(
    made: Step,
    step: Step,
    group: Sequence[Line],
    pieces: dict[Slot, Source],
    readers: dict[Slot, set[Slot]],
) -> Line | None:
    """One line for a group; None for one that is no kernel, or is one already."""
    if len(group) == 1 and isinstance(group[0].op, FusedOp):
        return None
    inside = {out for line in group for out in line.outs}
    wanted = sorted(a for a in inside if not readers.get(a, inside) <= inside)
    sources = _sources(step, group, inside, pieces)
    op = _op(group, sources, wanted) if wanted else None
    if op is None:
        return None
    like = step.dtypes[next(a for a in group[0].slots if step.dtypes[a] != "?")]
    hidden: list[Slot] = []
    if any(step.active[source.slot] for source in sources):  # something may pull
        shape, backend = step.shapes[group[0].outs[0]], step.backends[group[0].outs[0]]
        count = len(op.full.outputs) - len(wanted)
        hidden = [made.add(shape, like, backend, True) for _ in range(count)]
    args = tuple([source.slot for source in sources])
    return Line(op, args, {}, (*wanted, *hidden))


def _readers(step: Step) -> dict[Slot, set[Slot]]:
    """The lines that read a value, each by what it makes; -1 reads the results."""
    readers: dict[Slot, set[Slot]] = defaultdict(set)
    for line in step.lines:
        for a in line.slots:
            readers[a].add(line.outs[0])
    for a in (*step.after, *step.output):
        readers[a].add(-1)
    return readers


def _sources(
    step: Step, group: Sequence[Line], inside: set[Slot], pieces: dict[Slot, Source]
) -> list[Source]:
    """What a group reads: values, and values in chunks where it reads all of these."""
    shape = step.shapes[group[0].outs[0]]
    read = dict.fromkeys(a for line in group for a in line.slots if a not in inside)
    sources: dict[Source, None] = {}
    for a in read:
        whole = pieces.get(a)
        if whole is not None and read.keys() >= {*whole.values} and step.shapes[a] == shape:
            sources[whole] = None
        else:
            sources[Source(a, (a,))] = None
    return list(sources)


# ---- the op ----------------------------------------------------------------------------------

Apply = tuple[Any, tuple[Slot | str, ...], int]  # an op, its arguments (a number as text), outputs


def _op(group: Sequence[Line], sources: Sequence[Source], wanted: Sequence[Slot]) -> FusedOp | None:
    """The fused op of a group; groups that are alike but for their slots share it."""
    values = [v for source in sources for v in source.values]
    here = {slot: k for k, slot in enumerate((*values, *(y for g in group for y in g.outs)))}

    def argument(a: Slot | Number) -> Slot | str:
        return here[a] if isinstance(a, int) else repr(float(a.value))

    return _known_op(
        tuple([(len(source.values), source.dim) for source in sources]),
        tuple([(line.op, tuple(map(argument, line.args)), len(line.outs)) for line in group]),
        tuple([here[y] for y in wanted]),
    )


@functools.lru_cache(KNOWN)
def _known_op(
    sources: tuple[tuple[int, int | None], ...], group: tuple[Apply, ...], wanted: tuple[Slot, ...]
) -> FusedOp | None:
    """None where the ops cannot be written down as a kernel."""

    def run(*xs: Any) -> tuple[Any, ...]:
        values: list[Any] = []
        for x, (count, dim) in zip(xs, sources, strict=True):
            values += [x] if dim is None else x.chunk(count, dim)
        for op, args, outs in group:
            ys = _applied(op, [float(a) if isinstance(a, str) else values[a] for a in args])
            values += [*ys, *[None] * (outs - len(ys))]  # nobody reads hidden ones
        return tuple([values[y] for y in wanted])

    try:
        program, _ = trace(run, len(sources))
    except FuseError:
        return None
    inputs, outputs = (
        [f"{name}{k}" for k in range(n)] for name, n in (("x", len(sources)), ("y", len(wanted)))
    )
    return FusedOp("elementwise", program, inputs, outputs, own_results=True)


def _applied(op: Any, args: Sequence[Any]) -> Sequence[Any]:
    """What an op gives for symbols."""
    ys: Any = op.inline(*args) if isinstance(op, FusedOp) and op.inline else op(*args)
    return cast("tuple[Any, ...]", ys) if isinstance(ys, tuple) else (ys,)
