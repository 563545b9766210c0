"""A step as text: the loop over time forward, and the loop back, on arrays."""

from __future__ import annotations

from collections.abc import Sequence

from minigrad.fuse import FusedOp
from minigrad.scans.back import Back
from minigrad.scans.plan import Plan, direct
from minigrad.scans.step import Line, Slot
from minigrad.scans.text import Text, listed, numbered, params_of

FORWARD = "forward(steps, inputs, state, constants, saved, outputs)"
BACKWARD = "backward(steps, inputs, constants, saved, gs, state, gathered, found)"


def forward(plan: Plan) -> Text:
    """The loop that computes; with gradients it saves at each step what the way back reads."""
    step, value, text = plan.step, plan.values, Text(FORWARD)
    state = listed([value[slot] for slot in plan.state])
    body = [
        *(f"x{k} = xs{k}[t]" for k in range(step.inputs)),
        *(application(plan, text, line) for line in step.lines),
        *(f"ys{k}[t] = {value[slot]}" for k, slot in enumerate(step.output)),
    ]
    if plan.recorded:
        body.append(f"saved.append(({listed([value[slot] for slot in plan.kept])}))")
    text.lines += [
        f"({listed(numbered('xs', step.inputs))}) = inputs",
        f"({state}) = state",
        f"({listed([value[slot] for slot in step.constants])}) = constants",
        f"({listed(numbered('ys', len(step.output)))}) = outputs",
        "for t in steps:",
        *(f"    {line}" for line in body),
        f"    ({state}) = ({listed([value[slot] for slot in step.after])})",
        f"return ({state})",
    ]
    return text


def application(plan: Plan, text: Text, line: Line) -> str:
    """The statement that runs a line's op."""
    op = line.op
    args = ", ".join(map(plan.text_of, line.args))
    saving = plan.recorded and op.differentiable
    outs = [plan.values[out] for out in line.outs]
    shown = outs if saving or op.visible is None else outs[: op.visible]
    if isinstance(op, FusedOp) and direct(line):
        return f"{listed(shown)}= {text.name(op.compiled(plan.xp, saving), op.name)}({args})"
    run = text.name(op.saving_forward if saving else op.forward, op.name)
    call = f"{run}({text.name(plan.xp, 'xp')}, {args}{params_of(text, line)})"
    several = len(shown) > 1 or (op.several and op.visible is None)
    return f"{listed(shown) if several else f'{shown[0]} '}= {call}"


def backward(plan: Plan, kept: Sequence[Slot]) -> tuple[Text, list[bool]]:
    """The loop that pulls cotangents back, last step first, from what was saved of the `kept`.

    Also which parts of the state have a cotangent before the step.
    """
    step, value, text = plan.step, plan.values, Text(BACKWARD)
    after = numbered("h", step.state)  # the cotangents of the state after the step
    back = Back(plan, text)
    seeds = [*after, *(f"gys{k}[t]" for k in range(len(step.output)))]
    for slot, g, here in zip((*step.after, *step.output), seeds, plan.present_results, strict=True):
        if here:
            back.flow(slot, g)
    for line in plan.pulled:
        back.pull(line)
    active = [value[slot] for slot in step.constants if step.active[slot]]
    before = [back.held.get(slot, "None") for slot in plan.state]
    body = [
        *(f"x{k} = xs{k}[t]" for k in plan.inputs_read),
        f"({listed([value[slot] for slot in kept])}) = saved.pop()",
        *back.lines,
        *(f"gxs{k}[t] = {back.held.get(k, '0')}" for k in range(step.inputs) if step.active[k]),
        *back.stacking(),
        f"({listed(after)}) = ({listed(before)})",
    ]
    text.lines += [
        f"({listed(numbered('xs', step.inputs))}) = inputs",
        f"({listed([value[slot] for slot in step.constants])}) = constants",
        f"({listed(numbered('gys', len(step.output)))}) = gs",
        f"({listed(after)}) = state",
        f"({listed([f'add_{c}' for c in active])}) = gathered",
        f"({listed(numbered('gxs', step.inputs))}) = found",
        *(f"{buffer} = None" for buffer in back.buffers),
        "for t in steps:",
        *(f"    {line}" for line in body),
        *back.last,
        f"return ({listed(after)})",
    ]
    return text, [slot in back.held for slot in plan.state]
