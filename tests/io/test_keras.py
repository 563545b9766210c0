"""Keras's weights in our layers give the numbers that Keras gave, and come back as they were."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from tests.reference import interchange_cases as stored
from tests.reference.interchange_cases import HIDDEN, INPUT, KERAS_CASES, Arrays, KerasCase

KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "SimpleRNN": nn.RNN}


@functools.cache
def runs() -> dict[str, Arrays]:
    return stored.load("keras")


def layer_of(case: KerasCase) -> Any:
    """The layer of ours that equals a case's layers."""
    options: dict[str, Any] = {}
    if case.options.get("reset_after") is False:
        options["reset"] = "before"
    if "activation" in case.options:
        options["nonlinearity"] = case.options["activation"]
    return KINDS[case.kind](
        INPUT,
        HIDDEN,
        case.layers,
        bias=case.options.get("use_bias", True),
        batch_first=True,
        bidirectional=case.bidirectional,
        **options,
    ).double()


def host(x: mg.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def states_of(last: Any) -> list[np.ndarray]:
    """The last layer's states in Keras's order: for each direction h, and c of an LSTM."""
    parts = [host(part) for part in (last if isinstance(last, tuple) else (last,))]
    return [part[k] for k in range(len(parts[0])) for part in parts]


@pytest.mark.parametrize("case", KERAS_CASES, ids=lambda case: case.name)
def test_a_layer_gives_what_keras_gave(case: KerasCase) -> None:
    run = runs()[case.name]
    layer, weights = layer_of(case), stored.numbered(run, "weight")
    mg.io.keras.set_weights(layer, weights)
    y, last = layer(mg.tensor(run["x"]), lengths=run["lengths"].tolist())
    valid = np.arange(run["x"].shape[1]) < run["lengths"][:, None]  # Keras repeats y beyond
    np.testing.assert_allclose(host(y)[valid], run["y"][valid], rtol=0, atol=1e-12)
    expected = stored.numbered(run, "s")
    for got, want in zip(states_of(last)[-len(expected) :], expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    for back, weight in zip(mg.io.keras.get_weights(layer), weights, strict=True):
        np.testing.assert_array_equal(back, weight)


class Classifier(nn.Module):
    def __init__(self) -> None:
        self.words = nn.Embedding(7, INPUT)
        self.rnn = nn.LSTM(INPUT, HIDDEN, batch_first=True, bidirectional=True)
        self.norm = nn.LayerNorm(2 * HIDDEN)
        self.out = nn.Linear(2 * HIDDEN, 2)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        y, _ = self.rnn(self.words(x))
        return self.out(self.norm(y))


def test_a_whole_model_gives_what_keras_gave() -> None:
    run = runs()["classifier"]
    model, weights = Classifier().double(), stored.numbered(run, "weight")
    mg.io.keras.set_weights(model, weights)
    y = host(model(mg.tensor(run["x"])))
    np.testing.assert_allclose(y, run["y"], rtol=0, atol=1e-12)
    for back, weight in zip(mg.io.keras.get_weights(model), weights, strict=True):
        np.testing.assert_array_equal(back, weight)


def test_all_cases_are_stored() -> None:
    assert set(runs()) == {case.name for case in KERAS_CASES} | {"classifier"}


@pytest.mark.parametrize("name", ["weight0", "weight1", "weight2"])
def test_a_wrong_weight_is_noticed(name: str) -> None:
    run = dict(runs()["gru"])
    run[name] = run[name][..., ::-1]  # gates in another order
    layer = layer_of(next(case for case in KERAS_CASES if case.name == "gru"))
    mg.io.keras.set_weights(layer, stored.numbered(run, "weight"))
    assert not np.allclose(host(layer(mg.tensor(run["x"]))[0]), run["y"], atol=1e-3)


@given(
    kind=st.sampled_from([nn.RNN, nn.LSTM, nn.GRU]),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_there_and_back_computes_the_same(
    kind: Any, layers: int, bidirectional: bool, bias: bool, sizes: tuple[int, int]
) -> None:
    first, second = (
        kind(*sizes, layers, bias=bias, bidirectional=bidirectional).double() for _ in range(2)
    )
    mg.io.keras.set_weights(second, mg.io.keras.get_weights(first))
    x = mg.randn(3, 2, sizes[0], dtype=mg.float64)
    np.testing.assert_allclose(host(second(x)[0]), host(first(x)[0]), rtol=0, atol=1e-14)


def test_a_cell_alone_takes_keras_weights() -> None:
    layer, cell = nn.GRU(3, 2), nn.GRUCell(3, 2)
    mg.io.keras.set_weights(cell, mg.io.keras.get_weights(layer))
    x = mg.randn(1, 4, 3)
    assert mg.allclose(cell(x[0]), layer(x)[1][0])


def test_what_is_exported_is_a_copy() -> None:
    layer = nn.Embedding(3, 2)
    before = host(layer.weight).copy()
    mg.io.keras.get_weights(layer)[0][:] = 7.0
    np.testing.assert_array_equal(host(layer.weight), before)


def test_a_shared_parameter_takes_one_value() -> None:
    layer: Any = nn.LSTM(3, 3, bidirectional=True)
    layer.weight_hh_l0_reverse = layer.weight_hh_l0
    weights = mg.io.keras.get_weights(nn.LSTM(3, 3, bidirectional=True))
    before = host(layer.weight_ih_l0).copy()
    with pytest.raises(ValueError, match="weight_hh_l0 and weight_hh_l0_reverse are one parameter"):
        mg.io.keras.set_weights(layer, weights)
    np.testing.assert_array_equal(host(layer.weight_ih_l0), before)
    weights[4] = weights[1]
    mg.io.keras.set_weights(layer, weights)
    np.testing.assert_array_equal(host(layer.weight_hh_l0).T, weights[1])


class Mine(nn.LSTMCell):
    """The same parameters, perhaps other equations."""


def ones(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [np.ones(shape) for shape in shapes]


@pytest.mark.parametrize(
    ("module", "weights", "error", "words"),
    [
        (nn.LSTM(3, 2), ones((3, 8), (2, 8)), ValueError, "expected 3 arrays .* use_bias=False"),
        (nn.LSTM(3, 2), ones((8, 3), (2, 8), (8,)), ValueError, r"\(8, 3\) \(is it transposed\?"),
        (nn.LSTM(3, 2), ones((3, 8), (2, 8), (2, 8)), ValueError, r"bias .* expected \(8,\)"),
        (nn.GRU(3, 2), ones((3, 6), (2, 6), (6,)), ValueError, r"expected \(2, 6\), got \(6,\)"),
        (nn.LSTM(3, 2), [np.ones((3, 8)), np.ones((2, 8)), 1j * np.ones(8)], ValueError, "complex"),
        (nn.Recurrent(Mine, 3, 2), ones((3, 8)), TypeError, "no layout of Mine .* LSTMCell"),
        (nn.Sequential(nn.Linear(3, 2), nn.RMSNorm(2)), [], TypeError, "known of 1.weight"),
        (nn.LSTM(3, 3, proj_size=2), [], TypeError, "no layout is known of weight_hr_l0"),
        (nn.GRU(3, 2, reset="before"), ones((3, 6), (2, 6), (2, 6)), ValueError, r"\(6,\), got"),
        (nn.Tanh(), [], TypeError, "no layout is known of Tanh"),
    ],
)
def test_errors_leave_the_module(module: Any, weights: Any, error: Any, words: str) -> None:
    before = {name: host(x).copy() for name, x in module.state_dict().items()}
    with pytest.raises(error, match=words):
        mg.io.keras.set_weights(module, weights)
    for name, x in module.state_dict().items():
        np.testing.assert_array_equal(host(x), before[name])
