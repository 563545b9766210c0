"""The Transformer: stacks of its layers, and encoder and decoder together."""

from __future__ import annotations

import copy
import math
from typing import Any

from minigrad import functional as F
from minigrad import ops
from minigrad.creation import full
from minigrad.nn import init
from minigrad.nn.module import Module, ModuleList
from minigrad.nn.norm import LayerNorm
from minigrad.nn.transformer_layers import (
    Function,
    TransformerDecoderLayer,
    TransformerEncoderLayer,
)
from minigrad.tensor import Tensor


def _copies(layer: Module, n: int) -> ModuleList:
    if n < 1:
        raise ValueError(f"num_layers must be at least 1, got {n}")
    return ModuleList([copy.deepcopy(layer) for _ in range(n)])


class TransformerEncoder(Module):
    """num_layers copies of an encoder layer, one after the other, and perhaps a norm behind them.

    As in PyTorch the copies begin with the same weights: draw them anew
    (`for p in encoder.parameters(): …`) to train from scratch; `Transformer` does.

    >>> import minigrad as mg
    >>> layer = mg.nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16)
    >>> mg.nn.TransformerEncoder(layer, num_layers=2)(mg.zeros(5, 3, 8)).shape
    (5, 3, 8)
    """

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = _copies(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        x = src
        for layer in self.layers:
            x = layer(x, mask, src_key_padding_mask, bool(is_causal))
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """num_layers copies of a decoder layer on one memory, and perhaps a norm behind them.

    As in PyTorch the copies begin with the same weights, see `TransformerEncoder`.

    >>> import minigrad as mg
    >>> layer = mg.nn.TransformerDecoderLayer(8, nhead=2, dim_feedforward=16)
    >>> mg.nn.TransformerDecoder(layer, num_layers=2)(mg.zeros(5, 3, 8), mg.zeros(7, 3, 8)).shape
    (5, 3, 8)
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        self.layers = _copies(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        x = tgt
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask,
                memory_mask,
                tgt_key_padding_mask,
                memory_key_padding_mask,
                bool(tgt_is_causal),
                memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder of src and a decoder of tgt that attends to what the encoder gives out.

    Embeddings, positions and the layer behind are the user's. src (S, N, d_model) and tgt
    (L, N, d_model), with batch_first (N, S, d_model) …; the result is shaped like tgt. Matrices
    begin as U(±√(6 / (fan_in + fan_out))). Source: Vaswani et al., 2017.

    >>> import minigrad as mg
    >>> model = mg.nn.Transformer(8, nhead=2, num_encoder_layers=1, num_decoder_layers=1)
    >>> model(mg.zeros(7, 3, 8), mg.zeros(5, 3, 8), tgt_is_causal=True).shape
    (5, 3, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Function = F.relu,
        custom_encoder: Module | None = None,
        custom_decoder: Module | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        options = (d_model, nhead, dim_feedforward, dropout, activation)
        options += (layer_norm_eps, batch_first, norm_first, bias)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, **place)

        if custom_encoder is None:
            layer = TransformerEncoderLayer(*options, **place)
            custom_encoder = TransformerEncoder(layer, num_encoder_layers, norm())
        if custom_decoder is None:
            layer = TransformerDecoderLayer(*options, **place)
            custom_decoder = TransformerDecoder(layer, num_decoder_layers, norm())
        self.encoder = custom_encoder
        self.decoder = custom_decoder
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    @staticmethod
    def generate_square_subsequent_mask(
        sz: int, device: str | None = None, dtype: Any = None
    ) -> Tensor:
        """The causal mask as numbers (sz, sz): -∞ above the diagonal, 0 elsewhere.

        >>> import minigrad as mg
        >>> mg.nn.Transformer.generate_square_subsequent_mask(2)
        tensor([[  0., -inf],
                [  0.,   0.]])
        """
        return ops.triu(full((sz, sz), -math.inf, device=device, dtype=dtype), diagonal=1)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )
