"""A step written down: the ops that one run of it applied, in order, and to what."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np

from minigrad import ops
from minigrad.backend import Array, Backend, array_types, is_array
from minigrad.op import Op
from minigrad.ops.arguments import constant, promoted
from minigrad.tape import mode
from minigrad.tensor import Tensor

Slot = int  # the number of a value of the step
_NUMBERS = (bool, int, float, complex)


class Unwritable(Exception):
    """The step did something that cannot be written down, so it has to run again every time."""


@dataclass(frozen=True)
class Number:
    """A Python number among the arguments of an op."""

    value: Any


class Line(NamedTuple):
    """One application of an op: `outs = op(*args, **params)`; hidden outputs come last."""

    op: Any  # an Op: its being a descriptor would confuse type checkers
    args: tuple[Slot | Number, ...]
    params: dict[str, Any]
    outs: tuple[Slot, ...]

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The arguments that are values of the step: all but numbers."""
        return tuple([a for a in self.args if isinstance(a, int)])


def comparable(args: Sequence[Slot | Number]) -> tuple[Slot | str, ...]:
    """Arguments to compare, numbers as text: 1 and 1.0 and True are equal but not the same."""
    return tuple([a if isinstance(a, int) else repr(a.value) for a in args])


@dataclass
class Step:
    """What one run of a step did.

    The slots are numbered: inputs first, then the parts of the state, then constants and results
    as they came. `shapes`, `dtypes`, `backends` and `active` (whether a gradient may flow there)
    have one entry a slot.
    """

    inputs: int
    state: int
    shapes: list[tuple[int, ...]]
    dtypes: list[str]
    backends: list[Backend]
    active: list[bool]
    constants: dict[Slot, Any]  # Tensors and arrays from outside
    lines: list[Line]
    after: tuple[Slot, ...] = ()  # the next state
    output: tuple[Slot, ...] = ()

    @property
    def before(self) -> range:
        """The parts of the state before the step."""
        return range(self.inputs, self.inputs + self.state)

    def add(self, shape: tuple[int, ...], dtype: str, backend: Backend, active: bool) -> Slot:
        """A new slot."""
        self.shapes.append(shape)
        self.dtypes.append(dtype)
        self.backends.append(backend)
        self.active.append(active)
        return len(self.shapes) - 1

    def copy(self) -> Step:
        """A step to which slots can be added; it has the same lines."""
        lists = {
            name: [*getattr(self, name)] for name in ("shapes", "dtypes", "backends", "active")
        }
        return replace(self, **lists)

    def bare(self) -> Step:
        """The step without its constants' values, which its code does not depend on."""
        return replace(self, constants=dict.fromkeys(self.constants))

    def saves(self, line: Line) -> bool:
        """Whether a line keeps what its rules read: a gradient may flow to something it gives."""
        return any(self.active[out] for out in line.outs)

    def shown(self, line: Line) -> tuple[Slot, ...]:
        """What a line gives when it runs: hidden outputs are for the rules alone."""
        return line.outs if self.saves(line) else line.outs[: line.op.visible]

    def shape_of(self, a: Slot | Number) -> tuple[int, ...]:
        """The shape of an argument."""
        return self.shapes[a] if isinstance(a, int) else ()

    @functools.cached_property
    def key(self) -> object:
        """What two steps have in common that run the same code, whatever their constants."""
        return self._key([comparable(line.args) for line in self.lines])

    @property
    def key_without_numbers(self) -> object:
        """What two steps have in common that do the same with other numbers."""
        return self._key([line.slots for line in self.lines])

    def _key(self, args: Sequence[object]) -> object:
        lines = [
            (id(line.op), given, frozen(line.params), line.outs)
            for line, given in zip(self.lines, args, strict=True)
        ]
        parts = (self.inputs, self.state, tuple(self.shapes), *self.dtypes, *self.backends)
        parts += (tuple(self.active),)
        return (*parts, tuple(self.constants), tuple(lines), self.after, self.output)


def frozen(value: Any) -> Any:
    """A parameter of an op as something that can be compared; arrays and the like cannot."""
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return tuple([(name, frozen(held)) for name, held in items])
    if isinstance(value, (tuple, list)):
        return tuple([frozen(held) for held in cast("Sequence[Any]", value)])
    if isinstance(value, slice):
        return (slice, value.start, value.stop, value.step)
    known: Any = value
    if isinstance(known, (int, float)):
        return repr(value)  # 1 and True are not the same
    if value is None or value is Ellipsis or isinstance(known, (str, type, np.dtype)):
        return (type(value).__name__, value)
    raise Unwritable(f"an op takes a {type(value).__name__} as a parameter")


class Traced(ops.Methods):
    """A value within a step that is being written down: its slot. The array nobody may see."""

    __slots__ = ("slot", "writer")

    def __init__(self, writer: Writer, slot: Slot) -> None:
        self.writer = writer
        self.slot = slot

    def __run_op__(self, op: Op, xs: Sequence[Any], params: dict[str, Any]) -> Any:
        return self.writer.write(op, xs, params)

    @property
    def shape(self) -> tuple[int, ...]:
        """The extents of the axes."""
        return self.writer.values[self.slot].shape

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> Any:
        """The dtype of the elements."""
        return self.writer.values[self.slot].dtype

    @property
    def device(self) -> str:
        """Where the array lives."""
        return self.backend.device

    @property
    def backend(self) -> Any:
        """The backend of the array."""
        return array_types[type(self.writer.values[self.slot])]

    def numel(self) -> int:
        """The number of elements."""
        return self.writer.values[self.slot].size

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the extent of one axis."""
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(ops.unbind(self))

    def _refuse(self, *_: Any) -> Any:
        raise Unwritable("it looks at a tensor's values")

    data = property(_refuse)
    __bool__ = __float__ = __int__ = __index__ = __array__ = item = tolist = numpy = _refuse


class Writer:
    """Runs a step on arrays, and writes down what it does."""

    def __init__(self, inputs: Sequence[Tensor], state: Sequence[Tensor]) -> None:
        self.step = Step(len(inputs), len(state), [], [], [], [], {}, [])
        self.values: list[Array] = []
        self.several: list[bool] = []  # whether the op of a line gives a tuple
        self.open = True  # until the step has run
        self._slots: dict[int, Slot] = {}
        for x in inputs:
            self.new(x.data, x.edge is not None)
        for s in state:
            self.new(s.data, True)  # after a step it has a gradient

    def new(self, data: Array, active: bool) -> Traced:
        """A value that was not there before."""
        flows = active and data.dtype.kind in "fc"
        self.values.append(data)
        backend = array_types[type(data)]
        return Traced(self, self.step.add(data.shape, data.dtype.char, backend, flows))

    def write(self, op: Op, xs: Sequence[Any], params: dict[str, Any]) -> Any:
        """Run one op, and note it."""
        operands, step = self.fitted(op, self.operands(xs)), self.step
        slots = [a for a in operands if isinstance(a, int)]
        arrays = [self.values[a] if isinstance(a, int) else a.value for a in operands]
        active = op.differentiable and mode.recording and any(step.active[a] for a in slots)
        run = op.saving_forward if active else op.forward
        ys: Any = run(step.backends[slots[0]], *arrays, **params)
        several = type(ys) is tuple
        parts = cast("tuple[Array, ...]", ys) if several else (ys,)
        made = [self.new(y, active) for y in parts]
        step.lines.append(Line(op, tuple(operands), params, tuple([y.slot for y in made])))
        self.several.append(several)
        return tuple(made[: op.visible]) if several else made[0]

    def fitted(self, op: Op, operands: list[Slot | Number]) -> list[Slot | Number]:
        """The arguments of an op, those in dtypes that it does not take so cast by lines."""
        if op.fit is None:
            return operands
        dtypes = [self.step.dtypes[a] for a in operands if isinstance(a, int)]
        if dtypes[0] in "fd" and dtypes.count(dtypes[0]) == len(dtypes):
            return operands
        arrays = [self.values[a] if isinstance(a, int) else a.value for a in operands]
        trios = zip(operands, arrays, promoted(arrays, op), strict=True)
        return [a if x is y else self._cast(a, y) for a, x, y in trios]

    def _cast(self, a: Slot | Number, like: Array) -> Slot:
        """A value in the dtype of another; or a number, which that other is."""
        if isinstance(a, Number):
            return self._constant(like)
        y: Any = ops.cast(Traced(self, a), dtype=like.dtype)
        return y.slot

    def operands(self, xs: Sequence[Any]) -> list[Slot | Number]:
        """The slots of an op's arguments, and numbers."""
        if not self.open:
            raise RuntimeError(
                "a value was used that a step or compiled function had kept from an earlier run: "
                "let it be a result, as a part of the state is, which comes back as an argument"
            )
        return [self._operand(x) for x in xs]

    def _operand(self, x: Any) -> Slot | Number:
        if isinstance(x, Traced):
            if x.writer is not self:
                raise Unwritable("it uses a value of an earlier run")
            return x.slot
        if isinstance(x, Tensor):
            return self._constant(x)
        known = x if type(x) in _NUMBERS else constant(x)
        return self._constant(known) if is_array(known) else Number(known)

    def _constant(self, x: Any) -> Slot:
        slot = self._slots.get(id(x))
        if slot is None:
            slot = self._slots[id(x)] = self.new_constant(x)
        return slot

    def new_constant(self, x: Any) -> Slot:
        """The slot of a tensor or array from outside."""
        tensor = isinstance(x, Tensor)
        slot = self.new(x.data if tensor else x, tensor and x.edge is not None).slot
        self.step.constants[slot] = x
        return slot

    def run(self, function: Callable[..., Any], inputs: Any, state: Any) -> tuple[Any, Any]:
        """Run the step on traced values of these structures, and note what it gives."""
        # not kept here, for they hold the writer
        given = iter([Traced(self, slot) for slot in range(self.step.inputs + self.step.state)])
        x = filled(inputs, given)
        try:
            state, output = function(filled(state, given), x)
        finally:
            self.open = False
        self.end(*(tuple([self._result(part) for part in flat(tree)]) for tree in (state, output)))
        return state, output

    def end(self, after: tuple[Slot, ...], output: tuple[Slot, ...]) -> None:
        """Note what the step gives: the next state, and the outputs."""
        self.step.after, self.step.output = after, output

    def results(self, slots: Sequence[Slot]) -> list[Array]:
        """The values of some slots."""
        return [self.values[slot] for slot in slots]

    def _result(self, x: Any) -> Slot:
        slot = self._operand(x)
        if isinstance(slot, Number):
            raise Unwritable("it gives a number")
        return slot


def flat(tree: Any) -> list[Any]:
    """The tensors of a tensor or nested tuples of them, in order; None holds none."""
    if not isinstance(tree, tuple):
        return [] if tree is None else [tree]
    return [leaf for part in cast("tuple[Any, ...]", tree) for leaf in flat(part)]


def filled(tree: Any, leaves: Iterator[Any]) -> Any:
    """The same structure with other leaves."""
    if not isinstance(tree, tuple):
        return None if tree is None else next(leaves)
    return tuple([filled(part, leaves) for part in cast("tuple[Any, ...]", tree)])
