"""Which dtype an op computes in and gives: integers, Python numbers, halves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg

INTEGERS = ["int8", "uint8", "int32", "int64", "bool"]
FLOATING = ["exp", "log", "log1p", "expm1", "sqrt", "tanh", "sigmoid", "erf", "sin", "cos", "tan"]


def ints(dtype: Any) -> mg.Tensor:
    return mg.tensor([1, 1, 2]).to(dtype)


@pytest.fixture(params=[np.float32, np.float64])
def default(request: pytest.FixtureRequest) -> Any:
    mg.set_default_dtype(request.param)
    yield request.param
    mg.set_default_dtype(np.float32)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_and_a_python_float_take_the_default_dtype(dtype: str, default: Any) -> None:
    x = ints(dtype)
    for y in (
        x * 0.5,
        0.5 * x,
        x + 0.5,
        x**0.5,
        mg.maximum(x, 0.5),
        x.clamp(min=0.5),
        x / 2,
        1 / x,
    ):
        assert y.dtype == default
    assert (x * 0.5).tolist() == [0.5, 0.5, 0.5 if dtype == "bool" else 1.0]
    assert (x > 0.5).tolist() == [True, True, True]


@pytest.mark.parametrize("name", FLOATING)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_functions_of_integers_take_the_default_dtype(name: str, dtype: str, default: Any) -> None:
    y = getattr(mg, name)(ints(dtype))
    expected = getattr(mg, name)(ints(dtype).to(default))
    assert y.dtype == default
    assert y.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", INTEGERS)
def test_the_dtype_of_a_mean_is_floating_and_of_a_sum_int64(dtype: str, default: Any) -> None:
    x = ints(dtype)
    for y in (x.mean(), x.var(), x.norm()):
        assert y.dtype == default
    for y in (x.sum(), x.cumsum(0), x.prod(), x.prod(dim=0)):
        assert y.dtype == np.int64
    assert x.prod().item() == (1 if dtype == "bool" else 2)


@pytest.mark.parametrize("name", ["floor", "ceil", "round", "relu"])
def test_integers_stay_integers(name: str) -> None:
    for dtype in ("int8", "int64"):
        y = getattr(mg, name)(mg.tensor([-2, 3]).to(dtype))
        assert y.dtype == np.dtype(dtype)
        assert y.tolist() == [0 if name == "relu" else -2, 3]


def test_the_condition_of_where_counts_for_nothing(default: Any) -> None:
    mask, x = mg.tensor([True, False]), mg.tensor([1, 2])
    assert mg.where(mask, 0.5, 1).dtype == default
    assert mg.where(mask, 0.5, 1).tolist() == [0.5, 1.0]
    assert mg.where(mask, 2, 1).dtype == np.int64
    assert mg.where(mask, x, 0.5).dtype == default
    assert mg.where(mask, x.to("float16"), 0.5).dtype == np.float16


def test_0d_tensors_take_the_dtype_of_those_with_axes() -> None:
    x = ints("int8")
    assert (x * mg.tensor(2)).dtype == np.int8
    assert (x * mg.tensor(2.0)).dtype == np.float32
    assert (x.to("float16") * mg.tensor(2.0)).dtype == np.float16
    assert (x.to("bool") * mg.tensor(2)).dtype == np.int64
    assert (mg.tensor(2, dtype="int8") * mg.tensor(2)).dtype == np.int64


@pytest.mark.parametrize("join", [mg.cat, mg.stack])
def test_integers_joined_with_floats_take_their_dtype(join: Any) -> None:
    x = mg.tensor([0.5], requires_grad=True)
    y = join([ints("int64")[:1], x, ints("bool")[:1]])
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == np.float32
    assert join([ints("int8"), ints("bool")]).dtype == np.int8


# ---- halves: added up in float32, rounded once -----------------------------------------------


def largest_error(y: mg.Tensor, exact: Any) -> float:
    """In units of the last place of a half, of the largest of the values."""
    found = y.detach().cpu().numpy().astype(float)
    exact = np.asarray(exact)
    return float(abs(found - exact).max() / np.spacing(abs(exact).max().astype(np.float16)))


@pytest.mark.parametrize("name", ["sum", "mean", "var", "std", "norm", "logsumexp", "softmax"])
@pytest.mark.parametrize("dim", [0, 1])
def test_halves_are_reduced_in_float32(name: str, dim: int) -> None:
    x = mg.tensor(np.random.default_rng(0).uniform(100, 300, (300, 300)).astype(np.float16))
    with np.errstate(over="ignore"):  # sums beyond what a half can hold
        small = x * 0.5 if name != "sum" else x * 0.01
        y = getattr(small, name)(dim=dim)
    assert y.dtype == np.float16
    assert largest_error(y, getattr(small.double(), name)(dim=dim).cpu().numpy()) <= 1.0


def test_the_gradient_of_a_broadcast_half_is_summed_in_float32() -> None:
    b = mg.zeros(3, dtype=np.float16, requires_grad=True)
    (mg.ones(5000, 3, dtype=np.float16) * 0.5 + b).sum().backward()
    assert b.grad is not None
    assert b.grad.tolist() == [5000.0] * 3


def test_norms_of_halves_do_not_overflow() -> None:
    x = mg.tensor(np.linspace(200, 400, 600).astype(np.float16).reshape(2, 300))
    for y in (
        x.norm(dim=1),
        x.var(dim=1),
        mg.layer_norm(x, mg.ones(300, dtype=np.float16)),
        mg.standardize(x, dim=1),
        mg.functional.normalize(x, dim=1),
        mg.functional.cosine_similarity(x, x, dim=1),
    ):
        assert y.dtype == np.float16
        assert mg.isfinite(y).all()
    assert mg.functional.cosine_similarity(x, x, dim=1).tolist() == [1.0, 1.0]


# ---- NaN and infinity ------------------------------------------------------------------------


def gradient(f: Any, *xs: Any) -> list[Any]:
    given = [mg.tensor(x, dtype=mg.float64, requires_grad=True) for x in xs]
    f(*given).sum().backward()
    return [x.grad.tolist() for x in given if x.grad is not None]


nan, inf = float("nan"), float("inf")


def test_the_gradient_of_a_nan_is_not_dropped() -> None:
    assert gradient(mg.relu, [nan, -1.0, 0.0, 1.0]) == [[1.0, 0.0, 0.0, 1.0]]
    for f in (mg.maximum, mg.minimum):
        assert gradient(f, [nan, 1.0, 2.0], [1.0, nan, 2.0]) == [[1.0, 1.0, 0.5]] * 2
    for f in (mg.amax, mg.amin, mg.max, mg.min):
        assert gradient(f, [nan, 1.0, nan, 3.0]) == [[0.5, 0.0, 0.5, 0.0]]


def test_nan_stays_nan() -> None:
    assert mg.isnan(mg.tensor([1.0, 2.0]).clamp(min=nan)).all()
    assert mg.isnan(mg.tensor([1.0, 2.0]).clamp(max=mg.tensor(nan))).all()
    assert mg.isnan(mg.functional.threshold(mg.tensor(nan), 0.0, 7.0))
    for p in (2.0, 3.0):
        assert mg.isnan(mg.functional.normalize(mg.tensor([[nan, 1.0]]), p)).all()


@pytest.mark.parametrize("p", [0.5, 2, 3])
def test_the_gradient_of_a_norm(p: float) -> None:
    def norm(x: mg.Tensor) -> mg.Tensor:
        return x.norm(p)

    assert np.isnan(gradient(norm, [nan, 1.0])).all()
    assert gradient(norm, [0.0, 0.0]) == [[0.0, 0.0]]
    assert gradient(norm, [0.0, 2.0]) == [pytest.approx([0.0, 1.0])]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # ∞ - ∞
def test_logsumexp_of_infinity() -> None:
    x = mg.tensor([[inf, 1.0, inf], [1.0, -inf, 1.0], [inf, nan, 1.0]])
    y = mg.logsumexp(x, 1).tolist()
    assert y[0] == inf
    assert y[1] == pytest.approx(1 + np.log(2))
    assert np.isnan(y[2])
