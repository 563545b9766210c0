"""Clipping, which never spreads NaN nor writes into a gradient; parameters as one vector."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn.utils import (
    clip_grad_norm_,
    clip_grad_value_,
    nonfinite_gradients,
    parameters_to_vector,
    vector_to_parameters,
)


def with_grad(*values: float) -> nn.Parameter:
    p = nn.Parameter(mg.zeros(len(values)))
    p.grad = mg.tensor(list(values))
    return p


def grad_of(p: mg.Tensor) -> list[float]:
    assert p.grad is not None
    return p.grad.tolist()


# ---- the norm --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm_type", "norm"), [(2.0, 13.0), (1.0, 19.0), (math.inf, 12.0), (3.0, 1819 ** (1 / 3))]
)
def test_the_joint_norm_and_the_scale(norm_type: float, norm: float) -> None:
    a, b, without = with_grad(3.0, -4.0), with_grad(12.0), nn.Parameter(mg.zeros(1))
    total = clip_grad_norm_([a, b, without], 1.0, norm_type)
    assert float(total) == pytest.approx(norm, rel=1e-6)
    np.testing.assert_allclose(grad_of(a), np.array([3, -4]) / norm, rtol=1e-5)
    np.testing.assert_allclose(grad_of(b), [12 / norm], rtol=1e-5)
    assert without.grad is None


def test_a_small_gradient_stays() -> None:
    p = with_grad(0.3, 0.4)
    before = p.grad
    assert float(clip_grad_norm_(p, 1.0)) == pytest.approx(0.5)
    assert p.grad is before
    assert float(clip_grad_norm_([p], math.inf)) == pytest.approx(0.5)
    assert p.grad is before


def test_no_gradient_at_all() -> None:
    assert float(clip_grad_norm_([nn.Parameter(mg.zeros(2))], 1.0)) == 0
    assert float(clip_grad_norm_([], 1.0)) == 0
    assert float(clip_grad_norm_([with_grad()], 1.0, math.inf)) == 0


def test_generators_and_names() -> None:
    model = nn.Linear(2, 1)
    model(mg.ones(1, 2) * 100).sum().backward()
    clip_grad_norm_(model.parameters(), 1.0)
    assert float(clip_grad_norm_(model.named_parameters(), 1.0)) == pytest.approx(1.0, rel=1e-5)


def test_a_norm_that_leaves_float32_is_right() -> None:
    p = with_grad(3e30, 4e30)
    assert float(clip_grad_norm_([p], 1.0)) == pytest.approx(5e30, rel=1e-6)
    np.testing.assert_allclose(grad_of(p), [0.6, 0.8], rtol=1e-6)
    q = with_grad(3e-30, 4e-30)
    assert float(clip_grad_norm_([q], 1.0)) == pytest.approx(5e-30, rel=1e-6)


def test_nothing_is_written_into_an_array_that_another_gradient_shares() -> None:
    shared = mg.tensor([3.0, 4.0])
    p, q = nn.Parameter(mg.zeros(2)), nn.Parameter(mg.zeros(2))
    p.grad = q.grad = shared
    clip_grad_norm_([p], 1.0)
    clip_grad_value_([p], 0.5)
    assert shared.tolist() == grad_of(q) == [3.0, 4.0]
    assert grad_of(p) == [0.5, 0.5]


def test_gradients_that_were_recorded_are_clipped_off_the_tape() -> None:
    p = nn.Parameter(mg.tensor([3.0]))
    (p**3).sum().backward(create_graph=True)
    total = clip_grad_norm_([p], 1.0)
    assert not total.requires_grad
    assert p.grad is not None
    assert not p.grad.requires_grad


# ---- gradients that are not finite -----------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
def test_by_default_all_gradients_become_zero_with_a_warning(bad: float, norm_type: float) -> None:
    fine, broken = with_grad(1.0), with_grad(1.0, bad)
    text = r"parameter 1 of shape \(2,\) is not finite; all are set to 0"
    with pytest.warns(RuntimeWarning, match=text) as caught:
        total = clip_grad_norm_([fine, broken], 1.0, norm_type)
    assert caught[0].filename == __file__
    assert not math.isfinite(float(total))
    assert grad_of(fine) == [0.0]
    assert grad_of(broken) == [0.0, 0.0]


def test_a_step_after_that_breaks_nothing() -> None:
    model = nn.Linear(2, 1)
    optimizer = mg.optim.SGD(model.parameters(), lr=0.1)
    before = {name: x.tolist() for name, x in model.state_dict().items()}
    (model(mg.ones(1, 2)) * math.inf).sum().backward()
    with pytest.warns(RuntimeWarning):
        clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    assert {name: x.tolist() for name, x in model.state_dict().items()} == before


def test_an_error_names_the_parameters_and_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    model(mg.ones(1, 1)).sum().backward()
    model[1].bias.grad = mg.tensor([math.nan])
    before = [grad_of(p) for p in list(model.parameters())[:3]]
    with pytest.raises(RuntimeError, match=r"is nan: the gradient of 1\.bias is not finite$"):
        clip_grad_norm_(model.named_parameters(), 0.1, error_if_nonfinite=True)
    assert [grad_of(p) for p in list(model.parameters())[:3]] == before
    assert nonfinite_gradients(model.named_parameters()) == ["1.bias"]
    assert nonfinite_gradients(model.parameters()) == ["parameter 3 of shape (1,)"]
    assert nonfinite_gradients(model[0].weight) == []


def test_many_names_are_cut_short() -> None:
    broken = [with_grad(math.nan) for _ in range(7)]
    with pytest.raises(RuntimeError, match=r"parameter 4 of shape \(1,\) and 2 more is not finite"):
        clip_grad_norm_(broken, 1.0, error_if_nonfinite=True)


@pytest.mark.parametrize(("max_norm", "norm_type"), [(-1.0, 2.0), (math.nan, 2.0), (1.0, 0.0)])
def test_senseless_norms(max_norm: float, norm_type: float) -> None:
    with pytest.raises(ValueError, match="max_norm ≥ 0 and norm_type > 0"):
        clip_grad_norm_([with_grad(1.0)], max_norm, norm_type)


def test_clip_grad_value() -> None:
    p = with_grad(-3.0, 0.25, math.inf, math.nan)
    clip_grad_value_(p, 0.5)
    np.testing.assert_array_equal(grad_of(p), [-0.5, 0.25, 0.5, math.nan])
    with pytest.raises(ValueError, match="negative"):
        clip_grad_value_(p, -1.0)


# ---- one vector ------------------------------------------------------------------------------


def test_vector_round_trip() -> None:
    model, other = (nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)) for _ in range(2))
    vector = parameters_to_vector(model.parameters())
    assert vector.shape == (11,)
    vector_to_parameters(vector, other.parameters())
    assert parameters_to_vector(other.parameters()).tolist() == vector.tolist()
    vector_to_parameters(np.arange(11.0), other.parameters())
    assert other[0].weight.tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert other[0].weight.dtype == np.float32


def test_gradients_flow_through_the_vector() -> None:
    model = nn.Linear(2, 1)
    parameters_to_vector(model.parameters()).square().sum().backward()
    np.testing.assert_allclose(grad_of(model.bias), [2 * model.bias.item()])


@pytest.mark.parametrize("n", [2, 4])
def test_a_vector_of_another_length_changes_nothing(n: int) -> None:
    model = nn.Linear(2, 1)
    before = parameters_to_vector(model.parameters()).tolist()
    with pytest.raises(ValueError, match=rf"3 elements.*got shape \({n},\)"):
        vector_to_parameters(mg.zeros(n), model.parameters())
    assert parameters_to_vector(model.parameters()).tolist() == before
    with pytest.raises(ValueError, match="at least one"):
        parameters_to_vector([])
