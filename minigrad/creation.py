"""New tensors: from data, and filled with constants; the default device and dtype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from minigrad.backend import backend_of, get_backend, is_array, to_backend
from minigrad.ops.arguments import default
from minigrad.ops.shape import ints
from minigrad.tensor import Tensor

_default = {"device": "cpu"}


def set_default_device(device: str) -> None:
    """Make new tensors live on `device` ("cpu" or "cuda") unless they say otherwise."""
    get_backend(device)
    _default["device"] = device


def get_default_device() -> str:
    """Where new tensors live."""
    return _default["device"]


def set_default_dtype(dtype: Any) -> None:
    """Make new floating tensors have `dtype` (float32 or float64, say)."""
    kind = np.dtype(dtype)
    if kind.kind != "f":
        raise TypeError(f"the default dtype must be a floating one, not {kind}")
    default["floating"] = kind


def get_default_dtype() -> np.dtype[Any]:
    """The dtype of new floating tensors."""
    return default["floating"]


def resolve(dtype: Any) -> np.dtype[Any]:
    """Give `dtype` as NumPy's, or the default for None."""
    return default["floating"] if dtype is None else np.dtype(dtype)


def wrap(host: np.ndarray[Any, Any], device: str | None, requires_grad: bool) -> Tensor:
    """Make a tensor of a host array that nobody else holds."""
    array = get_backend(device or _default["device"]).from_host(host)
    return Tensor(array).requires_grad_() if requires_grad else Tensor(array)


def tensor(
    data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor with a copy of `data`: numbers, nested lists, an array, or a list of tensors.

    Python floats take the default dtype (float32), integers int64; arrays keep their dtype. Without
    `device`, tensors and GPU arrays stay where they are, all else goes to the default device.

    >>> import minigrad as mg
    >>> mg.tensor([[1, 2], [3, 4]]).dtype
    dtype('int64')
    """
    if isinstance(data, Tensor):
        device, data = device or data.device, data.data
    if is_array(data):
        home = backend_of(data).device  # what lives on a GPU stays there
        backend = get_backend(device or (_default["device"] if home == "cpu" else home))
        kind = data.dtype if dtype is None else np.dtype(dtype)
        copied = to_backend(data, backend).astype(kind)
        copied = backend.asarray(copied if copied is not data else data.copy())
        return Tensor(copied).requires_grad_() if requires_grad else Tensor(copied)
    try:
        host = np.array(_without_tensors(data))
    except ValueError as error:
        raise ValueError(f"tensor: the lists are not equally long: {error}") from None
    if host.dtype.kind not in "biufc":
        raise TypeError(f"tensor: expected numbers or lists of them, got {type(data).__name__}")
    if dtype is not None:
        host = host.astype(dtype)
    elif host.dtype.kind == "f":
        host = host.astype(default["floating"])
    return wrap(host, device, requires_grad)


def _without_tensors(data: Any) -> Any:
    if isinstance(data, Tensor):
        return data.tolist()
    if isinstance(data, (list, tuple)):
        return [_without_tensors(part) for part in cast("Sequence[Any]", data)]
    return data


def as_tensor(data: Any, dtype: Any = None, device: str | None = None) -> Tensor:
    """`data` itself if it is such a tensor already, else `tensor(data)`."""
    if isinstance(data, Tensor):
        data = data if device is None else data.to(device)
        return data if dtype is None else data.to(dtype)
    return tensor(data, dtype, device)


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A CPU tensor that shares the memory of a NumPy array."""
    return Tensor(array)


def full(
    size: int | Sequence[int],
    fill_value: float,
    *,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of `size` filled with one number."""
    if dtype is None and isinstance(fill_value, (bool, int)):
        dtype = np.bool_ if isinstance(fill_value, bool) else np.int64
    return wrap(np.full(ints((size,)), fill_value, resolve(dtype)), device, requires_grad)


def zeros(
    *size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros: mg.zeros(2, 3) or mg.zeros((2, 3))."""
    return wrap(np.zeros(ints(size), resolve(dtype)), device, requires_grad)


def ones(
    *size: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor of ones: mg.ones(2, 3) or mg.ones((2, 3))."""
    return wrap(np.ones(ints(size), resolve(dtype)), device, requires_grad)


def zeros_like(x: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape, dtype and device of x."""
    return zeros(x.shape, dtype=dtype or x.dtype, device=x.device, requires_grad=requires_grad)


def ones_like(x: Tensor, *, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape, dtype and device of x."""
    return ones(x.shape, dtype=dtype or x.dtype, device=x.device, requires_grad=requires_grad)


def full_like(x: Tensor, fill_value: float, *, dtype: Any = None) -> Tensor:
    """One number in the shape, dtype and device of x."""
    return full(x.shape, fill_value, dtype=dtype or x.dtype, device=x.device)


def eye(n: int, m: int | None = None, *, dtype: Any = None, device: str | None = None) -> Tensor:
    """The identity matrix (n, n), or ones on the diagonal of (n, m)."""
    return wrap(np.eye(n, m, dtype=resolve(dtype)), device, False)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: Any = None,
    device: str | None = None,
) -> Tensor:
    """start, start + step, … below end (from 0 when only `end` is given); int64 for integers."""
    first, last = (0, start) if end is None else (start, end)
    if dtype is None and all(isinstance(v, int) for v in (first, last, step)):
        dtype = np.int64
    return wrap(np.arange(first, last, step).astype(resolve(dtype)), device, False)


def linspace(
    start: float, end: float, steps: int, *, dtype: Any = None, device: str | None = None
) -> Tensor:
    """`steps` numbers from start to end, both included, at equal distances."""
    return wrap(np.linspace(start, end, steps).astype(resolve(dtype)), device, False)
