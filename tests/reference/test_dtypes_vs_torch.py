"""Dtypes of results, halves and NaN beside PyTorch's."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np
import pytest

import minigrad as mg

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of divisions by 0

DTYPES = ["bool", "uint8", "int8", "int32", "int64", "float16", "float32", "float64"]
OPERANDS = [(dtype, shape) for dtype in DTYPES for shape in ((), (2,))]
NUMBERS: list[Any] = [True, 1, 0.5]
BINARY = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "eq"]
nan, inf = float("nan"), float("inf")
EDGES = [nan, -inf, -2.5, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0, 20.0, inf]


def operand(library: Any, given: Any) -> Any:
    if not isinstance(given, tuple):
        return given
    dtype, shape = given
    return library.ones(shape, dtype=getattr(library, dtype))


def dtype_of(library: Any, f: Any, *given: Any) -> str:
    return str(f(library, *[operand(library, x) for x in given]).dtype).removeprefix("torch.")


def torchs(f: Any, *given: Any) -> str | None:
    try:
        return dtype_of(torch, f, *given)
    except (RuntimeError, TypeError, NotImplementedError):
        return None  # what PyTorch refuses, minigrad may allow


@pytest.mark.parametrize("name", [*BINARY, "maximum", "where", "clamp"])
def test_the_dtype_of_two_operands(name: str) -> None:
    def f(library: Any, a: Any, b: Any) -> Any:
        if name == "where":
            return library.where(operand(library, ("bool", (2,))), a, b)
        return getattr(operator if name in BINARY else library, name)(a, b)

    pairs = itertools.product([*OPERANDS, *NUMBERS], repeat=2)
    for a, b in pairs:
        if not isinstance(a, tuple) and (name == "clamp" or not isinstance(b, tuple)):
            continue
        if name == "pow" and "bool" in (a[0] if isinstance(a, tuple) else "") and b is True:
            continue  # NumPy's booleans have no power
        expected = torchs(f, a, b)
        if expected is not None:
            assert dtype_of(mg, f, a, b) == expected, (a, b)


UNARY = "abs exp log log1p expm1 sqrt tanh sigmoid erf sin cos tan atan sinh cosh floor ceil round"
UNARY += " relu neg isnan sum mean var amax argmax prod"


@pytest.mark.parametrize("name", UNARY.split())
def test_the_dtype_of_one_operand(name: str) -> None:
    for given in OPERANDS:
        if name == "var" and given[1] == ():
            continue  # of one number PyTorch warns

        def f(library: Any, x: Any) -> Any:
            return getattr(library, name)(x)

        expected = torchs(f, given)
        if expected is not None:
            assert dtype_of(mg, f, given) == expected, given


# ---- halves ----------------------------------------------------------------------------------

REDUCTIONS = {
    "sum": lambda x: x.sum(1),
    "mean": lambda x: x.mean(1),
    "var": lambda x: x.var(1),
    "std": lambda x: x.std(1),
    "norm": lambda x: x.norm(2, 1),
    "cumsum": lambda x: x.cumsum(1),
    "softmax": lambda x: x.softmax(1),
    "log_softmax": lambda x: x.log_softmax(1),
    "logsumexp": lambda x: x.logsumexp(1),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_halves_are_reduced_as_exactly_as_pytorchs(name: str) -> None:
    x = np.random.default_rng(0).standard_normal((20, 3000)).astype(np.float16)
    if name not in ("var", "std"):
        x = abs(x)  # no cancelling
    ours, theirs, exact = (
        np.asarray(REDUCTIONS[name](given).numpy(), float)
        for given in (mg.tensor(x), torch.tensor(x), torch.tensor(x).double())
    )
    assert abs(ours - exact).max() <= 1.05 * abs(theirs - exact).max()


# ---- NaN, infinity, ties ---------------------------------------------------------------------


def values_and_gradients(library: Any, f: Any, xs: Any) -> list[np.ndarray]:
    given = [library.tensor(x, dtype=library.float64, requires_grad=True) for x in xs]
    y = f(library, *given)
    y.backward(library.ones(tuple(y.shape), dtype=library.float64))
    return [a.detach().numpy() for a in (y, *(x.grad for x in given))]


def assert_as_pytorch(f: Any, *xs: Any) -> None:
    for ours, theirs in zip(
        *(values_and_gradients(library, f, xs) for library in (mg, torch)), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["relu", "exp", "log", "sqrt", "tanh", "sigmoid", "floor", "square"]
)
def test_edges_of_one_operand(name: str) -> None:
    assert_as_pytorch(lambda library, x: getattr(library, name)(x), EDGES)


ACTIVATIONS = ["silu", "gelu", "softplus", "logsigmoid", "leaky_relu", "threshold"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_edges_of_activations(name: str) -> None:
    options = {"threshold": 0.5, "value": 7.0} if name == "threshold" else {}
    assert_as_pytorch(lambda library, x: getattr(library.nn.functional, name)(x, **options), EDGES)


@pytest.mark.parametrize("name", ["maximum", "minimum", "add", "mul", "div"])
def test_edges_of_two_operands(name: str) -> None:
    a, b = map(list, zip(*itertools.product(EDGES, EDGES), strict=True))
    assert_as_pytorch(lambda library, x, y: getattr(library, name)(x, y), a, b)


@pytest.mark.parametrize("x", [[1.0, nan, 3.0, nan], [1.0, 3.0, 3.0], [inf, 1.0, inf], [0.0, -0.0]])
@pytest.mark.parametrize("name", ["max", "min", "sum", "mean", "norm", "logsumexp"])
def test_edges_of_reductions(name: str, x: list[float]) -> None:
    dim = (0,) if name == "logsumexp" else ()
    assert_as_pytorch(lambda library, x: getattr(library, name)(x, *dim), x)


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (nan, 1.0), (None, nan), (1.0, -1.0)])
def test_clamp_of_numbers(bounds: Any) -> None:
    ours, theirs = (
        library.clamp(library.tensor(EDGES), *bounds).numpy() for library in (mg, torch)
    )
    np.testing.assert_array_equal(ours, theirs)
