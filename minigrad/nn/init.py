"""Initialisation: fill a parameter in place, drawing from a generator."""

from __future__ import annotations

import math

import numpy as np

from minigrad.random import Generator, rand, randn
from minigrad.tensor import Tensor


def constant_(tensor: Tensor, value: float) -> Tensor:
    """Fill with one number; returns the tensor."""
    tensor.data[...] = value
    tensor.mark_written()
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros; returns the tensor."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones; returns the tensor."""
    return constant_(tensor, 1.0)


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with U(a, b); returns the tensor."""
    u = rand(tensor.shape, dtype=tensor.dtype, device=tensor.device, generator=generator)
    return tensor.copy_(u * (b - a) + a)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with N(mean, std²); returns the tensor."""
    z = randn(tensor.shape, dtype=tensor.dtype, device=tensor.device, generator=generator)
    return tensor.copy_(z * std + mean)


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs and outputs a weight (out, in, …) connects."""
    if tensor.ndim < 2:
        raise ValueError(f"a weight of shape {tensor.shape} has no fan-in: give 2 or more axes")
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """U(±gain·√(6 / (fan_in + fan_out))) (Glorot and Bengio, 2010); returns the tensor."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """N(0, gain²·2 / (fan_in + fan_out)) (Glorot and Bengio, 2010); returns the tensor."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def kaiming_uniform_(tensor: Tensor, a: float = 0.0, generator: Generator | None = None) -> Tensor:
    """U(±√(6 / ((1 + a²)·fan_in))), for (leaky) rectifiers (He et al., 2015); returns it."""
    bound = math.sqrt(6 / ((1 + a * a) * fans(tensor)[0]))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Tensor, a: float = 0.0, generator: Generator | None = None) -> Tensor:
    """N(0, 2 / ((1 + a²)·fan_in)), for (leaky) rectifiers (He et al., 2015); returns the tensor."""
    return normal_(tensor, 0.0, math.sqrt(2 / ((1 + a * a) * fans(tensor)[0])), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """A random orthogonal matrix times gain, by QR (Saxe et al., 2013); returns the tensor."""
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    flat = randn(
        max(rows, columns),
        min(rows, columns),
        dtype=tensor.dtype,
        device="cpu",
        generator=generator,
    ).numpy()
    q, r = np.linalg.qr(flat)
    q = q * np.sign(np.diag(r))  # makes the distribution uniform
    q = q.T if rows < columns else q
    return tensor.copy_((gain * q).reshape(tensor.shape).astype(tensor.dtype))
