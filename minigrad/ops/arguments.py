"""What an op is given, made ready for it: numbers, arrays, dtypes; and errors that name it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from minigrad.backend import backend_of, is_array
from minigrad.op import Op


def promoted(arrays: Sequence[Any]) -> list[Any]:
    """Arguments of different dtypes as PyTorch takes them: integers take the floating dtype that
    they meet, and a 0-d array that of the arrays with axes (NumPy would go to float64)."""
    floats = [a for a in arrays if is_array(a) and a.dtype.kind == "f"]
    if not floats:
        return list(arrays)
    wide = np.result_type(*[a.dtype for a in floats if a.ndim] or [a.dtype for a in floats])
    return [
        a.astype(wide) if is_array(a) and (a.dtype.kind in "iu" or _is_wider(a, wide)) else a
        for a in arrays
    ]


def _is_wider(a: Any, dtype: np.dtype[Any]) -> bool:
    return a.dtype.kind == "f" and a.ndim == 0 and a.dtype.itemsize > dtype.itemsize


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
