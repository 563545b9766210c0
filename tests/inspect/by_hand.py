"""A trace made by hand."""

from types import SimpleNamespace

import minigrad as mg
from minigrad import nn
from minigrad.nn.state import stacked, unstacked


def traced(cell: nn.Cell, x: mg.Tensor):
    p = unstacked(cell.project(x))
    s = cell.initial_state(x.shape[2], x)
    before, after = [], []
    for q in p:
        before.append(s)
        s = cell.step(q, s)
        after.append(s)
    made = SimpleNamespace(
        cell=cell, projected=tuple(p), before=tuple(before), after=tuple(after), inputs=x
    )
    return stacked([cell.output(a) for a in after]), [made]
