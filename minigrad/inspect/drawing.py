"""The tape drawn as a graph: ops, the parameters by name, and a frame around each time step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from minigrad.fuse import FusedOp
from minigrad.inspect.parts import expect, history
from minigrad.io.atomic import write_whole
from minigrad.nn.state import leaves
from minigrad.nn.trace import CellTrace
from minigrad.tape import Edge, Leaf, Node
from minigrad.tensor import Tensor

_DRAWN_BY_DOT = (".svg", ".png", ".pdf")

# Light fills after Okabe and Ito's palette, which colour-blind readers can tell apart.
_STYLES = {
    "op": 'shape=box style="rounded,filled" fillcolor="#ffffff"',
    "fused": 'shape=box style="rounded,filled" fillcolor="#f6d9a8"',
    "leaf": 'shape=ellipse style=filled fillcolor="#cfe6f5"',
    "note": "shape=plaintext fontcolor=gray35",
    "output": "shape=plaintext",
}
_FRAME = 'style="rounded,filled"; fillcolor="#f4f4f4"; color="#d0d0d0";'
_HEAD = """\
digraph tape {
  rankdir=LR; ranksep=0.35; nodesep=0.2;
  node [fontname="Helvetica" fontsize=10 height=0.3 margin="0.09,0.05" color=gray45];
  edge [fontname="Helvetica" fontsize=9 arrowsize=0.6 color=gray45];
  graph [fontname="Helvetica" fontsize=10 fontcolor=gray35];"""


@dataclass(frozen=True)
class Graph:
    """A drawing of the tape: its text `dot` in Graphviz's language, and how many nodes it shows."""

    dot: str
    nodes: int
    left_out: int

    def svg(self) -> str:
        """The drawing as SVG; needs the program `dot`, and raises RuntimeError without it."""
        return self._drawn("svg").decode()

    def save(self, path: str | Path) -> None:
        """Write the text (.dot, .gv), or what the program `dot` makes of it (.svg, .png, .pdf).

        Raises ValueError for another ending, and RuntimeError where `dot` is needed and missing.
        """
        suffix = Path(path).suffix
        if suffix in (".dot", ".gv"):
            write_whole(path, self.dot.encode())
        elif suffix in _DRAWN_BY_DOT:
            write_whole(path, self._drawn(suffix[1:]))
        else:
            endings = ", ".join((".dot", ".gv", *_DRAWN_BY_DOT))
            raise ValueError(f"save: expected a name that ends in one of {endings}; got {path}")

    def _drawn(self, kind: str) -> bytes:
        import shutil  # here, because few draw and all import
        import subprocess

        program = shutil.which("dot")
        if program is None:
            raise RuntimeError(
                "drawing needs the program `dot` of Graphviz, which is not on the PATH: install "
                "graphviz (apt install graphviz, brew install graphviz), or take the text, .dot"
            )
        return subprocess.run(
            [program, f"-T{kind}"], input=self.dot.encode(), check=True, capture_output=True
        ).stdout

    def __repr__(self) -> str:
        more = f", {self.left_out:,} older ones left out" if self.left_out else ""
        return f"<graph of {self.nodes:,} nodes{more}: .dot, .svg(), .save(path)>"


def graph(
    outputs: Tensor | Sequence[Tensor],
    params: Mapping[str, Tensor] | None = None,
    trace: Sequence[CellTrace] = (),
    max_nodes: int = 200,
) -> Graph:
    """Draw what `outputs` were computed from, with the values running from left to right.

    A box is a node of the tape: its op (a fused function under its own name, shaded), the shapes
    of its outputs, and their dtype where the tape still knows it. An ellipse is a leaf, with its
    name if it has one in `params`. What required no gradient is not on the tape.

    params: names of leaves, such as `dict(model.named_parameters())`.
    trace: of a recurrent layer, from `y, state, trace = layer(x, trace=True)`. Each time step then
        has a frame, in which the leaves that it uses are drawn anew, and the arrows that carry
        gates and states have their names. A traced layer runs its fused functions op by op.
    max_nodes: beyond it the oldest nodes are left out, and the drawing says how many they are.

    Raises ValueError for an output that is not on the tape, and for max_nodes below 1; TypeError
    for the trace of one cell alone.

    >>> import minigrad as mg
    >>> model = mg.nn.Linear(3, 2)
    >>> loss = model(mg.ones(4, 3)).square().mean()
    >>> drawing = mg.inspect.graph(loss, params=dict(model.named_parameters()))
    >>> drawing
    <graph of 3 nodes: .dot, .svg(), .save(path)>
    >>> "weight" in drawing.dot
    True
    """
    roots = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    edges = [y.edge for y in roots if y.edge is not None]
    if len(edges) < len(roots) or not roots:
        raise ValueError("graph: expected outputs that require grad: others are not on the tape")
    if max_nodes < 1:
        raise ValueError(f"graph: max_nodes must be 1 or more, got {max_nodes}")
    expect("graph", trace, Sequence, "the whole trace of a layer, not trace[k]")
    nodes = history(edges)
    values = _Values(
        names={p.edge: name for name, p in (params or {}).items() if p.edge is not None},
        dtypes=_dtypes(nodes) | {edge: y.dtype for edge, y in zip(edges, roots, strict=True)},
    )
    frames: dict[Node, str] = {}
    for run in trace:
        values.carried.update(_carried(run))
        frames.update(_frames(run))
    shown = nodes[-max_nodes:]
    left_out = len(nodes) - len(shown)
    return Graph(_Text(shown, values, frames).of(edges, left_out), len(shown), left_out)


@dataclass
class _Values:
    """What is known of the values that the arrows carry."""

    names: dict[Edge, str]  # of leaves
    dtypes: dict[Edge, np.dtype[Any]]
    carried: dict[Edge, str] = field(default_factory=dict[Edge, str])  # states and gates

    def describe(self, edge: Edge) -> str:
        """Shape and, where it is known, dtype."""
        shape = str(edge[0].shapes[edge[1]])
        return f"{shape} {self.dtypes[edge]}" if edge in self.dtypes else shape


def _dtypes(nodes: Iterable[Node]) -> dict[Edge, np.dtype[Any]]:
    """The dtypes that the tape knows: of leaves and of what was saved, and what follows from them.

    A node whose output was not saved has the dtype to which its inputs promote, if all are known.
    """
    known: dict[Edge, np.dtype[Any]] = {}
    for node in nodes:
        inputs: list[Any] = []
        saved_xs = [*(node.xs or ()), *[None] * len(node.edges)]
        for edge, saved in zip(node.edges, saved_xs, strict=False):
            if edge is not None and isinstance(edge[0], Leaf):
                known[edge] = edge[0].dtype
            inputs.append(known.get(edge) if edge is not None else getattr(saved, "dtype", saved))
        several = isinstance(node.ys, tuple)
        saved_ys = cast("tuple[Any, ...]", node.ys) if several else [node.ys] * len(node.shapes)
        for i, y in enumerate(saved_ys):
            if y is not None:
                known[node, i] = y.dtype
            elif "dtype" in node.params:  # a cast
                known[node, i] = np.dtype(node.params["dtype"])
            elif inputs and None not in inputs:
                known[node, i] = np.result_type(*inputs)
    return known


def _carried(run: CellTrace) -> dict[Edge, str]:
    """The names of states and gates."""
    return {
        x.edge: name for name, values in run.values.items() for x in values if x.edge is not None
    }


def _frames(run: CellTrace) -> dict[Node, str]:
    """The step that made a node: of what a step leads back to, what is younger than its inputs."""
    frames: dict[Node, str] = {}
    for t, given in enumerate(zip(run.projected, run.before, strict=True)):
        inputs = [x.edge[0] for x in leaves(given) if x.edge is not None]
        since = 1 + max((x.order for x in inputs if isinstance(x, Node)), default=0)
        results = [x.edge for x in leaves(run.after[t]) if x.edge is not None]
        frames.update(dict.fromkeys(history(results, since=since), f"{run.name}, t = {t}"))
    return frames


class _Text:
    """The lines of a drawing."""

    def __init__(self, nodes: Sequence[Node], values: _Values, frames: dict[Node, str]) -> None:
        self.nodes = nodes
        self.values = values
        self.frames = frames
        self.numbers: dict[Any, int] = {node: number for number, node in enumerate(nodes)}

    def of(self, outputs: Sequence[Edge], left_out: int) -> str:
        """The whole text."""
        lines = [_HEAD]
        groups: dict[str | None, list[str]] = {None: []}
        for node in self.nodes:
            frame = self.frames.get(node)
            groups.setdefault(frame, []).extend(self._boxes(node, frame))
        for number, (frame, boxes) in enumerate(groups.items()):
            if frame is not None:
                lines.append(f"  subgraph cluster_{number} {{ label={_quoted(frame)}; {_FRAME}")
            lines += dict.fromkeys(boxes)  # a leaf that is used twice is one
            if frame is not None:
                lines.append("  }")
        for node in self.nodes:
            lines += [self._arrow(edge, node) for edge in node.edges if edge is not None]
        for k, edge in enumerate(outputs):
            lines.append(_box(f"output{k}", "output", "output", self.values.describe(edge)))
            lines.append(f"  {self._name(edge, None)} -> output{k};")
        if left_out:
            nodes = f"{left_out:,} older nodes"
            lines.append(_box("older", "note", nodes, "are not drawn", "(raise max_nodes)"))
        return "\n".join([*lines, "}", ""])

    def _boxes(self, node: Node, frame: str | None) -> list[str]:
        """The box of a node, and the ellipses of the leaves that go into it."""
        values = self.values
        boxes = [
            _box(self._name(e, frame), "leaf", values.names.get(e, "leaf"), values.describe(e))
            for e in node.edges
            if e is not None and isinstance(e[0], Leaf)
        ]
        op: Any = node.op
        if op is None:
            return [*boxes, _box(self._name((node, 0), frame), "op", "freed by a backward pass")]
        outputs = [values.describe((node, i)) for i in range(len(node.shapes))[: op.visible]]
        if len(outputs) > 3:  # the steps of a sequence
            outputs = [f"{len(outputs)} outputs", outputs[0]]
        kind = "fused" if isinstance(op, FusedOp) else "op"
        return [*boxes, _box(self._name((node, 0), frame), kind, op.name, *outputs)]

    def _arrow(self, edge: Edge, node: Node) -> str:
        part = self.values.carried.get(edge)
        label = "" if part is None else f" [label={_quoted(part)}]"
        source = self._name(edge, self.frames.get(node))
        return f"  {source} -> {self._name((node, 0), None)}{label};"

    def _name(self, edge: Edge, frame: str | None) -> str:
        """What the text calls the source of an edge; each frame has its own copies of leaves."""
        source = edge[0]
        if isinstance(source, Node):
            return f"n{self.numbers[source]}" if source in self.numbers else "older"
        return f"leaf{self.numbers.setdefault((source, frame), len(self.numbers))}"


def _box(name: str, kind: str, *lines: str) -> str:
    return f"  {name} [label={_quoted(*lines)} {_STYLES[kind]}];"


def _quoted(*lines: str) -> str:
    """A string of DOT, of several lines."""
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(escaped) + '"'
