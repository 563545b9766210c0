"""Layers that normalise: LayerNorm and RMSNorm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigrad import functional as F
from minigrad.creation import ones, zeros
from minigrad.nn.module import Module, Parameter
from minigrad.tensor import Tensor


def _extents(name: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    one = isinstance(normalized_shape, int)
    extents = (normalized_shape,) if one else tuple(normalized_shape)
    if not extents or min(extents) < 1:
        raise ValueError(f"{name}: normalized_shape must be positive, got {normalized_shape}")
    return extents


class LayerNorm(Module):
    """y = (x - mean) / √(var + eps) · weight + bias over the last axes (Ba et al., 2016).

    normalized_shape: their extents, which are the shape of weight (starts at 1) and bias (at 0);
    neither exists without elementwise_affine.

    >>> import minigrad as mg
    >>> mg.nn.LayerNorm(2)(mg.tensor([[1.0, 3.0]])).tolist()
    [[-0.9999949932098389, 0.9999949932098389]]
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = shape = _extents("LayerNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = affine = elementwise_affine
        self.weight = Parameter(ones(shape, device=device, dtype=dtype)) if affine else None
        has_bias = affine and bias
        self.bias = Parameter(zeros(shape, device=device, dtype=dtype)) if has_bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        shown = f"{self.normalized_shape}, eps={self.eps}"
        return f"{shown}, elementwise_affine={self.elementwise_affine}"


class RMSNorm(Module):
    """y = x / √(mean(x²) + eps) · weight over the last axes (Zhang and Sennrich, 2019).

    normalized_shape: their extents, which are the shape of weight (starts at 1). eps: by default
    the distance from 1 to the next number of x's dtype.

    >>> import minigrad as mg
    >>> mg.nn.RMSNorm(2)(mg.tensor([[3.0, 4.0]])).shape
    (1, 2)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.normalized_shape = shape = _extents("RMSNorm", normalized_shape)
        self.eps = eps
        self.elementwise_affine = affine = elementwise_affine
        self.weight = Parameter(ones(shape, device=device, dtype=dtype)) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        shown = f"{self.normalized_shape}, eps={self.eps}"
        return f"{shown}, elementwise_affine={self.elementwise_affine}"
