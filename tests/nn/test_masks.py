"""Resets and lengths: a sequence that is cut gives what its pieces give alone."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn.state import leaves, map_state, stacked
from tests.nn_table import ROWS, Row

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    steps, batch = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    return {
        "x": rng.standard_normal((steps, batch, 3)),
        "reset": rng.random((steps, batch)) < draw(st.sampled_from([0.0, 0.3, 0.8])),
        "lengths": draw(st.none() | st.just(rng.integers(0, steps + 1, batch).tolist())),
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "given_state": draw(st.booleans()),
        "rng": rng,
    }


class Start(nn.GRUCell):
    """A cell that learns its initial state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.start = self.parameter(hidden_size, 1)

    def initial_state(self, batch: int, like: mg.Tensor) -> mg.Tensor:
        return self.start.expand(self.hidden_size, batch)


def pieces(reset: np.ndarray, length: int) -> list[tuple[int, int]]:
    """Where the segments of a row begin and end."""
    cuts = [0, *(t for t in range(1, length) if reset[t]), length]
    return list(itertools.pairwise(cuts)) if length else []


def merged(layer: nn.Recurrent, at_start: bool, at_end: bool, given: Any, initial: Any) -> Any:
    """The state of a segment: forwards the given one at the start, backwards at the end."""
    backwards = np.arange(given_count(layer)) % 2 == 1 if layer.bidirectional else False
    takes_given = np.where(backwards, at_end, at_start).reshape(-1, 1, 1)
    mask = mg.tensor(np.broadcast_to(takes_given, (given_count(layer), 1, 1)))
    return map_state(lambda a, b: mg.where(mask, a, b), given, initial)


def given_count(layer: nn.Recurrent) -> int:
    return layer.num_layers * (1 + layer.bidirectional)


def alone(layer: nn.Recurrent, x: mg.Tensor, state: Any, reset: np.ndarray, lengths: Any) -> Any:
    """Outputs and last states of the layer, one row and one segment at a time."""
    like = x[0].T
    initial = stacked([c.initial_state(1, like) for cs in layer.cells for c in cs])
    initial = map_state(lambda part: part.transpose(1, 2), initial)
    steps, batch, _ = x.shape
    ys, lasts = [], []
    for b in range(batch):
        length = steps if lengths is None else lengths[b]
        given = initial if state is None else map_state(lambda p, b=b: p[:, b : b + 1], state)
        found, firsts, last = [], None, given
        for s, e in pieces(reset[:, b], length):
            begin = merged(layer, s == 0 and not reset[0, b], e == length, given, initial)
            y, last = layer(x[s:e, b : b + 1], begin)
            firsts = last if firsts is None else firsts
            found.append(y)
        width = sum(c.output_size for c in layer.cells[-1])
        found.append(mg.zeros(steps - length, 1, width, dtype=mg.float64))
        ys.append(mg.cat(found))
        # forwards the state of the last segment, backwards that of the first
        lasts.append(merged(layer, True, False, last, last if firsts is None else firsts))
    return mg.cat(ys, dim=1), map_state(lambda *parts: mg.cat(parts, dim=1), *lasts)


def everything(layer: nn.Recurrent, x: mg.Tensor, state: Any, run: Any) -> list[np.ndarray]:
    """Outputs, states, and the gradients of a loss on all of them."""
    layer.zero_grad()
    inputs = [x, *([] if state is None else leaves(state))]
    y, last = run(x, state)
    outputs = [y, *leaves(last)]
    loss = sum(((k + 1.0) * part.sin()).sum() for k, part in enumerate(outputs))
    wanted = [*inputs, *layer.parameters()]
    loss = loss + sum((0.0 * w).sum() for w in wanted)  # rows of no steps may read nothing
    gradients = mg.autograd.grad(loss, wanted)
    return [part.detach().cpu().numpy() for part in (*outputs, *gradients)]


def check_reset(cell: Any, case: dict[str, Any]) -> None:
    """A layer with resets beside its segments alone: values, states and gradients."""
    options = {name: case[name] for name in ("num_layers", "bidirectional")}
    layer = nn.Recurrent(cell, 3, 2, **options).double()
    x = mg.tensor(case["x"], requires_grad=True)
    state = None
    if case["given_state"]:
        start = layer(x.detach())[1]
        state = map_state(lambda p: mg.randn(*p.shape, dtype=p.dtype, requires_grad=True), start)
    reset, lengths = case["reset"], case["lengths"]
    got = everything(layer, x, state, lambda x, s: layer(x, s, lengths=lengths, reset=reset))
    wanted = everything(layer, x, state, lambda x, s: alone(layer, x, s, reset, lengths))
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("cell", [*(row.cell for row in ROWS), Start])
@given(case=cases())
def test_a_reset_cuts_the_sequence(cell: Any, case: dict[str, Any]) -> None:
    check_reset(cell, case)


@rows
def test_a_reset_in_the_padding_changes_no_bit(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 2, num_layers=2, bidirectional=True)
    x = mg.randn(5, 3, 3)
    lengths = [5, 0, 2]
    _, state = layer(x)
    plain = layer(x, state, lengths=lengths)
    within = np.arange(5)[:, None] < lengths
    reset = layer(x, state, lengths=lengths, reset=~within)
    for a, b in zip([plain[0], *leaves(plain[1])], [reset[0], *leaves(reset[1])], strict=True):
        assert (a == b).all()


@rows
def test_nothing_crosses_a_reset(row: Row) -> None:
    """Poison before it changes no bit of what comes after, and the other way round."""
    layer = nn.Recurrent(row.cell, 3, 2, num_layers=2, bidirectional=True)
    x = mg.randn(6, 2, 3)
    reset = np.zeros((6, 2), bool)
    reset[4] = True
    late = mg.arange(6).reshape(-1, 1, 1) >= 4
    y, _ = layer(x, reset=reset)
    before, _ = layer(mg.where(late, float("nan"), x), reset=reset)
    after, _ = layer(mg.where(late, x, float("nan")), reset=reset)
    assert (before[:4] == y[:4]).all()
    assert (after[4:] == y[4:]).all()


def test_layouts_and_kinds_of_reset() -> None:
    layer, first = nn.GRU(3, 2), nn.GRU(3, 2, batch_first=True)
    first.load_state_dict(layer.state_dict())
    x = mg.randn(4, 2, 3)
    reset = np.array([[0, 1], [0, 0], [1, 0], [0, 1]], bool)
    y, h = layer(x, reset=reset)
    for same in (reset.tolist(), mg.tensor(reset)):
        assert (layer(x, reset=same)[0] == y).all()
    z, last = first(x.transpose(0, 1), reset=reset.T)
    assert (z.transpose(0, 1) == y).all()
    assert (last == h).all()
    one, _ = layer(x[:, 1], reset=reset[:, 1])
    assert mg.allclose(one, y[:, 1], atol=1e-6)
    assert mg.allclose(first(x[:, 1], reset=reset[:, 1])[0], one)


def test_resets_cost_nothing_where_there_are_none() -> None:
    layer = nn.LSTM(3, 2)
    x = mg.randn(9, 2, 3)

    def nodes(reset: Any) -> int:
        before = mg.tape.now()
        layer(x, reset=reset)
        return mg.tape.now() - before

    reset = np.zeros((9, 2), bool)
    assert nodes(reset) == nodes(None)


@pytest.mark.parametrize(
    ("reset", "words"),
    [
        (np.zeros((2, 5), bool), r"\(5, 2\)"),
        (np.zeros(5, bool), r"\(5, 2\)"),
        (np.zeros((5, 2)), "reset != 0"),
    ],
)
def test_errors_say_what_was_expected(reset: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        nn.LSTM(3, 4)(mg.zeros(5, 2, 3), reset=reset)
