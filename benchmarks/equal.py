"""Whether two peers computed the same: loss and gradients, before anything is timed."""

from __future__ import annotations

from typing import Any

import numpy as np

Results = dict[str, np.ndarray[Any, Any]]

TOLERANCE = 1e-4  # of the largest element of an array
REFERENCES = ["torch", "hand", "jax", "minigrad:loop", "minigrad"]  # the first that is there


def reference_among(peers: list[str]) -> str | None:
    """The peer with which the others are compared: the first, where none of these is there."""
    return next((peer for peer in [*REFERENCES, *peers] if peer in peers), None)


def difference(found: Results, expected: Results) -> str | None:
    """What differs, in words; None where the results are equal up to TOLERANCE."""
    if not found:
        return None  # a yardstick: it computes no results
    if set(found) != set(expected):
        return f"results {sorted(found)} instead of {sorted(expected)}"
    faults = [_difference(name, found[name], expected[name]) for name in sorted(expected)]
    return "; ".join(filter(None, faults)) or None


def _difference(name: str, x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> str | None:
    if x.shape != y.shape:
        return f"{name} has shape {x.shape} instead of {y.shape}"
    if not np.isfinite(y).all():
        return f"{name} is not finite in the reference"
    x, y = x.astype(np.float64), y.astype(np.float64)
    scale = np.abs(y).max(initial=0.0)
    worst = np.abs(x - y).max(initial=0.0)
    if worst <= TOLERANCE * scale:  # a NaN fails
        return None
    return f"{name} differs by {worst:.2g}, where its largest element is {scale:.2g}"
