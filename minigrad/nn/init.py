"""Initialisation: fill a parameter in place, drawing from a generator."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.random import Generator, rand, randn, randperm
from minigrad.tensor import Tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one number; returns the tensor."""
    tensor.data[...] = val
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


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """Fill with N(mean, std²) between a and b, numbers outside drawn anew; returns the tensor.

    Raises ValueError unless std > 0 and a hundredth of the distribution lies between a and b.
    """
    if not std > 0:
        raise ValueError(f"trunc_normal_: std must be positive, got {std}")
    below_a, below_b = (math.erf((x - mean) / (std * math.sqrt(2))) / 2 for x in (a, b))
    if not below_b - below_a > 0.01:
        raise ValueError(
            f"trunc_normal_: almost nothing of N({mean}, {std}²) lies in [{a}, {b}]; widen the "
            "interval (a and b are values, not standard deviations), or take uniform_"
        )
    values = _normal(tensor.shape, generator) * std + mean
    while (outside := (values < a) | (values > b)).any():
        values[outside] = _normal((int(outside.sum()),), generator) * std + mean
    return _write(tensor, values)


def sparse_(
    tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None
) -> Tensor:
    """Fill with N(0, std²) and set a part of each column to 0 (Martens, 2010); returns the tensor.

    tensor: a weight (out, in); sparsity: the share of a column's elements that are 0, rounded up.
    """
    if tensor.ndim != 2 or not 0 <= sparsity <= 1:
        raise ValueError(
            f"sparse_: expected 2 axes and a sparsity in 0…1, got {tensor.shape} and {sparsity}"
        )
    rows, columns = tensor.shape
    values = _normal((rows, columns), generator) * std
    for column in values.T:
        order = randperm(rows, device="cpu", generator=generator).numpy()
        column[order[: math.ceil(sparsity * rows)]] = 0
    return _write(tensor, values)


def eye_(tensor: Tensor) -> Tensor:
    """Fill with the identity, which keeps what it multiplies as it is; returns the tensor.

    As recurrent weights of an RNN with relu: Le et al. (2015).
    """
    if tensor.ndim != 2:
        raise ValueError(f"eye_: expected 2 axes, got shape {tensor.shape}")
    rows, columns = tensor.shape
    return _write(tensor, np.eye(rows, columns))


def fans(tensor: Tensor) -> tuple[int, int]:
    """How many inputs and outputs a weight (out, in, …) connects."""
    if tensor.ndim < 2:
        raise ValueError(f"a weight of shape {tensor.shape} has no fan-in: give 2 or more axes")
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """By how much to scale a weight so that what passes `nonlinearity` keeps its variance.

    nonlinearity: "linear", "sigmoid" (1), "tanh" (5/3), "relu" (√2), "selu" (3/4) or "leaky_relu"
    (√(2 / (1 + param²)), param being the slope below 0, by default 0.01), as PyTorch has them.

    >>> import minigrad as mg
    >>> round(mg.nn.init.calculate_gain("tanh"), 3)
    1.667
    """
    slope = 0.01 if param is None else param
    gains = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope * slope)),
        "selu": 3 / 4,
    }
    if nonlinearity not in gains:
        raise ValueError(f"nonlinearity: expected one of {', '.join(gains)}; got {nonlinearity!r}")
    return gains[nonlinearity]


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """U(±gain·√(6 / (fan_in + fan_out))) (Glorot and Bengio, 2010); returns the tensor."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """N(0, gain²·2 / (fan_in + fan_out)) (Glorot and Bengio, 2010); returns the tensor."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))), generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """gain / √fan, for the gain of the nonlinearity that follows."""
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan_in, fan_out = fans(tensor)
    fan = fan_in if mode == "fan_in" else fan_out
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """U(±gain·√(3 / fan)), by default U(±√(6 / ((1 + a²)·fan_in))); returns the tensor.

    For (leaky) rectifiers of slope a (He et al., 2015); mode: "fan_in" keeps the variance of what
    flows forward, "fan_out" that of the gradients; nonlinearity: as in `calculate_gain`.
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """N(0, gain² / fan), by default N(0, 2 / ((1 + a²)·fan_in)); returns the tensor.

    Arguments as in `kaiming_uniform_`.
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def orthogonal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """A random orthogonal matrix times gain, by QR (Saxe et al., 2013); returns the tensor.

    A tensor of more than 2 axes is seen as (first, all others); of the shorter side's vectors each
    has length gain and is orthogonal to the others.
    """
    columns, _ = fans(tensor)
    rows = tensor.shape[0]
    q, r = np.linalg.qr(_normal((max(rows, columns), min(rows, columns)), generator))
    q = q * np.sign(np.diag(r))  # makes the distribution uniform
    q = q.T if rows < columns else q
    return _write(tensor, (gain * q).reshape(tensor.shape))


def _normal(shape: tuple[int, ...], generator: Generator | None) -> np.ndarray[Any, Any]:
    """Numbers ~ N(0, 1) on the host, in float64: what is computed with them loses nothing."""
    return randn(shape, dtype=np.float64, device="cpu", generator=generator).numpy()


def _write(tensor: Tensor, values: np.ndarray[Any, Any]) -> Tensor:
    return tensor.copy_(values.astype(tensor.dtype))
