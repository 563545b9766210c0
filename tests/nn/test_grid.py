"""Grid LSTM of one, two and three dimensions, beside the paper's equations in plain NumPy."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn.state import leaves
from minigrad.testing import gradcheck
from tests.nn.test_equations import evaluate
from tests.nn_checks import call_with, nodes_behind
from tests.nn_table import sigmoid

EXTENTS = {1: (), 2: (3,), 3: (2, 3)}
grids = pytest.mark.parametrize("dims", [1, 2, 3])


def host(x: mg.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def build(dims: int, **options: Any) -> tuple[nn.GridLSTM, mg.Tensor, Any]:
    """A layer, an input and a state, of small sizes."""
    layer = nn.GridLSTM(3, 2, 2, dims=dims, **options).double()
    extents = EXTENTS[dims]
    x = mg.randn(*extents, 2, 3, dtype=mg.float64)
    shapes = [(2, *extents[:a], *extents[a + 1 :], 2, 2) for a in range(dims - 1)]
    state = tuple(tuple(mg.randn(*s, dtype=mg.float64) for _ in range(2)) for s in shapes)
    return layer, x, state


def reference(layer: nn.GridLSTM, x: np.ndarray, state: Any) -> tuple[np.ndarray, dict]:
    """Section 3 of the paper for one example: each dimension's LSTM by itself, point by point."""
    size, dims = layer.hidden_size, layer.dims
    weights = {name: host(p) for name, p in layer.state_dict().items()}
    y = np.zeros((*x.shape[:-1], size))
    entered = (
        weights["weight_ih"] @ x[..., None] + weights.get("bias_ih", np.zeros(2 * size))[:, None]
    )
    depth = {p: (e[:size, 0], e[size:, 0]) for p in np.ndindex(x.shape[:-1]) for e in [entered[p]]}
    ends: dict = {}
    for k in range(layer.num_layers):
        name = 0 if layer.tied else k
        w = weights[f"weight_hh_l{name}"].reshape(4, dims, size, dims * size)
        b = weights.get(f"bias_hh_l{name}", np.zeros(w.shape[:3])).reshape(4, dims, size)
        edge: dict = {}
        for point in np.ndindex(x.shape[:-1]):
            flows = []
            for a in range(dims - 1):
                line = (*point[:a], *point[a + 1 :])
                zero = (np.zeros(size), np.zeros(size))
                start = zero if state is None else tuple(s[(k, *line)] for s in state[a])
                flows.append(edge.get((a, line), start))
            flows.append(depth[point])
            h = np.concatenate([h for h, _ in flows])
            for a, (_, m) in enumerate(flows):
                u, f, c, o = (w[gate, a] @ h + b[gate, a] for gate in range(4))
                m = sigmoid(f) * m + sigmoid(u) * np.tanh(c)
                out = np.tanh(sigmoid(o) * m), m
                if a == dims - 1:
                    depth[point] = out
                else:
                    line = (*point[:a], *point[a + 1 :])
                    edge[a, line] = ends[a, k, line] = out
    for point, (h, _) in depth.items():
        y[point] = h
    return y, ends


@grids
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_values_are_the_papers(dims: int, tied: bool, bias: bool, given: bool) -> None:
    layer, x, state = build(dims, tied=tied, bias=bias)
    y, last = layer(x, state if given else None)
    assert y.shape == (*EXTENTS[dims], 2, 2)
    for b in range(2):
        start = [[host(s)[..., b, :] for s in pair] for pair in state] if given else None
        want, ends = reference(layer, host(x)[..., b, :], start)
        np.testing.assert_allclose(host(y)[..., b, :], want, rtol=0, atol=1e-13)
        for (a, k, line), pair in ends.items():
            for got, part in zip(last[a], pair, strict=True):
                np.testing.assert_allclose(host(got)[(k, *line, b)], part, rtol=0, atol=1e-13)
        alone, _ = layer(
            x[..., b, :],
            None if start is None else tuple(tuple(s[..., b, :] for s in pair) for pair in state),
        )
        assert mg.allclose(alone, y[..., b, :], rtol=1e-12, atol=1e-14)


@grids
@pytest.mark.parametrize("tied", [False, True])
def test_gradients_of_both_orders(dims: int, tied: bool) -> None:
    layer, x, state = build(dims, tied=tied)
    parts = leaves(state)
    inputs = [t.detach().clone().requires_grad_() for t in (x, *parts, *layer.parameters())]

    def run(x: mg.Tensor, *rest: mg.Tensor) -> tuple[mg.Tensor, ...]:
        given, weights = list(rest[: len(parts)]), list(rest[len(parts) :])
        pairs = tuple(zip(given[::2], given[1::2], strict=True))
        y, last = call_with(layer, weights, x, pairs)
        return (y, *leaves(last))

    gradcheck(run, inputs, order=2)


@pytest.mark.parametrize(("dims", "nodes"), [(1, 2), (2, 6), (3, 6)])
def test_a_block_is_one_product_and_one_fused_function(dims: int, nodes: int) -> None:
    """And of several dimensions h and m are joined before it, and taken apart after it."""
    few, many = (nn.GridLSTM(3, 2, n, dims=dims, tied=True) for n in (4, 5))
    x = mg.randn(*(1,) * (dims - 1), 2, 3)
    assert nodes_behind(many(x)[0].sum()) - nodes_behind(few(x)[0].sum()) == nodes


@pytest.mark.parametrize("axis", [0, 1])
def test_a_grid_in_pieces_equals_the_whole(axis: int) -> None:
    """The state that leaves a piece enters the next, along each dimension."""
    layer, _, _ = build(3)
    x = mg.randn(4, 4, 2, 3, dtype=mg.float64)
    whole, last = layer(x)
    state, pieces, across = None, [], []
    for piece in x.split(2, dim=axis):
        if state is not None:
            state = [s if a == axis else _zeros_like(s) for a, s in enumerate(state)]
        y, state = layer(piece, None if state is None else tuple(state))
        pieces.append(y)
        across.append(state[1 - axis])
    assert mg.allclose(mg.cat(pieces, dim=axis), whole, rtol=1e-12, atol=1e-14)
    for got, want in zip(state[axis], last[axis], strict=True):
        assert mg.allclose(got, want, rtol=1e-12, atol=1e-14)
    for k, want in enumerate(last[1 - axis]):
        got = mg.cat([pair[k] for pair in across], dim=1)
        assert mg.allclose(got, want, rtol=1e-12, atol=1e-14)


def _zeros_like(pair: Any) -> Any:
    return tuple(mg.zeros_like(part) for part in pair)


def test_the_printed_equations_are_what_a_block_computes() -> None:
    layer, _, _ = build(2)
    h, m = (mg.randn(4, 3, dtype=mg.float64) for _ in range(2))
    weights = {"W_hh": host(layer.weight_hh_l0), "b_hh": host(layer.bias_hh_l0)[:, None]}
    found = evaluate(layer.equations(), weights | {"h": host(h), "m": host(m)})
    for got, want in zip((found["h'"], found["m'"]), layer.block(0, h, m), strict=True):
        np.testing.assert_allclose(got, host(want), rtol=0, atol=1e-13)


def test_it_learns_parity_through_depth() -> None:
    """The paper's task for a tied 1-D grid: telling odd from even, here through six layers."""
    bits = mg.tensor(list(itertools.product([-1.0, 1.0], repeat=4)))
    odd = (bits > 0).sum(1) % 2 > 0
    layer, out = nn.GridLSTM(4, 16, 6, dims=1, tied=True), nn.Linear(16, 1)
    for p in layer.parameters():
        p.copy_(2 * p)
    optimizer = mg.optim.Adam([*layer.parameters(), *out.parameters()], lr=0.03)
    loss_of = nn.BCEWithLogitsLoss()
    for _ in range(150):
        optimizer.zero_grad()
        loss = loss_of(out(layer(bits)[0]).squeeze(1), odd * 1.0)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.GridLSTM(3, 0), "positive"),
        (lambda: nn.GridLSTM(3, 2, dims=0), "positive"),
        (lambda: nn.GridLSTMCell(3, 2, depth=0), "depth must be positive"),
        (lambda: nn.GridLSTM(3, 2, dims=3)(mg.zeros(5, 3)), "time1, time2, batch, input"),
        (lambda: nn.GridLSTM(3, 2)(mg.zeros(5, 2, 4)), "input = 3"),
        (lambda: nn.GridLSTM(3, 2)(mg.zeros(0, 2, 3)), "no points"),
        (
            lambda: nn.GridLSTM(3, 2)(mg.zeros(5, 2, 3), (mg.zeros(1, 2, 2),)),
            r"state \(\(a tensor, a tensor\),\)",
        ),
    ],
)
def test_errors_say_what_was_expected(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_two_dimensions_are_a_cell_over_time(tied: bool, bias: bool) -> None:
    grid, x, ((h, m),) = build(2, tied=tied, bias=bias)
    layer = nn.Recurrent(nn.GridLSTMCell, 3, 2, depth=2, tied=tied, bias=bias).double()
    held = grid.state_dict()
    weights = {f"{name}_l0": held[name] for name in held if "_hh_" not in name}
    for name in ("weight_hh", "bias_hh") if bias else ("weight_hh",):
        weights[f"{name}_l0"] = mg.cat([held[f"{name}_l{k}"] for k in range(2 - tied)])
    layer.load_state_dict(weights)
    state = [mg.zeros(1, 2, 2, dtype=mg.float64), *(mg.cat([*s], 1).unsqueeze(0) for s in (h, m))]
    assert layer.equations() == grid.equations()
    y, (top, *last) = layer(x, state)
    want, (ends,) = grid(x, ((h, m),))
    assert mg.allclose(y, want, rtol=1e-12, atol=1e-14)
    assert mg.allclose(top[0], want[-1], rtol=1e-12, atol=1e-14)
    for got, end in zip(last, ends, strict=True):
        assert mg.allclose(got[0], mg.cat([*end], 1), rtol=1e-12, atol=1e-14)


@grids
def test_what_does_not_fit_is_refused_with_the_cure(dims: int) -> None:
    layer, x, state = build(dims)
    with pytest.raises(TypeError, match=r"expected a tensor x, got ndarray; write mg.tensor"):
        layer(host(x))
    with pytest.raises(ValueError, match=rf"so many axes have dims={dims + 1}, or dims={dims + 2}"):
        layer(x.unsqueeze(0))
    with pytest.raises(ValueError, match=r"with input = 3; got .*: bring the features to the last"):
        layer(x.transpose(-1, -2)[..., :2])
    with pytest.raises(ValueError, match=r"GridLSTM: expected as state .* or None for zeros; got"):
        layer(x, (*state, *state, x))
    assert layer(x, hx=state)[0].shape == layer(x)[0].shape


@grids
def test_an_empty_batch(dims: int) -> None:
    layer, x, _ = build(dims)
    empty = x[(slice(None),) * (dims - 1)][..., :0, :]
    assert layer(empty)[0].shape == (*EXTENTS[dims], 0, 2)
