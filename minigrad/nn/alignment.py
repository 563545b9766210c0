"""Attention of an encoder–decoder: what a decoder's state draws from an encoder's outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import ops
from minigrad.creation import tensor
from minigrad.functional.attention import masked_softmax
from minigrad.fuse import fuse
from minigrad.nn.linear import Linear
from minigrad.nn.masks import masks_of
from minigrad.nn.module import Module
from minigrad.tensor import Tensor

Memory = tuple[Tensor, Tensor, Tensor]  # keys (B, S, K), values (B, S, V), which are there (B, S)


class ContentAttention(Module):
    """What a query (a decoder's state) draws from a memory (an encoder's outputs).

    weights = softmax(scores of the query and each key) over the keys; context = Σ weights · values.

    `memory(values, lengths)` prepares the outputs once for all queries; it is a tuple of tensors
    with the batch as first axis, so that it can be part of a decoder's state. Calling the layer
    with a query (B, Q), or with queries (B, L, Q), gives the context (B, V) or (B, L, V) and the
    weights (B, S) or (B, L, S). A subclass defines `keys(values)` and `scores(queries, keys)`.
    """

    def __init__(self, query_size: int, key_size: int) -> None:
        if query_size < 1 or key_size < 1:
            raise ValueError(
                f"query_size and key_size must be positive, got {query_size} and {key_size}"
            )
        self.query_size = query_size
        self.key_size = key_size

    def keys(self, values: Tensor) -> Tensor:
        """What the scores need of the values (B, S, key_size), whatever the query: (B, S, …)."""
        raise NotImplementedError(f"{type(self).__name__} defines no keys(self, values)")

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """How well each query (B, L, query_size) and each key agree: (B, L, S)."""
        raise NotImplementedError(f"{type(self).__name__} defines no scores(self, queries, keys)")

    def memory(self, values: Tensor, lengths: Any = None) -> Memory:
        """The values (B, S, key_size) with their keys, and which of them there are: a tuple.

        lengths: (B,) integers in 0…S, or None for S. What lies beyond is never read (NaN there
        changes nothing); where a row's length is 0, its weights and its context are 0.
        """
        if values.ndim != 3 or values.shape[-1] != self.key_size:
            raise ValueError(
                f"{type(self).__name__}: expected values (batch, steps, {self.key_size}), got "
                f"{values.shape}"
            )
        valid = masks_of(type(self).__name__, lengths, None, values.shape[:2], True).valid
        if valid is None:
            valid = np.ones(values.shape[1::-1], np.bool_)
        there = tensor(valid.T, device=values.device)
        values = ops.where(there.unsqueeze(-1), values, 0.0)
        return self.keys(values), values, there

    def forward(self, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        keys, values, there = memory
        if (
            query.ndim not in (2, 3)
            or query.shape[-1] != self.query_size
            or query.shape[0] != values.shape[0]
        ):
            batch = values.shape[0]
            raise ValueError(
                f"{type(self).__name__}: expected query ({batch}, {self.query_size}) or "
                f"({batch}, steps, {self.query_size}) for a memory of {batch} rows, got "
                f"{query.shape}"
            )
        queries = query.unsqueeze(1) if query.ndim == 2 else query
        weights = masked_softmax(self.scores(queries, keys), there.unsqueeze(1))
        context = weights @ values
        return (context.squeeze(1), weights.squeeze(1)) if query.ndim == 2 else (context, weights)

    def extra_repr(self) -> str:
        return f"{self.query_size}, {self.key_size}"


@fuse
def _tanh_of_sum(a: Any, b: Any) -> Any:
    return ops.tanh(a + b)


class AdditiveAttention(ContentAttention):
    """Attention whose scores are a small network: vᵀ tanh(W q + U k) (Bahdanau et al., 2015).

    query_size, key_size: features of a query and of a value; hidden_size: rows of W and U.

    >>> import minigrad as mg
    >>> attention = mg.nn.AdditiveAttention(4, 6, hidden_size=5)
    >>> memory = attention.memory(mg.randn(2, 3, 6), lengths=[3, 1])
    >>> context, weights = attention(mg.randn(2, 4), memory)
    >>> context.shape, weights.shape, weights[1].tolist()
    ((2, 6), (2, 3), [1.0, 0.0, 0.0])
    """

    def __init__(
        self,
        query_size: int,
        key_size: int,
        hidden_size: int,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(query_size, key_size)
        self.w = Linear(query_size, hidden_size, False, device, dtype)
        self.u = Linear(key_size, hidden_size, False, device, dtype)
        self.v = Linear(hidden_size, 1, False, device, dtype)

    def keys(self, values: Tensor) -> Tensor:
        return self.u(values)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        pairs = _tanh_of_sum(self.w(queries).unsqueeze(2), keys.unsqueeze(1))  # (B, L, S, hidden)
        return self.v(pairs).squeeze(-1)


class MultiplicativeAttention(ContentAttention):
    """Attention whose scores are products: qᵀ W k, called "general" (Luong et al., 2015).

    query_size, key_size: features of a query and of a value.

    >>> import minigrad as mg
    >>> attention = mg.nn.MultiplicativeAttention(4, 6)
    >>> context, weights = attention(mg.randn(2, 7, 4), attention.memory(mg.randn(2, 3, 6)))
    >>> context.shape, weights.shape
    ((2, 7, 6), (2, 7, 3))
    """

    def __init__(
        self, query_size: int, key_size: int, device: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(query_size, key_size)
        self.w = Linear(key_size, query_size, False, device, dtype)

    def keys(self, values: Tensor) -> Tensor:
        return self.w(values)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        return queries @ keys.mT
