"""The printed equations, read and evaluated in NumPy, give what the cell gives."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn.state import leaves
from tests.nn_table import ROWS, VARIANTS, PeepholeCell, Row, sigmoid

Values = dict[str, Any]
FUNCTIONS: Values = {
    "σ": sigmoid,
    "tanh": np.tanh,
    "relu": lambda a: np.maximum(a, 0),
    "exp": np.exp,
    "max": np.maximum,
    "√": np.sqrt,
    "mean": lambda a: a.mean(0),
    "var": lambda a: a.var(0),
}
NAME = r"(?<![\w.])[^\W\d][\w₀-₉]*'?|√"


def evaluate(text: str, values: Values) -> Values:
    """Every value that the equations define, from those of parameters, input and state."""
    values = FUNCTIONS | values
    lines = [re.split(r"\s+=\s+", line, maxsplit=1) for line in text.splitlines() if line]
    blocks = [(left, right) for left, right in lines if left.startswith("[")]
    for left, right in lines:
        if function := re.fullmatch(r"(\w+)\((\w+)\)", left):
            values[function[1]] = partial(_call, right, function[2], values)
    for left, right in lines:
        for names, whole in blocks:
            known = names.strip("[]").split("; ")
            source, *sizes = re.split(", of | and | rows", whole)
            if source in values:
                ends = np.cumsum([int(n) for n in sizes if n])[:-1]
                parts = np.split(values[source], ends if sizes else len(known))
                values.update(zip(known, parts, strict=True))
        if re.fullmatch(NAME, left):
            values[left] = _value(right, values)
    return values


def _call(body: str, argument: str, values: Values, given: np.ndarray) -> np.ndarray:
    return _value(body, values | {argument: given})


def _value(text: str, values: Values) -> Any:
    """A right side as Python: names looked up, what stands side by side multiplied as matrices."""
    text = re.sub(rf"({NAME}|\)) (?=\(|{NAME})", r"\1 @ ", text)
    text = re.sub(NAME, lambda name: f"values[{name[0]!r}]", text)
    python = text.replace("∘", "*").replace("·", "*").replace("^", "**")
    return eval(python, {"values": values})


def host(x: mg.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def values_of(cell: nn.Cell, x: mg.Tensor, state: Any) -> Values:
    """The parameters under the names that the equations use, vectors as columns; x and state."""
    values: Values = {}
    for path, p in cell.named_parameters():
        name = re.sub("^bias", "b", re.sub("^weight", "W", path.split(".")[-1]))
        values[name] = host(p).reshape(p.shape[0], -1)
    parts = zip(cell.state_names, leaves(state), strict=True)
    return values | {"x": host(x).T} | {name: host(part).T for name, part in parts}


def check(cell: nn.Cell) -> None:
    cell.double()
    for p in cell.parameters():
        p.copy_(mg.randn(*p.shape, dtype=mg.float64))
    x = mg.randn(5, cell.input_size, dtype=mg.float64)
    initial = cell.initial_state(5, x)
    parts = [mg.randn(*part.T.shape, dtype=mg.float64) for part in leaves(initial)]
    state = tuple(parts) if isinstance(initial, tuple) else parts[0]
    found = evaluate(cell.equations(), values_of(cell, x, state))
    after = cell(x, state)
    for name, part in zip(cell.state_names, leaves(after), strict=True):
        np.testing.assert_allclose(found[f"{name}'"].T, host(part), rtol=0, atol=1e-12)
    if "y" in found:
        y = cell.readout(cell.output(tuple(part.T for part in leaves(after))), x.T)
        np.testing.assert_allclose(found["y"], host(y), rtol=0, atol=1e-12)


# A grid prints the equations of a block: see test_grid.
PRINTED = [row for row in (*ROWS, *VARIANTS) if not row.name.startswith("grid")]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("row", PRINTED, ids=lambda row: row.name)
def test_the_printed_equations_are_what_a_step_computes(row: Row, bias: bool) -> None:
    check(row.cell(3, 4, bias=bias or row.needs_bias))


def test_what_differs_between_papers_differs_in_print() -> None:
    texts = [row.cell(3, 2).equations() for row in PRINTED]
    assert len(set(texts)) == len(texts)


def test_a_layer_prints_its_cells_equations() -> None:
    layer = nn.LSTM(3, 4, 2, bidirectional=True)
    assert layer.equations() == nn.LSTMCell(3, 4).equations()
    assert (
        layer.equations()
        == """\
i  = σ(W_ii x + b_ii + b_hi + W_hi h)
f  = σ(W_if x + b_if + b_hf + W_hf h)
g  = tanh(W_ig x + b_ig + b_hg + W_hg h)
o  = σ(W_io x + b_io + b_ho + W_ho h)
c' = f ∘ c + i ∘ g
h' = o ∘ tanh(c')

[W_ii; W_if; W_ig; W_io] = W_ih
[W_hi; W_hf; W_hg; W_ho] = W_hh
[b_ii; b_if; b_ig; b_io] = b_ih
[b_hi; b_hf; b_hg; b_ho] = b_hh"""
    )


class Odd(nn.Cell):
    """A cell of everything that the equations have a sign for."""

    state_names = ("s", "m")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = self.parameter(3 * hidden_size, input_size)
        self.scale = self.parameter(hidden_size, 1)

    def project(self, x: mg.Tensor) -> Any:
        return mg.matmul(self.w, x)

    def step(self, p: mg.Tensor, state: Any) -> Any:
        s, m = state
        a, b = p[: self.hidden_size], p[self.hidden_size :]
        b, c = b.chunk(2)
        both = mg.exp(-a) / (1 + (b - (s - m)).square())
        s = mg.named(both=both - (2 * c + both) * (a - both))
        return -(s - m * self.scale), mg.maximum(s, m) ** 3 / (1 + s * s) * 0.5

    def output(self, state: Any) -> mg.Tensor:
        return state[1]


@pytest.mark.parametrize("cell", [Odd, partial(PeepholeCell, bias=False)])
def test_a_users_cell_prints_what_it_computes(cell: Callable[..., nn.Cell]) -> None:
    check(cell(3, 4))


def test_values_without_a_name_are_numbered() -> None:
    text = PeepholeCell(3, 4, bias=False).equations()
    assert "[W_ih₁; W_ih₂; W_ih₃; W_ih₄] = W_ih" in text
    assert "h' = σ(W_ih₄ x + W_hh₄ h + p_o ∘ c') ∘ tanh(c')" in text


def test_printing_leaves_the_cell_as_it_is() -> None:
    cell = nn.Highway(3, 4, around=nn.LSTMCell)
    before = {name: id(p) for name, p in cell.named_parameters()}
    assert "y  = a + t ∘ (h' - a)" in cell.equations()
    assert {name: id(p) for name, p in cell.named_parameters()} == before
    nested = nn.Residual(3, 3, around=partial(nn.Residual, around=nn.RNNCell))
    assert nested.equations().endswith("y  = h' + x + x")


class Branching(nn.RNNCell):
    """What it computes depends on a value."""

    def step(self, p: mg.Tensor, state: mg.Tensor) -> mg.Tensor:
        return super().step(p, state) if (p > 0).any() else state


class Peeking(nn.RNNCell):
    def step(self, p: mg.Tensor, state: mg.Tensor) -> mg.Tensor:
        return super().step(p, state) * p.sum().item()


def test_what_cannot_be_written_down_says_so() -> None:
    with pytest.raises(TypeError, match="no values to branch on"):
        Branching(3, 4).equations()
    with pytest.raises(AttributeError, match="symbols, which have no"):
        Peeking(3, 4).equations()


def test_constants_of_a_step_are_called_so() -> None:
    class Leaky(nn.RNNCell):
        def step(self, p: mg.Tensor, state: mg.Tensor) -> mg.Tensor:
            return super().step(p, state) * mg.ones(4, 1) + mg.tensor(0.5)

    text = Leaky(3, 4).equations()
    assert text == "h' = tanh(W_ih x + b_ih + b_hh + W_hh h) ∘ constant + 0.5"
