"""Steps as text: the loop over time, and the loop back, on arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from minigrad.fuse import FusedOp
from minigrad.scans.reverse import Back, End
from minigrad.scans.step import Line, Number, Slot, Step
from minigrad.scans.text import Text, listed, numbered, params_of

FORWARD = "forward(steps, inputs, state, constants, saved, outputs)"
BACKWARD = "backward(steps, inputs, constants, saved, gs, state, adders, found, stacks)"


def names_of(step: Step) -> dict[Slot, str]:
    """What the values of a step are called."""
    names = dict(enumerate([*numbered("x", step.inputs), *numbered("s", step.state)]))
    names.update((slot, f"c{k}") for k, slot in enumerate(step.constants))
    names.update((out, f"v{out}") for line in step.lines for out in line.outs)
    return names


def names_back(back: Back, names: Mapping[Slot, str]) -> dict[Slot, str]:
    """What the values of a step back are called: those of the step as there."""
    more = range(back.known, len(back.step.shapes))
    return {**names, **{slot: f"g{slot}" for slot in more}}


def statements(
    step: Step, names: Mapping[Slot, str], text: Text, outside: Iterable[Slot]
) -> tuple[list[str], list[str]]:
    """The statements of a step: those that need nothing but what is `outside`, and the others."""
    fixed = {*outside, *step.constants}
    before: list[str] = []
    body: list[str] = []
    for line in step.lines:
        alone = fixed.issuperset(line.slots)
        (before if alone else body).append(application(line, step, names, text))
        fixed.update(line.outs if alone else ())
    return before, body


def application(line: Line, step: Step, names: Mapping[Slot, str], text: Text) -> str:
    """The statement that runs a line's op."""
    op, xp = line.op, step.backends[line.slots[0]]
    args = ", ".join([repr(a.value) if isinstance(a, Number) else names[a] for a in line.args])
    saving, shown = step.saves(line), [names[out] for out in step.shown(line)]
    if isinstance(op, FusedOp) and len(line.slots) == len(line.args):
        return f"{listed(shown)}= {text.name(op.compiled(xp, saving), op.name)}({args})"
    run = text.name(op.saving_forward if saving else op.forward, op.name)
    call = f"{run}({text.name(xp, 'xp')}, {args}{params_of(text, line)})"
    several = len(shown) > 1 or (op.several and op.visible is None)
    return f"{listed(shown) if several else f'{shown[0]} '}= {call}"


def forward(step: Step, kept: Sequence[Slot] | None) -> Text:
    """The loop that computes, and saves at each step the values `kept`; or (None) nothing."""
    names, text = names_of(step), Text(FORWARD)
    state = listed([names[slot] for slot in step.before])
    before, body = statements(step, names, text, step.constants)
    text.lines += [
        f"({listed(numbered('xs', step.inputs))}) = inputs",
        f"({state}) = state",
        f"({listed([names[slot] for slot in step.constants])}) = constants",
        f"({listed(numbered('ys', len(step.output)))}) = outputs",
        *before,
        "for t in steps:",
        *(f"    x{k} = xs{k}[t]" for k in range(step.inputs)),
        *(f"    {line}" for line in body),
        *(f"    ys{k}[t] = {names[slot]}" for k, slot in enumerate(step.output)),
    ]
    if kept is not None:
        text.lines.append(f"    saved.append(({listed([names[slot] for slot in kept])}))")
    text.lines += [
        f"    ({state}) = ({listed([names[slot] for slot in step.after])})",
        f"return ({state})",
    ]
    return text


def backward(step: Step, back: Back, kept: Sequence[Slot], stacked: Mapping[int, Slot]) -> Text:
    """The loop that pulls cotangents back, last step first, from what was saved of the `kept`.

    stacked: what is kept of every step, by the number of the buffer that keeps it.
    """
    text, known = Text(BACKWARD), names_of(step)
    names = names_back(back, known)
    inputs = [k for k in range(step.inputs) if step.active[k]]
    seeds = {k: names[slot] for k, slot in back.seeds.items()}
    count = len(step.after)
    after = numbered("after", count)
    before, body = statements(back.step, names, text, step.constants)
    text.lines += [
        *(f"{names[slot]} = {text.name(x, 'array')}" for slot, x in back.step.constants.items()),
        f"({listed(numbered('xs', step.inputs))}) = inputs",
        f"({listed([names[slot] for slot in step.constants])}) = constants",
        f"({listed(numbered('gys', len(step.output)))}) = gs",
        f"({listed(after)}) = state",
        f"({listed([f'add_{names[c]}' for c in step.constants if step.active[c]])}) = adders",
        f"({listed(numbered('gxs', step.inputs))}) = found",
        *before,
        "for t in steps:",
        *(f"    {g} = {after[k]}" for k, g in seeds.items() if k < count),
        *(f"    {g} = gys{k - count}[t]" for k, g in seeds.items() if k >= count),
        *(f"    x{k} = xs{k}[t]" for k in sorted(back.read & {*range(step.inputs)})),
        f"    ({listed([names[slot] for slot in kept])}) = saved.pop()",
        *(f"    {line}" for line in body),
        *(f"    {ended(end, names, text)}" for end in back.ends if not end.stacked),
        *(f"    gxs{k}[t] = {names[back.found[k]] if k in back.found else 0}" for k in inputs),
        *(f"    stacks[{number}][t] = {names[a]}" for number, a in stacked.items()),
        *(
            f"    {after[k]} = {names[back.found[slot]] if slot in back.found else None}"
            for k, slot in enumerate(step.before)
        ),
        f"return ({listed(after)})",
    ]
    return text


def ended(end: End, names: Mapping[Slot, str], text: Text) -> str:
    """The statement that adds what flows into a value from outside."""
    fit = f", {text.name(end.fit, 'fit')}" if end.fit else ""
    return f"add_{names[end.slot]}({flowing(end, names, text)}{fit})"


def flowing(end: End, names: Mapping[Slot, str], text: Text) -> str:
    """What flows into a value from outside, as text."""
    args = [_text_of(a, names, text) for a in end.args]
    if end.run is None:
        return args[0]
    params = f", **{text.name(end.params, 'params')}" if end.params else ""
    return f"{text.name(end.run, 'rule')}({', '.join(args)}{params})"


def _text_of(a: Slot | Number, names: Mapping[Slot, str], text: Text) -> str:
    """An argument of an end: a value of the step, None, a shape, a number or an op."""
    if isinstance(a, int):
        return names[a]
    if a.value is None or isinstance(a.value, (tuple, int, float)):
        return str(cast("object", a.value))
    return text.name(a.value, "given")
