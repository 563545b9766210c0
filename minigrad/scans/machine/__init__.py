"""A scan as machine code: both loops of a step in C, its products by NumPy's own BLAS."""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.backend.blas import blas
from minigrad.scans.machine.back import Backward
from minigrad.scans.machine.code import Unfit
from minigrad.scans.machine.places import Forward
from minigrad.scans.plan import Plan


class Machine:
    """The loops of a step, as the loops in Python are called."""

    def __init__(self, plan: Plan) -> None:
        library = blas()
        if library is None:
            raise Unfit
        self._forward = Forward(plan, library)
        self.forward = self._forward.forward
        self.unpack = self._forward.unpack
        self._back: dict[Sequence[bool], Backward | None] = {}
        if plan.recorded:
            self._back[plan.present_results] = Backward(self._forward, plan.present_results)

    def backward(self, present: Sequence[bool]) -> Backward | None:
        """The loop back from the cotangents that are present, if it can be done in C."""
        if present not in self._back:
            try:
                self._back[present] = Backward(self._forward, present)
            except Unfit:
                self._back[present] = None
        return self._back[present]


def machine(plan: Plan) -> Machine | None:
    """The loops of a step in machine code; None where only the loops in Python can do it."""
    try:
        return Machine(plan)
    except Unfit:
        return None
