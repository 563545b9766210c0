"""Expressions, and the symbols that stand for tensors while code is run to write them down."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from minigrad import ops
from minigrad.op import Op
from minigrad.ops import Elementwise, Methods
from minigrad.tensor import Tensor

_clock = itertools.count()
_FOR_THE_FIRST = ("standardize", "layer_norm")  # what else they give is for their gradients


@dataclass(frozen=True, eq=False)
class Expression:
    """A name, or an op applied to expressions and numbers; `rows` is its number of features.

    `parameter` is set for a parameter and for its blocks; `made` orders expressions by time.
    """

    op: str
    args: tuple[Any, ...] = ()
    rows: int = 1
    name: str = ""
    elementwise: bool = False
    parameter: bool = False
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    made: int = field(default_factory=lambda: next(_clock))
    blocks: dict[tuple[int, int], Expression] = field(default_factory=dict[Any, Any], repr=False)

    def inner(self) -> list[Expression]:
        """The expressions among the arguments."""
        return [a for a in self.args if isinstance(a, Expression)]


def block(whole: Expression, start: int, stop: int) -> Expression:
    """Some rows of an expression, as an expression of rows of what it is made of."""
    if (start, stop) == (0, whole.rows):
        return whole
    if (start, stop) not in whole.blocks:
        whole.blocks[start, stop] = _block(whole, start, stop)
    return whole.blocks[start, stop]


def _block(whole: Expression, start: int, stop: int) -> Expression:
    def rows_of(part: Any) -> Any:
        fits = isinstance(part, Expression) and part.rows == whole.rows
        return block(part, start, stop) if fits else part

    args: tuple[Any, ...]
    if whole.op == "block":
        source, first, _ = whole.args
        return block(source, first + start, first + stop)
    if whole.elementwise:
        args = tuple(map(rows_of, whole.args))
    elif whole.op in ("matmul", "affine"):
        weight, x, *bias = whole.args
        args = (rows_of(weight), x, *map(rows_of, bias))
    elif whole.op == "cat" and (part := _part(whole, start, stop)):
        return block(*part)
    else:
        return Expression("block", (whole, start, stop), stop - start, parameter=whole.parameter)
    return Expression(whole.op, args, stop - start, elementwise=whole.elementwise, made=whole.made)


def _part(joined: Expression, start: int, stop: int) -> tuple[Expression, int, int] | None:
    """The part of joined rows in which these lie, and where in it."""
    for part in joined.inner():
        if start >= 0 and stop <= part.rows:
            return part, start, stop
        start, stop = start - part.rows, stop - part.rows
    return None


class Term(Methods):
    """A symbol: an expression and, so that code may ask for shapes, a tensor of zeros."""

    def __init__(self, expression: Expression, value: Tensor) -> None:
        self.expression = expression
        self.value = value
        self.shape = value.shape
        self.ndim = value.ndim
        self.dtype = value.dtype
        self.device = value.device

    @property
    def T(self) -> Any:
        """The axes in reverse order."""
        return ops.permute(self, *reversed(range(self.ndim)))

    def __iter__(self) -> Any:
        return iter(ops.unbind(self))

    def __bool__(self) -> bool:
        raise TypeError(
            "equations() runs the cell on symbols, which have no values to branch on (if, while): "
            "write mg.where(condition, a, b)"
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"equations() runs the cell on symbols, which have no .{name}: only ops on them, and "
            "their shape, ndim, dtype and device"
        )

    def __run_op__(self, op: Op, xs: Sequence[Any], params: dict[str, Any]) -> Any:
        values = [x.value if isinstance(x, Term) else x for x in xs]
        result: Any = op(*values, **params)
        operands = [_operand(x) for x in xs]
        if not isinstance(result, tuple):
            return Term(_applied(op, operands, params, values, result), result)
        outputs = cast("tuple[Tensor, ...]", result)
        made = _outputs(op, operands, params, outputs)
        return tuple(map(Term, made, outputs))


def _operand(x: Any) -> Any:
    if isinstance(x, Term):
        return x.expression
    if isinstance(x, (int, float)):
        return float(x)
    single = isinstance(x, Tensor) and x.data.size == 1
    return float(x.item()) if single else Expression("name", name="constant")


def _rows(value: Tensor) -> int:
    return value.shape[-2] if value.ndim > 1 else value.shape[0] if value.ndim else 1


def _applied(
    op: Op, operands: list[Any], params: dict[str, Any], values: list[Any], result: Tensor
) -> Expression:
    """An op of one output; what only adds or drops axes of extent 1 is the expression as it was."""
    if op.name in ("reshape", "expand") and _thin(values[0]) == _thin(result):
        return operands[0]
    if op.name == "index" and isinstance(params["key"], slice):
        start, stop, step = params["key"].indices(operands[0].rows)
        if step == 1:
            return block(operands[0], start, stop)
    rows, elementwise = _rows(result), isinstance(op, Elementwise)
    return Expression(op.name, tuple(operands), rows, elementwise=elementwise, params=params)


def _thin(value: Tensor) -> list[int]:
    return [n for n in value.shape if n != 1]


def _outputs(
    op: Op, operands: list[Any], params: dict[str, Any], outputs: Sequence[Tensor]
) -> list[Expression]:
    """An op of several outputs: blocks of rows, or the op with the output's number."""
    (source, *_) = operands
    if op.name == "split" and params["dim"] == max(outputs[0].ndim - 2, 0):
        ends = np.cumsum(params["sizes"]).tolist()
        return [block(source, end - n, end) for end, n in zip(ends, params["sizes"], strict=True)]
    rows = _rows(outputs[0])
    whole = Expression(op.name, tuple(operands), rows, params=params)
    if op.name == "layer_norm":
        whole = _layer_norm(*operands, rows=rows, params=params)
    if op.name in _FOR_THE_FIRST:
        return [whole] * len(outputs)
    return [Expression("output", (whole, float(k)), _rows(y)) for k, y in enumerate(outputs)]


def _layer_norm(x: Any, gain: Any, *bias: Any, rows: int, params: dict[str, Any]) -> Expression:
    """gain ∘ norm(x) + bias."""
    norm = Expression("standardize", (x,), rows, params=params)
    scaled = Expression("mul", (gain, norm), rows, elementwise=True)
    return Expression("add", (scaled, *bias), rows, elementwise=True) if bias else scaled
