"""The rules of a line, written down as lines: run once on traced values, as a step is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.gathering import Later
from minigrad.op import Op
from minigrad.scans.machine.code import Unfit
from minigrad.scans.plan import Plan
from minigrad.scans.step import Line, Slot, Step, Writer
from minigrad.tensor import Tensor


@dataclass(frozen=True)
class Rule:
    """What pulls a line back: the lines of a step of its own, whose first slots are `given`."""

    step: Step
    given: Sequence[tuple[Slot, bool]]  # the line's values, or (True) their cotangents
    gives: dict[int, Slot]  # the arguments' cotangents


def rule_of(plan: Plan, line: Line, present: Sequence[bool]) -> Rule:
    """The rules of a line for the cotangents of its outputs that are present."""
    step, needs = plan.step, plan.needs(line)
    reads_xs, reads_ys = plan.reads(line)
    given = [(out, True) for out, here in zip(line.outs, present, strict=True) if here]
    given += [(out, False) for out, read in zip(line.outs, reads_ys, strict=True) if read]
    given += [(x, False) for x, read in zip(line.slots, reads_xs, strict=True) if read]
    wanted: list[int] = []

    def pull(values: Sequence[Any], _: Any) -> Any:
        parts = iter(values)
        gs, ys, xs = (
            [next(parts) if read else None for read in which]
            for which in (present, reads_ys, reads_xs)
        )
        found = _cotangents(line.op, gs, ys, _with_shapes(step, line, xs), needs, line.params)
        wanted.extend(k for k, g in enumerate(found) if needs[k] and g is not None)
        return tuple([found[k] for k in wanted]), ()

    likes = tuple([Tensor(np.zeros(step.shapes[a], step.dtypes[a])) for a, _ in given])
    writer = Writer([], likes)
    try:
        with np.errstate(all="ignore"):
            writer.run(pull, (), likes)
    except Exception as error:  # whatever a rule makes of it
        raise Unfit from error
    if writer.step.constants:
        raise Unfit
    return Rule(writer.step, given, dict(zip(wanted, writer.step.after, strict=True)))


def _with_shapes(step: Step, line: Line, xs: list[Any]) -> list[Any]:
    asked = [k for k in line.op.shapes_of if k < len(xs)]
    return [step.shape_of(line.args[k]) if k in asked else x for k, x in enumerate(xs)]


def _cotangents(
    op: Op, gs: list[Any], ys: list[Any], xs: list[Any], needs: Sequence[bool], params: Any
) -> list[Any]:
    """What an op's rules give for its inputs."""
    g, y = (gs, ys) if op.several else (gs[0], ys[0])
    if op.joint:
        pull: Any = op
        found = list(pull.pull(g, y, xs, needs, params))
    else:
        rules = zip(op.rules, needs, strict=False)
        found = [rule(g, y, *xs, **params) if need else None for rule, need in rules]
    return [g.run() if isinstance(g, Later) else g for g in found]
