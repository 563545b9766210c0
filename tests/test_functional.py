"""Functions: gradients to second order, conventions at kinks, extremes, and what they refuse.

Their values are compared with PyTorch's in tests/test_against_stored.py, losses in tests/nn.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import minigrad.nn.functional as F  # as PyTorch's users write it
from minigrad import functional
from minigrad.testing import gradcheck

Function = Callable[..., mg.Tensor]


def double(*shape: int) -> mg.Tensor:
    return mg.randn(*shape, dtype=mg.float64, requires_grad=True)


def test_nn_functional_holds_every_function() -> None:
    public = [name for name, value in vars(functional).items() if callable(value)]
    assert len(public) > 40
    assert all(getattr(F, name) is getattr(functional, name) for name in public)


# ---- activations -----------------------------------------------------------------------------

ACTIVATIONS: dict[str, Function] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": lambda x: F.elu(x, 0.7),
    "selu": F.selu,
    "celu": lambda x: F.celu(x, 0.7),
    "silu": F.silu,
    "gelu": F.gelu,
    "gelu-tanh": lambda x: F.gelu(x, "tanh"),
    "softplus": lambda x: F.softplus(x, 2.0, 3.0),
    "logsigmoid": F.logsigmoid,
    "mish": F.mish,
    "tanh": F.tanh,
    "sigmoid": F.sigmoid,
    "softsign": F.softsign,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "threshold": lambda x: F.threshold(x, 0.1, 3.0),
}
activations = pytest.mark.parametrize("name", ACTIVATIONS)


@activations
def test_activation_to_third_order(name: str) -> None:
    x = mg.tensor([-4.1, -1.3, -0.2, 0.3, 0.9, 1.2, 7.0], dtype=mg.float64, requires_grad=True)
    assert gradcheck(ACTIVATIONS[name], x, order=3)


@activations
def test_activation_is_one_node(name: str) -> None:
    x = double(3)
    y = ACTIVATIONS[name](x)
    assert y.edge is not None
    assert y.edge[0].edges == [x.edge]  # pyright: ignore[reportAttributeAccessIssue]


@activations
def test_activation_far_out(name: str) -> None:
    x = mg.tensor([-1e10, -1e3, 1e3, 1e10], requires_grad=True)
    y = ACTIVATIONS[name](x)
    y.sum().backward()
    assert x.grad is not None
    assert np.isfinite(y.detach().cpu().numpy()).all()
    assert np.isfinite(x.grad.cpu().numpy()).all()


@pytest.mark.parametrize(
    ("function", "at", "slope"),
    [
        (F.relu, 0.0, 0.0),
        (F.relu6, 0.0, 0.0),
        (F.relu6, 6.0, 0.0),
        (lambda x: F.leaky_relu(x, 0.2), 0.0, 0.2),
        (lambda x: F.elu(x, 0.5), 0.0, 0.5),
        (F.hardtanh, 1.0, 0.0),
        (F.hardtanh, -1.0, 0.0),
        (F.softsign, 0.0, 1.0),
        (F.softplus, 0.0, 0.5),
        (lambda x: F.threshold(x, 1.0, 5.0), 1.0, 0.0),
    ],
)
def test_the_gradient_at_a_kink(function: Function, at: float, slope: float) -> None:
    x = mg.tensor(at, requires_grad=True)
    function(x).backward()
    assert x.grad is not None
    assert x.grad.item() == pytest.approx(slope)


def test_prelu() -> None:
    assert gradcheck(F.prelu, (double(2, 3, 2), double(3)), order=2)
    assert gradcheck(F.prelu, (double(4), double(1)), order=2)
    with pytest.raises(ValueError, match=r"expected weight \(1,\) or \(3,\)"):
        F.prelu(mg.ones(2, 3), mg.ones(2))


def test_glu() -> None:
    assert gradcheck(lambda x: F.glu(x, 0), double(4, 2), order=2)
    with pytest.raises(ValueError, match=r"even extent along dim 1.*\(2, 3\)"):
        F.glu(mg.ones(2, 3), 1)


# ---- softmax and normalisation ---------------------------------------------------------------

SOFTMAXES: dict[str, Function] = {
    "softmax": F.softmax,
    "log_softmax": F.log_softmax,
    "softmin": F.softmin,
    "logsumexp": mg.logsumexp,
}


@pytest.mark.parametrize("name", SOFTMAXES)
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_softmax_to_second_order(name: str, dim: int) -> None:
    assert gradcheck(lambda x: SOFTMAXES[name](x, dim), double(2, 3, 2), order=2)


def test_softmax_sums_to_one_whatever_is_added() -> None:
    x = mg.randn(4, 5)
    y = F.softmax(x, 1)
    np.testing.assert_allclose(y.sum(1).cpu().numpy(), 1, rtol=1e-6)
    np.testing.assert_allclose(F.softmax(x + 64, 1).cpu().numpy(), y.cpu().numpy(), rtol=1e-4)
    np.testing.assert_allclose(F.log_softmax(x, 1).exp().cpu().numpy(), y.cpu().numpy(), rtol=1e-5)


def test_softmax_where_all_is_excluded_is_zero_with_gradient_zero() -> None:
    x = mg.tensor([[-math.inf, -math.inf], [0.0, -math.inf]], requires_grad=True)
    y = F.softmax(x, 1)
    assert y.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    (y * mg.tensor([[1.0, 2.0], [3.0, 4.0]])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]
    z = mg.tensor([-math.inf, -math.inf], requires_grad=True)
    total = mg.logsumexp(z, 0)
    assert total.item() == -math.inf
    total.backward()
    assert z.grad is not None
    assert z.grad.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 0, 3)])
def test_softmax_of_nothing(shape: tuple[int, ...]) -> None:
    x = mg.zeros(shape, requires_grad=True)
    for function in (F.softmax, F.log_softmax):
        y = function(x, 1)
        assert y.shape == shape
        y.sum().backward()


def test_softmax_of_a_number_and_of_integers() -> None:
    assert F.softmax(mg.tensor(3.0), 0).item() == 1
    assert mg.logsumexp(mg.tensor(3.0)).item() == 3
    with pytest.raises(TypeError, match=r"softmax: expected a floating tensor, got int64"):
        F.softmax(mg.tensor([1, 2]), 0)
    with pytest.raises(IndexError, match="dim 2"):
        F.softmax(mg.ones(2, 2), 2)


@given(rows=st.integers(1, 3), columns=st.integers(1, 3), far=st.booleans())
def test_many_rows_agree_with_few(rows: int, columns: int, far: bool) -> None:
    """Blocks of rows that stay in the cache change no number."""
    x = mg.randn(rows * 1200, columns * 100, dtype=mg.float64) * (100.0 if far else 1.0)
    some = x[rows * 1200 - 3 :]
    rtol = 1e-12 if far else 1e-14  # e^(x - y) has the rounding error of x - y, here some hundreds
    for function in (F.softmax, F.log_softmax, mg.logsumexp, mg.standardize):
        whole = function(x, 1)[rows * 1200 - 3 :].cpu().numpy()
        np.testing.assert_allclose(whole, function(some, 1).cpu().numpy(), rtol=rtol)


@pytest.mark.parametrize("shape", [2, (3, 2)])
def test_layer_norm_to_second_order(shape: Any) -> None:
    extents = (shape,) if isinstance(shape, int) else shape
    inputs = double(2, 3, 2), double(*extents), double(*extents)
    assert gradcheck(lambda x, w, b: F.layer_norm(x, shape, w, b), inputs, order=2)
    assert gradcheck(lambda x, w: F.layer_norm(x, shape, w), inputs[:2], order=2)
    assert gradcheck(lambda x, b: F.layer_norm(x, shape, None, b), inputs[:2], order=2)
    assert gradcheck(lambda x, w: F.rms_norm(x, shape, w), inputs[:2], order=2)


def test_layer_norm_of_constant_rows_is_zero() -> None:
    x = mg.full((2, 3), 5.0, requires_grad=True)
    y = F.layer_norm(x, 3)
    assert y.tolist() == [[0.0] * 3] * 2
    y.sum().backward()
    assert x.grad is not None
    assert np.isfinite(x.grad.cpu().numpy()).all()
    with pytest.raises(ValueError, match=r"expected weight \(3,\), got \(2,\)"):
        F.layer_norm(x, 3, mg.ones(2))


@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, math.inf])
def test_normalize(p: float) -> None:
    assert gradcheck(lambda x: F.normalize(x, p), double(2, 3), order=2)
    x = mg.zeros(2, 3, requires_grad=True)
    y = F.normalize(x, p, eps=0.5)
    assert y.tolist() == [[0.0] * 3] * 2
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[2.0] * 3] * 2


def test_cosine_similarity() -> None:
    assert gradcheck(F.cosine_similarity, (double(2, 3), double(2, 3)), order=2)
    assert gradcheck(lambda a, b: F.cosine_similarity(a, b, 0), (double(3), double(2, 3)))
    x = mg.tensor([[3.0, 4.0]])
    np.testing.assert_allclose(F.cosine_similarity(x, 2 * x).cpu().numpy(), [1], rtol=1e-6)
    assert F.cosine_similarity(x, 0 * x).tolist() == [0.0]
    with pytest.raises(ValueError, match="p must be positive"):
        F.normalize(x, 0.0)


# ---- look-up, padding, dropout ---------------------------------------------------------------


def test_embedding_adds_up_by_row_but_for_the_padding() -> None:
    weight = double(4, 2)
    index = mg.tensor([[1, 3], [3, -1]])
    assert gradcheck(lambda w: F.embedding(index, w), weight, order=2)
    F.embedding(index, weight, padding_idx=1).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [3.0, 3.0]]
    with pytest.raises(ValueError, match=r"weight \(rows, features\), got \(4,\)"):
        F.embedding(index, mg.ones(4))
    with pytest.raises(ValueError, match="padding_idx 4 is not among the 4 rows"):
        F.embedding(index, weight, padding_idx=4)


def test_one_hot() -> None:
    y = F.one_hot(mg.tensor([[0], [2]]), 4)
    assert y.tolist() == [[[1, 0, 0, 0]], [[0, 0, 1, 0]]]
    assert y.dtype == np.int64
    assert F.one_hot(mg.tensor(1)).tolist() == [0, 1]
    assert F.one_hot(mg.zeros(0, dtype=mg.int64), 3).shape == (0, 3)
    for bad, error, text in [
        (mg.tensor([3]), ValueError, "from 3 to 3, but there are 3"),
        (mg.tensor([-1]), ValueError, "from -1 to -1"),
        (mg.tensor([1.0]), TypeError, "integers, got float32"),
    ]:
        with pytest.raises(error, match=text):
            F.one_hot(bad, 3)
    with pytest.raises(ValueError, match="num_classes"):
        F.one_hot(mg.zeros(0, dtype=mg.int64))


@pytest.mark.parametrize("pad", [(1, 2), (0, 1, 2, 0), (-1, 1), (-1, -1, 1, 0), (0, 0), ()])
def test_pad(pad: tuple[int, ...]) -> None:
    x = double(2, 3)
    assert gradcheck(lambda x: F.pad(x, pad, value=3.0), x, order=2)
    columns = pad[:2] or (0, 0)
    rows = pad[2:] or (0, 0)
    expected = np.full((2 + sum(rows), 3 + sum(columns)), 3.0)
    keep = x.detach().cpu().numpy()[:, max(0, -columns[0]) : 3 + min(0, columns[1])]
    top, left = rows[0], max(0, columns[0])
    expected[top : top + 2, left : left + keep.shape[1]] = keep
    np.testing.assert_array_equal(F.pad(x, pad, value=3.0).detach().cpu().numpy(), expected)


@pytest.mark.parametrize("pad", [(1,), (1, 1, 1, 1, 1, 1), (-2, -2)])
def test_senseless_padding(pad: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="pad: "):
        F.pad(mg.ones(2, 3), pad)
    with pytest.raises(NotImplementedError, match="'constant', got 'reflect'"):
        F.pad(mg.ones(2, 3), (1, 1), "reflect")


def test_dropout_mask_is_the_same_forwards_and_backwards() -> None:
    def fixed(x: mg.Tensor) -> mg.Tensor:
        return F.dropout(x, 0.5, generator=mg.Generator(0)).square()

    assert gradcheck(fixed, double(4, 3), order=2)
    with pytest.raises(ValueError, match="probability, got 2"):
        F.dropout(mg.ones(1), 2.0)


# ---- attention -------------------------------------------------------------------------------


def attention(q: Any, k: Any, v: Any, mask: np.ndarray, scale: float) -> np.ndarray:
    """One query at a time, over the keys that it may see."""
    y = np.zeros((len(q), v.shape[1]))
    for i, row in enumerate(q):
        seen = mask[i]
        if seen.any():
            e = np.exp(scale * k[seen] @ row)
            y[i] = e @ v[seen] / e.sum()
    return y


@given(
    steps=st.integers(1, 3), keys=st.integers(1, 3), seed=st.integers(0, 99), scaled=st.booleans()
)
def test_attention_with_any_mask(steps: int, keys: int, seed: int, scaled: bool) -> None:
    random = np.random.default_rng(seed)
    q, k, v = (random.standard_normal(s) for s in ((steps, 2), (keys, 2), (keys, 3)))
    mask = random.random((steps, keys)) < 0.5
    scale = 0.3 if scaled else None
    y = F.scaled_dot_product_attention(
        mg.tensor(q), mg.tensor(k), mg.tensor(v), mg.tensor(mask), scale=scale
    )
    expected = attention(q, k, v, mask, scale or 1 / math.sqrt(2))
    np.testing.assert_allclose(y.cpu().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_attention_to_second_order() -> None:
    inputs = double(2, 3, 2), double(2, 4, 2), double(2, 4, 3)
    assert gradcheck(F.scaled_dot_product_attention, inputs, order=2)
    assert gradcheck(
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), inputs, order=2
    )
    assert gradcheck(F.scaled_dot_product_attention, (*inputs, double(3, 4)), order=2)


def test_a_query_that_sees_nothing_gives_zero_with_gradient_zero() -> None:
    q = mg.randn(2, 3, requires_grad=True)
    mask = mg.tensor([[True, True], [False, False]])
    for attn_mask in (mask, mg.where(mask, 0.0, -math.inf)):
        q.grad = None
        y = F.scaled_dot_product_attention(q, mg.randn(2, 3), mg.randn(2, 3), attn_mask)
        assert y.tolist()[1] == [0.0] * 3
        y.sum().backward()
        assert q.grad is not None
        assert np.isfinite(q.grad.cpu().numpy()).all()
        assert q.grad.tolist()[1] == [0.0] * 3


def test_what_attention_refuses() -> None:
    x = mg.ones(2, 3)
    for arguments, error, text in [
        ((x, mg.ones(2, 4), x), ValueError, r"query \(2, 3\), key \(2, 4\)"),
        ((x, x, mg.ones(3, 3)), ValueError, r"value \(3, 3\)"),
        ((x[0], x, x), ValueError, "steps, features"),
        ((x, x, x, mg.ones(2, 2) > 0, 0.0, True), ValueError, "not both"),
        ((x, x, x, mg.tensor([[1, 0], [1, 1]])), TypeError, "booleans or floats, got int64"),
    ]:
        with pytest.raises(error, match=text):
            F.scaled_dot_product_attention(*arguments)
