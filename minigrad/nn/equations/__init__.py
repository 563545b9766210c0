"""What a cell computes, as equations: its own code, run on symbols and written down."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from minigrad.autograd import no_grad
from minigrad.creation import zeros
from minigrad.fuse.named import listening
from minigrad.nn.equations.expression import Expression, Term
from minigrad.nn.equations.text import Head, Sheet
from minigrad.nn.module import Module
from minigrad.nn.replace import replaced
from minigrad.nn.state import leaves, map_state, unshared
from minigrad.tensor import Tensor

BATCH = 2  # any: only shapes are computed with it


def equations_of(cell: Any) -> str:
    """The equations of one step of a cell; see `Cell.equations`."""

    def step(twin: Any) -> Sequence[tuple[str, Any]]:
        x = symbol("x", _zeros_beside(cell.parameters(), cell.input_size, BATCH))
        before = cell.initial_state(BATCH, x)
        names = list(cell.state_names)
        if len(names) != len(leaves(before)):  # a name that stands for several tensors
            names = [f"s{k + 1}" for k in range(len(leaves(before)))]
        unused = iter(names)
        state = map_state(lambda part: symbol(next(unused), part), before)
        after = twin.step(unshared(twin.project(x)), state)
        y = twin.readout(twin.output(after), x)
        heads: list[Any] = list(zip([f"{name}'" for name in names], leaves(after), strict=True))
        return heads if y.expression is heads[0][1].expression else [*heads, ("y", y)]

    return equations(cell, step)


def equations(module: Module, run: Callable[[Any], Sequence[tuple[str, Any]]]) -> str:
    """The equations of what `run` does with a module whose parameters are symbols.

    `run(twin)` gives the results by name; values that are `named` on the way have equations too.
    """
    named: list[Head] = []

    def hear(name: str, value: Any) -> None:
        if isinstance(value, Term):
            named.append((name, value.expression))

    with no_grad(), listening(hear):
        results = [(name, y.expression) for name, y in run(_symbolic(module))]
    return Sheet(_heads(results, named)).text()


def symbol(name: str, value: Tensor, parameter: bool = False) -> Term:
    """A symbol for a tensor like `value`."""
    rows = value.shape[-2] if value.ndim > 1 else value.shape[0] if value.ndim else 1
    return Term(Expression("name", name=name, rows=rows, parameter=parameter), value)


def _zeros_beside(parameters: Iterator[Tensor], *shape: int) -> Tensor:
    """Zeros where the parameters are, and of their dtype."""
    p = next(parameters, None)
    return zeros(shape) if p is None else zeros(shape, dtype=p.dtype, device=p.device)


def _symbolic(module: Module) -> Module:
    """The module with symbols for its parameters: weight_ih is W_ih, bias_ih is b_ih."""
    symbols: dict[int, Any] = {}
    taken: set[str] = set()
    for path, p in (*module.named_parameters(), *module.named_buffers()):
        *outer, name = path.split(".")
        name = re.sub("^bias", "b", re.sub("^weight", "W", name))
        while name in taken:  # a cell within a cell may use the same names
            name = f"{outer.pop() if outer else ''}_{name}"
        taken.add(name)
        symbols[id(p)] = symbol(name, p.detach(), parameter=True)
    return replaced(module, symbols)


def _heads(results: Sequence[Head], named: Sequence[Head]) -> list[Head]:
    """The values that get a line: each once, under one name, no name twice."""
    heads = list(results)
    for name, value in named:
        known = any(value is other for _, other in heads)
        if not known and value.op not in ("name", "block"):
            while name in {other for other, _ in heads}:
                name += "_"
            heads.append((name, value))
    return heads
