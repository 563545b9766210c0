"""Activations: elementwise functions, each one fused op with its derivative derived from it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from minigrad import ops
from minigrad.fuse import Fused, fuse
from minigrad.tensor import Tensor


@functools.lru_cache(maxsize=256)
def _with(function: Callable[..., Any], *constants: float) -> Fused:
    """`function` of x alone, fused, for one setting of its constants."""

    def fused(x: Any) -> Any:
        return function(x, *constants)

    fused.__name__ = function.__name__.lstrip("_")
    return fuse(fused)


# ---- rectifiers ------------------------------------------------------------------------------


def _leaky_relu(x: Any, slope: float) -> Any:
    return ops.where(x > 0, x, slope * x)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """y = x where x > 0, else negative_slope · x (Maas et al., 2013).

    >>> import minigrad as mg
    >>> mg.functional.leaky_relu(mg.tensor([-1.0, 2.0]))
    tensor([-0.01,  2.  ])
    """
    return _with(_leaky_relu, negative_slope)(x)


@fuse
def _prelu(x: Any, weight: Any) -> Any:
    return ops.where(x > 0, x, weight * x)


def prelu(x: Tensor, weight: Tensor) -> Tensor:
    """y = x where x > 0, else w · x with learned slopes (He et al., 2015).

    weight: (1,), or (C,) for x (N, C, …), one slope a channel. Raises ValueError for another shape.
    """
    channels = 1 if x.ndim < 2 else x.shape[1]
    if weight.shape not in ((1,), (channels,)):
        raise ValueError(
            f"prelu: expected weight (1,) or ({channels},), one a channel (axis 1) of x {x.shape}; "
            f"got {weight.shape}"
        )
    if weight.shape[0] > 1:
        weight = weight.reshape(-1, *[1] * (x.ndim - 2))
    return _prelu(x, weight)


def relu6(x: Tensor) -> Tensor:
    """y = min(max(x, 0), 6) (Howard et al., 2017); the gradient at 0 and 6 is 0."""
    return hardtanh(x, 0.0, 6.0)


def _threshold(x: Any, threshold: float, value: float) -> Any:
    return ops.where(x <= threshold, value, x)  # so that NaN stays


def threshold(x: Tensor, threshold: float, value: float) -> Tensor:
    """y = x where x > threshold, else value."""
    return _with(_threshold, threshold, value)(x)


# ---- exponential units -----------------------------------------------------------------------


def _elu(x: Any, alpha: float, scale: float, inner: float) -> Any:
    below = ops.where(x > 0, 0.0, x)  # where x > 0, exp must not overflow: 0 · ∞ is NaN
    return ops.where(x > 0, scale * x, (scale * alpha) * ops.expm1(below * inner))


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """y = x where x > 0, else alpha · (eˣ - 1) (Clevert et al., 2015).

    >>> import minigrad as mg
    >>> mg.functional.elu(mg.tensor([-100.0, 2.0]))
    tensor([-1.,  2.])
    """
    return _with(_elu, alpha, 1.0, 1.0)(x)


def selu(x: Tensor) -> Tensor:
    """y = λ · elu(x, α), λ = 1.0507…, α = 1.6733…: self-normalising (Klambauer et al., 2017)."""
    return _with(_elu, 1.6732632423543772, 1.0507009873554805, 1.0)(x)


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """y = x where x > 0, else alpha · (exp(x / alpha) - 1) (Barron, 2017)."""
    if alpha == 0:
        raise ValueError("celu: alpha must not be 0")
    return _with(_elu, alpha, 1.0, 1.0 / alpha)(x)


# ---- smooth units ----------------------------------------------------------------------------


@fuse
def _silu(x: Any) -> Any:
    return x * ops.sigmoid(x)


def silu(x: Tensor) -> Tensor:
    """y = x · sigmoid(x), also called swish (Ramachandran et al., 2017)."""
    return _silu(x)


@fuse
def _gelu(x: Any) -> Any:
    return 0.5 * x * (1.0 + ops.erf(x * math.sqrt(0.5)))


@fuse
def _gelu_tanh(x: Any) -> Any:
    return 0.5 * x * (1.0 + ops.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * (x * x * x))))


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """y = x · Φ(x), Φ the normal distribution function (Hendrycks and Gimpel, 2016).

    approximate="tanh" takes Φ(x) ≈ ½ + ½ tanh(√(2/π) · (x + 0.044715 x³)).

    >>> import minigrad as mg
    >>> mg.functional.gelu(mg.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.15865526,  0.        ,  0.8413447 ])
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    return (_gelu if approximate == "none" else _gelu_tanh)(x)


def _softplus(x: Any, beta: float, threshold: float) -> Any:
    return ops.where(x * beta > threshold, x, ops.softplus(x * beta) / beta)


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """y = ln(1 + exp(beta · x)) / beta, and x itself where beta · x > threshold.

    >>> import minigrad as mg
    >>> mg.functional.softplus(mg.tensor([-1000.0, 0.0, 1000.0]))
    tensor([0.000000e+00, 6.931472e-01, 1.000000e+03])
    """
    return _with(_softplus, beta, threshold)(x)


@fuse
def _logsigmoid(x: Any) -> Any:
    return -ops.softplus(-x)


def logsigmoid(x: Tensor) -> Tensor:
    """y = ln sigmoid(x) = -ln(1 + e⁻ˣ), without overflow."""
    return _logsigmoid(x)


@fuse
def _mish(x: Any) -> Any:
    return x * ops.tanh(ops.softplus(x))


def mish(x: Tensor) -> Tensor:
    """y = x · tanh(ln(1 + eˣ)) (Misra, 2019)."""
    return _mish(x)


@fuse
def _softsign(x: Any) -> Any:
    return x / (1.0 + ops.abs(x))


def softsign(x: Tensor) -> Tensor:
    """y = x / (1 + |x|)."""
    return _softsign(x)


# ---- piecewise linear stand-ins --------------------------------------------------------------


def _hardtanh(x: Any, low: float, high: float) -> Any:
    return ops.where(x <= low, low, ops.where(x >= high, high, x))


def hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """y = x, not below min_val nor above max_val; unlike clamp's, its gradient there is 0."""
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val {min_val} is above max_val {max_val}")
    return _with(_hardtanh, min_val, max_val)(x)


@fuse
def _hardsigmoid(x: Any) -> Any:
    return _hardtanh(x * (1 / 6) + 0.5, 0.0, 1.0)


def hardsigmoid(x: Tensor) -> Tensor:
    """y = x / 6 + ½, not below 0 nor above 1 (Courbariaux et al., 2015)."""
    return _hardsigmoid(x)


@fuse
def _hardswish(x: Any) -> Any:
    return x * _hardtanh(x * (1 / 6) + 0.5, 0.0, 1.0)


def hardswish(x: Tensor) -> Tensor:
    """y = x · hardsigmoid(x) (Howard et al., 2019)."""
    return _hardswish(x)


@fuse
def _gate(a: Any, b: Any) -> Any:
    return a * ops.sigmoid(b)


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """y = a · sigmoid(b), a and b the halves of x along `dim` (Dauphin et al., 2016).

    Raises ValueError where the extent along `dim` is odd.
    """
    if x.ndim == 0 or x.shape[dim] % 2:
        raise ValueError(f"glu: expected an even extent along dim {dim}, got x {x.shape}")
    return _gate(*x.chunk(2, dim))
