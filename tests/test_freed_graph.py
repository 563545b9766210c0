"""A graph that an earlier backward freed is never skipped over: its part would be missing."""

from __future__ import annotations

import pytest

import minigrad as mg


def test_grad_through_a_freed_part_raises() -> None:
    x = mg.tensor([5.0], requires_grad=True)
    h = x * x
    h.sum().backward()
    y = (h * 2 + x * 3).sum()  # dy/dx = 23, of which 20 lie behind h
    with pytest.raises(RuntimeError, match="an earlier backward has freed"):
        mg.autograd.grad(y, x)


def test_an_unused_input_is_told_from_a_freed_path() -> None:
    x = mg.tensor([5.0], requires_grad=True)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="an earlier backward has freed"):
        mg.autograd.grad(y, x, allow_unused=True)
    other = mg.tensor([1.0], requires_grad=True)
    assert mg.autograd.grad((x * x).sum(), other, allow_unused=True) == (None,)


def test_retained_it_is_whole() -> None:
    x = mg.tensor([5.0], requires_grad=True)
    h = x * x
    h.sum().backward(retain_graph=True)
    assert mg.autograd.grad((h * 2 + x * 3).sum(), x)[0].tolist() == [23.0]
