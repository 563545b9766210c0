"""Transformers: gradients to second order, causality, copies, modes, and errors.

Values and gradients are compared with PyTorch's in tests/test_against_stored.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F
from tests.nn.test_attention import check_second_order, double

SMALL: dict[str, Any] = {"dim_feedforward": 3, "dropout": 0.0, "activation": F.silu}


@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_layer_to_second_order(norm_first: bool) -> None:
    layer = nn.TransformerEncoderLayer(4, 2, norm_first=norm_first, **SMALL)
    check_second_order(layer, lambda x: layer(x, is_causal=True), [double(2, 1, 4)])


def test_decoder_layer_to_second_order() -> None:
    layer = nn.TransformerDecoderLayer(4, 2, norm_first=True, batch_first=True, **SMALL)
    padding = mg.tensor([[False, True]])

    def call(x: mg.Tensor, memory: mg.Tensor) -> mg.Tensor:
        return layer(x, memory, memory_key_padding_mask=padding, tgt_is_causal=True)

    check_second_order(layer, call, [double(1, 2, 4), double(1, 2, 4)])


@pytest.mark.parametrize("by_mask", [False, True])
def test_a_causal_model_never_looks_ahead(by_mask: bool) -> None:
    """An output changes no bit when a later input does, with a mask or with the flag."""
    model = nn.Transformer(8, 2, 2, 2, 16, batch_first=True).eval()
    mask = nn.Transformer.generate_square_subsequent_mask(5) if by_mask else None
    src, tgt = mg.randn(3, 4, 8), mg.randn(3, 5, 8)
    y = model(src, tgt, tgt_mask=mask, tgt_is_causal=not by_mask)
    for t in range(1, 5):
        later = mg.where(mg.arange(5).reshape(1, -1, 1) >= t, 9.0, tgt)
        z = model(src, later, tgt_mask=mask, tgt_is_causal=not by_mask)
        assert mg.allclose(z[:, :t], y[:, :t], rtol=1e-5, atol=1e-5)
        assert not mg.allclose(z[:, t:], y[:, t:], rtol=1e-2, atol=1e-2)


def test_the_mask_and_the_flag_are_the_same() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)
    mask, x = nn.Transformer.generate_square_subsequent_mask(5), mg.randn(5, 2, 4)
    y = layer(x, is_causal=True)
    assert mg.allclose(layer(x, mask), y, rtol=1e-5, atol=1e-6)
    assert mg.allclose(layer(x, mask, is_causal=True), y, rtol=1e-5, atol=1e-6)
    assert mg.allclose(layer(x, mask < 0), y, rtol=1e-5, atol=1e-6)
    double_mask = nn.Transformer.generate_square_subsequent_mask(2, dtype=mg.float64)
    assert double_mask.dtype == np.float64


def test_the_layers_of_a_stack_are_copies() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8)
    stack = nn.TransformerEncoder(layer, 2)
    first, second = (list(part.parameters()) for part in stack.layers)
    for p, q, r in zip(layer.parameters(), first, second, strict=True):
        assert p is not q is not r
        assert (p == q).all()
        assert (q == r).all()
    whole = nn.Transformer(4, 2, 2, 2, 8)
    weights = [p for part in whole.encoder.layers for p in part.parameters() if p.ndim > 1]
    assert not any((a == b).all() for a, b in zip(weights[:4], weights[4:], strict=True))


def test_stacks_of_ones_own() -> None:
    class Sum(nn.Module):
        def forward(self, tgt: mg.Tensor, memory: mg.Tensor, *_: Any) -> mg.Tensor:
            return tgt + memory.sum(0, keepdim=True)

    model = nn.Transformer(4, 2, 1, custom_decoder=Sum(), dim_feedforward=8)
    assert model(mg.zeros(3, 1, 4), mg.zeros(2, 1, 4)).shape == (2, 1, 4)
    assert not [name for name, _ in model.named_parameters() if name.startswith("decoder")]


def test_dropout_is_for_training() -> None:
    model = nn.Transformer(8, 2, 1, 1, 16, dropout=0.5)
    src, tgt = mg.randn(4, 2, 8), mg.randn(3, 2, 8)
    assert not (model(src, tgt) == model(src, tgt)).all()
    model.eval()
    assert (model(src, tgt) == model(src, tgt)).all()
    mg.manual_seed(3)
    y = model.train()(src, tgt)
    mg.manual_seed(3)
    assert (model(src, tgt) == y).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.TransformerEncoderLayer(4, 3), "num_heads 3"),
        (lambda: nn.TransformerEncoderLayer(4, 2, 8, activation="elu"), r"'gelu'.*got 'elu'"),
        (lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8), 0), "at least 1"),
        (lambda: nn.TransformerEncoderLayer(4, 2, 8)(mg.zeros(3, 2, 5)), r"\(3, 2, 5\)"),
    ],
)
def test_what_transformers_refuse(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
