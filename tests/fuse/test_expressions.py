"""Fused is eager, for any straight-line expression: values and gradients to second order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import minigrad as mg
from minigrad.testing.strategies import arrays, broadcastable, shapes

MORE = settings(max_examples=4 * settings.default.max_examples)

# Functions that are tame wherever they are applied, some of them with constants to simplify away.
STEPS: list[tuple[int, Callable[..., Any]]] = [
    (1, mg.tanh),
    (1, mg.sigmoid),
    (1, mg.softplus),
    (1, mg.sin),
    (1, mg.relu),
    (1, mg.abs),
    (1, mg.erf),
    (1, lambda a: -a),
    (1, lambda a: a * 1.0 + 0.0),
    (1, lambda a: 0.0 - a * -1.0),
    (1, lambda a: a / 2 - 1),
    (1, lambda a: 3 - a),
    (1, lambda a: mg.sin(a) ** 2),
    (1, lambda a: mg.exp(mg.tanh(a)) ** 0.5),
    (1, lambda a: (1.0 + a * a).sqrt().log()),
    (1, lambda a: mg.where(a > 0.5, a, 0.0)),
    (1, lambda a: mg.clamp(a, -1.0, 1.0)),
    (2, lambda a, b: a + b),
    (2, lambda a, b: a - b),
    (2, lambda a, b: mg.tanh(a) * b),
    (2, lambda a, b: a / (1.0 + b * b)),
    (2, mg.maximum),
    (2, mg.minimum),
    (2, mg.logaddexp),
    (2, lambda a, b: mg.where(a >= b, 1.0 - b, a)),
    (3, lambda a, b, c: mg.where(a < b, mg.tanh(b) * c, c)),
    (3, lambda a, b, c: mg.sigmoid(a) * b + (1.0 - mg.sigmoid(a)) * c),
]


@dataclass(frozen=True)
class Argument:
    """What is passed: an array (perhaps taken apart into chunks), a mask, or a number."""

    value: Any
    chunks: int = 0
    dim: int = 0
    grad: bool = False
    is_mask: bool = False

    def passed(self, fused: bool) -> Any:
        if not isinstance(self.value, np.ndarray):
            return self.value if fused else mg.tensor(self.value, dtype=np.float64)
        return mg.tensor(self.value).requires_grad_(self.grad)


@dataclass(frozen=True)
class Expression:
    """Steps on numbered values, the first of which are the arguments' parts."""

    arguments: tuple[Argument, ...]
    steps: tuple[tuple[int, tuple[int, ...]], ...]
    outputs: tuple[int, ...]

    def __call__(self, *xs: Any) -> Any:
        values: list[Any] = []
        for argument, x in zip(self.arguments, xs, strict=True):
            if argument.chunks:
                values += x.chunk(argument.chunks, argument.dim)
            else:
                values.append(mg.where(x, values[0], 0.5) if argument.is_mask else x)
        for number, operands in self.steps:
            values.append(STEPS[number][1](*[values[k] for k in operands]))
        results = tuple(values[k] for k in self.outputs)
        return results if len(results) > 1 else results[0]

    @property
    def fused(self) -> Any:
        """The expression as a fused function of as many parameters as it has arguments."""
        names = ", ".join("abcd"[: len(self.arguments)])
        return mg.fuse(eval(f"lambda {names}: run({names})", {"run": self}))


@st.composite
def an_argument(draw: st.DrawFn, shape: tuple[int, ...], dtypes: Sequence[Any]) -> Argument:
    kind = draw(st.sampled_from(["array", "array", "narrow", "chunks", "mask", "number"]))
    dtype = draw(st.sampled_from(dtypes))
    grad = draw(st.booleans())
    if kind == "mask":
        return Argument(draw(arrays(draw(broadcastable(shape)), np.bool_)), is_mask=True)
    if kind == "number":
        return Argument(draw(st.sampled_from([0.0, 1.0, -0.5, 2])))
    if kind == "chunks" and shape:
        chunks, dim = draw(st.integers(1, 3)), draw(st.sampled_from([0, -1, len(shape) - 1]))
        wide = [draw(st.sampled_from([n, 1])) for n in shape]
        wide[dim] = shape[dim] * chunks
        return Argument(draw(arrays(tuple(wide), dtype)), chunks, dim, grad)
    of = draw(broadcastable(shape)) if kind == "narrow" else shape
    return Argument(draw(arrays(of, dtype)), grad=grad)


@st.composite
def expressions(draw: st.DrawFn, dtypes: Sequence[Any] = (np.float64,)) -> Expression:
    shape = draw(shapes(0, 2, 0, 3))
    first = Argument(draw(arrays(shape, draw(st.sampled_from(dtypes)))), grad=True)
    others = draw(st.lists(an_argument(shape, dtypes), max_size=3))
    arguments = (first, *others)
    count = sum(max(1, argument.chunks) for argument in arguments)
    steps = []
    for _ in range(draw(st.integers(1, 6))):
        number = draw(st.integers(0, len(STEPS) - 1))
        operands = [st.integers(0, count - 1)] * STEPS[number][0]
        steps.append((number, draw(st.tuples(*operands))))
        count += 1
    # the last value, and perhaps others: arguments themselves, or one value twice
    outputs = (count - 1, *draw(st.lists(st.integers(0, count - 1), max_size=2)))
    return Expression(arguments, tuple(steps), outputs)


Run = tuple[list[mg.Tensor], list[mg.Tensor]]


def run(function: Any, expression: Expression, fused: bool) -> Run:
    """The results, in the shape of the first argument, and the arguments that require grad."""
    xs = [argument.passed(fused) for argument in expression.arguments]
    ys = function(*xs)
    ys = list(ys) if isinstance(ys, tuple) else [ys]
    if not fused:
        ys = [mg.expand(y, xs[0].shape) for y in ys]
    return ys, [x for x in xs if isinstance(x, mg.Tensor) and x.requires_grad]


def gradients(
    ys: Sequence[mg.Tensor], leaves: Sequence[mg.Tensor], used: set[int], record: bool
) -> list[mg.Tensor]:
    """Those of some of the results, weighed; zeros where nothing flows."""
    chosen = {k: ys[k] for k in sorted(used) if ys[k].requires_grad}
    if not chosen:
        return [mg.zeros_like(x) for x in leaves]
    ws = [
        mg.cos(mg.arange(y.numel(), dtype=y.dtype) + k).reshape(y.shape) for k, y in chosen.items()
    ]
    found: Any = mg.autograd.grad(
        list(chosen.values()), leaves, ws, create_graph=record, allow_unused=True
    )
    return [mg.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True)]


def assert_same(fused: Sequence[mg.Tensor], eager: Sequence[mg.Tensor], rtol: float) -> None:
    for a, b in zip(fused, eager, strict=True):
        assert a.shape == b.shape
        a_host, b_host = a.detach().cpu().numpy(), b.detach().cpu().numpy()
        np.testing.assert_allclose(a_host, b_host, rtol=rtol, atol=rtol)


@MORE
@given(expression=expressions(), data=st.data())
def test_values_and_gradients(expression: Expression, data: st.DataObject) -> None:
    used = data.draw(st.sets(st.integers(0, len(expression.outputs) - 1), min_size=1))
    function = expression.fused
    results = []
    for f, fused in ((function, True), (expression, False)):
        ys, leaves = run(f, expression, fused)
        first = gradients(ys, leaves, used, record=True)
        second = gradients(first, leaves, set(range(len(first))), record=False)
        plain_ys, plain_leaves = run(f, expression, fused)
        plain = gradients(plain_ys, plain_leaves, used, record=False)
        results.append([*ys, *first, *plain, *second])
    assert_same(*results, rtol=1e-10)
    with mg.no_grad():
        assert_same(
            run(function, expression, True)[0], results[1][: len(expression.outputs)], 1e-10
        )


@given(expression=expressions(dtypes=(np.float32, np.float64)))
def test_mixed_precision(expression: Expression) -> None:
    """What is computed in the narrower dtype may differ by its rounding."""
    results = []
    for f, fused in ((expression.fused, True), (expression, False)):
        ys, leaves = run(f, expression, fused)
        found = gradients(ys, leaves, {0}, record=False)
        assert [g.dtype for g in found] == [x.dtype for x in leaves]
        results.append([*ys, *found])
    assert_same(*results, rtol=2e-3)
