"""Initialisation: the distributions, their generator, and what a fresh layer holds."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
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
        (lambda p: init.kaiming_uniform_(p, mode="fan_out"), math.sqrt(6 / 200)),
        (lambda p: init.kaiming_uniform_(p, nonlinearity="tanh"), 5 / math.sqrt(300 * 3)),
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
        (lambda p: init.kaiming_normal_(p, 0.0, "fan_out", "linear"), 0.0, math.sqrt(1 / 200)),
        (lambda p: init.trunc_normal_(p, 1.0, 0.5, -9.0, 9.0), 1.0, 0.5),
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


def test_truncated_normal() -> None:
    """The mean of N(0, 1) between 0.5 and 2 is (φ(0.5) - φ(2)) / (Φ(2) - Φ(0.5))."""
    x = filled(init.trunc_normal_, 0.0, 1.0, 0.5, 2.0)
    normal = NormalDist()
    mean = (normal.pdf(0.5) - normal.pdf(2)) / (normal.cdf(2) - normal.cdf(0.5))
    assert 0.5 <= x.min() < 0.501
    assert 1.999 < x.max() <= 2
    assert x.mean() == pytest.approx(mean, rel=0.01)


def test_sparse() -> None:
    x = filled(init.sparse_, 0.101, std=0.5)
    assert set((x == 0).sum(axis=0)) == {21}  # of 200, rounded up
    assert len({tuple(np.flatnonzero(column == 0)) for column in x.T}) > 290
    assert x[x != 0].std() == pytest.approx(0.5, rel=0.02)


def test_eye() -> None:
    np.testing.assert_array_equal(filled(init.eye_), np.eye(*SHAPE))


@pytest.mark.parametrize(
    ("nonlinearity", "gain"), [("linear", 1.0), ("relu", math.sqrt(2)), ("selu", 0.75)]
)
def test_gain(nonlinearity: str, gain: float) -> None:
    assert init.calculate_gain(nonlinearity) == gain
    assert init.calculate_gain("leaky_relu", 1.0) == 1


def test_orthogonal_in_half_precision() -> None:
    p = init.orthogonal_(nn.Parameter(mg.zeros(4, 4, dtype=mg.float16)))
    w = p.detach().cpu().numpy().astype(np.float64)
    assert p.dtype == mg.float16
    np.testing.assert_allclose(w @ w.T, np.eye(4), atol=5e-3)


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda p: init.trunc_normal_(p, std=0.02, a=1.0, b=2.0), "widen the interval"),
        (lambda p: init.trunc_normal_(p, std=0.0), "std must be positive"),
        (lambda p: init.sparse_(p, 1.5), r"sparsity in 0…1, got \(2, 3\) and 1.5"),
        (lambda _: init.sparse_(mg.zeros(3), 0.5), "2 axes"),
        (lambda _: init.eye_(mg.zeros(3)), "2 axes"),
        (lambda p: init.kaiming_normal_(p, mode="fan"), "'fan_in' or 'fan_out'"),
        (lambda p: init.kaiming_normal_(p, nonlinearity="gelu"), "expected one of linear, "),
    ],
)
def test_errors_leave_the_tensor(fill: Callable[..., Any], words: str) -> None:
    p = mg.zeros(2, 3)
    with pytest.raises(ValueError, match=words):
        fill(p)
    assert (p == 0).all()


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
        init.trunc_normal_,
        lambda p, generator: init.sparse_(p, 0.5, generator=generator),
    ],
)
def test_numbers_come_from_the_generator(fill: Callable[..., Any]) -> None:
    first = filled(fill, generator=mg.Generator(3))
    mg.manual_seed(9)
    np.testing.assert_array_equal(first, filled(fill, generator=mg.Generator(3)))
    assert not np.array_equal(first, filled(fill, generator=mg.Generator(4)))


@pytest.mark.parametrize("fill", [init.xavier_uniform_, init.kaiming_normal_, init.orthogonal_])
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
