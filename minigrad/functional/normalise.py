"""Functions that normalise: softmax and its kin, layer normalisation, lengths of vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minigrad import ops
from minigrad.ops.convert import in_float32
from minigrad.tensor import Tensor


def softmin(x: Tensor, dim: int) -> Tensor:
    """y = softmax(-x) along `dim`."""
    return ops.softmax(-x, dim)


def layer_norm(
    x: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / √(var + eps) · weight + bias over the last axes (Ba et al., 2016).

    normalized_shape: the extents of the last axes of x, over which mean and the (biased) variance
    are taken; weight and bias have this shape. Raises ValueError where a shape does not fit.

    >>> import minigrad as mg
    >>> mg.functional.layer_norm(mg.tensor([[1.0, 3.0], [5.0, 5.0]]), 2)
    tensor([[-0.999995,  0.999995],
            [ 0.      ,  0.      ]])
    """
    shape = _last_extents("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    if weight is not None:
        return ops.layer_norm(x, weight, bias, eps)
    y = ops.standardize(x, range(-len(shape), 0), eps)
    return y if bias is None else y + bias


def rms_norm(
    x: Tensor,
    normalized_shape: int | Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """y = x / √(mean(x²) + eps) · weight over the last axes (Zhang and Sennrich, 2019).

    eps: by default the distance from 1 to the next number of x's dtype. Shapes as in `layer_norm`.
    """
    shape = _last_extents("rms_norm", x, normalized_shape, weight=weight)
    if eps is None:
        eps = float(np.finfo(x.dtype).eps)
    if weight is not None:
        return ops.layer_norm(x, weight, None, eps, centre=False)
    return ops.standardize(x, range(-len(shape), 0), eps, centre=False)


def _last_extents(
    name: str, x: Tensor, shape: int | Sequence[int], **parameters: Tensor | None
) -> tuple[int, ...]:
    extents = (shape,) if isinstance(shape, int) else tuple(shape)
    if not extents or x.shape[-len(extents) :] != extents:
        raise ValueError(
            f"{name}: expected the last axes of x to be normalized_shape {extents}, got {x.shape}"
        )
    for what, parameter in parameters.items():
        if parameter is not None and parameter.shape != extents:
            raise ValueError(f"{name}: expected {what} {extents}, got {parameter.shape}")
    return extents


@in_float32
def normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """y = x / max(‖x‖ₚ, eps) along `dim`; a zero vector stays zero, with gradient 1 / eps.

    >>> import minigrad as mg
    >>> mg.functional.normalize(mg.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6, 0.8],
            [0. , 0. ]])
    """
    if p == 2:
        squares = ops.sum(x * x, dim, keepdim=True)
        return x / ops.sqrt(ops.where(squares <= eps * eps, eps * eps, squares))
    if not p > 0:
        raise ValueError(f"normalize: p must be positive, got {p}")
    length = ops.norm(x, p, dim, keepdim=True)
    return x / ops.where(length <= eps, eps, length)


@in_float32
def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """y = Σ x1·x2 / (max(‖x1‖, eps) · max(‖x2‖, eps)) along `dim`; the shapes broadcast."""
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    y1, y2 = (normalize(x.expand(shape), 2.0, dim, eps) for x in (x1, x2))
    return ops.sum(y1 * y2, dim)
