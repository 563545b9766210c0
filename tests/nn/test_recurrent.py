"""The driver and the cells: every option, against plain NumPy loops and finite differences."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.testing import gradcheck
from tests.nn_table import ROWS, PeepholeCell, Row, reference

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """The product of the driver's options, sizes small enough for finite differences."""
    steps, batch = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    some = st.lists(st.integers(0, steps), min_size=batch, max_size=batch)
    return {
        "steps": steps,
        "batch": batch,
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "lengths": draw(st.none() | some),
        "given_state": draw(st.booleans()),
        "into_loss": draw(st.sampled_from(["y", "first", "last", "all"])),
        "seed": draw(st.integers(0, 99)),
    }


def build(row: Row, case: dict[str, Any]) -> tuple[nn.Recurrent, mg.Tensor, Any]:
    mg.manual_seed(case["seed"])
    names = ("num_layers", "bidirectional", "batch_first", "bias")
    layer = nn.Recurrent(row.cell, 3, 2, **{k: case[k] for k in names}).double()
    x = mg.randn(case["steps"], case["batch"], 3, dtype=mg.float64)
    count = case["num_layers"] * (1 + case["bidirectional"])
    state = None
    if case["given_state"]:
        parts = [mg.randn(count, case["batch"], 2, dtype=mg.float64) for _ in range(row.parts)]
        state = parts[0] if row.parts == 1 else tuple(parts)
    return layer, x, state


def parts_of(state: Any) -> list[mg.Tensor]:
    return list(state) if isinstance(state, tuple) else [] if state is None else [state]


def call_with(layer: nn.Recurrent, values: list[mg.Tensor], *args: Any, **kwargs: Any) -> Any:
    """Run the layer with other tensors in the place of its parameters."""
    held = [(p, p.data, p.edge) for p in layer.parameters()]
    try:
        for (p, _, _), value in zip(held, values, strict=True):
            p.data, p.edge = value.data, value.edge
        return layer(*args, **kwargs)
    finally:
        for p, data, edge in held:
            p.data, p.edge = data, edge


@rows
@given(case=cases())
def test_layer_equals_plain_loops(row: Row, case: dict[str, Any]) -> None:
    layer, x, state = build(row, case)
    given_x = x.transpose(0, 1) if case["batch_first"] else x
    y, last = layer(given_x, state, lengths=case["lengths"])
    y = y.transpose(0, 1) if case["batch_first"] else y
    lengths = case["lengths"] or [case["steps"]] * case["batch"]
    if case["lengths"] == []:
        lengths = []
    start = [p.detach().cpu().numpy() for p in parts_of(state)] or None
    want_y, want_last = reference(row, layer.cpu(), x.cpu().numpy(), lengths, start)
    np.testing.assert_allclose(y.detach().cpu().numpy(), want_y, rtol=0, atol=1e-12)
    for got, want in zip(parts_of(last), want_last, strict=True):
        np.testing.assert_allclose(got.detach().cpu().numpy(), want, rtol=0, atol=1e-12)


def loss_parts(y: mg.Tensor, last: Any, which: str) -> tuple[mg.Tensor, ...]:
    finals = parts_of(last)
    return {"y": (y,), "first": (finals[0],), "last": (finals[-1],), "all": (y, *finals)}[which]


def check_gradients(row: Row, case: dict[str, Any], order: int) -> None:
    layer, x, state = build(row, case)
    x = x.transpose(0, 1) if case["batch_first"] else x
    start = parts_of(state)
    inputs = [t.detach().clone().requires_grad_() for t in (x, *start, *layer.parameters())]

    def run(x: mg.Tensor, *rest: mg.Tensor) -> tuple[mg.Tensor, ...]:
        given = rest[: len(start)]
        state = None if not given else given[0] if len(given) == 1 else tuple(given)
        weights = list(rest[len(start) :])
        y, last = call_with(layer, weights, x, state, lengths=case["lengths"])
        return loss_parts(y, last, case["into_loss"])

    gradcheck(run, inputs, order=order)


SMOOTH = [row for row in ROWS if row.name != "rnn-relu"]


@pytest.mark.parametrize("row", SMOOTH, ids=lambda row: row.name)
@given(case=cases())
def test_gradients_over_every_option(row: Row, case: dict[str, Any]) -> None:
    check_gradients(row, case, order=1)


@pytest.mark.parametrize("row", SMOOTH, ids=lambda row: row.name)
def test_second_order(row: Row) -> None:
    case = {
        "steps": 3,
        "batch": 2,
        "num_layers": 2,
        "bidirectional": True,
        "batch_first": False,
        "bias": True,
        "lengths": [3, 1],
        "given_state": True,
        "into_loss": "all",
        "seed": 3,
    }
    check_gradients(row, case, order=2)


def gradients(layer: nn.Recurrent, x: mg.Tensor, lengths: Any) -> list[np.ndarray]:
    """Outputs, states and all gradients of a loss on everything."""
    x = x.detach().clone().requires_grad_()
    layer.zero_grad()
    y, last = layer(x, lengths=lengths)
    loss = (y * y).sum()
    for part in parts_of(last):
        loss = loss + part.tanh().sum()
    loss.backward()
    tensors = [y, *parts_of(last), x.grad, *(p.grad for p in layer.parameters())]
    return [t.detach().cpu().numpy() for t in tensors if t is not None]


@rows
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_poison_in_the_padding_changes_no_bit(row: Row, value: float) -> None:
    layer = nn.Recurrent(row.cell, 3, 4, num_layers=2, bidirectional=True)
    lengths = [5, 0, 2, 6, 3]
    x = mg.randn(6, 5, 3)
    padding = mg.arange(6).reshape(-1, 1, 1) >= mg.tensor(lengths).reshape(1, -1, 1)
    clean = gradients(layer, mg.where(padding, 0.25, x), lengths)
    poisoned = gradients(layer, mg.where(padding, value, x), lengths)
    for a, b in zip(clean, poisoned, strict=True):
        assert a.tobytes() == b.tobytes()


@rows
def test_a_row_alone_equals_the_row_in_a_batch(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 4, num_layers=2, bidirectional=True).double()
    lengths = [4, 1, 6]
    x = mg.randn(6, 3, 3, dtype=mg.float64)
    y, last = layer(x, lengths=lengths)
    for b, n in enumerate(lengths):
        alone, state = layer(x[:n, b : b + 1])
        assert mg.allclose(alone[:, 0], y[:n, b], rtol=1e-12, atol=1e-14)
        for one, all_of_them in zip(parts_of(state), parts_of(last), strict=True):
            assert mg.allclose(one[:, 0], all_of_them[:, b], rtol=1e-12, atol=1e-14)


@rows
def test_unbatched_is_a_batch_of_one(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 4, num_layers=2, bidirectional=True, batch_first=True)
    x = mg.randn(5, 3)
    y, last = layer(x)
    wide_y, wide_last = layer(x.unsqueeze(0))
    assert y.shape == (5, 8)
    assert (y == wide_y[0]).all()
    for part, wide in zip(parts_of(last), parts_of(wide_last), strict=True):
        assert part.shape == (4, 4)
        assert (part == wide[:, 0]).all()
    again, _ = layer(x, last)
    assert again.shape == (5, 8)


@rows
def test_step_by_step_equals_the_whole(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 4, num_layers=2).double()
    x = mg.randn(6, 2, 3, dtype=mg.float64)
    whole, last = layer(x)
    state, outputs = None, []
    for x_t in x:
        y, state = layer(x_t.unsqueeze(0), state)
        outputs.append(y)
    assert mg.allclose(mg.cat(outputs), whole, rtol=1e-13, atol=1e-15)
    for a, b in zip(parts_of(state), parts_of(last), strict=True):
        assert mg.allclose(a, b, rtol=1e-13, atol=1e-15)


@rows
def test_cell_alone_is_one_step_of_the_layer(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 4)
    cell = layer.cells[0][0]
    x = mg.randn(2, 3)
    _, last = layer(x.unsqueeze(0))
    for a, b in zip(parts_of(cell(x)), parts_of(last), strict=True):
        assert mg.allclose(a, b[0], rtol=1e-6, atol=1e-7)
    for a, b in zip(parts_of(cell(x[0])), parts_of(last), strict=True):
        assert a.shape == (4,)
        assert mg.allclose(a, b[0, 0], rtol=1e-6, atol=1e-7)


def nodes_behind(tensor: mg.Tensor) -> int:
    seen, stack = set(), [tensor.edge[0]]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            stack += [edge[0] for edge in getattr(node, "edges", ()) if edge is not None]
    return len(seen)


def nodes_per_step(cell: Any) -> int:
    layer = nn.Recurrent(cell, 3, 4)
    short, long = (nodes_behind(layer(mg.randn(n, 2, 3))[0].sum()) for n in (5, 6))
    return long - short


def test_a_users_cell_records_as_many_nodes_as_ours() -> None:
    assert nodes_per_step(nn.LSTMCell) == nodes_per_step(PeepholeCell) == 2  # a product, the gates
    assert nodes_per_step(nn.GRUCell) == nodes_per_step(nn.RNNCell) == 2


def test_the_classes_are_the_driver_with_their_cell() -> None:
    for kind, cell in ((nn.RNN, nn.RNNCell), (nn.LSTM, nn.LSTMCell), (nn.GRU, nn.GRUCell)):
        layer = kind(3, 4, 2, bidirectional=True)
        twin = nn.Recurrent(cell, 3, 4, 2, bidirectional=True)
        twin.load_state_dict(layer.state_dict())
        x = mg.randn(5, 2, 3)
        assert (layer(x)[0] == twin(x)[0]).all()
        assert [n for n, _ in layer.named_parameters()][:5] == [
            "weight_ih_l0",
            "weight_hh_l0",
            "bias_ih_l0",
            "bias_hh_l0",
            "weight_ih_l0_reverse",
        ]
        assert layer.weight_ih_l1.shape[1] == 8
        with pytest.raises(AttributeError, match="weight_ih_l2"):
            _ = layer.weight_ih_l2


def test_dropout_acts_between_layers_in_training_only() -> None:
    layer = nn.GRU(3, 4, num_layers=2, dropout=1.0)
    x = mg.randn(5, 2, 3)
    y, h = layer(x)
    _, bottom = layer(2 * x)
    assert not (h[0] == bottom[0]).all()  # the first layer sees x
    assert (h[1] == bottom[1]).all()  # the second sees nothing but zeros
    layer.eval()
    assert not (layer(x)[0] == y).all()
    single = nn.GRU(3, 4, dropout=0.5)
    assert (single(x)[0] == single(x)[0]).all()  # no layer above, no dropout


def test_dropout_masks_come_from_the_generator() -> None:
    layer = nn.LSTM(3, 4, num_layers=3, dropout=0.5)
    x = mg.randn(5, 2, 3)
    mg.manual_seed(1)
    first = layer(x)[0]
    assert not (layer(x)[0] == first).all()
    mg.manual_seed(1)
    assert (layer(x)[0] == first).all()


def test_lengths_may_be_a_tensor() -> None:
    layer = nn.RNN(3, 4)
    x = mg.randn(5, 2, 3)
    assert (layer(x, lengths=mg.tensor([2, 5]))[0] == layer(x, lengths=[2, 5])[0]).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m(mg.zeros(5, 2, 7)), "input = 3"),
        (lambda m: m(mg.zeros(2, 5, 2, 3)), "time, batch, input"),
        (lambda m: m(mg.zeros(0, 2, 3)), "no time steps"),
        (lambda m: m(mg.zeros(5, 2, 3), mg.zeros(1, 2, 4)), "2 tensor"),
        (
            lambda m: m(mg.zeros(5, 2, 3), (mg.zeros(1, 2, 4), mg.zeros(1, 3, 4))),
            "batch second",
        ),
        (lambda m: m(mg.zeros(5, 2, 3), lengths=[1, 2, 3]), "2 integers"),
        (lambda m: m(mg.zeros(5, 2, 3), lengths=[1, 6]), "0…5"),
        (lambda m: m(mg.zeros(5, 2, 3), lengths=[1, -1]), "0…5"),
        (lambda m: m(mg.zeros(5, 2, 3), lengths=[1.5, 2.0]), "integers"),
        (lambda m: m.cells[0][0](mg.zeros(2, 4)), "3"),
        (lambda m: m.cells[0][0](mg.zeros(2, 3), (mg.zeros(2, 4), mg.zeros(3, 4))), "state"),
        (lambda _: nn.LSTM(3, 0), "positive"),
        (lambda _: nn.LSTM(3, 4, num_layers=0), "num_layers"),
        (lambda _: nn.LSTM(3, 4, dropout=1.5), "probability"),
        (lambda _: nn.RNN(3, 4, nonlinearity="gelu"), "nonlinearity"),
    ],
)
def test_errors_say_what_was_expected(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(nn.LSTM(3, 4))


def test_a_parameter_can_be_set_by_its_name_in_the_layer() -> None:
    """Tying and replacing weights must reach the cells, which compute with them."""
    layer: Any = nn.LSTM(2, 3, num_layers=2, bidirectional=True)
    names = [name for name, _ in layer.named_parameters()]
    for name in names:
        shape = getattr(layer, name).shape
        setattr(layer, name, nn.Parameter(mg.zeros(shape)))
    assert [name for name, _ in layer.named_parameters()] == names
    y, _ = layer(mg.ones(4, 1, 2))
    assert (y == 0).all()
    layer.weight_hh_l1 = layer.weight_hh_l1_reverse
    assert layer.cells[1][0].weight_hh is layer.cells[1][1].weight_hh
    assert len(list(layer.parameters())) == len(names) - 1
    bare: Any = nn.GRU(2, 3, bias=False)
    bare.bias_ih_l0 = nn.Parameter(mg.ones(9))
    assert bare.cells[0][0].bias_ih is bare.bias_ih_l0


@rows
def test_layers_can_be_copied(row: Row) -> None:
    layer = nn.Recurrent(row.cell, 3, 2, num_layers=2)
    x = mg.randn(4, 1, 3)
    layer(x)[0].sum().backward()
    twin = copy.deepcopy(layer)
    assert (twin(x)[0] == layer(x)[0]).all()
    mine, others = list(layer.parameters()), list(twin.parameters())
    assert all(p is not q and p.data is not q.data for p, q in zip(mine, others, strict=True))


def test_layers_can_be_pickled() -> None:
    """As data loaders and process pools do."""
    x = mg.randn(4, 1, 3)
    for layer in (nn.RNN(3, 2, nonlinearity="relu"), nn.LSTM(3, 2), nn.GRU(3, 2)):
        assert (pickle.loads(pickle.dumps(layer))(x)[0] == layer(x)[0]).all()
