"""Truncated BPTT beside a naive loop that keeps every state and steps one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.nn.utils import tbptt

LEARNING_RATE = 0.1


def model(batch_first: bool = False) -> nn.Recurrent:
    mg.manual_seed(1)
    return nn.LSTM(2, 3, 2, batch_first=batch_first).double()


def sequence(steps: int) -> mg.Tensor:
    mg.manual_seed(2)
    return mg.randn(steps, 2, 2, dtype=mg.float64)


def learn(layer: nn.Recurrent, loss: mg.Tensor) -> list[np.ndarray]:
    """One step of gradient descent; the gradient."""
    layer.zero_grad()
    if loss.requires_grad:
        loss.backward()
    gradients = [p.grad if p.grad is not None else mg.zeros_like(p) for p in layer.parameters()]
    for p, g in zip(layer.parameters(), gradients, strict=True):
        p.copy_(p.detach() - LEARNING_RATE * g.detach())
    return [g.detach().cpu().numpy() for g in gradients]


def loss_of(y: mg.Tensor, steps: slice) -> mg.Tensor:
    weights = mg.arange(steps.start, steps.stop).double().reshape(-1, 1, 1)
    return (y.sin() * (1 + weights)).sum()


def naive(layer: nn.Recurrent, x: mg.Tensor, k1: int, k2: int) -> Iterator[list[np.ndarray]]:
    """The gradient of each window: its steps one by one, from the state that was met there last."""
    total = x.shape[0]
    states: list[Any] = [None] * (total + 1)
    for begin in range(0, total, k1):
        end = min(begin + k1, total)
        first = max(end - k2, 0)
        for t in range(begin, first):  # before the gradient's reach
            with mg.no_grad():
                states[t + 1] = layer(x[t : t + 1], states[t])[1]
        state, outputs = states[first], []
        for t in range(first, end):
            y, state = layer(x[t : t + 1], state)
            states[t + 1] = mg.detach(state)
            outputs.append(y)
        counted = mg.cat(outputs)[-(end - begin) :]
        steps = slice(end - counted.shape[0], end)
        yield learn(layer, loss_of(counted, steps))


@given(steps=st.integers(1, 12), k1=st.integers(1, 13), k2=st.integers(1, 13))
def test_gradients_of_every_window_while_learning(steps: int, k1: int, k2: int) -> None:
    """Each window's gradient, with the weights changing in between; the windows cover all steps."""
    layer, x = model(), sequence(steps)
    wanted = naive(model(), x, k1, k2)
    covered = []
    for window in tbptt(layer, x, k1=k1, k2=k2):
        steps_, y, _ = window
        assert y.shape[0] == steps_.stop - steps_.start
        covered += range(steps_.start, steps_.stop)
        for a, b in zip(learn(layer, loss_of(y, steps_)), next(wanted), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    assert covered == list(range(steps))
    assert next(wanted, None) is None


def test_one_window_is_plain_backpropagation_to_the_bit() -> None:
    layer, x = model(), sequence(7)
    y, last = layer(x)
    plain = mg.autograd.grad(loss_of(y, slice(0, 7)), list(layer.parameters()))
    (window,) = tbptt(layer, x, k1=7)
    again = mg.autograd.grad(loss_of(window.y, window.steps), list(layer.parameters()))
    for a, b in zip(plain, again, strict=True):
        assert (a == b).all()
    for a, b in zip(last, window.state, strict=True):
        assert (a == b).all()
        assert not b.requires_grad


def test_windows_as_long_as_the_whole_reach_everything() -> None:
    """With weights that stay, k2 = T sums to the gradient of the whole sequence."""
    layer, x = model(), sequence(9)
    whole = mg.autograd.grad(loss_of(layer(x)[0], slice(0, 9)), list(layer.parameters()))
    layer.zero_grad()
    for steps, y, _ in tbptt(layer, x, k1=2, k2=9):
        loss_of(y, steps).backward()
    for p, g in zip(layer.parameters(), whole, strict=True):
        assert mg.allclose(p.grad, g, rtol=1e-10, atol=1e-12)


def test_the_gradient_reaches_k2_steps_and_no_further() -> None:
    layer, x = model(), sequence(9).requires_grad_()
    reach = []
    for _, y, _ in tbptt(layer, x, k1=2, k2=5):
        (gx,) = mg.autograd.grad(y[-1].sum(), x)
        reach.append([t for t in range(9) if (gx[t] != 0).any()])
    assert reach == [[0, 1], [0, 1, 2, 3], [1, 2, 3, 4, 5], [3, 4, 5, 6, 7], [4, 5, 6, 7, 8]]


def test_the_given_state_is_reached_from_step_0() -> None:
    layer, x = model(), sequence(6)
    state = tuple(mg.randn(2, 2, 3, dtype=mg.float64, requires_grad=True) for _ in range(2))
    reached = []
    for _, y, _ in tbptt(layer, x, state, k1=2, k2=3):
        found = mg.autograd.grad(y.sum(), state, allow_unused=True)
        reached.append([g is not None for g in found])
    assert reached == [[True, True], [False, False], [False, False]]


def test_batch_first_and_more_than_one_input() -> None:
    layer, first = model(), model(batch_first=True)
    x = sequence(7)
    reset = mg.tensor(np.arange(14).reshape(7, 2) % 4 == 3)
    plain = [y for _, y, _ in tbptt(lambda xs, s: layer(xs[0], s, reset=xs[1]), (x, reset), k1=3)]
    turned = (x.transpose(0, 1), reset.T)
    fn = lambda xs, s: first(xs[0], s, reset=xs[1])  # noqa: E731  # both in one line, to compare
    for y, z in zip(plain, (y for _, y, _ in tbptt(fn, turned, k1=3, dim=1)), strict=True):
        assert (y == z.transpose(0, 1)).all()
    whole, _ = layer(x, reset=reset)
    assert (mg.cat(plain) == whole).all()


def test_nothing_is_kept_of_windows_that_are_over() -> None:
    """Memory stays: a state that kept its graph would hold all that came before."""
    layer, x = model(), sequence(12)
    sizes = []
    for _, y, state in tbptt(layer, x, k1=2, k2=4):
        assert not any(part.requires_grad for part in state)
        seen, stack = set(), [y.edge[0]]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                stack += [edge[0] for edge in getattr(node, "edges", ()) if edge]
        sizes.append(len(seen))
    assert len(set(sizes[2:-1])) == 1


@pytest.mark.parametrize(("k1", "k2"), [(0, 1), (1, 0), (-1, 2)])
def test_errors_say_what_was_expected(k1: int, k2: int) -> None:
    with pytest.raises(ValueError, match=f"k1 = {k1}, k2 = {k2}"):
        tbptt(model(), sequence(3), k1=k1, k2=k2)
    with pytest.raises(ValueError, match=r"\[3, 4\] steps along dim 0"):
        tbptt(model(), (sequence(3), sequence(4)), k1=1)
