"""The pictures: what is drawn, from which values, and that they touch nothing global."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.inspect import (
    CellFlow,
    GradFlow,
    grad_flow,
    plot_gates,
    plot_grad_flow,
    plot_shares,
    plot_states,
)

matplotlib = pytest.importorskip("matplotlib", reason="needs matplotlib, of the extra `train`")


def traced(layer: nn.Recurrent, *shape: int) -> tuple[mg.Tensor, Any]:
    y, _, trace = layer(mg.randn(*shape), trace=True)
    return y, trace


def pixels(figure: Any) -> np.ndarray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


def maps(figure: Any) -> dict[str, np.ndarray]:
    """The heat maps by their labels, (T, units)."""
    return {a.get_ylabel(): a.images[0].get_array().T for a in figure.axes if a.images}


def test_the_lines_of_a_flow_are_its_means() -> None:
    y, trace = traced(nn.LSTM(3, 2, bidirectional=True), 6, 3, 3)
    flow = grad_flow(y.sum(), trace)
    figure = plot_grad_flow(flow)
    left, right = figure.axes
    assert left.get_yscale() == right.get_yscale() == "log"
    names = [(cell, part) for cell in flow for part in ("h", "c")]
    for axes, kind in ((left, "gradients"), (right, "jacobians")):
        for line, (cell, part) in zip(axes.lines, names, strict=True):
            assert line.get_label() == f"s = {part}, {cell.name}"
            np.testing.assert_array_equal(line.get_ydata(), getattr(cell, kind)[part].mean(1))
    looks = {(line.get_color(), line.get_linestyle()) for line in left.lines}
    assert len(looks) == 4
    assert "3 rows" in figure.get_suptitle()
    assert pixels(figure).std() > 0


def test_without_jacobians_there_is_one_panel() -> None:
    y, trace = traced(nn.RNN(3, 2), 5, 1, 3)
    figure = plot_grad_flow(grad_flow(y.sum(), trace, jacobians=False))
    assert len(figure.axes) == 1
    assert figure.get_suptitle() == ""  # one row has no range


@pytest.mark.filterwarnings("error")
def test_zeros_leave_gaps() -> None:
    norms = np.array([[0.0, 0.0], [0.0, 2.0], [1.0, 3.0]])
    figure = plot_grad_flow(GradFlow([CellFlow("l0", {"h": norms}, {}, {})]))
    (line,) = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), [np.nan, 1, 2])
    pixels(figure)
    pixels(plot_grad_flow(GradFlow([CellFlow("l0", {"h": 0 * norms}, {}, {})])))


def test_shares_are_fractions_and_norms() -> None:
    y, trace = traced(layer := nn.GRU(3, 2), 5, 2, 3)
    (flow,) = grad_flow(y.sum(), trace, dict(layer.named_parameters()), jacobians=False)
    figure = plot_shares(flow)
    along, norms = figure.axes
    assert [text.get_text() for text in along.get_legend().get_texts()] == list(flow.shares)
    for name, share, norm in zip(flow.shares, along.lines, norms.lines, strict=False):
        np.testing.assert_array_equal(share.get_ydata(), flow.fractions(name))
        lengths = flow.share_norms(name)
        np.testing.assert_array_equal(norm.get_ydata(), np.where(lengths > 0, lengths, np.nan))
    assert pixels(figure).std() > 0


def test_gates_and_states_of_a_row() -> None:
    _, trace = traced(nn.LSTM(3, 4), 5, 2, 3)
    gates, states = plot_gates(trace[0], row=1), plot_states(trace[0], row=1)
    assert list(maps(gates)) == ["i", "f", "g", "o"]
    assert list(maps(states)) == ["h", "c"]
    for name, shown in (maps(gates) | maps(states)).items():
        np.testing.assert_array_equal(shown, trace[0][name].detach().cpu().numpy()[:, 1])
    limits = {a.get_ylabel(): a.images[0].get_clim() for a in gates.axes if a.images}
    assert limits["f"] == (0, 1)
    low, high = limits["g"]
    assert low == -high < 0
    assert list(maps(plot_gates(trace[0], names=["f", "c"]))) == ["f", "c"]
    assert pixels(gates).std() > 0


class Nested(nn.Cell):
    """A cell with a state of (two tensors) and one."""

    state_names = ("pair", "h")

    def project(self, x: mg.Tensor) -> mg.Tensor:
        return x

    def step(self, p: mg.Tensor, state: Any) -> Any:
        (a, b), h = state
        return (mg.tanh(a + p), b + 1.0), mg.named(mean=(a + h) / 2)

    def output(self, state: Any) -> mg.Tensor:
        return state[1]

    def initial_state(self, batch: int, like: mg.Tensor) -> Any:
        zero = mg.zeros(self.hidden_size, batch)
        return (zero, zero), zero


def test_nested_parts_of_a_state_are_numbered() -> None:
    _, trace = traced(nn.Recurrent(Nested, 3, 3), 5, 2, 3)
    assert list(maps(plot_states(trace[0]))) == ["pair0", "pair1", "h"]
    assert list(maps(plot_gates(trace[0]))) == ["mean"]


def test_tokens_label_the_steps_and_end_the_picture() -> None:
    _, trace = traced(nn.GRU(3, 4), 6, 2, 3)
    figure = plot_gates(trace[0], tokens=["to", "be", "or", "not"])
    shown = maps(figure)
    assert list(shown) == ["r", "z", "n"]
    assert all(values.shape == (4, 4) for values in shown.values())
    last = [a for a in figure.axes if a.images][-1]
    assert [text.get_text() for text in last.get_xticklabels()] == ["to", "be", "or", "not"]


def test_nothing_global_is_touched(tmp_path: Path) -> None:
    backend = matplotlib.rcParams["backend"]
    _, trace = traced(nn.RNN(3, 2), 5, 2, 3)
    plot_states(trace[0]).savefig(tmp_path / "states.png")
    assert (tmp_path / "states.png").read_bytes().startswith(b"\x89PNG")
    assert matplotlib.rcParams["backend"] == backend
    if "matplotlib.pyplot" in sys.modules:
        assert not sys.modules["matplotlib.pyplot"].get_fignums()


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _, trace = traced(nn.RNN(3, 2), 5, 2, 3)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "minigrad\[train\]"'):
        plot_states(trace[0])


def test_errors_say_what_was_expected() -> None:
    y, trace = traced(nn.RNN(3, 2), 5, 2, 3)
    with pytest.raises(ValueError, match="has no gates"):
        plot_gates(trace[0])
    with pytest.raises(IndexError, match="row 2 of a batch of 2"):
        plot_states(trace[0], row=2)
    with pytest.raises(ValueError, match="1 to 5 tokens"):
        plot_states(trace[0], tokens=["a"] * 6)
    with pytest.raises(ValueError, match="1 to 5 tokens"):
        plot_states(trace[0], tokens=[])
    with pytest.raises(KeyError, match="no 'f'"):
        plot_gates(trace[0], names=["f"])
    flow = grad_flow(y.sum(), trace)
    for draw, wrong, words in (
        (plot_gates, trace, r"trace\[k\]; got a tuple"),
        (plot_states, trace, r"trace\[k\]; got a tuple"),
        (plot_shares, flow, r"flow\[k\]; got a GradFlow"),
        (plot_grad_flow, flow[0], r"got a CellFlow"),
    ):
        with pytest.raises(TypeError, match=words):
            draw(wrong)
    with pytest.raises(ValueError, match="named_parameters"):
        plot_shares(grad_flow(y.sum(), trace)[0])
