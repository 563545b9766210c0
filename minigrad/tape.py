"""The tape: nodes in the order of their creation, and the sweep that gathers what flows back.

Nothing here knows of Tensors. A *value* below is an array in a plain backward pass, and a Tensor
when the backward pass is itself recorded (`lift` then turns what a node saved into Tensors).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from minigrad.gathering import Fit, Gathering, Later, Value

Edge = tuple["Node | Leaf", int]  # the i-th output of a node: what a Tensor is a handle on
Lift = Callable[[Value, Edge], Value]

_creation = itertools.count(1)


class _Mode(threading.local):
    recording = True


mode = _Mode()  # per thread; `autograd.no_grad` switches it

# what notes, in each thread by its number, the ops that run on Tensors (`mg.compile`)
writers: dict[int, Any] = {}


def writer() -> Any:
    """What notes this thread's ops on Tensors; None where nothing does."""
    return writers.get(threading.get_ident()) if writers else None


def refuse_while_writing(what: str) -> None:
    """Raise within a function that is being written down, for what its code could not do again."""
    if writer() is not None:
        raise RuntimeError(f"a function that mg.compile writes down cannot {what}")


class Leaf:
    """The end of the tape at a tensor that nobody computed: a parameter or an input."""

    __slots__ = ("dtype", "grad", "order", "shapes")

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.order = next(_creation)
        self.shapes = (shape,)
        self.dtype = dtype
        self.grad: Any = None

    def renumber(self) -> None:
        """Note that the leaf was written: nodes that are older saw another value."""
        self.order = next(_creation)


class Node:
    """One application of an op: what its rule needs (`xs`, `ys`, `params`), and where from."""

    __slots__ = ("edges", "op", "order", "params", "shapes", "xs", "ys")

    def __init__(
        self,
        op: Any,
        xs: Sequence[Any] | None,
        ys: Any,
        params: dict[str, Any],
        edges: Sequence[Edge | None],
        shapes: tuple[tuple[int, ...], ...],
    ) -> None:
        self.order = next(_creation)
        self.op: Any = op  # None once the node is freed
        self.xs = xs
        self.ys: Any = ys
        self.params = params
        self.edges: Sequence[Edge | None] = edges
        self.shapes = shapes


Table = dict[Node | Leaf, list[Value]]  # per node, one slot for each of its outputs


def sweep(
    seeds: Iterable[tuple[Edge, Value]],
    *,
    targets: Sequence[Edge] | None = None,
    lift: Lift | None = None,
    retain: bool = False,
    since: int = 0,
) -> dict[Edge, Value]:
    """Pull the cotangents in `seeds` back along the tape, newest node first.

    Returns the cotangent of each edge in `targets` (of every leaf when it is None) that anything
    flowed into. With `lift`, rules run on recorded values. Without `retain`, the nodes that were
    passed through are freed. Nodes that are older than `since` are ends, as leaves are.
    """
    seeds = list(seeds)
    nodes, written = _history((edge[0] for edge, _ in seeds), since)
    wanted, passes = (None, None) if targets is None else _leading_to(targets, nodes)
    wishes = set(targets or ())
    found: dict[Edge, Value] = {}
    table: Table = {}
    for edge, g in seeds:
        _deliver(table, edge, g, lift)
    for node in nodes:
        slots = table.pop(node, None)
        if slots is not None:
            if wishes:
                _note_wishes(node, slots, wishes, found)
            if passes is None or node in passes:
                if written:
                    _refuse_stale(node)
                _pull(node, slots, wanted, table, lift, retain)
        if not retain and (passes is None or node in passes):
            node.op = node.xs = node.ys = None  # a later sweep through this node raises
            node.edges = ()
    return found | _at_ends(table, None if targets is None else wishes)


def now() -> int:
    """A number between those of the nodes there are, and of those to come."""
    return next(_creation)


def sources(edges: Iterable[Edge], since: int) -> list[Edge]:
    """The older values from which the nodes since then have computed `edges`, each once."""
    nodes, _ = _history((edge[0] for edge in edges), since)
    reached = [edge for node in nodes for edge in node.edges if edge is not None]
    return list(dict.fromkeys(edge for edge in [*edges, *reached] if edge[0].order < since))


def _note_wishes(
    node: Node, slots: list[Value], wishes: set[Edge], found: dict[Edge, Value]
) -> None:
    for i in range(len(slots)):
        if (node, i) in wishes:
            found[node, i] = slots[i] = _settled(slots[i])


def _at_ends(table: Table, wishes: set[Edge] | None) -> dict[Edge, Value]:
    """What has flowed to where the sweep ends: to leaves, and to nodes that it did not pass."""
    return {
        (end, i): _settled(slot)
        for end, slots in table.items()
        for i, slot in enumerate(slots)
        if slot is not None and (wishes is None or (end, i) in wishes)
    }


def _settled(slot: Value) -> Value:
    """What a slot holds as one value: an absent cotangent stays None."""
    if type(slot) is Gathering:
        return slot.settle()
    return slot.run() if type(slot) is Later else slot


def _pull(
    node: Node,
    slots: list[Value],
    wanted: set[Node | Leaf] | None,
    table: Table,
    lift: Lift | None,
    retain: bool,
) -> None:
    """Run one node's rules, and deliver what they give to the node's inputs."""
    op, edges = node.op, node.edges
    if op is None:
        raise RuntimeError(_FREED)
    if op.through is not None and type(slots[0]) is Later and _passed(node, slots[0], table, lift):
        return
    if lift is None and not op.shapes_of:
        xs, y = node.xs or (None,) * len(edges), node.ys
    else:
        xs, y = _recall(node, op, lift)
    g = [_settled(slot) for slot in slots] if op.several else _settled(slots[0])
    if op.joint:
        needs = [e is not None and (wanted is None or e[0] in wanted) for e in edges]
        pull = op.pull if retain else op.last_pull
        for edge, need, gx in zip(edges, needs, pull(g, y, xs, needs, node.params), strict=True):
            if edge is not None and need and gx is not None:
                _deliver(table, edge, gx, lift, op.fit)
        return
    for k, edge in enumerate(edges):
        if edge is not None and (wanted is None or edge[0] in wanted):
            gx = op.rules[k](g, y, *xs, **node.params)
            if gx is not None:
                _deliver(table, edge, gx, lift, op.fit)


_FREED = (
    "backward went through a part of the graph that an earlier backward has freed; pass "
    "retain_graph=True to the first backward, or run the forward pass again (a recurrent state "
    "carried over needs state = mg.detach(state) in between)"
)


def _passed(node: Node, later: Later, table: Table, lift: Lift | None) -> bool:
    """Whether a waiting contribution could be carried through the node, to wait at its input."""
    edge = node.edges[0]
    carried = node.op.through(later, node.params)
    if carried is None or edge is None:
        return False
    _deliver(table, edge, carried, lift)
    return True


def _recall(node: Node, op: Any, lift: Lift | None) -> tuple[list[Value], Value]:
    """What the rules read: the inputs (or their shapes) and the output, lifted if asked."""
    edges = node.edges
    xs: list[Value] = [None] * len(edges) if node.xs is None else list(node.xs)
    y = node.ys
    if lift is not None:
        xs = [x if e is None or x is None else lift(x, e) for x, e in zip(xs, edges, strict=True)]
        y = _lift_outputs(node, lift)
    shapes_of: Sequence[int] = op.shapes_of
    for k in shapes_of:
        edge = edges[k] if k < len(edges) else None  # a trailing input may be optional
        if edge is not None:
            xs[k] = edge[0].shapes[edge[1]]
    return xs, y


def _refuse_stale(node: Node) -> None:
    """Raise if the node saved the array of a leaf, or a view of it, that was written since."""
    for x, edge in zip(node.xs or (), node.edges, strict=False):
        source = None if edge is None or x is None else edge[0]
        while type(source) is Node and source.op is not None and source.op.view:
            source = source.edges[0] and source.edges[0][0]
        if source is not None and source.order > node.order:
            raise RuntimeError(
                f"stale graph: a leaf of shape {source.shapes[0]} that {node.op.name} saved was "
                "written (by an optimiser step or copy_) after the forward pass; run the forward "
                "pass again before calling backward"
            )


def _lift_outputs(node: Node, lift: Lift) -> Value:
    if node.ys is None:
        return None
    if node.op.several:
        return tuple(lift(y, (node, i)) for i, y in enumerate(node.ys))
    return lift(node.ys, (node, 0))


def _deliver(
    table: Table,
    edge: Edge,
    g: Value,
    lift: Lift | None,
    fit: Fit | None = None,
) -> None:
    """Add a contribution to what has flowed into an edge, broadcasting undone by `fit`."""
    node, i = edge
    if fit is not None and g.shape != node.shapes[i]:
        g = fit(g, node.shapes[i])
    if lift is not None and type(g) is Later:
        g = g.run()
    slots = table.get(node)
    if slots is None:
        slots = table[node] = [None] * len(node.shapes)
    held = slots[i]
    if held is None:
        slots[i] = g
        return
    if type(held) is not Gathering:
        first, held = held, Gathering(node.shapes[i], in_place=lift is None)
        slots[i] = held
        held.add(first)
    held.add(g)


def _history(roots: Iterable[Node | Leaf], since: int) -> tuple[list[Node], bool]:
    """The nodes that the roots were computed from, newest first; and whether a leaf was written."""
    seen: set[Node] = set()
    written = False
    stack = [root for root in roots if type(root) is Node and root.order >= since]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            for edge in node.edges:
                if edge is not None:
                    if type(edge[0]) is Node:
                        if edge[0].order >= since:
                            stack.append(edge[0])
                    elif edge[0].order > node.order:
                        written = True
    return sorted(seen, key=attrgetter("order"), reverse=True), written


def _leading_to(targets: Sequence[Edge], nodes: list[Node]) -> tuple[set[Node | Leaf], set[Node]]:
    """What leads to a target: the nodes to pass through, and these with the targets' own nodes.

    A freed node counts: what lay behind it is forgotten, so that it must raise.
    """
    wanted: set[Node | Leaf] = {node for node, _ in targets}
    passes: set[Node] = set()
    for node in reversed(nodes):
        if node.op is None or any(edge is not None and edge[0] in wanted for edge in node.edges):
            wanted.add(node)
            passes.add(node)
    return wanted, passes
