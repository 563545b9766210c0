"""Losses: gradients to second order, extremes, empty and ignored rows, and what they refuse.

Their values are compared with PyTorch's in tests/test_against_stored.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from minigrad.testing import gradcheck

Loss = Callable[..., mg.Tensor]
PAIRED: dict[str, Loss] = {
    "mse_loss": F.mse_loss,
    "l1_loss": F.l1_loss,
    "smooth_l1_loss": F.smooth_l1_loss,
    "huber_loss": F.huber_loss,
    "binary_cross_entropy": F.binary_cross_entropy,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "kl_div": F.kl_div,
}
paired = pytest.mark.parametrize("name", PAIRED)


def double(*shape: int, probability: bool = False) -> mg.Tensor:
    x = mg.randn(*shape, dtype=mg.float64)
    return (x.sigmoid() if probability else x).requires_grad_()


def arguments(name: str) -> tuple[mg.Tensor, mg.Tensor]:
    entropy = name.startswith("binary")
    x = double(3, 2, probability=name == "binary_cross_entropy")
    return x, double(3, 2, probability=entropy or name == "kl_div")


# ---- gradients -------------------------------------------------------------------------------


@paired
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_second_order(name: str, reduction: str) -> None:
    loss = PAIRED[name]
    assert gradcheck(lambda x, t: loss(x, t, reduction=reduction), arguments(name), order=2)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 4, 3)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_cross_entropy_to_second_order(
    shape: tuple[int, ...], smoothing: float, reduction: str
) -> None:
    axis = min(1, len(shape) - 1)
    rows = shape[:axis] + shape[axis + 1 :]
    weight = mg.rand(4, dtype=mg.float64).requires_grad_()
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
    target = mg.randint(0, 4, rows)
    assert gradcheck(
        lambda x, w: F.cross_entropy(x, target, w, **options), (double(*shape), weight), order=2
    )
    p = mg.softmax(mg.randn(*shape, dtype=mg.float64), axis).requires_grad_()
    assert gradcheck(
        lambda x, p, w: F.cross_entropy(x, p, w, **options), (double(*shape), p, weight), order=2
    )


def test_the_gradient_of_cross_entropy_is_softmax_minus_target() -> None:
    x = double(5, 3)
    t = mg.tensor([0, 2, 1, 1, 0])
    F.cross_entropy(x, t, reduction="sum").backward()
    expected = mg.softmax(x.detach(), 1) - F.one_hot(t, 3)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.cpu().numpy(), expected.cpu().numpy(), atol=1e-15)


def test_cross_entropy_of_probabilities_that_name_one_class() -> None:
    x, t = double(5, 3), mg.randint(0, 3, (5,))
    of_classes = F.cross_entropy(x, t, label_smoothing=0.1)
    of_probabilities = F.cross_entropy(x, F.one_hot(t, 3).double(), label_smoothing=0.1)
    assert float(of_classes) == pytest.approx(float(of_probabilities), rel=1e-12)
    log_probabilities = mg.log_softmax(x, 1)
    assert float(F.nll_loss(log_probabilities, t)) == pytest.approx(float(F.cross_entropy(x, t)))


def test_logits_at_zero_have_a_curvature() -> None:
    x = mg.zeros(2, dtype=mg.float64, requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(x, mg.zeros(2, dtype=mg.float64), reduction="sum")
    (g,) = mg.autograd.grad(loss, x, create_graph=True)
    assert g.tolist() == [0.5, 0.5]
    assert mg.autograd.grad(g.sum(), x)[0].tolist() == [0.25, 0.25]


# ---- extremes --------------------------------------------------------------------------------


def test_far_logits_neither_overflow_nor_lose_the_gradient() -> None:
    x = mg.tensor([[1e4, -1e4], [-1e38, 1e38]], requires_grad=True)
    F.cross_entropy(x, mg.tensor([1, 1]), reduction="none").sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0, -1.0], [0.0, 0.0]]
    z = mg.tensor([1e4, -1e4], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(z, mg.tensor([0.0, 1.0]), reduction="none")
    assert loss.tolist() == [1e4, 1e4]
    loss.sum().backward()
    assert z.grad is not None
    assert z.grad.tolist() == [1.0, -1.0]


def test_excluded_classes() -> None:
    x = mg.tensor([[0.0, -math.inf, 0.0]], requires_grad=True)
    loss = F.cross_entropy(x, mg.tensor([0]))
    assert float(loss) == pytest.approx(math.log(2))
    loss.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[-0.5, 0.0, 0.5]]


def test_certain_probabilities() -> None:
    p = mg.tensor([0.0, 1.0, 0.0, 1.0], requires_grad=True)
    t = mg.tensor([0.0, 1.0, 1.0, 0.0])
    loss = F.binary_cross_entropy(p, t, reduction="none")
    np.testing.assert_allclose(loss.detach().cpu().numpy(), [0, 0, 100, 100], rtol=1e-5)
    loss.sum().backward()
    assert p.grad is not None
    assert np.isfinite(p.grad.cpu().numpy()).all()


def test_kl_div_where_the_target_is_zero() -> None:
    x = mg.log_softmax(mg.zeros(1, 2), 1)
    t = mg.tensor([[0.0, 1.0]], requires_grad=True)
    loss = F.kl_div(x, t, reduction="batchmean")
    assert float(loss) == pytest.approx(math.log(2))
    loss.backward()
    assert t.grad is not None
    assert np.isfinite(t.grad.cpu().numpy()).all()


# ---- nothing to average ----------------------------------------------------------------------


@paired
def test_the_mean_of_nothing_is_zero(name: str) -> None:
    x = mg.zeros(0, 3, requires_grad=True)
    loss = PAIRED[name](x, mg.zeros(0, 3))
    assert float(loss) == 0
    loss.backward()
    assert x.grad is not None
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 3.0]])
@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
def test_where_all_are_ignored_loss_and_gradient_are_zero(loss: Loss, weight: Any) -> None:
    x = mg.randn(2, 3, requires_grad=True)
    held = None if weight is None else mg.tensor(weight)
    y = loss(x, mg.tensor([-100, -100]), held)
    assert float(y) == 0
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0] * 3] * 2
    assert float(loss(mg.zeros(0, 3), mg.zeros(0, dtype=mg.int64), held)) == 0


def test_classes_of_weight_zero_only() -> None:
    assert float(F.cross_entropy(mg.zeros(2, 2), mg.tensor([0, 0]), mg.tensor([0.0, 1.0]))) == 0


def test_ignored_rows_count_for_nothing() -> None:
    x = double(4, 3)
    t = mg.tensor([0, 2, -1, 1])
    kept = mg.tensor([0, 1, 3])
    for smoothing in (0.0, 0.1):
        with_ignored = F.cross_entropy(x, t, ignore_index=-1, label_smoothing=smoothing)
        without = F.cross_entropy(x[kept], t[kept], label_smoothing=smoothing)
        assert float(with_ignored) == pytest.approx(float(without), rel=1e-14)


# ---- what they refuse ------------------------------------------------------------------------


@paired
def test_unequal_shapes(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*\(3, 1\) and \(3,\).*not broadcast"):
        PAIRED[name](mg.zeros(3, 1), mg.zeros(3))


@paired
def test_unknown_reduction(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}: reduction must be .* got 'avg'"):
        PAIRED[name](mg.zeros(3), mg.zeros(3), reduction="avg")


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda x: F.cross_entropy(x, mg.tensor([0, 1, 3])), IndexError, "from 0 to 3.*3 classes"),
        (lambda x: F.cross_entropy(x, mg.tensor([0, -1, 1])), IndexError, "from -1 to 1"),
        (lambda x: F.nll_loss(x, mg.tensor([0, 9, 1])), IndexError, "from 0 to 9"),
        (lambda x: F.cross_entropy(x, mg.tensor([0, 1])), ValueError, r"classes \(3,\).*\(2,\)"),
        (lambda x: F.cross_entropy(x, mg.zeros(3)), ValueError, "got float32"),
        (lambda x: F.nll_loss(x, mg.zeros(3, 3)), ValueError, r"target classes \(3,\)"),
        (lambda x: F.cross_entropy(x, x.long()), TypeError, "probabilities, floats, not int64"),
        (lambda x: F.cross_entropy(x, x, mg.ones(2)), ValueError, r"weight \(3,\).*got \(2,\)"),
        (lambda x: F.cross_entropy(x[0, 0], x), ValueError, "0-d"),
        (lambda x: F.cross_entropy(x, x, label_smoothing=1.5), ValueError, "0 to 1"),
        (lambda x: F.cross_entropy(x, x, reduction="avg"), ValueError, "cross_entropy: reduction"),
        (lambda x: F.binary_cross_entropy(x, x), ValueError, "from 0 to 1.*logits"),
        (lambda x: F.huber_loss(x, x, delta=0.0), ValueError, "positive"),
        (lambda x: F.smooth_l1_loss(x, x, beta=-1.0), ValueError, "negative"),
        (lambda _: nn.MSELoss("avg"), ValueError, "MSELoss: reduction"),
        (lambda _: nn.MSELoss("batchmean"), ValueError, "MSELoss: reduction"),
    ],
)
def test_what_losses_refuse(make: Any, error: type[Exception], text: str) -> None:
    x = mg.tensor([[2.0, 0.0, -2.0]] * 3)
    with pytest.raises(error, match=text):
        make(x)


# ---- modules ---------------------------------------------------------------------------------


def test_modules_call_their_functions_with_all_options() -> None:
    x, t = double(3, 4), double(3, 4)
    p, q = x.sigmoid(), t.sigmoid()
    classes = mg.tensor([1, 2, 3])
    w = mg.rand(4, dtype=mg.float64)
    pairs = [
        (nn.MSELoss("sum")(x, t), F.mse_loss(x, t, "sum")),
        (nn.L1Loss("sum")(x, t), F.l1_loss(x, t, "sum")),
        (nn.SmoothL1Loss("sum", 0.3)(x, t), F.smooth_l1_loss(x, t, "sum", 0.3)),
        (nn.HuberLoss("sum", 0.3)(x, t), F.huber_loss(x, t, "sum", 0.3)),
        (nn.BCELoss(w, "sum")(p, q), F.binary_cross_entropy(p, q, w, "sum")),
        (
            nn.BCEWithLogitsLoss(w, "sum", 2 * w)(x, q),
            F.binary_cross_entropy_with_logits(x, q, w, "sum", 2 * w),
        ),
        (nn.NLLLoss(w, 3, "sum")(x, classes), F.nll_loss(x, classes, w, 3, "sum")),
        (nn.KLDivLoss("batchmean", True)(x, t), F.kl_div(x, t, "batchmean", True)),
        (
            nn.CrossEntropyLoss(w, 3, "sum", 0.1)(x, classes),
            F.cross_entropy(x, classes, w, 3, "sum", 0.1),
        ),
    ]
    for module, function in pairs:
        assert float(module) == float(function)


def test_weights_of_a_loss_are_buffers() -> None:
    loss = nn.CrossEntropyLoss(mg.ones(3))
    assert list(loss.state_dict()) == ["weight"]
    assert list(loss.parameters()) == []
    assert loss.double().weight.dtype == np.float64
