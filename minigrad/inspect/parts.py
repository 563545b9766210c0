"""What the inspectors share: the nodes behind a value, and a check of what they are given."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from minigrad.tape import Edge, Node


def history(
    edges: Iterable[Edge], cut: AbstractSet[Edge] = frozenset(), since: int = 0
) -> list[Node]:
    """The nodes that `edges` were computed from, oldest first, and none behind the edges in `cut`.

    Nodes that are older than `since` are left out, with all that is behind them.
    """
    seen: set[Node] = set()
    stack = list(edges)
    while stack:
        node, _ = stack.pop()
        if isinstance(node, Node) and node not in seen and node.order >= since:
            seen.add(node)
            stack += [edge for edge in node.edges if edge is not None and edge not in cut]
    return sorted(seen, key=lambda node: node.order)


def expect(name: str, value: object, kind: type, what: str) -> None:
    """Raise TypeError, for the function `name`, unless value is of a kind."""
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected {what}; got a {type(value).__name__}")
