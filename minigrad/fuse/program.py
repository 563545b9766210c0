"""Straight-line elementwise programs, and the tracer that writes one down and simplifies it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from minigrad import ops
from minigrad.ops import Elementwise

Ref = int  # the number of a value in a program
Arg = int | float  # an operand: a Ref is an int, a constant is always held as a float
Instruction = tuple[Elementwise, tuple[Arg, ...]]


@dataclass(frozen=True)
class Group:
    """An argument or a result: one value, or the equal chunks of one array along `dim`."""

    refs: tuple[Arg, ...]
    dim: int | None = None


@dataclass(frozen=True)
class Program:
    """Values in order (None for an input lane), and which of them come in and go out."""

    values: tuple[Instruction | None, ...]
    inputs: tuple[Group, ...]
    outputs: tuple[Group, ...]
    names: Mapping[Ref, str] = field(default_factory=dict[Ref, str])  # of values that were named

    def name_of(self, group: Group, default: str) -> str:
        """The name of a result, if it is a value that was named."""
        (ref, *others) = group.refs
        return self.names.get(ref, default) if isinstance(ref, int) and not others else default


def needed(values: Sequence[Instruction | None], outputs: Iterable[Group]) -> set[Ref]:
    """Every value that the outputs are computed from."""
    seen: set[Ref] = set()
    stack = [ref for group in outputs for ref in group.refs]
    while stack:
        ref = stack.pop()
        if isinstance(ref, int) and ref not in seen:
            seen.add(ref)
            instruction = values[ref]
            stack += () if instruction is None else instruction[1]
    return seen


# the constants c that change nothing, by the op's name: op(x, c) = x, and op(c, x) = x
_NEUTRAL_RIGHT = {"mul": 1.0, "div": 1.0, "pow": 1.0, "add": 0.0, "sub": 0.0}
_NEUTRAL_LEFT = {"mul": 1.0, "add": 0.0}


class Tracer:
    """Collects values. Equal expressions become one; x·1, x+0 and arithmetic on constants go."""

    def __init__(self) -> None:
        self.values: list[Instruction | None] = []
        self.names: dict[Ref, str] = {}
        self._known: dict[object, Arg] = {}

    def lane(self) -> Ref:
        """A new input value."""
        self.values.append(None)
        return len(self.values) - 1

    def group(self, like: Group) -> Group:
        """New input values, as many as `like` has."""
        return Group(tuple(self.lane() for _ in like.refs), like.dim)

    def emit(self, op: Elementwise, *args: Arg) -> Arg:
        """Write down `op(*args)`, or give the value that it is known to be."""
        simple = self._simplified(op, args)
        if simple is not None:
            return simple
        if op.name in ("add", "mul"):
            args = tuple(sorted(args, key=lambda a: (isinstance(a, float), a)))
        key = _key(op, args)
        if key not in self._known:
            self.values.append((op, args))
            self._known[key] = len(self.values) - 1
        return self._known[key]

    def adopt(self, values: Sequence[Instruction | None]) -> None:
        """Start from a program's values, so that what repeats one of them is that value."""
        for instruction in values:
            self.values.append(instruction)
            if instruction is not None:
                self._known[_key(*instruction)] = len(self.values) - 1

    def _simplified(self, op: Elementwise, args: tuple[Arg, ...]) -> Arg | None:
        """What `op(*args)` is without a new instruction, or by a simpler one; else None."""
        if all(isinstance(a, float) for a in args):
            return float(op(*args))
        if op.name == "neg":
            return self._operand_of("neg", args[0])
        return self._simplified_pair(op.name, *args) if len(args) == 2 else None

    def _simplified_pair(self, name: str, a: Arg, b: Arg) -> Arg | None:
        if isinstance(b, float) and b == _NEUTRAL_RIGHT.get(name) and self._is_number(a):
            return a
        if isinstance(a, float) and a == _NEUTRAL_LEFT.get(name) and self._is_number(b):
            return b
        if name == "mul" and b == -1.0:
            return self.emit(ops.neg, a)
        if name == "pow" and isinstance(b, float) and b == 2.0:
            return self.emit(ops.mul, a, a)
        negated = self._operand_of("neg", b) if name == "add" else None
        return None if negated is None else self.emit(ops.sub, a, negated)

    def _is_number(self, arg: Arg) -> bool:
        """Whether a value is no boolean for sure: mask * 1.0 makes numbers, which add up."""
        instruction = self.values[arg] if isinstance(arg, int) else None
        return instruction is not None and not instruction[0].boolean

    def _operand_of(self, name: str, arg: Arg) -> Arg | None:
        """The operand, if `arg` is an application of the op called `name`."""
        instruction = self.values[arg] if isinstance(arg, int) else None
        return instruction[1][0] if instruction and instruction[0].name == name else None


def _key(op: Elementwise, args: tuple[Arg, ...]) -> object:
    return (op.name, *((type(a), a) for a in args))


def pruned(program: Program) -> Program:
    """The program without the values that no output needs; its inputs stay."""
    kept = needed(program.values, (*program.outputs, *program.inputs))
    order = sorted(kept)
    here: dict[Ref, Arg] = {ref: i for i, ref in enumerate(order)}
    values = [program.values[ref] for ref in order]
    renumbered = [
        v and (v[0], tuple(here[a] if isinstance(a, int) else a for a in v[1])) for v in values
    ]
    return Program(
        tuple(renumbered),
        tuple(renamed(group, here) for group in program.inputs),
        tuple(renamed(group, here) for group in program.outputs),
        renumbered_names(program, here),
    )


def renumbered_names(program: Program, here: Mapping[Ref, Arg]) -> dict[Ref, str]:
    """The names of a program's values by what these are in another program."""
    return {
        ref: name for old, name in program.names.items() if isinstance(ref := here.get(old), int)
    }


def renamed(group: Group, here: dict[Ref, Arg]) -> Group:
    """The group with its refs replaced by what they are in another program."""
    return Group(tuple(here[r] if isinstance(r, int) else r for r in group.refs), group.dim)
