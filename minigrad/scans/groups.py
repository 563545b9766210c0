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
        self.step, self.joins = step, joins
        self.home: dict[Slot, Group] = {}  # the group that makes a value
        for line in step.lines:
            group = self._alone(line)
            for other in self._before(group):
                if group.joins and other.joins and group.shape == other.shape:
                    self._join(other, group)

    def _alone(self, line: Line) -> Group:
        """A group of one line."""
        group = Group([line], self.joins(line), self.step.shapes[line.outs[0]])
        self.home.update(dict.fromkeys(line.outs, group))
        return group

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
            # what ends before the first begins does not read it; if a group that it reads does,
            # because that goes on later, `in_order` takes one of them apart
            if group not in seen and group.lines[-1].outs > first.lines[0].outs:
                seen.add(group)
                waiting += self._before(group)
        last.lines = sorted([*first.lines, *last.lines], key=lambda line: line.outs)
        self.home.update((out, last) for line in first.lines for out in line.outs)

    def in_order(self) -> list[Group]:
        """The groups, each after those that it reads; one of a circle is taken apart again."""
        while True:
            done: dict[Group, None] = {}
            circles = (self._place(group, done) for group in self.home.values())
            circle = next(filter(None, circles), None)
            if circle is None:
                return list(done)
            for line in max(circle, key=lambda group: len(group.lines)).lines:
                self._alone(line)

    def _place(self, last: Group, done: dict[Group, None]) -> list[Group]:
        """Put a group behind all that it reads; gives a circle of groups, if there is one."""
        path = {} if last in done else {last: iter(self._before(last))}
        while path:
            group, waiting = next(reversed(path.items()))
            other = next(waiting, None)
            if other is None:
                done[group] = None
                del path[group]
            elif other in path:
                return [*path][[*path].index(other) :]
            elif other not in done:
                path[other] = iter(self._before(other))
        return []
