"""A scan as machine code: the loops of a step in C, their products by NumPy's own BLAS."""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.backend.blas import blas
from minigrad.scans.machine.code import Unfit
from minigrad.scans.machine.loop import Forward
from minigrad.scans.step import Slot, Step


def forward(step: Step, kept: Sequence[Slot]) -> Forward | None:
    """The loop of a step in C; None where only the loop in Python can do it."""
    library = blas()
    if library is None:
        return None
    try:
        return Forward(step, kept, library)
    except Unfit:
        return None
