"""What an op is given, made ready for it: numbers, arrays, dtypes; and errors that name it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from minigrad.backend import backend_of, is_array
from minigrad.op import Op

# The dtype of what is given none: `mg.set_default_dtype`.
default: dict[str, np.dtype[Any]] = {"floating": np.dtype(np.float32)}


def promoted(arrays: Sequence[Any], op: Op | None = None) -> list[Any]:
    """Arguments of different dtypes as PyTorch takes them.

    Integers take the floating dtype that they meet, and the default one where only a Python number
    is floating or the op knows no integers (exp). A 0-d array takes that of its peers with axes.
    (NumPy would go to float64, and exp from int8 to float16.)
    """
    if op is not None and op.condition:
        return [arrays[0], *_branches(arrays[0], arrays[1:])]
    given = [a for a in arrays if is_array(a)]
    floats = [a for a in given if a.dtype.kind == "f"]
    if not floats and ((op is not None and op.floating) or any(type(a) is float for a in arrays)):
        return [a.astype(default["floating"]) if is_array(a) else a for a in arrays]
    peers = floats or [a for a in given if a.dtype.kind in "iu"]
    if not peers:
        return list(arrays)
    dtype = np.result_type(*[a.dtype for a in peers if a.ndim] or [a.dtype for a in peers])
    return [a.astype(dtype) if is_array(a) and _would_widen(a, dtype) else a for a in arrays]


def _branches(condition: Any, arrays: Sequence[Any]) -> list[Any]:
    """What a condition chooses from; its own dtype counts for nothing."""
    if any(map(is_array, arrays)) or not any(type(a) is float for a in arrays):
        return promoted(arrays)
    backend = backend_of(condition)
    return [backend.full((), a, default["floating"]) for a in arrays]


def _would_widen(a: Any, dtype: np.dtype[Any]) -> bool:
    return np.result_type(a.dtype, dtype) != dtype


def constant(x: Any) -> Any:
    """An argument of an op that is no tensor: an array as it is, a NumPy scalar as a number."""
    if isinstance(x, np.generic):
        return cast("Any", x).item()
    if is_array(x):
        return x
    raise TypeError(
        f"expected a tensor, an array or a number, got {type(x).__name__}; write mg.tensor(...)"
    )


def explain(error: Exception, op: Op, arrays: Sequence[Any]) -> None:
    """Add to an error which op met which shapes, and the cause if devices were mixed."""
    shown = ", ".join(str(a.shape) if is_array(a) else repr(a) for a in arrays)
    error.add_note(f"in minigrad op {op.name}: arguments of shapes {shown}")
    devices = sorted({backend_of(a).device for a in arrays if is_array(a)})
    if len(devices) > 1:
        error.add_note(f"the arguments live on {devices}: move one with .to({devices[-1]!r})")
