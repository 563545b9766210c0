"""gradcheck on functions whose gradients are known to be right, wrong, or a convention."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.op import Op
from minigrad.testing import GradientError, KinkError, gradcheck
from minigrad.testing.difference import slope
from minigrad.testing.strategies import arrays, shapes, tensors


def leaf(*values: float) -> mg.Tensor:
    return mg.tensor(values, dtype=np.float64, requires_grad=True)


def wrong_at(k: int) -> Any:
    """x², with a gradient that is one too large at element k of the flattened input."""

    def rule(g: Any, _y: Any, x: Any) -> Any:
        return g * (x * 2.0 + off(x))

    off = Op("off", lambda xp, x: (xp.arange(x.size) == k).reshape(x.shape) * 1.0)
    return Op("wrong", lambda _xp, x: x * x, rule)


# ---- right functions -------------------------------------------------------------------------


@given(tensors(shapes(), domain=((0.3, 2.0),)))
def test_right_gradients_pass_to_third_order(x: mg.Tensor) -> None:
    assert gradcheck(lambda x: (x.log() * x).sum() + x.tanh().mean(), x, order=3)


def test_several_inputs_and_outputs() -> None:
    a, b, c = leaf(0.5, -1.0), leaf(2.0, 0.7), mg.tensor([3.0, 4.0], dtype=np.float64)

    def f(a: mg.Tensor, b: mg.Tensor, c: mg.Tensor, k: float) -> Any:
        return a * b, [(a / b).sum(), (c * b * k, a > b)], None

    assert gradcheck(f, [a, b, c, 2.0], order=2)


def test_inputs_stay_as_they_are() -> None:
    x = leaf(0.5, 1.0)
    data, values = x.data, x.tolist()
    gradcheck(lambda x: x.exp(), x, order=2)
    assert x.data is data
    assert x.tolist() == values
    assert x.grad is None
    assert x.is_leaf


def test_inputs_may_be_computed_and_mode_may_be_off() -> None:
    with mg.no_grad():
        assert gradcheck(lambda x: x.sin(), leaf(0.5))
    assert gradcheck(lambda x: x.sin(), leaf(0.5) * 2.0)


def test_a_constant_function_has_gradient_zero() -> None:
    assert gradcheck(lambda x: x.detach() * 0.0 + 1.0, leaf(0.5), order=2)


def test_functions_of_no_elements() -> None:
    assert gradcheck(lambda x: x * x, mg.zeros(0, 3, dtype=np.float64, requires_grad=True), order=2)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_values_of_any_size(size: float) -> None:
    assert gradcheck(lambda x: x * x * size, leaf(0.5, -1.5))
    assert gradcheck(lambda x: (x / size).tanh() * size, leaf(0.5 * size, -1.5 * size))


# ---- wrong ones ------------------------------------------------------------------------------


@given(x=arrays(shapes(1, 2)), data=st.data())
def test_the_wrong_element_is_named(x: np.ndarray, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, x.size - 1))
    element = tuple(int(i) for i in np.unravel_index(k, x.shape))
    f = wrong_at(k)
    inputs = [mg.tensor(x, requires_grad=True), mg.tensor(x, requires_grad=True)]
    where = re.escape(f"input 1, element {element}: it says ")
    with pytest.raises(GradientError, match=where) as caught:
        gradcheck(lambda a, b: a * f(b), inputs)
    assert "input 0" not in str(caught.value)
    assert str(caught.value).count("element") == 1


def test_the_message_has_both_numbers() -> None:
    with pytest.raises(GradientError) as caught:
        gradcheck(lambda x: wrong_at(0)(x) * 1.0, leaf(3.0))
    says, measured, error = re.findall(r"-?\d[\d.e-]*", str(caught.value).split("says")[1])
    assert math.isclose(abs(float(says)) / 7, abs(float(measured)) / 6, rel_tol=1e-6)
    assert float(error) < 1e-6


def test_few_elements_are_listed() -> None:
    twice = Op("twice", lambda _xp, x: x * 2.0, lambda g, _y, _x: g)
    with pytest.raises(GradientError, match=r"and 6 more$"):
        gradcheck(twice, mg.ones(10, dtype=np.float64, requires_grad=True))


def test_a_gradient_that_is_not_a_number() -> None:
    poisoned = Op("nan", lambda _xp, x: x * 2.0, lambda g, _y, _x: g * math.nan)
    with pytest.raises(GradientError, match="says nan"):
        gradcheck(poisoned, leaf(1.0))


def test_a_gradient_of_another_shape() -> None:
    summed = Op("summed", lambda _xp, a, b: a * b, lambda g, _y, _a, b: g * b)
    a = mg.ones(1, 3, dtype=np.float64, requires_grad=True)
    with pytest.raises(GradientError, match=r"input 0 has shape \(2, 3\), the input has \(1, 3\)"):
        gradcheck(lambda a: summed(a, mg.ones(2, 3, dtype=np.float64)), a)


def test_a_lost_gradient() -> None:
    with pytest.raises(GradientError, match="it says 0, differences"):
        gradcheck(lambda x: x.detach() * 2.0, leaf(1.0))


def test_a_gradient_that_depends_on_create_graph() -> None:
    two_faced = Op(
        "two_faced",
        lambda _xp, x: x * 2.0,
        lambda g, _y, _x: g * (3.0 if isinstance(g, mg.Tensor) else 2.0),
    )
    with pytest.raises(GradientError, match="with create_graph=True"):
        gradcheck(two_faced, leaf(1.0))


def test_an_error_in_the_second_derivative_is_said_to_be_there() -> None:
    bad_cos = Op("cos", lambda xp, x: xp.cos(x), lambda g, _y, x: g * mg.sin(x))
    sin = Op("sin", lambda xp, x: xp.sin(x), lambda g, _y, x: g * bad_cos(x))
    assert gradcheck(sin, leaf(0.5))
    with pytest.raises(GradientError, match="wrong second derivative at input 0"):
        gradcheck(sin, leaf(0.5), order=2)


# ---- kinks -----------------------------------------------------------------------------------

KINKS = {
    "relu": (lambda x: x.relu(), 0.0),
    "clamp": (lambda x: x.clamp(0.0, 1.0), 1.0),
    "jump": (lambda x: x.floor(), 2.0),
    "edge of the domain": (lambda x: x.clamp(0.0, 9.0).sqrt(), 0.0),
    "undefined on one side": (lambda x: x.sqrt(), 0.0),
}


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("distance", [0.0, 1e-9, -1e-9, 3e-6, 5e-6, -5e-6, 1e-5, -1e-5])
def test_a_kink_is_not_called_wrong(name: str, distance: float) -> None:
    """At a kink, and so near it that no step is short enough."""
    f, at = KINKS[name]
    x = mg.tensor([0.5, at + distance], dtype=np.float64, requires_grad=True)
    try:
        gradcheck(f, x)
    except ValueError as error:
        assert name == "undefined on one side"
        assert "not finite" in str(error)  # noqa: PT017
    except KinkError as error:
        assert "kink at input 0, element (1,)" in str(error)  # noqa: PT017  # it may pass, too


@pytest.mark.parametrize("name", ["relu", "clamp", "jump", "undefined on one side"])
def test_a_kink_is_reported(name: str) -> None:
    f, at = KINKS[name]
    with pytest.raises(KinkError, match=r"kink at input 0, element \(1,\)"):
        gradcheck(f, mg.tensor([0.5, at], dtype=np.float64, requires_grad=True))


@pytest.mark.parametrize("distance", [1e-4, 1e-3, 1e-2, 2e-2])
def test_short_steps_pass_a_kink_nearby(distance: float) -> None:
    assert gradcheck(lambda x: x.relu() + x.abs(), leaf(distance, -distance))


@given(arrays((2, 3), np.int64, ((-1, 2),)))
def test_conventions_at_kinks_are_no_errors(x: np.ndarray) -> None:
    """Everything piecewise, with ties wherever they may be."""
    leaves = [mg.tensor(x * 1.0, requires_grad=True), mg.tensor(x.T * 1.0, requires_grad=True)]
    for f in (
        lambda a, b: mg.maximum(a, b.T) * mg.minimum(a, 0.0),
        lambda a, b: a.clamp(-1.0, 0.0) + b.T.abs(),
        lambda a, b: (a * 2.0).amax(0) - b.amin(),
        lambda a, b: a.max(dim=1).values * b.T.sort(1)[0].sum(1),
        lambda a, b: a.norm(dim=0) + b.floor().T.sum(0),
    ):
        try:
            gradcheck(f, leaves)
        except KinkError:
            continue


def test_a_wrong_gradient_at_a_kink_is_wrong() -> None:
    steep = Op("relu", lambda xp, x: xp.maximum(x, 0.0), lambda g, _y, _x: g * 7.0)
    with pytest.raises(GradientError, match="says"):
        gradcheck(steep, leaf(0.0))


# ---- what it refuses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "order", "error", "words"),
    [
        (lambda: mg.ones(2, requires_grad=True), 1, TypeError, r"input 0 is float32.*\.double\(\)"),
        (lambda: [mg.ones(2, dtype=np.float64)], 1, ValueError, "requires_grad_"),
        (lambda: leaf(1.0), 0, ValueError, "order must be"),
        (lambda: leaf(1.0), 4, ValueError, "order must be"),
    ],
)
def test_unfit_inputs_are_refused(inputs: Any, order: int, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        gradcheck(lambda x: x * x, inputs(), order)


@pytest.mark.parametrize(
    ("f", "error", "words"),
    [
        (lambda x: x * mg.rand(1, dtype=np.float64), ValueError, "seed its random numbers"),
        (lambda x: x.float(), TypeError, "float32"),
        (lambda x: x > 0, TypeError, "outputs are of"),
        (lambda x: x / 0.0, ValueError, "not finite"),
    ],
)
def test_unfit_functions_are_refused(f: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        gradcheck(f, leaf(1.0, 2.0))


# ---- the estimate of the error ---------------------------------------------------------------

SMOOTH = {
    "sin": (math.sin, math.cos),
    "exp": (math.exp, math.exp),
    "rational": (lambda x: 1 / (2 + x), lambda x: -1 / (2 + x) ** 2),
    "fast": (lambda x: math.sin(30 * x), lambda x: 30 * math.cos(30 * x)),
    "square": (lambda x: x * x, lambda x: 2 * x),
    "flat": (lambda x: x**9, lambda x: 9 * x**8),
}


@pytest.mark.parametrize("name", SMOOTH)
@given(at=st.floats(-1.5, 1.5))
def test_the_error_is_not_underestimated(name: str, at: float) -> None:
    f, derivative = SMOOTH[name]
    found = slope(lambda h: f(at + h), abs(f(at)) + abs(at * derivative(at)))
    assert abs(found.value - derivative(at)) <= 10 * found.error + 1e-16
    assert found.error <= 1e-8 * (1 + abs(f(at)) + abs(derivative(at)))
