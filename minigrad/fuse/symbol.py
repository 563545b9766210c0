"""Symbols: what a function sees while it is traced, and what it may not do with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from minigrad import ops
from minigrad.fuse.named import listening
from minigrad.fuse.program import Arg, Group, Program, Tracer, pruned
from minigrad.op import Op
from minigrad.ops import Elementwise, Operators


class FuseError(TypeError):
    """A fused function did something that is not straight-line and elementwise."""


class Symbol(Operators):
    """A value in a function being traced: ops on it are written down instead of computed."""

    __slots__ = ("_ref", "tracer")
    clamp = ops.clamp

    def __init__(self, tracer: Tracer, ref: Arg | None) -> None:
        self.tracer = tracer
        self._ref = ref

    def ref(self) -> Arg:
        """The number of the value in the program."""
        assert self._ref is not None
        return self._ref

    def __run_op__(self, op: Op, xs: Sequence[Any], params: dict[str, Any]) -> Any:
        if op.inline is not None:  # a fused function within another is part of it
            return op.inline(*xs)
        if not isinstance(op, Elementwise) or params:
            raise FuseError(
                f"{op.name} is not elementwise, so it cannot be fused: compute it outside and "
                "pass the result as an argument"
            )
        return Symbol(self.tracer, self.tracer.emit(op, *map(_operand, xs)))

    def __getattr__(self, name: str) -> Any:
        method = getattr(ops, name, None)
        if isinstance(method, Elementwise):
            return method.__get__(self)
        raise FuseError(
            f".{name} does not exist in a fused function, which sees one element at a time and no "
            "shapes: compute what needs it outside and pass it as an argument"
        )

    def __bool__(self) -> bool:
        raise FuseError(
            "a fused function cannot branch on a value (if, while, and, or): write "
            "mg.where(condition, a, b)"
        )

    def __getitem__(self, _key: Any) -> Any:
        raise FuseError(
            "a fused function cannot index: pass the parts as arguments, or take equal chunks of "
            "an argument with x.chunk(n)"
        )

    def __iter__(self) -> Any:
        raise FuseError("a fused function cannot iterate over a value: write x.chunk(n)")

    def __float__(self) -> float:
        raise FuseError("a fused function has no numbers yet: write mg.exp(x), not math.exp(x)")

    __int__ = __index__ = __float__  # pyright: ignore[reportAssignmentType]  # none of them returns


class Argument(Symbol):
    """An argument of the function: taken whole, or apart into equal chunks, but not both."""

    __slots__ = ("group",)

    def __init__(self, tracer: Tracer) -> None:
        super().__init__(tracer, None)
        self.group: Group | None = None

    def ref(self) -> Arg:
        """The whole argument's value; it becomes an input when it is first used."""
        return self._lanes(1, None).refs[0]

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Symbol, ...]:
        """The argument's `chunks` equal parts along `dim`, as Tensor.chunk gives them."""
        return tuple(Symbol(self.tracer, ref) for ref in self._lanes(chunks, dim).refs)

    def _lanes(self, n: int, dim: int | None) -> Group:
        if self.group is None:
            self.group = Group(tuple(self.tracer.lane() for _ in range(n)), dim)
        if (len(self.group.refs), self.group.dim) != (n, dim):
            raise FuseError(
                "an argument is used whole or in one way of chunking it: to use it in two ways, "
                "make it two arguments"
            )
        return self.group


def _operand(x: Any) -> Arg:
    if isinstance(x, Symbol):
        return x.ref()
    if isinstance(x, (bool, int, float)):
        return float(x)
    raise FuseError(
        f"a fused function captured a {type(x).__name__} from outside: pass it as an argument"
    )


def apply(tracer: Tracer, function: Callable[..., Any], operands: Sequence[Arg]) -> Arg:
    """Run a function (an op, its rule or its expansion) on values of a program."""
    xs = [Symbol(tracer, a) if isinstance(a, int) else a for a in operands]
    return _operand(function(*xs))


def trace(function: Callable[..., Any], arguments: int) -> tuple[Program, bool]:
    """Write a function down as a program; also whether it returns one value (not a tuple)."""
    tracer = Tracer()
    xs = [Argument(tracer) for _ in range(arguments)]

    def hear(name: str, value: Any) -> None:
        if isinstance(value, Symbol) and not isinstance(value, Argument):
            ref = value.ref()
            if isinstance(ref, int):
                tracer.names[ref] = name

    with listening(hear):
        result = function(*xs)
    single = not isinstance(result, (tuple, list))
    outputs: list[Any] = [result] if single else list(cast("Sequence[Any]", result))
    for y in outputs:
        if not isinstance(y, Symbol) or isinstance(y.ref(), float):
            raise FuseError(
                "a fused function returns values computed from its arguments, as one value or a "
                f"tuple; it returned {type(y).__name__}"
            )
    groups = [x.group or Group((x.ref(),)) for x in xs]
    results = tuple(Group((y.ref(),)) for y in outputs)
    program = Program(tuple(tracer.values), tuple(groups), results, tracer.names)
    return pruned(program), single
