"""Layers: gradients to second order, what they refuse, and dropout's scaling and generator.

Their values are compared with PyTorch's in tests/test_against_stored.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.testing import gradcheck


def double(*shape: int) -> mg.Tensor:
    return mg.randn(*shape, dtype=mg.float64, requires_grad=True)


SMOOTH: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "Linear": (nn.Linear(3, 2), (2, 3)),
    "LayerNorm": (nn.LayerNorm((2, 3)), (2, 2, 3)),
    "LayerNorm-first": (nn.LayerNorm(1, elementwise_affine=False), (2, 1)),
    "RMSNorm": (nn.RMSNorm(3), (2, 3)),
    "SiLU": (nn.SiLU(), (4,)),
    "GELU": (nn.GELU(), (4,)),
    "GELU-tanh": (nn.GELU("tanh"), (4,)),
    "Softplus": (nn.Softplus(2.0), (4,)),
    "LogSigmoid": (nn.LogSigmoid(), (4,)),
    "Mish": (nn.Mish(), (4,)),
    "GLU": (nn.GLU(), (2, 4)),
    "Softmax": (nn.Softmax(0), (3, 2)),
    "LogSoftmax": (nn.LogSoftmax(0), (3, 2)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_second_order(name: str) -> None:
    layer, shape = SMOOTH[name]
    layer.double()
    held = list(layer.parameters())

    def apply(x: mg.Tensor, *_: mg.Tensor) -> mg.Tensor:
        return layer(x)

    assert gradcheck(apply, double(*shape), order=2)
    if held:  # the gradients of the parameters themselves
        layer(double(*shape)).square().sum().backward()
        assert all(p.grad is not None and p.grad.shape == p.shape for p in held)


@given(normalized=st.integers(1, 2), rows=st.integers(1, 3), columns=st.integers(2, 4))
def test_layer_norm_standardizes(normalized: int, rows: int, columns: int) -> None:
    x = mg.randn(2, rows, columns, dtype=mg.float64) * 7 + 3
    axes = tuple(range(-normalized, 0))
    y = nn.LayerNorm(x.shape[-normalized:], eps=0.0).double()(x)
    np.testing.assert_allclose(y.mean(axes).detach().cpu().numpy(), 0, atol=1e-12)
    np.testing.assert_allclose(y.square().mean(axes).detach().cpu().numpy(), 1, rtol=1e-9)
    z = nn.RMSNorm(x.shape[-normalized:], eps=0.0).double()(x)
    np.testing.assert_allclose(z.square().mean(axes).detach().cpu().numpy(), 1, rtol=1e-9)


def test_layer_norm_options() -> None:
    bare = nn.LayerNorm(3, elementwise_affine=False)
    assert bare.weight is None
    assert bare.bias is None
    assert nn.LayerNorm(3, bias=False).bias is None
    assert [n for n, _ in nn.LayerNorm(3).named_parameters()] == ["weight", "bias"]
    assert nn.LayerNorm(3, dtype=mg.float64).weight.dtype == np.float64


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nn.LayerNorm(0), "positive"),
        (lambda: nn.LayerNorm(()), "positive"),
        (lambda: nn.LayerNorm(3)(mg.ones(2, 4)), r"\(3,\), got \(2, 4\)"),
        (lambda: nn.RMSNorm((2, 3))(mg.ones(3)), r"\(2, 3\), got \(3,\)"),
        (lambda: nn.Dropout(1.5), "probability"),
        (lambda: nn.Dropout(-0.1), "probability"),
        (lambda: nn.GLU()(mg.ones(2, 3)), "even extent"),
        (lambda: nn.PReLU(3)(mg.ones(2, 4)), r"weight \(1,\) or \(4,\)"),
        (lambda: nn.GELU("fast")(mg.ones(2)), "'none' or 'tanh'"),
        (lambda: nn.Hardtanh(1.0, -1.0)(mg.ones(2)), "above"),
        (lambda: nn.CELU(0.0)(mg.ones(2)), "alpha"),
        (lambda: nn.Linear(3, 2)(mg.ones(2, 4)), r"\(2, 4\) and \(2, 3\)"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), "padding_idx 3"),
    ],
)
def test_what_layers_refuse(make: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make()


def test_embedding() -> None:
    layer = nn.Embedding(5, 3, padding_idx=-1)
    assert layer.padding_idx == 4
    assert layer.weight.tolist()[4] == [0.0, 0.0, 0.0]
    layer(mg.tensor([[1, 4], [1, -1]])).sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[0.0] * 3, [2.0] * 3, [0.0] * 3, [0.0] * 3, [0.0] * 3]
    turned = layer.weight.detach().T
    assert nn.functional.embedding(mg.tensor([2, -1]), turned).tolist() == [turned.tolist()[2]] * 2
    with pytest.raises(IndexError, match="from 0 to 5, but the extent is 5"):
        layer(mg.tensor([0, 5]))
    with pytest.raises(TypeError, match="integers, got float32"):
        layer(mg.tensor([0.0]))


# ---- dropout ---------------------------------------------------------------------------------


def test_dropout_keeps_the_mean_and_scales_the_gradient_alike() -> None:
    x = mg.ones(100, 100, requires_grad=True)
    y = nn.Dropout(0.25)(x)
    kept = y.detach().cpu().numpy() != 0
    assert abs(kept.mean() - 0.75) < 0.02
    np.testing.assert_allclose(y.detach().cpu().numpy()[kept], 1 / 0.75, rtol=1e-6)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == y.tolist()


def test_dropout_off() -> None:
    x = mg.ones(3)
    assert nn.Dropout(0.9).eval()(x) is x
    assert nn.Dropout(0.0)(x) is x
    assert nn.Dropout(1.0)(x).tolist() == [0.0, 0.0, 0.0]


def test_dropout_draws_from_its_generator() -> None:
    a, b = (nn.Dropout(0.5, mg.Generator(7)) for _ in range(2))
    x = mg.ones(64)
    first = a(x).tolist()
    assert a(x).tolist() != first  # a new mask at every call
    mg.manual_seed(1)  # of another generator
    assert b(x).tolist() == first
    mg.manual_seed(5)
    default = nn.Dropout(0.5)(x).tolist()
    mg.manual_seed(5)
    assert nn.Dropout(0.5)(x).tolist() == default


def test_identity_and_flatten() -> None:
    x = mg.zeros(2, 3, 4)
    assert nn.Identity(3, anything="goes")(x) is x
    assert nn.Flatten()(x).shape == (2, 12)
    assert nn.Flatten(0, 1)(x).shape == (6, 4)
