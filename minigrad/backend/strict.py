"""The `strict` backend for tests: NumPy, but its arrays refuse what CuPy's arrays refuse."""

from __future__ import annotations

import operator
from collections.abc import Callable, Generator, Iterator, Set
from contextlib import contextmanager
from typing import Any, NamedTuple, NoReturn

import numpy as np

from minigrad.backend.base import Array, Backend
from minigrad.backend.cupy_names import ATOMIC, ATTRIBUTES, DTYPES, FUNCTIONS, METHODS, UFUNCS
from minigrad.backend.erf import erf

OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor")
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
HOST: tuple[type, ...] = (np.ndarray, np.generic)


class SilentOnCuPy(AssertionError):
    """CuPy would go on with a wrong value here, so that the host has to check before."""


class Flags(NamedTuple):
    """The memory layout of an array, as far as CuPy's flags tell it."""

    c_contiguous: bool
    f_contiguous: bool
    owndata: bool


class StrictArray:
    """An array that stands for one on a GPU: it holds a NumPy array, and lets nobody see it."""

    __slots__ = ("_host",)
    __hash__ = None  # pyright: ignore[reportAssignmentType]  # == compares elements

    def __init__(self, host: np.ndarray[Any, Any]) -> None:
        self._host: Any = host

    def __getattr__(self, name: str) -> Any:
        if name in METHODS:
            return _wrapped(getattr(self._host, name), METHODS[name], _argument)
        if name in ATTRIBUTES:
            return _strict(getattr(self._host, name))
        raise AttributeError(
            f"CuPy's arrays have no {name!r}, or minigrad never used it: see cupy_names.py"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return self._host.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._host.dtype

    @property
    def data(self) -> object:
        """Where the memory is: no array, although a Tensor's attribute of this name is one."""
        return object()

    @property
    def flags(self) -> Flags:
        flags = self._host.flags
        return Flags(flags.c_contiguous, flags.f_contiguous, flags.owndata)

    def __repr__(self) -> str:
        return f"strict {self._host!r}"

    # ---- values, for which CuPy waits for the GPU ---------------------------------------------

    def __bool__(self) -> bool:
        return bool(self._host)

    def __int__(self) -> int:
        return int(self._host)

    def __float__(self) -> float:
        return float(self._host)

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self) -> Iterator[StrictArray]:
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # ---- what NumPy would do by itself --------------------------------------------------------

    def __array__(self, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError("a device array never turns into a NumPy array: write xp.to_host(x)")

    def __array_ufunc__(self, ufunc: Any, *_args: Any, **_kwargs: Any) -> NoReturn:
        raise TypeError(
            f"np.{ufunc.__name__}, or its operator on a host value, met a device array: write "
            f"xp.{ufunc.__name__}, and bring host arrays over with xp.from_host"
        )

    def __array_function__(self, function: Any, *_args: Any) -> NoReturn:
        raise TypeError(f"np.{function.__name__} met a device array: write xp.{function.__name__}")

    # ---- indices ------------------------------------------------------------------------------

    def __getitem__(self, key: Any) -> StrictArray:
        with _in_bounds(key):
            return StrictArray(self._host[_plain(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        with _in_bounds(key):
            self._host[_plain(key)] = _operand(value)


def _bind(name: str, *, reflected: bool = False, in_place: bool = False) -> None:
    """Give `StrictArray` a binary operator."""
    prefix = "r" if reflected else "i" if in_place else ""
    compute: Callable[[Any, Any], Any] = getattr(operator, f"__{'i' * in_place}{name}__")

    def method(self: StrictArray, other: Any) -> Any:
        if not isinstance(other, (StrictArray, int, float, complex, *HOST)):
            return NotImplemented
        x, y = _operand(self), _operand(other)
        result = compute(y, x) if reflected else compute(x, y)
        return self if in_place else _strict(result)

    setattr(StrictArray, f"__{prefix}{name}__", method)


def _bind_unary(name: str) -> None:
    compute: Callable[[Any], Any] = getattr(operator, name)

    def method(self: StrictArray) -> Any:
        return _strict(compute(_operand(self)))

    setattr(StrictArray, f"__{name}__", method)


for _name in OPERATORS:
    _bind(_name)
    _bind(_name, reflected=True)
    _bind(_name, in_place=True)
for _name in (*COMPARISONS, "matmul"):
    _bind(_name)
for _name in ("neg", "pos", "abs", "invert"):
    _bind_unary(_name)


# ---- in and out of the disguise ---------------------------------------------------------------


def _strict(y: Any) -> Any:
    """A result of NumPy's in disguise; 0-d ones, which NumPy gives as scalars, are arrays too."""
    if isinstance(y, HOST):
        return StrictArray(np.asarray(y))
    return type(y)(map(_strict, y)) if type(y) in (tuple, list) else y


def _operand(x: Any) -> Any:
    """The NumPy array in a device array, and Python's numbers as they are; nothing else."""
    if isinstance(x, StrictArray):
        return x._host  # pyright: ignore[reportPrivateUsage]  # this file is the disguise
    if isinstance(x, HOST):
        raise TypeError(
            f"a host value, numpy.{type(x).__name__}, met a device array: write "
            "xp.from_host(x), or float(x) for a number"
        )
    if not isinstance(x, (int, float, complex)):
        raise TypeError(f"expected a device array or a number, got {type(x).__name__}")
    return x


def _argument(x: Any) -> Any:
    """What a function takes: device arrays, sequences of them, and Python's own values."""
    if type(x) in (tuple, list):
        return type(x)(map(_argument, x))
    return _operand(x) if isinstance(x, (StrictArray, *HOST)) else x


def _keys(key: Any) -> tuple[Any, ...]:
    return key if isinstance(key, tuple) else (key,)  # pyright: ignore[reportUnknownVariableType]  # a key is of anything


def _plain(key: Any) -> tuple[Any, ...]:
    """A key for NumPy; with an ellipsis, so that even a single element comes as a view."""
    if any(type(k) in (list, np.ndarray) for k in _keys(key)):
        raise TypeError("an index is a list or a host array: write xp.from_host(...)")
    keys = [_operand(k) if isinstance(k, StrictArray) else k for k in _keys(key)]
    return tuple(keys) if any(k is ... for k in keys) else (*keys, ...)


def _is_integers(key: Any) -> bool:
    return isinstance(key, StrictArray) and key.dtype.kind in "iu"


@contextmanager
def _in_bounds(key: Any) -> Generator[None]:
    """Raise another error where NumPy finds an index array out of bounds: CuPy wraps it."""
    try:
        yield
    except IndexError as error:
        if any(map(_is_integers, _keys(key))) and "out of bounds" in str(error):
            raise SilentOnCuPy(f"CuPy would wrap silently: {error}") from error
        raise


def _wrapped(
    function: Callable[..., Any], keywords: Set[str], unwrap: Callable[[Any], Any]
) -> Callable[..., Any]:
    """A function or method of NumPy's on device arrays, with the keywords that CuPy's takes."""

    def call(*args: Any, **kwargs: Any) -> Any:
        if not keywords >= kwargs.keys():
            unknown = ", ".join(kwargs.keys() - keywords)
            raise TypeError(f"CuPy's {function.__name__} takes no {unknown}, or see cupy_names.py")
        given = {k: _argument(v) for k, v in kwargs.items()}
        return _strict(function(*map(unwrap, args), **given))

    call.__name__ = function.__name__
    return call


class StrictNumpy:
    """The names of NumPy that CuPy has too, on device arrays."""

    def __getattr__(self, name: str) -> Any:
        if name in UFUNCS:
            return _wrapped(getattr(np, name), UFUNCS[name], _operand)
        if name in FUNCTIONS:
            return _wrapped(getattr(np, name), FUNCTIONS[name], _argument)
        raise AttributeError(
            f"CuPy has no {name!r}, or minigrad never used it: see backend/cupy_names.py"
        )

    def argsort(self, a: Array, axis: int = -1, kind: str | None = None) -> StrictArray:
        """The order of elements; CuPy refuses any other `kind` than the stable one."""
        if kind not in (None, "stable"):
            raise ValueError(f"CuPy's argsort is stable and takes no kind={kind!r}")
        return StrictArray(np.argsort(_operand(a), axis=axis, kind="stable"))

    def empty(self, shape: Any, dtype: Any = float, order: Any = "C") -> StrictArray:
        """Memory that nobody has written: NaN, so that whoever reads it is found out."""
        poison = np.nan if np.dtype(dtype).kind in "fc" else 1
        return StrictArray(np.full(shape, poison, dtype, order))

    def where(self, condition: Array, x: Any, y: Any) -> StrictArray:
        """x or y; CuPy asks the condition for its dtype, so that it must be an array."""
        return _strict(np.where(_operand(condition.astype(bool)), _operand(x), _operand(y)))


class StrictBackend(Backend):
    """Arrays are `StrictArray`, and live on the device "strict"."""

    name = "strict"
    device = "strict"
    array_types = (StrictArray,)

    def __init__(self) -> None:
        super().__init__(StrictNumpy())

    def from_host(self, x: np.ndarray[Any, Any]) -> Array:
        if x.dtype.char not in DTYPES:
            raise ValueError(f"CuPy has no arrays of {x.dtype}")
        return StrictArray(np.array(x))

    def to_host(self, x: Array) -> np.ndarray[Any, Any]:
        return np.array(_operand(x))

    def erf(self, x: Array, out: Array | None = None) -> Array:
        return StrictArray(erf(_operand(x), None if out is None else _operand(out)))

    def scatter_add(self, into: Array, index: Any, values: Array) -> None:
        if any(map(_is_integers, _keys(index))) and into.dtype.name not in ATOMIC:
            raise TypeError(f"CuPy's scatter_add takes {sorted(ATOMIC)}, not {into.dtype}")
        with _in_bounds(index):
            np.add.at(_operand(into), _plain(index), _operand(values))
