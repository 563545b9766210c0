"""Layers as ONNX models compute there what they compute here, and come back as they were."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from tests.io.test_onnx import computed
from tests.reference.interchange_cases import ONNX_CASES, OnnxCase

onnx = pytest.importorskip("onnx")
with_onnx = pytest.importorskip("tests.reference.with_onnx")
reference = pytest.importorskip("onnx.reference")

LAYERS: dict[str, Any] = {
    "RNN": nn.RNN,
    "LSTM": nn.LSTM,
    "PeepholeLSTM": nn.PeepholeLSTM,
    "GRU": nn.GRU,
    "GRU-before": lambda *sizes, **options: nn.GRU(*sizes, reset="before", **options),
}
EVALUATED = [case for case in ONNX_CASES if not case.only_onnxruntime]
kinds = pytest.mark.parametrize("kind", LAYERS)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("case", EVALUATED, ids=lambda case: case.name)
def test_a_node_with_new_numbers(case: OnnxCase, seed: int) -> None:
    arrays = with_onnx.inputs_of(case, np.random.default_rng(seed))
    expected = with_onnx.evaluate(case, arrays)
    for name, y in computed(case, arrays).items():
        np.testing.assert_allclose(y, expected[name], rtol=0, atol=1e-12, err_msg=name)


def host(x: mg.Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def parts(state: Any) -> list[mg.Tensor]:
    return list(state) if isinstance(state, tuple) else [state]


def feed(x: mg.Tensor, state: Any) -> dict[str, np.ndarray]:
    return {"x": host(x), **{f"{n}_0": host(s) for n, s in zip("hc", parts(state), strict=False)}}


def state_of(layer: Any, batch: int) -> Any:
    """A state that is not zero."""
    count = layer.num_layers * (1 + layer.bidirectional)
    names = layer.cells[0][0].state_names
    drawn = [mg.randn(count, batch, layer.hidden_size, dtype=mg.float64) for _ in names]
    return drawn[0] if len(drawn) == 1 else tuple(drawn)


@kinds
@given(
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    batch_first=st.booleans(),
    bias=st.booleans(),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    batch=st.integers(1, 3),
    steps=st.integers(1, 4),
)
def test_a_model_computes_what_the_layer_computes(
    kind: str,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
    bias: bool,
    sizes: tuple[int, int],
    batch: int,
    steps: int,
) -> None:
    options = {"bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
    layer = LAYERS[kind](*sizes, layers, dropout=0.5 if layers > 1 else 0.0, **options).double()
    model = mg.io.onnx.to_model(layer)
    axes = (batch, steps) if batch_first else (steps, batch)
    x, state = mg.randn(*axes, sizes[0], dtype=mg.float64), state_of(layer, batch)
    got = reference.ReferenceEvaluator(model).run(None, feed(x, state))
    y, last = layer.eval()(x, state)
    for a, b in zip(got, [y, *parts(last)], strict=True):
        np.testing.assert_allclose(a, host(b), rtol=0, atol=1e-12)

    back = mg.io.onnx.from_model(model)
    assert type(back) is type(layer)
    assert dict(back.state_dict()).keys() == layer.state_dict().keys()
    for name, p in layer.state_dict().items():
        np.testing.assert_array_equal(host(back.state_dict()[name]), host(p))
    x = x.transpose(0, 1) if batch_first else x
    y = y.transpose(0, 1) if batch_first else y
    np.testing.assert_allclose(host(back(x, state)[0]), host(y), rtol=0, atol=1e-12)


@kinds
def test_a_stream_equals_the_whole(kind: str) -> None:
    layer = LAYERS[kind](3, 4, 2).double()
    run = reference.ReferenceEvaluator(mg.io.onnx.to_model(layer)).run
    x, state = mg.randn(5, 2, 3, dtype=mg.float64), state_of(layer, 2)
    whole, _ = layer(x, state)
    fed, outputs = feed(x, state), []
    for t in range(5):
        y, *last = run(None, fed | {"x": host(x)[t : t + 1]})
        outputs.append(y)
        fed |= {f"{n}_0": s for n, s in zip("hc", last, strict=False)}
    np.testing.assert_allclose(np.concatenate(outputs), host(whole), rtol=0, atol=1e-12)


@kinds
def test_lengths_in_onnxruntime(kind: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    layer = LAYERS[kind](3, 4, 2, bidirectional=True, batch_first=True)
    text = mg.io.onnx.to_model(layer, lengths=True).SerializeToString()
    session = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])
    x, lengths = mg.randn(3, 5, 3), [2, 5, 3]
    state = mg.zeros(4, 3, 4)
    fed = feed(x, (state, state) if "LSTM" in kind else state)
    got = session.run(None, fed | {"lengths": np.array(lengths, np.int32)})
    y, last = layer(x, lengths=lengths)
    for a, b in zip(got, [y, *parts(last)], strict=True):
        np.testing.assert_allclose(a, host(b), rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore")  # the exporter warns of its own age, and while tracing
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_what_pytorch_exports_can_be_read(kind: str, bidirectional: bool) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, kind)(3, 4, 2, bidirectional=bidirectional).eval()
    x, file = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0)), io.BytesIO()
    torch.onnx.export(theirs, (x,), file, dynamo=False, opset_version=17)
    layer = mg.io.onnx.from_model(onnx.load_from_string(file.getvalue()))
    y, _ = layer(mg.tensor(x.numpy()))
    np.testing.assert_allclose(host(y), theirs(x)[0].detach().numpy(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_an_rnns_nonlinearity_comes_back(name: str) -> None:
    model = mg.io.onnx.to_model(nn.RNN(3, 4, 2, name, bidirectional=True))
    assert mg.io.onnx.from_model(model).cells[1][1].nonlinearity == name


def test_the_dtype_comes_back() -> None:
    for layer in (nn.LSTM(3, 4), nn.LSTM(3, 4).double()):
        back = mg.io.onnx.from_model(mg.io.onnx.to_model(layer))
        assert {p.dtype for p in back.parameters()} == {p.dtype for p in layer.parameters()}


def with_attribute(model: Any, name: str, value: Any) -> Any:
    node = next(node for node in model.graph.node if node.op_type in ("LSTM", "GRU", "RNN"))
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])
    return model


def test_weights_may_be_constants_of_the_graph() -> None:
    model = mg.io.onnx.to_model(nn.GRU(3, 4))
    (w,) = [t for t in model.graph.initializer if t.name == "W_l0"]
    model.graph.node.append(onnx.helper.make_node("Constant", [], ["W_l0"], value=w))
    model.graph.initializer.remove(w)
    layer = mg.io.onnx.from_model(model)
    np.testing.assert_array_equal(
        mg.io.onnx.get_weights(layer)[0]["W"], onnx.numpy_helper.to_array(w)
    )


@pytest.mark.parametrize(
    ("attribute", "value", "words"),
    [
        ("direction", "reverse", "direction reverse .*flip"),
        ("clip", 1.0, "our layers have no clip"),
        ("input_forget", 1, "no input_forget"),
        ("activations", ["Sigmoid", "Relu", "Tanh"], r"no activations \['Sigmoid', 'Relu'"),
        ("direction", "bidirectional", "with the same attributes"),
    ],
)
def test_what_our_layers_lack_is_refused(attribute: str, value: Any, words: str) -> None:
    model = with_attribute(mg.io.onnx.to_model(nn.LSTM(3, 4, 2)), attribute, value)
    with pytest.raises(ValueError, match=words):
        mg.io.onnx.from_model(model)


def test_models_without_a_stack_are_refused() -> None:
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    with pytest.raises(ValueError, match=r"expected RNN, LSTM or GRU nodes .* got none"):
        mg.io.onnx.from_model(empty)
    apart = mg.io.onnx.to_model(nn.LSTM(3, 3, 2))
    [node for node in apart.graph.node if node.op_type == "LSTM"][1].input[0] = "x"
    with pytest.raises(
        ValueError, match="expected a stack, but LSTM 'Y_l1' is not fed by LSTM 'Y_l0'"
    ):
        mg.io.onnx.from_model(apart)
    computed_weight = mg.io.onnx.to_model(nn.LSTM(3, 3))
    del computed_weight.graph.initializer[:]
    with pytest.raises(ValueError, match="W_l0, R_l0, B_l0: expected constants"):
        mg.io.onnx.from_model(computed_weight)
    with pytest.raises(TypeError, match="no layout of MGUCell"):
        mg.io.onnx.to_model(nn.MGU(3, 4))
