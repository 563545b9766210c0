"""The layers of a Transformer: attention and feed-forward, each with a way around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad import functional as F
from minigrad.nn.attention import MultiheadAttention
from minigrad.nn.dropout import Dropout
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module
from minigrad.nn.norm import LayerNorm
from minigrad.tensor import Tensor

Function = Callable[[Tensor], Tensor]
ACTIVATIONS: dict[str, Function] = {"relu": F.relu, "gelu": F.gelu}


class _Layer(Module):
    """What the layers of encoder and decoder share: blocks with a way around, and feed-forward.

    The attribute `self_attn` comes before `super().__init__`: parameters have PyTorch's order.
    """

    def __init__(
        self,
        d_model: int,
        dim_feedforward: int,
        dropout: float,
        activation: str | Function,
        norm_first: bool,
        bias: bool,
        place: dict[str, Any],
    ) -> None:
        if isinstance(activation, str) and activation not in ACTIVATIONS:
            raise ValueError(
                f"{type(self).__name__}: activation must be one of {list(ACTIVATIONS)} or a "
                f"function of a tensor, got {activation!r}"
            )
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = norm_first
        self.activation = ACTIVATIONS[activation] if isinstance(activation, str) else activation

    def _feed_forward(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))

    def _around(self, x: Tensor, block: Function, norm: Module, dropout: Module) -> Tensor:
        """norm(x + block(x)), or with norm_first x + block(norm(x)); dropout behind the block."""
        if self.norm_first:
            return x + dropout(block(norm(x)))
        return norm(x + dropout(block(x)))


class TransformerEncoderLayer(_Layer):
    """Self-attention and two linear layers, each with a way around it (Vaswani et al., 2017).

    x = norm1(src + attention(src)),  y = norm2(x + W_2 activation(W_1 x + b_1) + b_2), with
    dropout behind each block and the activation; with norm_first the norms stand before the
    blocks (Xiong et al., 2020), which trains more easily.

    src (L, N, d_model), (N, L, d_model) with batch_first, or (L, d_model); so is the result.
    src_mask, src_key_padding_mask, is_causal: as attn_mask … of `MultiheadAttention`.
    activation: "relu", "gelu", or a function of a tensor.

    >>> import minigrad as mg
    >>> layer = mg.nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=16, batch_first=True)
    >>> layer(mg.zeros(3, 5, 8), is_causal=True).shape
    (3, 5, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Function = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_attn = MultiheadAttention(
            d_model, nhead, dropout, bias, batch_first=batch_first, **place
        )
        super().__init__(d_model, dim_feedforward, dropout, activation, norm_first, bias, place)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(
                x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal
            )[0]

        x = self._around(src, attend, self.norm1, self.dropout1)
        return self._around(x, self._feed_forward, self.norm2, self.dropout2)


class TransformerDecoderLayer(_Layer):
    """An encoder layer with attention to a memory between its two blocks (Vaswani et al., 2017).

    x = norm1(tgt + attention(tgt)),  y = norm2(x + attention(x, memory)),
    z = norm3(y + W_2 activation(W_1 y + b_1) + b_2), or with norm_first the norms before.

    tgt (L, N, d_model) and memory (S, N, d_model), with batch_first (N, L, d_model) …, or both
    without N; the result is shaped like tgt. Masks as attn_mask … of `MultiheadAttention`.

    >>> import minigrad as mg
    >>> layer = mg.nn.TransformerDecoderLayer(8, nhead=2, dim_feedforward=16)
    >>> layer(mg.zeros(5, 3, 8), mg.zeros(7, 3, 8), tgt_is_causal=True).shape
    (5, 3, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Function = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.self_attn, self.multihead_attn = (
            MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, **place)
            for _ in range(2)
        )
        super().__init__(d_model, dim_feedforward, dropout, activation, norm_first, bias, place)
        self.norm1, self.norm2, self.norm3 = (
            LayerNorm(d_model, layer_norm_eps, bias=bias, **place) for _ in range(3)
        )
        self.dropout1, self.dropout2, self.dropout3 = (Dropout(dropout) for _ in range(3))

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        def attend(x: Tensor) -> Tensor:
            return self.self_attn(
                x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal
            )[0]

        def look_back(x: Tensor) -> Tensor:
            return self.multihead_attn(
                x,
                memory,
                memory,
                memory_key_padding_mask,
                False,
                memory_mask,
                is_causal=memory_is_causal,
            )[0]

        x = self._around(tgt, attend, self.norm1, self.dropout1)
        x = self._around(x, look_back, self.norm2, self.dropout2)
        return self._around(x, self._feed_forward, self.norm3, self.dropout3)
