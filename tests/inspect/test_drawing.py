"""The tape as a graph: what its text says, what Graphviz makes of it, and how it is limited."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import minigrad as mg
from minigrad import nn

needs_dot = pytest.mark.skipif(
    shutil.which("dot") is None, reason="needs Graphviz's program `dot` on the PATH"
)
BOX = re.compile(r'^ *(\w+) \[label="((?:[^"\\]|\\.)*)" shape=(\w+)', re.MULTILINE)
ARROW = re.compile(r'^ *(\w+) -> (\w+)(?: \[label="(.*)"\])?;', re.MULTILINE)


def boxes(dot: str) -> dict[str, list[str]]:
    """The lines of each box, by the box's name."""
    return {name: label.split("\\n") for name, label, _ in BOX.findall(dot)}


def arrows(dot: str) -> set[tuple[str, str]]:
    """The arrows, by what their ends say first."""
    said = boxes(dot)
    return {(said[a][0], said[b][0]) for a, b, _ in ARROW.findall(dot)}


def test_ops_leaves_shapes_and_dtypes() -> None:
    w = mg.ones(3, 2, requires_grad=True)
    b = mg.ones(2, dtype=mg.float64, requires_grad=True)
    y = (mg.matmul(mg.ones(4, 3), w).tanh().double() + b).sum()
    drawing = mg.inspect.graph(y, {"weight": w, "bias": b, "not on the tape": mg.ones(1)})
    assert arrows(drawing.dot) == {
        ("weight", "matmul"),
        ("matmul", "tanh"),
        ("tanh", "cast"),
        ("cast", "add"),
        ("bias", "add"),
        ("add", "sum"),
        ("sum", "output"),
    }
    lines = {tuple(label) for label in boxes(drawing.dot).values()}
    assert ("weight", "(3, 2) float32") in lines
    assert ("bias", "(2,) float64") in lines
    assert ("tanh", "(4, 2) float32") in lines
    assert ("cast", "(4, 2) float64") in lines
    assert ("sum", "() float64") in lines
    assert drawing.nodes == 5
    assert drawing.left_out == 0


def test_a_dtype_that_the_tape_forgot_is_not_guessed() -> None:
    x = mg.ones(2, requires_grad=True)
    y = x + mg.ones(2, dtype=mg.float64)  # neither rule needs a value: nothing is saved
    assert y.dtype == mg.float64
    (label,) = (label for label in boxes(mg.inspect.graph(-y).dot).values() if label[0] == "add")
    assert label == ["add", "(2,)"]


def test_a_fused_function_is_one_node_under_its_name() -> None:
    @mg.fuse
    def my_gates(x: Any, c: Any) -> Any:
        a, b = x.chunk(2)
        return mg.tanh(a) * c, mg.sigmoid(b)

    h, _ = my_gates(mg.ones(4, 1, requires_grad=True), mg.ones(2, 1))
    dot = mg.inspect.graph(h).dot
    assert ["my_gates", "(2, 1) float32", "(2, 1) float32"] in boxes(dot).values()  # none hidden
    fills = dict(re.findall(r'label="(\w+).*fillcolor="(#\w+)"', dot))
    assert fills["my_gates"] != fills["leaf"]


def test_many_outputs_are_counted() -> None:
    x = mg.ones(50, 2, requires_grad=True)
    dot = mg.inspect.graph(x.unbind(0)[3]).dot
    assert ["unbind", "50 outputs", "(2,) float32"] in boxes(dot).values()


def test_names_may_hold_anything() -> None:
    x = mg.ones(1, requires_grad=True)
    name = 'a "quoted" \\ name; -> }'
    dot = mg.inspect.graph(x.exp(), {name: x}).dot
    (label,) = [label for label, _ in re.findall(r'label="(a (?:[^"\\]|\\.)*)"( shape)', dot)]
    said = label.removesuffix("\\n(1,) float32")
    assert said.replace('\\"', '"').replace("\\\\", "\\") == name
    if shutil.which("dot"):
        assert mg.inspect.graph(x.exp(), {name: x}).svg()


def test_time_steps_have_frames_with_their_own_copies_of_the_weights() -> None:
    layer = nn.LSTM(3, 2)
    y, _, trace = layer(mg.randn(4, 2, 3), trace=True)
    dot = mg.inspect.graph(y.sum(), dict(layer.named_parameters()), trace).dot
    frames = re.findall(r'subgraph cluster_\d+ \{ label="([^"]*)";.*?\n(.*?)\n  \}', dot, re.DOTALL)
    assert [name for name, _ in frames] == [f"l0, t = {t}" for t in range(4)]
    for _, inside in frames:
        names = [label[0] for label in boxes(inside).values()]
        assert names.count("weight_hh_l0") == names.count("affine") == 1
        assert names.count("sigmoid") == 3
    said = boxes(dot)
    named = [(said[a][0], said[b][0], name) for a, b, name in ARROW.findall(dot) if name]
    assert named.count(("sigmoid", "mul", "f")) == 4
    assert named.count(("add", "tanh", "c")) == 4
    assert named.count(("add", "mul", "c")) == 3
    assert named.count(("mul", "affine", "h")) == 3
    assert named.count(("mul", "stack", "h")) == 4
    outside = [label[0] for label in boxes(dot.split("subgraph")[0]).values()]
    assert "weight_ih_l0" in outside  # the projection of all steps is one product


def test_frames_of_layers_and_directions() -> None:
    layer = nn.GRU(3, 2, num_layers=2, bidirectional=True)
    y, _, trace = layer(mg.randn(2, 2, 3), lengths=[2, 1], trace=True)
    dot = mg.inspect.graph(y.sum(), trace=trace).dot
    frames = re.findall(r'subgraph cluster_\d+ \{ label="([^"]*)"', dot)
    runs = ["l0", "l0_reverse", "l1", "l1_reverse"]
    assert sorted(frames) == [f"{run}, t = {t}" for run in runs for t in range(2)]


def test_without_a_trace_a_weight_is_drawn_once() -> None:
    cell = nn.LSTMCell(3, 2)
    state = None
    for x in mg.randn(4, 2, 3):
        state = cell(x, state)
    dot = mg.inspect.graph(state[0].sum(), dict(cell.named_parameters())).dot
    assert "cluster" not in dot
    names = [label[0] for label in boxes(dot).values()]
    assert names.count("weight_hh") == 1
    assert names.count("lstm_gates") == 4


@pytest.mark.parametrize("max_nodes", [1, 7, 200])
def test_a_long_tape_is_cut_at_its_old_end(max_nodes: int) -> None:
    x = mg.ones(1, requires_grad=True)
    y = x
    for _ in range(10_000):
        y = y + x
    drawing = mg.inspect.graph(y, {"x": x}, max_nodes=max_nodes)
    assert (drawing.nodes, drawing.left_out) == (max_nodes, 10_000 - max_nodes)
    labels = boxes(drawing.dot)
    assert labels["older"][0] == f"{10_000 - max_nodes:,} older nodes"
    assert [label[0] for label in labels.values()].count("add") == max_nodes
    assert {("x", "add"), ("add", "output")} <= arrows(drawing.dot)
    assert f"{10_000 - max_nodes:,} older ones left out" in repr(drawing)


def test_the_same_network_gives_the_same_text() -> None:
    def text() -> str:
        x = mg.ones(3, requires_grad=True)
        return mg.inspect.graph((x * x).sum(), {"x": x}).dot

    assert text() == text()


def test_several_outputs_and_a_leaf_as_output() -> None:
    x = mg.ones(3, requires_grad=True)
    dot = mg.inspect.graph([x, x.exp()], {"x": x}).dot
    assert {("x", "output"), ("x", "exp"), ("exp", "output")} == arrows(dot)


def test_a_freed_graph_is_still_drawn() -> None:
    x = mg.ones(3, requires_grad=True)
    y = x.exp().sum()
    y.backward()
    assert ["freed by a backward pass"] in boxes(mg.inspect.graph(y).dot).values()


@needs_dot
def test_graphviz_draws_it(tmp_path: Path) -> None:
    layer = nn.GRU(3, 2)
    y, _, trace = layer(mg.randn(4, 2, 3), trace=True)
    drawing = mg.inspect.graph(y.sum(), dict(layer.named_parameters()), trace)
    text = " ".join(ET.fromstring(drawing.svg()).itertext())
    for word in ("sigmoid", "weight_hh_l0", "l0, t = 3", "(6, 2) float32"):
        assert word in text
    drawing.save(tmp_path / "tape.svg")
    assert (tmp_path / "tape.svg").read_text(encoding="utf-8") == drawing.svg()
    drawing.save(tmp_path / "tape.png")
    assert (tmp_path / "tape.png").read_bytes().startswith(b"\x89PNG")


def test_the_text_is_saved_without_graphviz(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    drawing = mg.inspect.graph(mg.ones(1, requires_grad=True).exp())
    drawing.save(tmp_path / "tape.dot")
    assert (tmp_path / "tape.dot").read_text(encoding="utf-8") == drawing.dot
    with pytest.raises(RuntimeError, match=r"apt install graphviz"):
        drawing.svg()
    with pytest.raises(RuntimeError, match=r"`dot` of Graphviz"):
        drawing.save(tmp_path / "tape.svg")
    assert not (tmp_path / "tape.svg").exists()


def test_errors_say_what_was_expected(tmp_path: Path) -> None:
    y = mg.ones(1, requires_grad=True).exp()
    with pytest.raises(ValueError, match="require grad"):
        mg.inspect.graph([y, mg.ones(1)])
    with pytest.raises(ValueError, match="require grad"):
        mg.inspect.graph([])
    _, _, trace = nn.RNN(3, 2)(mg.randn(2, 1, 3), trace=True)
    with pytest.raises(TypeError, match=r"the whole trace.*got a CellTrace"):
        mg.inspect.graph(y, trace=trace[0])
    with pytest.raises(ValueError, match="max_nodes"):
        mg.inspect.graph(y, max_nodes=0)
    with pytest.raises(ValueError, match=r"\.svg"):
        mg.inspect.graph(y).save(tmp_path / "tape.jpeg")
