"""Random numbers: a generator whose state can be saved, and the tensors drawn from it."""

from __future__ import annotations

import collections.abc
import contextlib
import copy
import os
import threading
from typing import Any, cast

import numpy as np

from minigrad.creation import resolve, wrap
from minigrad.ops.shape import ints
from minigrad.tensor import Tensor


class Generator:
    """A stream of random numbers (PCG64), the same for a seed on every device.

    Numbers are drawn on the host and moved, so that a seed, or a saved state, gives the same run
    on the CPU and on the GPU. `get_state` is plain data that JSON can hold.

    >>> import minigrad as mg
    >>> g = mg.Generator(0)
    >>> state = g.get_state()
    >>> a = mg.rand(3, generator=g)
    >>> g.set_state(state)
    >>> bool((mg.rand(3, generator=g) == a).all())
    True
    """

    def __init__(self, seed: int | None = None) -> None:
        self.manual_seed(int.from_bytes(os.urandom(8), "little") if seed is None else seed)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to `seed` (a non-negative integer); returns itself."""
        if seed < 0:
            raise ValueError(f"seed must be a non-negative integer, got {seed}")
        self.numpy = np.random.Generator(np.random.PCG64(seed))
        return self

    def get_state(self) -> dict[str, Any]:
        """Where the stream stands, as a dict of integers and strings."""
        return copy.deepcopy(dict(self.numpy.bit_generator.state))

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue the stream from a state that `get_state` gave."""
        fresh = np.random.PCG64()
        try:
            fresh.state = cast("Any", copy.deepcopy(state))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("set_state: not a state that get_state gave") from error
        self.numpy = np.random.Generator(fresh)


default_generator = Generator()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, from which layers and functions draw unless given another."""
    return default_generator.manual_seed(seed)


class _Mode(threading.local):
    refusing = False


_mode = _Mode()


@contextlib.contextmanager
def refused() -> collections.abc.Generator[None]:
    """Within it, in this thread, drawing raises RuntimeError and leaves every stream as it is."""
    outer, _mode.refusing = _mode.refusing, True
    try:
        yield
    finally:
        _mode.refusing = outer


def _stream(generator: Generator | None) -> np.random.Generator:
    if _mode.refusing:
        raise RuntimeError("random numbers cannot be drawn here: draw them before")
    return (generator or default_generator).numpy


def _floating(dtype: Any) -> np.dtype[Any]:
    kind = resolve(dtype)
    if kind.kind != "f":
        raise TypeError(f"these numbers are not whole: expected a floating dtype, not {kind}")
    return kind


def rand(
    *size: Any,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Uniform numbers in [0, 1)."""
    kind = _floating(dtype)
    narrow = np.float64 if kind == np.float64 else np.float32
    values = _stream(generator).random(ints(size) if size else (), dtype=narrow)
    if kind.itemsize < 4:  # rounding to nearest would give 1 now and then
        values = np.minimum(values, np.nextafter(kind.type(1), kind.type(0)))
    return wrap(np.asarray(values, kind), device, requires_grad)


def randn(
    *size: Any,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers from the normal distribution of mean 0 and variance 1."""
    kind = _floating(dtype)
    narrow = np.float64 if kind == np.float64 else np.float32
    values = _stream(generator).standard_normal(ints(size) if size else (), dtype=narrow)
    return wrap(np.asarray(values, kind), device, requires_grad)


def randint(
    low: int,
    high: Any,
    size: Any = None,
    *,
    dtype: Any = np.int64,
    device: str | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Integers in [low, high), all equally likely; mg.randint(high, size) starts at 0."""
    if size is None:
        low, high, size = 0, low, high
    values = _stream(generator).integers(low, high, size=ints((size,)), dtype=np.int64)
    return wrap(np.asarray(values, dtype), device, False)


def randperm(n: int, *, device: str | None = None, generator: Generator | None = None) -> Tensor:
    """The integers 0 … n-1 in random order."""
    return wrap(_stream(generator).permutation(n).astype(np.int64), device, False)


def bernoulli_mask(
    shape: tuple[int, ...], keep: float, like: Tensor, generator: Generator | None = None
) -> Tensor:
    """1/keep with probability `keep`, else 0: what dropout multiplies with, in like's dtype."""
    kept = _stream(generator).random(shape, dtype=np.float32) < keep
    scale = 1 / keep if keep else 0.0
    return wrap((kept * scale).astype(like.dtype), like.device, False)
