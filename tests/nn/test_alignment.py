"""Additive and multiplicative attention: their formulas, gradients, lengths, and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from tests.nn.test_attention import check_second_order, double

KINDS: dict[str, Any] = {
    "additive": lambda: nn.AdditiveAttention(3, 4, 5).double(),
    "multiplicative": lambda: nn.MultiplicativeAttention(3, 4).double(),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def score(layer: nn.Module, q: np.ndarray, value: np.ndarray) -> float:
    w = {name: p.detach().cpu().numpy() for name, p in layer.named_parameters()}
    if isinstance(layer, nn.AdditiveAttention):
        inner = np.tanh(w["w.weight"] @ q + w["u.weight"] @ value)
        return float(w["v.weight"][0] @ inner)
    return float(q @ w["w.weight"] @ value)


@kinds
@given(
    lengths=st.none() | st.lists(st.integers(0, 4), min_size=2, max_size=2),
    seed=st.integers(0, 99),
)
def test_one_query_at_a_time(kind: str, lengths: list[int] | None, seed: int) -> None:
    mg.manual_seed(seed)
    layer = KINDS[kind]()
    queries, values = mg.randn(2, 3, 3, dtype=mg.float64), mg.randn(2, 4, 4, dtype=mg.float64)
    memory = layer.memory(values, lengths)
    context, weights = layer(queries, memory)
    for b, n in enumerate(lengths or [4, 4]):
        for i in range(3):
            scores = [score(layer, queries[b, i].cpu().numpy(), v.cpu().numpy()) for v in values[b]]
            e = np.exp(scores) * (np.arange(4) < n)
            share = e / max(e.sum(), 1e-300)
            got = weights[b, i].detach().cpu().numpy()
            np.testing.assert_allclose(got, share, rtol=1e-9, atol=1e-14)
            expected = share @ values[b].cpu().numpy()
            got = context[b, i].detach().cpu().numpy()
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-14)
    one = layer(queries[:, 1], memory)
    for part, whole in zip(one, (context, weights), strict=True):
        np.testing.assert_allclose(
            part.detach().cpu().numpy(), whole[:, 1].detach().cpu().numpy(), rtol=1e-12
        )


@kinds
def test_second_order(kind: str) -> None:
    layer = KINDS[kind]()

    def call(query: mg.Tensor, values: mg.Tensor) -> Any:
        return layer(query, layer.memory(values, [2, 1]))

    check_second_order(layer, call, [double(2, 3), double(2, 2, 4)])


@kinds
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_poison_beyond_the_length_changes_no_bit(kind: str, poison: float) -> None:
    layer = KINDS[kind]()
    lengths, query = [3, 0, 1], mg.randn(3, 3, dtype=mg.float64)
    clean = mg.randn(3, 4, 4, dtype=mg.float64)
    beyond = mg.arange(4).reshape(1, -1, 1) >= mg.tensor(lengths).reshape(-1, 1, 1)
    results = []
    for values in (clean, mg.where(beyond, poison, clean)):
        values = values.requires_grad_()
        layer.zero_grad()
        context, weights = layer(query, layer.memory(values, mg.tensor(lengths)))
        (context.square().sum() + weights.square().sum()).backward()
        tensors = [context, weights, values.grad, *(p.grad for p in layer.parameters())]
        results.append([t.detach().cpu().numpy() for t in tensors])
    for a, b in zip(*results, strict=True):
        assert a.tobytes() == b.tobytes()
    assert (results[0][0][1] == 0).all(), "a row of length 0 has nothing to see"
    assert (results[0][2][1] == 0).all()


@kinds
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: m.memory(mg.zeros(2, 4)), r"\(batch, steps, 4\), got \(2, 4\)"),
        (lambda m: m.memory(mg.zeros(2, 5, 4), [1]), "2 integers"),
        (lambda m: m.memory(mg.zeros(2, 5, 4), [1, 6]), "0…5"),
        (lambda m: m(mg.zeros(2, 4), m.memory(mg.zeros(2, 5, 4))), r"\(2, 3\) or \(2, steps, 3\)"),
        (lambda m: m(mg.zeros(3, 3), m.memory(mg.zeros(2, 5, 4))), r"2 rows, got \(3, 3\)"),
    ],
)
def test_what_attention_refuses(kind: str, call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(KINDS[kind]().float())


def test_an_attention_of_ones_own() -> None:
    class Dot(nn.ContentAttention):
        def keys(self, values: mg.Tensor) -> mg.Tensor:
            return values

        def scores(self, queries: mg.Tensor, keys: mg.Tensor) -> mg.Tensor:
            return queries @ keys.mT

    context, weights = Dot(2, 2)(mg.tensor([[0.0, 9.0]]), (m := Dot(2, 2).memory(mg.eye(2)[None])))
    assert len(m) == 3
    assert weights[0, 1].item() > 0.99
    assert context.shape == (1, 2)
    with pytest.raises(NotImplementedError, match="keys"):
        nn.ContentAttention(2, 2).memory(mg.zeros(1, 1, 2))
    with pytest.raises(ValueError, match="positive"):
        Dot(0, 2)
