"""The derivative of a program: the same rules as on the tape, run on symbols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minigrad import ops
from minigrad.fuse.program import Arg, Group, Instruction, Program, Ref, Tracer, needed, pruned
from minigrad.fuse.symbol import Symbol
from minigrad.ops import Elementwise


@dataclass(frozen=True)
class Pullback:
    """The program that pulls cotangents back, and which values of the forward pass it reads.

    Its inputs are the cotangents that are present, then the forward's inputs numbered `xs`, then
    the forward's outputs numbered `ys`. Its outputs are the cotangents of the inputs in `gives`.
    """

    program: Program
    xs: tuple[int, ...]
    ys: tuple[int, ...]
    gives: tuple[int, ...]


def with_hidden_outputs(program: Program) -> Program:
    """The program with what its pull-back needs, and would be dear to compute again, as outputs."""
    present, wanted = [True] * len(program.outputs), [True] * len(program.inputs)
    tracer, _, cotangents = _reverse(program, present, wanted)
    groups = [group for group in cotangents if group is not None]
    outputs = _whole_outputs(program)
    read = _read(program, tracer.values, groups, set(outputs))
    hidden = sorted(ref for ref in read if program.values[ref] is not None and ref not in outputs)
    extra = tuple(Group((ref,)) for ref in hidden)
    return Program(program.values, program.inputs, program.outputs + extra, program.names)


def pull_back(program: Program, present: Sequence[bool], wanted: Sequence[bool]) -> Pullback:
    """Derive the pull-back for the output cotangents that are present and the inputs wanted."""
    tracer, seeds, cotangents = _reverse(program, present, wanted)
    gives = tuple(k for k, group in enumerate(cotangents) if group is not None)
    groups = tuple(group for group in cotangents if group is not None)
    outputs = _whole_outputs(program)
    lanes = {ref for group in program.inputs for ref in group.refs}
    read = {ref for ref in _read(program, tracer.values, groups, set(outputs)) if ref in outputs}
    values: list[Instruction | None] = list(tracer.values)
    for ref in read - lanes:
        values[ref] = None  # an input of the pull-back
    ys = sorted({outputs[ref] for ref in read - lanes})
    used = needed(values, groups)
    xs = [k for k, group in enumerate(program.inputs) if used.intersection(group.refs)]
    inputs = (*seeds, *(program.inputs[k] for k in xs), *(program.outputs[k] for k in ys))
    derived = pruned(Program(tuple(values), inputs, groups, program.names))
    return Pullback(derived, tuple(xs), tuple(ys), gives)


def _whole_outputs(program: Program) -> dict[Ref, int]:
    """The outputs that the pull-back may read. Chunks are not: their shape may be broadcast."""
    whole = [(k, group.refs[0]) for k, group in enumerate(program.outputs) if group.dim is None]
    return {ref: k for k, ref in whole if isinstance(ref, int)}


def _reverse(
    program: Program, present: Sequence[bool], wanted: Sequence[bool]
) -> tuple[Tracer, list[Group], list[Group | None]]:
    """Append to a program's values the cotangents of its inputs, None where nothing flows.

    Gives the values, the cotangents that come in (those present), and those that come out.
    """
    tracer = Tracer()
    tracer.adopt(program.values)
    outputs = [group for group, here in zip(program.outputs, present, strict=True) if here]
    seeds = [tracer.group(group) for group in outputs]
    flowing: dict[Ref, Arg] = {}
    for group, seed in zip(outputs, seeds, strict=True):
        for ref, g in zip(group.refs, seed.refs, strict=True):
            if isinstance(ref, int):  # into a constant chunk nothing flows
                _add(tracer, flowing, ref, g)
    active = _depends_on(program, wanted)
    for ref in range(len(program.values) - 1, -1, -1):
        instruction = program.values[ref]
        if instruction is not None and ref in flowing and ref in active:
            _pull_through(tracer, flowing, ref, instruction, active)
    cotangents = [
        _group_of_cotangents(group, flowing) if want else None
        for group, want in zip(program.inputs, wanted, strict=True)
    ]
    return tracer, seeds, cotangents


def _depends_on(program: Program, wanted: Sequence[bool]) -> set[Ref]:
    """The values that depend on a wanted input: only these need a cotangent."""
    active = {
        ref
        for group, want in zip(program.inputs, wanted, strict=True)
        if want
        for ref in group.refs
    }
    for ref, instruction in enumerate(program.values):
        if instruction is not None and any(
            isinstance(a, int) and a in active for a in instruction[1]
        ):
            active.add(ref)
    return {ref for ref in active if isinstance(ref, int)}


def _group_of_cotangents(group: Group, flowing: dict[Ref, Arg]) -> Group | None:
    lanes = [flowing.get(ref) for ref in group.refs if isinstance(ref, int)]
    if all(lane is None for lane in lanes):
        return None
    return Group(tuple(0.0 if lane is None else lane for lane in lanes), group.dim)


def _pull_through(
    tracer: Tracer,
    flowing: dict[Ref, Arg],
    ref: Ref,
    instruction: tuple[Elementwise, tuple[Arg, ...]],
    active: set[Ref],
) -> None:
    """Run one op's rules on symbols, and add what they give to the operands' cotangents."""
    op, args = instruction
    g, y = _symbol(tracer, flowing[ref]), Symbol(tracer, ref)
    xs = [_symbol(tracer, a) for a in args]
    for arg, rule in zip(args, op.rules, strict=False):
        if isinstance(arg, int) and arg in active:
            gx = rule(g, y, *xs)
            if gx is not None:
                _add(tracer, flowing, arg, gx.ref() if isinstance(gx, Symbol) else float(gx))


def _symbol(tracer: Tracer, arg: Arg) -> Symbol | float:
    return Symbol(tracer, arg) if isinstance(arg, int) else arg


def _add(tracer: Tracer, flowing: dict[Ref, Arg], ref: Ref, g: Arg) -> None:
    flowing[ref] = tracer.emit(ops.add, flowing[ref], g) if ref in flowing else g


def _read(
    program: Program,
    values: Sequence[Instruction | None],
    groups: Sequence[Group],
    available: set[Ref],
) -> set[Ref]:
    """The forward's values at which the pull-back stops: inputs, outputs and dear results."""
    forward = len(program.values)
    read: set[Ref] = set()
    seen: set[Ref] = set()
    stack = [ref for group in groups for ref in group.refs]
    while stack:
        ref = stack.pop()
        if not isinstance(ref, int) or ref in seen:
            continue
        seen.add(ref)
        instruction = values[ref]
        dear = instruction is not None and not instruction[0].cheap
        if ref < forward and (instruction is None or dear or ref in available):
            read.add(ref)
        elif instruction is not None:
            stack += instruction[1]
    return read
