"""Initialisation: the distributions, their generator, and what a fresh layer holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import init

SHAPE = (200, 300)


def filled(fill: Callable[..., Any], *args: Any, **kwargs: Any) -> np.ndarray:
    p = nn.Parameter(mg.zeros(SHAPE))
    assert fill(p, *args, **kwargs) is p
    return p.detach().cpu().numpy()


@pytest.mark.parametrize(
    ("fill", "bound"),
    [
        (lambda p: init.uniform_(p, -0.5, 0.5), 0.5),
        (init.xavier_uniform_, math.sqrt(6 / 500)),
        (lambda p: init.xavier_uniform_(p, gain=2.0), 2 * math.sqrt(6 / 500)),
        (init.kaiming_uniform_, math.sqrt(6 / 300)),
        (lambda p: init.kaiming_uniform_(p, a=math.sqrt(5)), math.sqrt(1 / 300)),
    ],
)
def test_uniform(fill: Callable[..., Any], bound: float) -> None:
    x = filled(fill)
    assert np.abs(x).max() <= bound * (1 + 1e-6)
    assert np.abs(x).max() > 0.999 * bound
    assert x.std() == pytest.approx(bound / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    ("fill", "mean", "std"),
    [
        (lambda p: init.normal_(p, 1.0, 0.5), 1.0, 0.5),
        (init.xavier_normal_, 0.0, math.sqrt(2 / 500)),
        (init.kaiming_normal_, 0.0, math.sqrt(2 / 300)),
    ],
)
def test_normal(fill: Callable[..., Any], mean: float, std: float) -> None:
    x = filled(fill)
    assert x.mean() == pytest.approx(mean, abs=0.02 * std)
    assert x.std() == pytest.approx(std, rel=0.02)


def test_constants() -> None:
    assert set(filled(init.constant_, 2.5).reshape(-1)) == {2.5}
    assert set(filled(init.zeros_).reshape(-1)) == {0.0}
    assert set(filled(init.ones_).reshape(-1)) == {1.0}


@pytest.mark.parametrize("shape", [(4, 4), (6, 3), (3, 6), (2, 3, 4)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    p = nn.Parameter(mg.zeros(shape, dtype=mg.float64))
    w = init.orthogonal_(p, gain=2.0).detach().cpu().numpy().reshape(shape[0], -1) / 2
    gram = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


@pytest.mark.parametrize(
    "fill",
    [
        init.uniform_,
        init.normal_,
        init.xavier_uniform_,
        init.xavier_normal_,
        init.kaiming_uniform_,
        init.kaiming_normal_,
        init.orthogonal_,
    ],
)
def test_numbers_come_from_the_generator(fill: Callable[..., Any]) -> None:
    first = filled(fill, generator=mg.Generator(3))
    mg.manual_seed(9)
    np.testing.assert_array_equal(first, filled(fill, generator=mg.Generator(3)))
    assert not np.array_equal(first, filled(fill, generator=mg.Generator(4)))


@pytest.mark.parametrize("fill", [init.xavier_uniform_, init.kaiming_normal_])
def test_a_vector_has_no_fan_in(fill: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=r"shape \(3,\) has no fan-in"):
        fill(mg.zeros(3))


def test_writing_makes_an_older_graph_stale() -> None:
    p = nn.Parameter(mg.ones(2))
    y = (p * p).sum()
    init.zeros_(p)
    with pytest.raises(RuntimeError, match="stale graph"):
        y.backward()


def test_fresh_layers() -> None:
    linear = nn.Linear(100, 50)
    for p in linear.parameters():
        x = p.detach().cpu().numpy()
        assert 0.09 < np.abs(x).max() <= 0.1 + 1e-6
    table = nn.Embedding(200, 50).weight.detach().cpu().numpy()
    assert table.std() == pytest.approx(1, rel=0.03)
    norm = nn.LayerNorm(3)
    assert (norm.weight.tolist(), norm.bias.tolist()) == ([1.0] * 3, [0.0] * 3)
    assert nn.PReLU(2).weight.tolist() == [0.25, 0.25]
