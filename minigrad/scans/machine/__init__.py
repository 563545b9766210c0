"""A scan as machine code: both loops of a step in C, its products by NumPy's own BLAS."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from minigrad.backend.blas import blas
from minigrad.fuse import fused_elementwise
from minigrad.ops import Elementwise
from minigrad.scans.machine.back import Backward
from minigrad.scans.machine.code import Unfit
from minigrad.scans.machine.places import Forward
from minigrad.scans.plan import Plan
from minigrad.scans.step import Line, Step


class Machine:
    """The loops of a step, as the loops in Python are called."""

    def __init__(self, plan: Plan) -> None:
        library = blas()
        if library is None:
            raise Unfit
        forward = Forward(Plan(_fused(plan.step), plan.xp, plan.present_results), library)
        self.forward = forward.forward
        self.backward = Backward(forward) if plan.recorded else None


def machine(plan: Plan) -> Machine | None:
    """The loops of a step in machine code; None where only the loops in Python can do it."""
    try:
        return Machine(plan)
    except Unfit:
        return None


def _fused(step: Step) -> Step:
    """The step with ops that stand alone (tanh) as fused ones."""
    lines: list[Line] = []
    for line in step.lines:
        op: Any = line.op
        if isinstance(op, Elementwise):
            if line.params or not all(isinstance(a, int) for a in line.args):
                raise Unfit
            op = fused_elementwise(op, len(line.args))
            if len(op.full.outputs) > 1:  # there is no place for a hidden one
                raise Unfit
        lines.append(replace(line, op=op))
    return replace(step, lines=lines)
