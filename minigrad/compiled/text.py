"""A function that was written down as text: its lines, and the lines back, on arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigrad.gathering import Gathering
from minigrad.scans.emit import application, flowing, names_back, names_of
from minigrad.scans.reverse import Back
from minigrad.scans.step import Slot, Step
from minigrad.scans.text import Text, listed


def ends(step: Step) -> list[Slot]:
    """The values from outside: arguments, and constants."""
    return [*range(step.inputs), *step.constants]


def forward(step: Step, hidden: Sequence[Slot], copied: Sequence[bool]) -> Text:
    """The function that computes the results, and what the way back reads besides these."""
    names = names_of(step)
    text = Text(f"forward(_xp, {', '.join(names[slot] for slot in ends(step))})")
    results = [
        f"{names[slot]}{'.copy()' * copy}" for slot, copy in zip(step.output, copied, strict=True)
    ]
    results += [names[slot] for slot in hidden]
    text.lines += [application(line, step, names, text) for line in step.lines]
    text.lines += [f"return ({listed(results)})"]
    return text


def backward(step: Step, back: Back, hidden: Sequence[Slot]) -> Text:
    """The function that gives the cotangents of the arguments, from those that are present."""
    text, names = Text("backward(gs, ys, xs)"), names_back(back, names_of(step))
    given = [*step.output, *hidden]
    cotangents = [f"g_{k}" for k in range(len(given))]
    found: dict[Slot, list[str]] = {slot: [] for slot in ends(step)}
    for end in back.ends:
        flow, fit = flowing(end, names, text), text.name(end.fit, "fit")
        found[end.slot].append(f"({flow}, {fit})")
    results = [
        f"{text.name(gathered, 'gathered')}({step.shapes[slot]}, {', '.join(gs)})" if gs else "None"
        for slot, gs in found.items()
    ]
    text.lines += [
        *(f"{names[slot]} = {text.name(x, 'array')}" for slot, x in back.step.constants.items()),
        f"({listed(cotangents)}) = gs",
        f"({listed([names[slot] for slot in given])}) = ys",
        f"({listed([names[slot] for slot in ends(step)])}) = xs",
        *(
            _seed(names[slot], cotangents[k], step.dtypes[step.output[k]])
            for k, slot in back.seeds.items()
        ),
        *_releasing(back, names, text),
        f"return ({listed(results)})",
    ]
    return text


def _seed(name: str, g: str, dtype: str) -> str:
    """The statement that takes a cotangent, which may come in another dtype than its value has."""
    return f"{name} = {g} if {g}.dtype.char == {dtype!r} else {g}.astype({dtype!r})"


def gathered(shape: tuple[int, ...], *flows: tuple[Any, Any]) -> Any:
    """The sum of what flows into one value; what waits runs together, or if alone waits on."""
    if len(flows) == 1:
        ((g, fit),) = flows
        return g if fit is None or g is None or g.shape == shape else fit(g, shape)
    total = Gathering(shape)
    for g, fit in flows:
        total.add(g, fit)
    return total.settle()


def _releasing(back: Back, names: Mapping[Slot, str], text: Text) -> list[str]:
    """The statements, and after each, one that lets go of cotangents: it was last to read
    them, or nothing reads them."""
    read = {a for end in back.ends for a in end.slots}
    statements: list[str] = []
    for line in reversed(back.step.lines):
        here = dict.fromkeys((*back.step.shown(line), *line.slots))
        last = [names[a] for a in here if a >= back.known and a not in read]
        statements += [f"del {', '.join(last)}"] if last else []
        statements.append(application(line, back.step, names, text))
        read.update(here)
    return statements[::-1]
