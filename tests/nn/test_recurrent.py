"""The driver and the cells: every option, against plain NumPy loops and finite differences."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given

import minigrad as mg
from minigrad import nn
from tests.nn_checks import (
    cases,
    check_a_row_alone,
    check_cell_alone,
    check_poison,
    check_streaming,
    check_unbatched,
    check_values,
)
from tests.nn_table import ROWS, Row

rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@rows
@given(case=cases())
def test_layer_equals_plain_loops(row: Row, case: dict[str, Any]) -> None:
    check_values(row, case)


@rows
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_poison_in_the_padding_changes_no_bit(row: Row, value: float) -> None:
    check_poison(row, value)


@rows
def test_a_row_alone_equals_the_row_in_a_batch(row: Row) -> None:
    check_a_row_alone(row)


@rows
def test_unbatched_is_a_batch_of_one(row: Row) -> None:
    check_unbatched(row)


@rows
def test_step_by_step_equals_the_whole(row: Row) -> None:
    check_streaming(row)


@rows
def test_cell_alone_is_one_step_of_the_layer(row: Row) -> None:
    check_cell_alone(row)


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
    with pytest.warns(UserWarning, match="GRU: dropout=0.5 acts between layers"):
        single = nn.GRU(3, 4, dropout=0.5)
    assert (single(x)[0] == single(x)[0]).all()


def test_a_state_may_be_a_list() -> None:
    layer, x = nn.LSTM(3, 4), mg.randn(5, 2, 3)
    h, c = mg.randn(1, 2, 4), mg.randn(1, 2, 4)
    assert (layer(x, [h, c])[0] == layer(x, (h, c))[0]).all()
    cell = layer.cells[0][0]
    assert (cell(x[0], [h[0], c[0]])[1] == cell(x[0], (h[0], c[0]))[1]).all()


def test_arguments_stand_where_pytorch_has_them_and_are_shown() -> None:
    layer = nn.LSTM(3, 4, 2, False, True, 0.25, True, 2)
    assert layer(mg.zeros(2, 5, 3))[0].shape == (2, 5, 4)
    assert repr(layer) == (
        "LSTM(3, 4, proj_size=2, num_layers=2, bias=False, batch_first=True, dropout=0.25, "
        "bidirectional=True)"
    )
    layer.flatten_parameters()
    assert repr(nn.RNN(3, 4, 1, "relu")) == "RNN(3, 4, nonlinearity=relu)"
    named = nn.Recurrent(nn.GRUCell, 3, 4, 2, reset="before")
    assert repr(named) == "Recurrent(GRUCell, 3, 4, reset=before, num_layers=2)"
    around = nn.Recurrent(nn.Residual, 3, 4, around=nn.LSTMCell)
    assert (
        repr(nn.GRUCell(3, 4, False, reset="before")) == "GRUCell(3, 4, bias=False, reset=before)"
    )
    assert repr(nn.GridLSTMCell(3, 4, depth=2)) == "GridLSTMCell(3, 4, depth=2)"
    assert repr(around) == "Recurrent(Residual, 3, 4, around=LSTMCell)"


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
        (lambda m: m(mg.zeros(5, 2, 3), mg.zeros(1, 2, 4)), r"state \(a tensor, a tensor\)"),
        (
            lambda m: m(mg.zeros(5, 2, 3), (mg.zeros(1, 2, 4), mg.zeros(1, 3, 4))),
            "batch second",
        ),
        (lambda m: m(mg.zeros(5, 2, 3), (mg.zeros(1, 2, 4), None)), "NoneType"),
        (lambda m: m(mg.zeros(5, 2, 3), ((mg.zeros(1, 2, 4),) * 2,)), r"got \(\(a tensor, a t"),
        (lambda _: nn.GRU(3, 4)(mg.zeros(5, 2, 3), (mg.zeros(1, 2, 4),)), r"got \(a tensor,\)"),
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


class Careless(nn.Cell):
    """Its steps give what they are told to."""

    state_names = ("h", "c")
    gives: Any = staticmethod(lambda h, c: (h, c))

    def project(self, x: mg.Tensor) -> mg.Tensor:
        return x

    def step(self, p: mg.Tensor, state: Any) -> Any:
        h, c = state
        return self.gives(mg.tanh(p + h), c)


@pytest.mark.parametrize("steps", [1, 5])  # one that is not written down, and several that are
def test_a_step_gives_a_state_like_the_first(steps: int, monkeypatch: Any) -> None:
    layer, x = nn.Recurrent(Careless, 3, 3), mg.randn(steps, 2, 3)
    y, _ = layer(x)
    monkeypatch.setattr(Careless, "gives", lambda _, h, c: [h, c])
    assert (layer(x)[0] == y).all()
    for gives in (lambda _, *state: state[0], lambda _, h, c: (mg.cat([h, c]), c)):
        monkeypatch.setattr(Careless, "gives", gives)
        for call in (lambda: layer(x), lambda: layer.cells[0][0](x[0])):
            with pytest.raises(ValueError, match=r"a cell's step: expected as state \(a tensor, a"):
                call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: nn.Recurrent(nn.LSTMCell(3, 4), 3, 4), "one that is made, LSTMCell"),
        (lambda: nn.Recurrent(nn.Linear, 3, 4), "got Linear"),
        (lambda: nn.LSTM(3, 4)(np.zeros((5, 2, 3))), r"write mg.tensor\(x\)"),
        (lambda: nn.LSTM(3, 4)([[1.0, 2.0, 3.0]]), "expected a tensor x, got list"),
        (lambda: nn.GRUCell(3, 4)([1.0, 2.0, 3.0]), "GRUCell: expected a tensor x, got list"),
    ],
)
def test_other_kinds_of_things_are_named(call: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        call()


def test_a_sequence_without_a_batch_may_have_a_number_as_length() -> None:
    layer, x = nn.LSTM(3, 4), mg.randn(5, 3)
    assert (layer(x, lengths=3)[0] == layer(x, lengths=[3])[0]).all()
    with pytest.raises(ValueError, match="2 integers"):
        layer(mg.randn(5, 2, 3), lengths=3)
