"""Attention: gradients to second order, any mask against plain loops, empty rows, and errors.

Values and gradients are compared with PyTorch's in tests/test_against_stored.py.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from minigrad.testing import gradcheck


def double(*shape: int) -> mg.Tensor:
    return mg.randn(*shape, dtype=mg.float64, requires_grad=True)


def check_second_order(layer: nn.Module, call: Any, inputs: list[mg.Tensor]) -> None:
    """Gradients of the inputs and of every parameter, as functions of all of them."""
    layer.double()
    held = list(layer.parameters())
    weights = [double(*p.shape) for p in held]

    def run(*xs: mg.Tensor) -> Any:
        kept = [(p.data, p.edge) for p in held]
        for p, value in zip(held, xs[len(inputs) :], strict=True):
            p.data, p.edge = value.data, value.edge
        try:
            return call(*xs[: len(inputs)])
        finally:
            for p, (data, edge) in zip(held, kept, strict=True):
                p.data, p.edge = data, edge

    assert gradcheck(run, [*inputs, *weights], order=2)


# ---- multi-head ------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "other features": {"kdim": 3, "vdim": 2, "bias": False},
    "more keys": {"add_bias_kv": True, "add_zero_attn": True, "batch_first": True},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_multihead_attention_to_second_order(name: str) -> None:
    options = OPTIONS[name]
    layer = nn.MultiheadAttention(4, 2, **options)
    q, k, v = double(2, 2, 4), double(2, 2, layer.kdim), double(2, 2, layer.vdim)
    padding = mg.tensor([[False, True], [False, False]])

    def call(q: mg.Tensor, k: mg.Tensor, v: mg.Tensor, bias: mg.Tensor) -> Any:
        return layer(q, k, v, key_padding_mask=padding, attn_mask=bias, is_causal=True)

    check_second_order(layer, call, [q, k, v, double(2, 2)])


def test_self_attention_to_second_order() -> None:
    layer = nn.MultiheadAttention(4, 2)
    check_second_order(layer, lambda x: layer(x, x, x, is_causal=True), [double(3, 1, 4)])


def plain_attention(layer: nn.MultiheadAttention, q: Any, k: Any, v: Any, allowed: Any) -> Any:
    """One row, one head and one query at a time: outputs (L, E) and weights (H, L, S)."""
    w = {name: p.detach().cpu().numpy() for name, p in layer.named_parameters()}
    width = layer.head_dim
    q, k, v = (
        x @ m.T + b
        for x, m, b in zip(
            (q, k, v),
            np.split(w["in_proj_weight"], 3),
            np.split(w["in_proj_bias"], 3),
            strict=True,
        )
    )
    weights = np.zeros((layer.num_heads, len(q), len(k)))
    y = np.zeros_like(q)
    for h in range(layer.num_heads):
        own = slice(h * width, (h + 1) * width)
        for i in range(len(q)):
            seen = allowed[h, i]
            if seen.any():
                e = np.exp(k[seen][:, own] @ q[i, own] / math.sqrt(width))
                weights[h, i, seen] = e / e.sum()
            y[i, own] = weights[h, i] @ v[:, own]
    return y @ w["out_proj.weight"].T + w["out_proj.bias"], weights


@given(
    queries=st.integers(1, 4),
    keys=st.integers(1, 4),
    batch_first=st.booleans(),
    which=st.sets(st.sampled_from(["padding", "mask", "mask of each head", "causal"])),
    numbers=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_masks_together(
    queries: int, keys: int, batch_first: bool, which: set[str], numbers: bool, seed: int
) -> None:
    """Booleans and numbers, all masks at once, rows that see nothing included."""
    random = np.random.default_rng(seed)
    batch, heads = 2, 2
    layer = nn.MultiheadAttention(4, heads, batch_first=batch_first).double()
    assert layer.in_proj_bias is not None
    layer.in_proj_bias.copy_(mg.randn(12, dtype=mg.float64))
    q, k, v = (random.standard_normal((batch, n, 4)) for n in (queries, keys, keys))
    allowed = np.ones((batch, heads, queries, keys), dtype=bool)
    masks: dict[str, Any] = {}

    def given_as(forbidden: np.ndarray) -> mg.Tensor:
        return mg.tensor(np.where(forbidden, -np.inf, 0.0) if numbers else forbidden)

    if "padding" in which:
        forbidden = random.random((batch, keys)) < 0.4
        masks["key_padding_mask"] = given_as(forbidden)
        allowed &= ~forbidden[:, None, None, :]
    if "mask of each head" in which:
        forbidden = random.random((batch * heads, queries, keys)) < 0.4
        masks["attn_mask"] = given_as(forbidden)
        allowed &= ~forbidden.reshape(allowed.shape)
    elif "mask" in which:
        forbidden = random.random((queries, keys)) < 0.4
        masks["attn_mask"] = given_as(forbidden)
        allowed &= ~forbidden
    if "causal" in which:
        masks["is_causal"] = True
        allowed &= np.tri(queries, keys, dtype=bool)

    inputs = [mg.tensor(x if batch_first else x.swapaxes(0, 1)) for x in (q, k, v)]
    y, weights = layer(*inputs, average_attn_weights=False, **masks)
    y = y if batch_first else y.transpose(0, 1)
    for b in range(batch):
        want_y, want_weights = plain_attention(layer, q[b], k[b], v[b], allowed[b])
        np.testing.assert_allclose(y[b].detach().cpu().numpy(), want_y, rtol=0, atol=1e-12)
        got = weights[b].detach().cpu().numpy()
        np.testing.assert_allclose(got, want_weights, rtol=0, atol=1e-12)


def test_a_query_that_sees_nothing_gives_the_bias_with_gradient_zero() -> None:
    layer = nn.MultiheadAttention(4, 2, batch_first=True)
    assert layer.out_proj.bias is not None
    layer.out_proj.bias.copy_(mg.arange(4).float())
    q, kv = mg.randn(2, 3, 4, requires_grad=True), mg.randn(2, 5, 4, requires_grad=True)
    y, weights = layer(q, kv, kv, key_padding_mask=mg.tensor([[True] * 5, [False] * 5]))
    assert y[0].tolist() == [[0.0, 1.0, 2.0, 3.0]] * 3
    assert (weights[0] == 0).all()
    (y.square().sum() + weights.square().sum()).backward()
    for x in (q, kv):
        assert x.grad is not None
        assert (x.grad[0] == 0).all()
        assert not (x.grad[1] == 0).any()
    for p in layer.parameters():
        assert p.grad is not None
        assert np.isfinite(p.grad.cpu().numpy()).all()


def test_weights_need_not_be_given_and_may_be_dropped() -> None:
    layer = nn.MultiheadAttention(4, 2, dropout=0.5)
    x = mg.randn(3, 2, 4)
    assert layer(x, x, x, need_weights=False)[1] is None
    dropped = layer(x, x, x, average_attn_weights=False)[1].detach().cpu().numpy()
    assert (dropped == 0).any()
    kept = layer.eval()(x, x, x, average_attn_weights=False)[1].detach().cpu().numpy()
    np.testing.assert_allclose(kept.sum(-1), 1, rtol=1e-6)
    np.testing.assert_allclose(dropped[dropped > 0], 2 * kept[dropped > 0], rtol=1e-5)


def test_multihead_attention_is_shown_and_copied() -> None:
    layer = nn.MultiheadAttention(4, 2, kdim=3, batch_first=True)
    assert repr(layer).startswith("MultiheadAttention(\n  4, 2, kdim=3, batch_first=True\n")
    twin = copy.deepcopy(layer)
    q, k, v = mg.randn(2, 3, 4), mg.randn(2, 5, 3), mg.randn(2, 5, 4)
    assert (twin(q, k, v)[0] == layer(q, k, v)[0]).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda _: nn.MultiheadAttention(4, 3), ValueError, "num_heads 3"),
        (lambda _: nn.MultiheadAttention(4, 2, dropout=-1), ValueError, "probability"),
        (lambda m: m(*[mg.zeros(3, 2, 5)] * 3), ValueError, r"query \(L, N, 4\).*\(3, 2, 5\)"),
        (lambda m: m(*[mg.zeros(3)] * 3), ValueError, "without N"),
        (
            lambda m: m(mg.zeros(3, 2, 4), mg.zeros(3, 1, 4), mg.zeros(3, 1, 4)),
            ValueError,
            r"\(3, 1, 4\)",
        ),
        (
            lambda m: m(mg.zeros(3, 2, 4), mg.zeros(3, 2, 4), mg.zeros(5, 2, 4)),
            ValueError,
            r"\(5, 2, 4\)",
        ),
        (
            lambda m: m(mg.zeros(3, 2, 4), mg.zeros(3, 4), mg.zeros(3, 4)),
            ValueError,
            r"and \(3, 4\)",
        ),
        (
            lambda m: m(*[mg.zeros(3, 2, 4)] * 3, attn_mask=mg.zeros(2, 3)),
            ValueError,
            r"attn_mask \(3, 3\) or \(4, 3, 3\), got \(2, 3\)",
        ),
        (
            lambda m: m(*[mg.zeros(3, 2, 4)] * 3, key_padding_mask=mg.zeros(3, 2)),
            ValueError,
            r"key_padding_mask \(2, 3\)",
        ),
        (
            lambda m: m(*[mg.zeros(3, 2, 4)] * 3, attn_mask=mg.zeros(3, 3, dtype=mg.int64)),
            TypeError,
            "booleans or floats, got int64",
        ),
    ],
)
def test_what_multihead_attention_refuses(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error, match=words):
        call(nn.MultiheadAttention(4, 2))
