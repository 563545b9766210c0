"""checkpoint: the same values and gradients of every order, with less on the tape."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.autograd import checkpoint
from minigrad.testing import gradcheck


def leaf(*shape: int, seed: int = 0) -> mg.Tensor:
    values = np.random.default_rng(seed).uniform(0.3, 1.5, shape)
    return mg.tensor(values, requires_grad=True)


def gradients(y: mg.Tensor, *xs: mg.Tensor) -> list[list[float]]:
    return [g.tolist() for g in mg.autograd.grad(y, xs)]


def test_gradients_of_arguments_and_of_what_is_captured() -> None:
    x, w = leaf(3), leaf(3, seed=1)

    def run(through: Any) -> tuple[mg.Tensor, list[Any]]:
        scaled = w * 2  # computed outside: the gradient goes on from there
        y = through(lambda x: mg.exp(x * scaled).sin() * w, x)
        return y.detach(), gradients(y.sum(), x, w)

    again, plain = run(checkpoint), run(lambda f, x: f(x))
    assert (again[0] == plain[0]).all()
    assert again[1] == plain[1]


def test_second_order() -> None:
    w = leaf(3, seed=1)

    def f(x: mg.Tensor, w: mg.Tensor) -> mg.Tensor:
        inner = w * w  # captured, and computed from an input that is also read itself
        return checkpoint(lambda x: mg.exp(x * inner) * w, x) * x

    gradcheck(f, [leaf(3), w], order=2)


def test_nested_results_and_what_needs_no_gradient() -> None:
    x, w = leaf(3), leaf(3, seed=1)
    y = checkpoint(lambda: {"a": (x * w, [w.sin(), x > 0.5])})
    a, (b, where) = y["a"]
    assert where.dtype == np.bool_
    assert gradients((a + b).sum(), x, w) == gradients((x * w + w.sin()).sum(), x, w)
    (gx,) = mg.autograd.grad(checkpoint(lambda: (x * w, w.sin()))[0].sum(), x)  # one output alone
    assert (gx == w).all()
    assert checkpoint(lambda x: x, x) is not x  # a result that is the argument itself
    (one,) = mg.autograd.grad(checkpoint(lambda x: x, x).sum(), x)
    assert (one == 1).all()
    with mg.no_grad():
        assert not checkpoint(lambda: x * w).requires_grad
    assert not checkpoint(lambda: mg.ones(2)).requires_grad


def test_checkpoints_within_checkpoints() -> None:
    x = leaf(3)
    y = checkpoint(lambda: checkpoint(lambda z: z.exp() * x, x * x).sin())
    assert gradients(y.sum(), x) == gradients(((x * x).exp() * x).sin().sum(), x)


def test_random_numbers_are_replayed_and_the_stream_goes_on() -> None:
    x = leaf(50)
    mg.manual_seed(3)
    y = checkpoint(lambda: nn.functional.dropout(x, 0.5))
    after = mg.rand(2)
    (gx,) = mg.autograd.grad(y.sum(), x)
    assert ((gx * x - y).abs() < 1e-12).all()
    more = mg.rand(2)
    mg.manual_seed(3)
    nn.functional.dropout(x, 0.5)
    assert (mg.rand(2) == after).all()
    assert (mg.rand(2) == more).all()


def test_backward_twice_and_freed() -> None:
    x = leaf(3)
    y = checkpoint(x.exp).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert (x.grad == 2 * x.exp()).all()
    with pytest.raises(RuntimeError, match="retain_graph"):
        y.backward()


def test_a_parameter_that_was_written_is_noticed() -> None:
    w = nn.Parameter(mg.ones(2))
    y = checkpoint(lambda: w * w).sum()
    w.copy_(mg.zeros(2))
    with pytest.raises(RuntimeError, match="stale"):
        y.backward()


def test_a_function_that_reads_something_else_is_noticed() -> None:
    held: list[Any] = [leaf(2), leaf(2)]
    y = checkpoint(lambda: held.pop().exp())
    with pytest.raises(RuntimeError, match="the same"):
        y.sum().backward()


def test_the_tape_forgets_what_lies_between() -> None:
    x = leaf(3)
    inner: list[weakref.ref[mg.Tensor]] = []

    def f() -> mg.Tensor:
        middle = x.exp()
        inner.append(weakref.ref(middle))
        return middle.sin()

    gc.disable()
    try:
        y = checkpoint(f)
        assert inner[0]() is None
        y.sum().backward()
        assert inner[1]() is None
    finally:
        gc.enable()
