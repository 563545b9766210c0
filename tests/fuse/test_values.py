"""What a fused function gives where simplifying or sharing memory could change it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

import minigrad as mg


def test_a_mask_times_one_counts() -> None:
    """Numbers made of booleans add up; booleans would not."""

    def steps(x: Any) -> Any:
        return (x > 0) * 1.0 + ((x > 1) + 0.0)

    def votes(a: Any, b: Any) -> Any:
        return 1.0 * a + b * 1.0

    x = mg.tensor([-1.0, 0.5, 2.0])
    assert mg.fuse(steps)(x).tolist() == steps(x).tolist() == [0.0, 1.0, 2.0]
    a, b = mg.tensor([True, False]), mg.tensor([True, True])
    assert mg.fuse(votes)(a, b).tolist() == votes(a, b).tolist() == [2.0, 1.0]


def test_a_result_that_is_an_argument_is_a_copy() -> None:
    """Otherwise an optimiser's step would change it, and what saved it would not know."""
    both = mg.fuse(lambda x, u: (x, x + u))
    w = mg.tensor([1.0, 2.0], requires_grad=True)
    y, _ = both(w, mg.ones(2))
    z = (y * y).sum()
    w.copy_(np.full(2, 9.0, np.float32))
    assert y.tolist() == [1.0, 2.0]
    z.backward()
    assert w.grad is not None
    assert w.grad.tolist() == [2.0, 4.0]


def test_a_model_that_holds_ops_can_be_copied() -> None:
    swish = mg.fuse(lambda x: x * mg.sigmoid(x))
    swish(mg.ones(2, requires_grad=True)).sum().backward()
    assert copy.deepcopy([mg.tanh, swish]) == [mg.tanh, swish]
