"""Arrays of tests as tensors on the device under test, in any memory layout, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import minigrad as mg

LAYOUTS = ("plain", "fortran", "sliced", "reversed")


def tensor(x: np.ndarray, layout: str = "plain", grad: bool = False) -> mg.Tensor:
    """A tensor of the values of x whose array lies in memory as `layout` says."""
    if layout == "plain" or x.ndim == 0:
        data = mg.tensor(x).data
    elif layout == "fortran":
        data = mg.tensor(x.T).data.transpose()
    elif layout == "sliced":
        data = mg.tensor(np.repeat(x, 2, axis=-1)).data[..., ::2]
    else:
        data = mg.tensor(x[..., ::-1]).data[..., ::-1]
    return mg.Tensor(data).requires_grad_(grad and x.dtype.kind == "f")


def tensors(xs: Sequence[np.ndarray], layout: str = "plain", grad: bool = False) -> list[mg.Tensor]:
    return [tensor(x, layout, grad) for x in xs]


def flat(y: Any) -> Iterator[Any]:
    """The tensors in a result."""
    if isinstance(y, (tuple, list)):
        for part in y:
            yield from flat(part)
    else:
        yield y


def host(y: Any) -> list[np.ndarray]:
    """A result, whatever it is made of, as NumPy arrays."""
    found = []
    for part in flat(y):
        t = (
            part
            if isinstance(part, mg.Tensor)
            else mg.Tensor(part)
            if hasattr(part, "shape")
            else part
        )
        found.append(t.detach().cpu().numpy() if isinstance(t, mg.Tensor) else np.asarray(t))
    return found
