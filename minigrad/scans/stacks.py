"""What all steps of a loop back leave for products that run once, behind the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minigrad.backend import Array, Backend
from minigrad.scans.reverse import Back, End
from minigrad.scans.step import Number, Slot, Step
from minigrad.scans.text import over_time


class Stacks:
    """The buffers for what a step's ends want of all steps: one for each value.

    A cotangent that flows to an input as it is has a buffer already.
    """

    def __init__(self, step: Step, full: Back) -> None:
        self.step, self.full = step, full
        inputs = {full.found[k]: k for k in range(step.inputs) if k in full.found}
        values = full.stacked()
        numbers = {slot: number for number, slot in enumerate(dict.fromkeys(values.values()))}
        self._number = {place: numbers[slot] for place, slot in values.items()}
        self._likes = {
            number: (full.step.shapes[slot], full.step.dtypes[slot], inputs.get(slot))
            for slot, number in numbers.items()
        }

    def written(self, back: Back) -> dict[int, Slot]:
        """What must be written into which buffer, for the cotangents that are present."""
        slots: dict[int, Slot] = {}
        for place, slot in back.stacked().items():
            known = slots.setdefault(self._number[place], slot)
            assert known == slot, "what is one value with all cotangents is one with fewer"
        return {number: a for number, a in slots.items() if self._likes[number][2] is None}

    def made(self, xp: Backend, steps: range, found: Sequence[Array | None]) -> Stacked:
        """New buffers, next to those of the inputs' cotangents."""
        buffers = [
            over_time(xp, steps, shape, dtype) if k is None else found[k]
            for shape, dtype, k in self._likes.values()
        ]
        return Stacked(buffers, self._number, self.full)


class Stacked(list[Any]):
    """The buffers of one loop back, and which steps reached which end."""

    def __init__(
        self, buffers: list[Any], number: Mapping[tuple[Slot, int, int], int], full: Back
    ) -> None:
        super().__init__(buffers)
        self._number, self._full = number, full
        self._spans: dict[tuple[Slot, int], list[list[int]]] = {}

    def reached(self, ends: Sequence[End], order: range) -> None:
        """Note that these steps reached these ends."""
        first, last = sorted((order[0], order[-1]))
        for end in ends:
            spans = self._spans.setdefault(end.place, [])
            if spans and spans[-1][0] == last + 1:
                spans[-1][0] = first
            elif spans and spans[-1][1] == first:
                spans[-1][1] = last + 1
            else:
                spans.append([first, last + 1])

    def flowing(self, constants: Mapping[Slot, Any]) -> Iterator[tuple[End, Any]]:
        """What flows into the ends: one run for the steps in a row that reached it."""
        for end in self._full.ends:
            for first, stop in self._spans.get(end.place, ()) if end.stacked else ():
                part = slice(first, stop)
                args = [self._argument(end, k, constants, part) for k in range(len(end.args))]
                assert end.run is not None
                yield end, end.run(*args, **end.params)

    def _argument(self, end: End, k: int, constants: Mapping[Slot, Any], part: slice) -> Any:
        a = end.args[k]
        if isinstance(a, Number):
            return a.value
        return constants[a] if a in constants else self[self._number[*end.place, k]][part]
