"""A preset: rules of what to draw for which gates of a recurrent cell's parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from minigrad.creation import zeros
from minigrad.nn.cell import Cell
from minigrad.nn.module import Module, Parameter
from minigrad.nn.recurrent import Recurrent
from minigrad.random import Generator
from minigrad.tensor import Tensor

M = TypeVar("M", bound=Module)


@dataclass(frozen=True)
class Draw:
    """How numbers are drawn: in words, and as a function that fills a tensor, as in nn.init."""

    text: str
    fill: Callable[[Tensor, Generator | None], object]


@dataclass(frozen=True)
class Rule:
    """The rows of some gates of one parameter, drawn together; no gates: all of its rows."""

    parameter: str
    gates: tuple[str, ...]
    draw: Draw


@dataclass(frozen=True)
class Preset:
    """How the weights of recurrent cells start: `preset(module)` fills them in place.

    name: what `describe` calls it. rules: for a cell, what is drawn for which rows; later rules
    win, and `a | b` is all rules of a and then all of b. Parameters of which no rule speaks stay as
    they are. A cell of your own names the blocks of rows of `weight_ih`, `weight_hh` and its biases
    in the class attribute `gates`, in order.

    >>> import minigrad as mg
    >>> from minigrad.nn import presets
    >>> layer = mg.nn.LSTM(4, 8)
    >>> preset = presets.keras() | presets.chrono(100)
    >>> print(preset(layer))
    LSTM(4, 8)
    >>> print(preset.describe(layer))
    keras | chrono(100)
    weight_ih_l0  i f g o  U(±0.408), Glorot's with fan 4 + 32
    weight_hh_l0  i f g o  orthogonal as one matrix, gain 1
    bias_ih_l0    i f      f = log U(1, 99), i = -f
                  g o      0
    bias_hh_l0    i f g o  0

    One of your own, an output gate that begins without looking at the input:

    >>> blind = presets.Preset(
    ...     "blind output",
    ...     lambda cell: [presets.Rule("weight_ih", ("o",), presets.constant(0.0))],
    ... )
    >>> float(blind(layer).weight_ih_l0[24:].abs().sum())
    0.0
    """

    name: str
    rules: Callable[[Cell], Iterable[Rule]]

    def __or__(self, other: Preset) -> Preset:
        return Preset(
            f"{self.name} | {other.name}", lambda cell: (*self.rules(cell), *other.rules(cell))
        )

    def __call__(self, module: M, generator: Generator | None = None) -> M:
        """Fill the weights of all recurrent cells in a module; returns the module.

        Raises TypeError where there is no cell, and ValueError for a rule about a gate or
        parameter that a cell does not have; nothing has been filled then.
        """
        for place in self._places(module):
            for rule in place.rules:
                place.fill(rule, generator)
        return module

    def describe(self, module: Module) -> str:
        """What this preset draws for each gate of each parameter of a module, as a table."""
        rows = [row for place in self._places(module) for row in place.described()]
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        lines = [f"{name:{widths[0]}}  {gates:{widths[1]}}  {text}" for name, gates, text in rows]
        return "\n".join([self.name, *lines])

    def _places(self, module: Module) -> list[_Place]:
        cells = list(_cells(module))
        if not cells:
            raise TypeError(
                f"{self.name}: expected a recurrent layer, a cell or a module with some inside, "
                f"got {type(module).__name__}"
            )
        return [
            place
            for prefix, suffix, cell in cells
            for place in _places_of(prefix, suffix, cell, list(self.rules(cell)))
        ]


def _cells(module: Module) -> Iterator[tuple[str, str, Cell]]:
    """What stands before and behind a cell's parameters' names, and the cell.

    Of cells in cells it is the innermost: they have the gates.
    """
    for path, inner in module.named_modules():
        if isinstance(inner, Recurrent):
            for suffix, cell in inner.named_cells():
                for prefix, _, innermost in _cells(cell):
                    yield _prefix(path) + prefix, suffix, innermost
        elif isinstance(inner, Cell) and not any(isinstance(m, Cell) for m in inner.children()):
            yield _prefix(path), "", inner


def _prefix(path: str) -> str:
    return f"{path}." if path else ""


def own_parameters(cell: Cell) -> dict[str, Parameter]:
    """The parameters that a cell holds itself, by name."""
    return {name: p for name, p in cell.entries() if isinstance(p, Parameter)}


def _places_of(prefix: str, suffix: str, cell: Cell, rules: Sequence[Rule]) -> Iterator[_Place]:
    """The parameters of a cell with the rules that speak of them, which must all fit."""
    own = own_parameters(cell)
    if not rules:
        raise ValueError(
            f"presets: no rule for {type(cell).__name__}, whose parameters are {', '.join(own)}; "
            "presets go by the names weight_ih, weight_hh, bias_ih and bias_hh"
        )
    for rule in rules:
        blocks = blocks_of(cell, own[rule.parameter]) if rule.parameter in own else ()
        if rule.parameter not in own or not set(rule.gates) <= set(blocks):
            what = f"gates {rule.gates} in {rule.parameter}" if rule.gates else rule.parameter
            raise ValueError(
                f"presets: {type(cell).__name__} has no {what}; its gates are {cell.gates}, its "
                f"parameters {', '.join(own)}"
            )
    for name, p in own.items():
        mine = [rule for rule in rules if rule.parameter == name]
        if mine:
            yield _Place(f"{prefix}{name}{suffix}", p, blocks_of(cell, p), mine)


def blocks_of(cell: Cell, p: Parameter) -> tuple[str, ...]:
    """The gates whose rows a parameter holds; none where it is not made of all of them."""
    return cell.gates if p.shape[0] == len(cell.gates) * cell.hidden_size else ()


class _Place(NamedTuple):
    """A parameter, the gates of its blocks of rows, and the rules that speak of it, in order."""

    name: str
    parameter: Parameter
    blocks: tuple[str, ...]
    rules: Sequence[Rule]

    def fill(self, rule: Rule, generator: Generator | None) -> None:
        p = self.parameter
        if not rule.gates:
            rule.draw.fill(p, generator)
            return
        rows = p.shape[0] // len(self.blocks)
        drawn = zeros(len(rule.gates) * rows, *p.shape[1:], dtype=p.dtype, device=p.device)
        rule.draw.fill(drawn, generator)
        for gate, block in zip(rule.gates, drawn.chunk(len(rule.gates)), strict=True):
            start = self.blocks.index(gate) * rows
            p.data[start : start + rows] = block.data
        p.mark_written()

    def described(self) -> Iterator[tuple[str, str, str]]:
        """Name, gates and draw: a row for each draw that is in force, the name in the first."""
        last = {
            g: rule.draw.text for rule in self.rules for g in rule.gates or self.blocks or ("",)
        }
        name = self.name
        for text in dict.fromkeys(last[gate] for gate in self.blocks or ("",) if gate in last):
            yield name, " ".join(gate for gate in self.blocks if last.get(gate) == text), text
            name = ""
