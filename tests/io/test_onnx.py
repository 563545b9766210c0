"""ONNX's recurrent operators: tensors of its nodes in our layers give what ONNX computed."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from tests.reference import interchange_cases as stored
from tests.reference.interchange_cases import HIDDEN, INPUT, ONNX_CASES, Arrays, OnnxCase

KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


@functools.cache
def runs() -> dict[str, Arrays]:
    return stored.load("onnx")


def layer_of(case: OnnxCase, bidirectional: bool) -> Any:
    """The layer of ours that computes a node's equations."""
    options: dict[str, Any] = {"bias": case.bias, "bidirectional": bidirectional}
    if case.attributes.get("linear_before_reset") == 0:
        options["reset"] = "before"
    if "activations" in case.attributes:
        options["nonlinearity"] = case.attributes["activations"][0].lower()
    kind = nn.PeepholeLSTM if case.peepholes else KINDS[case.kind]
    return kind(INPUT, HIDDEN, **options).double()


def host(x: mg.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def computed(case: OnnxCase, run: Arrays) -> Arrays:
    """What our layer makes of a node's inputs, in the shapes of the node's outputs.

    A node of one direction that runs backwards is the second direction of a bidirectional layer.
    """
    tensors = {name: run[name] for name in "WRBP" if name in run}
    states = [run[name] for name in ("initial_h", "initial_c") if name in run]
    reverse = case.attributes["direction"] == "reverse"
    if reverse:
        tensors = {name: np.concatenate([x, x]) for name, x in tensors.items()}
        states = [np.concatenate([x, x]) for x in states]
    layer = layer_of(case, reverse or case.directions == 2)
    mg.io.onnx.set_weights(layer, [tensors])
    state: Any = tuple(mg.tensor(x, dtype=mg.float64) for x in states) or None
    state = state[0] if state is not None and len(state) == 1 else state
    lengths = run["sequence_lens"].tolist() if case.lengths else None
    y, last = layer(mg.tensor(run["X"], dtype=mg.float64), state, lengths=lengths)
    steps, batch, _ = y.shape
    outputs = {"Y": host(y).reshape(steps, batch, -1, HIDDEN).transpose(0, 2, 1, 3)}
    parts = last if isinstance(last, tuple) else (last,)
    outputs |= {name: host(part) for name, part in zip(("Y_h", "Y_c"), parts, strict=False)}
    if reverse:
        outputs = {n: x[:, 1:] if n == "Y" else x[1:] for n, x in outputs.items()}
    return outputs


@pytest.mark.parametrize("case", ONNX_CASES, ids=lambda case: case.name)
def test_a_layer_gives_what_onnx_gave(case: OnnxCase) -> None:
    run = runs()[case.name]
    tolerance = 1e-6 if case.only_onnxruntime else 1e-12  # it computes in float32
    for name, y in computed(case, run).items():
        assert y.shape == run[name].shape
        np.testing.assert_allclose(y, run[name], rtol=0, atol=tolerance, err_msg=name)


def test_all_cases_are_stored() -> None:
    assert set(runs()) == {case.name for case in ONNX_CASES}


@pytest.mark.parametrize("name", ["W", "R", "B"])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
def test_a_wrong_tensor_is_noticed(kind: str, name: str) -> None:
    case = next(case for case in ONNX_CASES if case.name == f"{kind}-bidirectional")
    run = dict(runs()[case.name])
    run[name] = run[name][::-1]  # the directions exchanged
    assert not np.allclose(computed(case, run)["Y"], run["Y"], atol=1e-3)


@pytest.mark.parametrize("name", ["lstm-reverse", "gru-reverse"])
def test_a_reverse_node_is_a_layer_on_the_flipped_input(name: str) -> None:
    case = next(case for case in ONNX_CASES if case.name == name)
    run = runs()[name]
    layer = layer_of(case, bidirectional=False)
    mg.io.onnx.set_weights(layer, [{name: run[name] for name in "WRB"}])
    y, _ = layer(mg.tensor(run["X"]).flip(0))
    np.testing.assert_allclose(host(y.flip(0)), run["Y"][:, 0], rtol=0, atol=1e-12)


@given(
    kind=st.sampled_from([*KINDS.values(), nn.PeepholeLSTM]),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    bias=st.booleans(),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_there_and_back_keeps_every_bit(
    kind: Any, layers: int, bidirectional: bool, bias: bool, sizes: tuple[int, int]
) -> None:
    first, second = (kind(*sizes, layers, bias=bias, bidirectional=bidirectional) for _ in range(2))
    nodes = mg.io.onnx.get_weights(first)
    mg.io.onnx.set_weights(second, nodes)
    for p, q in zip(first.parameters(), second.parameters(), strict=True):
        np.testing.assert_array_equal(host(p), host(q))
    for node, again in zip(nodes, mg.io.onnx.get_weights(second), strict=True):
        assert node.keys() == again.keys()
        assert all(np.array_equal(node[name], again[name]) for name in node)


def test_a_bias_that_is_missing_is_zero() -> None:
    layer = nn.GRU(3, 2)
    (node,) = mg.io.onnx.get_weights(layer)
    mg.io.onnx.set_weights(layer, [{"W": node["W"], "R": node["R"]}])
    assert (layer.bias_ih_l0 == 0).all()
    assert (layer.bias_hh_l0 == 0).all()
    np.testing.assert_array_equal(mg.io.onnx.get_weights(layer)[0]["W"], node["W"])


W, R, B = np.ones((1, 8, 3)), np.ones((1, 8, 2)), np.ones((1, 16))


@pytest.mark.parametrize(
    ("layer", "nodes", "error", "words"),
    [
        (nn.LSTM(3, 2), {"W": W, "R": R}, ValueError, r"list of 1 mappings.* got one mapping"),
        (nn.LSTM(3, 2, 2), [{"W": W, "R": R}], ValueError, "list of 2 mappings.* got 1"),
        (nn.LSTM(3, 2), [{"W": W}], ValueError, r"missing \['R'\]"),
        (nn.LSTM(3, 2), [{"W": W, "R": R, "P": B}], ValueError, r"unknown \['P'\]"),
        (nn.LSTM(3, 2, bias=False), [{"W": W, "R": R, "B": B}], ValueError, "bias=True"),
        (nn.LSTM(3, 2), [{"W": W, "R": R[:, :6]}], ValueError, r"R of node 0: .*\(1, 6, 2\)"),
        (nn.LSTM(3, 2, bidirectional=True), [{"W": W, "R": R}], ValueError, r"\(2, 8, 3\), got"),
        (nn.LSTM(3, 2), [{"W": W, "R": 1j * R}], ValueError, "complex"),
        (nn.Linear(3, 2), [], TypeError, "expected a recurrent layer"),
        (nn.MGU(3, 2), [], TypeError, "no layout of MGUCell is known, only of RNNCell, "),
        (nn.LSTM(3, 3, proj_size=2), [], TypeError, "no layout is known of weight_hr_l0"),
    ],
)
def test_errors_leave_the_layer(layer: Any, nodes: Any, error: Any, words: str) -> None:
    before = {name: host(x).copy() for name, x in layer.state_dict().items()}
    with pytest.raises(error, match=words):
        mg.io.onnx.set_weights(layer, nodes)
    for name, x in layer.state_dict().items():
        np.testing.assert_array_equal(host(x), before[name])


def test_without_onnx_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: mg.io.onnx.to_model(nn.LSTM(3, 2)), lambda: mg.io.onnx.from_model(None)):
        with pytest.raises(ImportError, match=r'pip install "minigrad\[onnx\]"'):
            call()
