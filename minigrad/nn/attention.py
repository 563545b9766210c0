"""Multi-head attention: every query gathers values from the keys that it agrees with."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from minigrad import functional as F
from minigrad import ops
from minigrad.creation import zeros
from minigrad.functional.attention import attention_weights, causal
from minigrad.nn import init
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module, Parameter
from minigrad.tensor import Tensor


class MultiheadAttention(Module):
    """num_heads attentions side by side, each over its share of the features, and a linear layer.

    head_i = softmax(Q_i K_iᵀ / √D + mask) V_i,  y = W_o [head_1; …; head_H] + b_o
    Q_i, K_i, V_i: share i, of D = embed_dim / num_heads features, of W_q query + b_q,
    W_k key + b_k and W_v value + b_v

    Called with query (L, N, embed_dim), key (S, N, kdim) and value (S, N, vdim); batch first,
    (N, L, embed_dim) …, with batch_first; or unbatched, without N.

    key_padding_mask (N, S), or (S,) unbatched, and attn_mask (L, S) or (N·num_heads, L, S):
        booleans, True where attention may *not* go, as in PyTorch (and unlike
        `scaled_dot_product_attention`), or numbers that are added to the scores.
    is_causal: query i sees keys 0 … i, with or without an attn_mask beside (PyTorch: a hint).
    Returns y, shaped like the query, and the weights (N, L, S), the mean over the heads or, with
    average_attn_weights=False, (N, num_heads, L, S); None in their place without need_weights.

    A query that may see no key has weights 0 and y = b_o, with gradient 0 for the scores (PyTorch:
    NaN where it gives weights). Dropout acts on the weights, those that are returned included.
    add_bias_kv adds one learned key and value to every sequence, add_zero_attn one of zeros.

    Raises ValueError for shapes that do not fit. Source: Vaswani et al., 2017.

    >>> import minigrad as mg
    >>> attention = mg.nn.MultiheadAttention(8, num_heads=2, batch_first=True)
    >>> x = mg.zeros(3, 5, 8)
    >>> y, weights = attention(x, x, x, is_causal=True)
    >>> y.shape, weights.shape
    ((3, 5, 8), (3, 5, 5))
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ValueError(
                "MultiheadAttention: expected num_heads equal shares of embed_dim, got "
                f"embed_dim {embed_dim} and num_heads {num_heads}"
            )
        if not 0 <= dropout <= 1:
            raise ValueError(f"MultiheadAttention: dropout must be a probability, got {dropout}")
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.dropout = dropout
        self.batch_first = batch_first
        self.add_zero_attn = add_zero_attn
        new = functools.partial(zeros, device=device, dtype=dtype)
        self.in_proj_weight = self.q_proj_weight = None
        self.k_proj_weight = self.v_proj_weight = None
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = init.xavier_uniform_(Parameter(new(3 * embed_dim, embed_dim)))
        else:
            self.q_proj_weight = init.xavier_uniform_(Parameter(new(embed_dim, embed_dim)))
            self.k_proj_weight = init.xavier_uniform_(Parameter(new(embed_dim, self.kdim)))
            self.v_proj_weight = init.xavier_uniform_(Parameter(new(embed_dim, self.vdim)))
        self.in_proj_bias = Parameter(new(3 * embed_dim)) if bias else None
        self.bias_k = self.bias_v = None
        if add_bias_kv:
            self.bias_k = init.xavier_normal_(Parameter(new(1, 1, embed_dim)))
            self.bias_v = init.xavier_normal_(Parameter(new(1, 1, embed_dim)))
        self.out_proj = Linear(embed_dim, embed_dim, bias, device, dtype)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        time = 1 if self.batch_first and query.ndim == 3 else 0
        self._check_input(query, key, value, time)
        q, k, v = [
            x.reshape(*x.shape[:-1], self.num_heads, self.head_dim).movedim(time, -2)
            for x in self._projected(query, key, value)
        ]  # (N, H, L, D) and (N, H, S, D), or without N
        mask = self._mask(q, k, key_padding_mask, attn_mask, is_causal)
        k, v, mask = self._with_more_keys(k, v, mask)
        weights = F.dropout(attention_weights(q, k, mask), self.dropout, self.training)
        y = self.out_proj((weights @ v).movedim(-2, time).flatten(-2))
        if not need_weights:
            return y, None
        return y, weights.mean(-3) if average_attn_weights else weights

    def _check_input(self, query: Tensor, key: Tensor, value: Tensor, time: int) -> None:
        fits = (
            query.ndim in (2, 3)
            and query.ndim == key.ndim
            and key.shape[:-1] == value.shape[:-1]
            and (query.ndim == 2 or query.shape[1 - time] == key.shape[1 - time])
        )
        wanted = [self.embed_dim, self.kdim, self.vdim]
        if not fits or [x.shape[-1] for x in (query, key, value)] != wanted:
            n = "N, " if self.batch_first else ""
            m = "" if self.batch_first else "N, "
            raise ValueError(
                f"MultiheadAttention: expected query ({n}L, {m}{self.embed_dim}), key "
                f"({n}S, {m}{self.kdim}) and value ({n}S, {m}{self.vdim}), or all without N; got "
                f"{query.shape}, {key.shape} and {value.shape} (batch_first={self.batch_first})"
            )

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> Sequence[Tensor]:
        packed, bias = self.in_proj_weight, self.in_proj_bias
        if packed is not None and query is key is value:
            return F.linear(query, packed, bias).chunk(3, -1)
        separate: Any = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        weights = separate if packed is None else packed.chunk(3)
        biases = (None, None, None) if bias is None else bias.chunk(3)
        return [
            F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)
        ]

    def _mask(
        self,
        q: Tensor,
        k: Tensor,
        key_padding_mask: Tensor | None,
        attn_mask: Tensor | None,
        is_causal: bool,
    ) -> Tensor | None:
        """All masks as one, of numbers to add to the scores; it broadcasts to (…, H, L, S)."""
        queries, keys = q.shape[-2], k.shape[-2]
        masks: list[Tensor] = []
        if key_padding_mask is not None:
            _check_mask("key_padding_mask", key_padding_mask, [(*q.shape[:-3], keys)])
            masks.append(_added(key_padding_mask, q).unsqueeze(-2).unsqueeze(-2))
        if attn_mask is not None:
            each = math.prod(q.shape[:-2])
            shapes = [(queries, keys), (each, queries, keys)]
            _check_mask("attn_mask", attn_mask, shapes)
            added = _added(attn_mask, q)
            shape = (*q.shape[:-2], queries, keys)
            masks.append(added.reshape(shape) if attn_mask.ndim == 3 else added)
        if is_causal:
            masks.append(_added(~causal(queries, keys, q.device), q))
        return functools.reduce(operator.add, masks) if masks else None

    def _with_more_keys(
        self, k: Tensor, v: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keys and values with those of add_bias_kv and add_zero_attn, which every query sees."""
        more: list[tuple[Tensor, Tensor]] = []
        if self.bias_k is not None and self.bias_v is not None:
            each = (self.num_heads, 1, self.head_dim)
            more.append((self.bias_k.reshape(each), self.bias_v.reshape(each)))
        if self.add_zero_attn:
            zero = zeros(1, dtype=k.dtype, device=k.device)
            more.append((zero, zero))
        if not more:
            return k, v, mask
        one = (*k.shape[:-2], 1, self.head_dim)
        k = ops.cat([k, *[key.expand(one) for key, _ in more]], dim=-2)
        v = ops.cat([v, *[value.expand(one) for _, value in more]], dim=-2)
        return k, v, None if mask is None else F.pad(mask, (0, len(more)))

    def extra_repr(self) -> str:
        defaults = {"kdim": self.embed_dim, "vdim": self.embed_dim, "dropout": 0.0}
        defaults |= {"batch_first": False, "add_zero_attn": False}
        shown = [f"{self.embed_dim}, {self.num_heads}"]
        shown += [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        return ", ".join(shown)


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers to add to scores: for booleans -∞ where it is True, and 0 elsewhere."""
    if mask.dtype == np.bool_:
        return ops.where(mask, -math.inf, zeros(1, dtype=like.dtype, device=like.device))
    return mask.to(like.dtype)


def _check_mask(name: str, mask: Tensor, shapes: list[tuple[int, ...]]) -> None:
    if mask.dtype.kind not in "bf":
        raise TypeError(
            f"MultiheadAttention: {name} must hold booleans or floats, got {mask.dtype}"
        )
    if mask.shape not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise ValueError(f"MultiheadAttention: expected {name} {wanted}, got {mask.shape}")
