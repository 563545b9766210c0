"""Which lines of a step can run together: groups of one shape, with nothing between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from minigrad.scans.step import Line, Slot, Step

MOST = 100  # lines that run together: compilers take more than in proportion, minutes for 1000


@dataclass(eq=False)
class Group:
    """Lines that run together, in order."""

    lines: list[Line]
    joins: bool  # whether others may join it
    shape: tuple[int, ...]


def grouped(step: Step, joins: Callable[[Line], bool]) -> list[Group]:
    """The lines of a step in groups, in an order in which these can run one after another.

    Lines that may join others, have one shape and feed each other are a group, unless something
    that reads the one and feeds the other (a product, say) must run between them.
    """
    return _Grouping(step, joins).in_order()


class _Grouping:
    def __init__(self, step: Step, joins: Callable[[Line], bool]) -> None:
        self.home: dict[Slot, Group] = {}  # the group that makes a value
        for line in step.lines:
            group = Group([line], joins(line), step.shapes[line.outs[0]])
            self.home.update(dict.fromkeys(line.outs, group))
            for other in self._before(group):
                if group.joins and other.joins and group.shape == other.shape:
                    self._join(other, group)

    def _before(self, group: Group) -> list[Group]:
        """The groups whose values a group reads."""
        read = [self.home[a] for line in group.lines for a in line.slots if a in self.home]
        return [other for other in dict.fromkeys(read) if other is not group]

    def _join(self, first: Group, last: Group) -> None:
        """Make one group of two, if nothing must run between them, and it is not too large."""
        if len(first.lines) + len(last.lines) > MOST:
            return
        waiting = [group for group in self._before(last) if group is not first]
        seen: set[Group] = set()
        while waiting:
            group = waiting.pop()
            if group is first:
                return
            # what ends before the first begins does not read it
            if group not in seen and group.lines[-1].outs > first.lines[0].outs:
                seen.add(group)
                waiting += self._before(group)
        last.lines = sorted([*first.lines, *last.lines], key=lambda line: line.outs)
        self.home.update((out, last) for line in first.lines for out in line.outs)

    def in_order(self) -> list[Group]:
        """The groups, each after those that it reads."""
        done: dict[Group, None] = {}

        def visit(group: Group) -> None:
            if group not in done:
                for other in self._before(group):
                    visit(other)
                done[group] = None

        for group in self.home.values():
            visit(group)
        return list(done)
