"""Pictures of what happens inside a recurrent layer: gradients, gates and states over time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.inspect.flow import CellFlow, GradFlow
from minigrad.inspect.parts import expect
from minigrad.nn.state import named_leaves
from minigrad.nn.trace import CellTrace
from minigrad.tensor import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: the colour-blind can tell them apart.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")


def plot_grad_flow(flow: GradFlow) -> Figure:
    r"""‖dL/ds_t‖ and ‖∂h_T/∂s_t‖ over the time steps, on logarithmic scales.

    A colour for each layer and direction, a line style for each part of the state; the mean over
    the rows of the batch, between their least and greatest. Zeros, which have no logarithm, leave
    gaps. Returns a matplotlib Figure (`.savefig(path)`); raises ImportError without matplotlib.

    >>> import minigrad as mg
    >>> y, _, trace = mg.nn.RNN(3, 4)(mg.randn(9, 2, 3), trace=True)
    >>> figure = mg.inspect.plot_grad_flow(mg.inspect.grad_flow(y[-1].sum(), trace))
    >>> [axes.get_ylabel() for axes in figure.axes]
    ['$‖\\partial L/\\partial s_t‖$', '$‖\\partial h_T/\\partial s_t‖$']
    """
    expect("plot_grad_flow", flow, GradFlow, "what grad_flow gave, not flow[k]")
    panels = {r"$‖\partial L/\partial s_t‖$": [cell.gradients for cell in flow]}
    if all(cell.jacobians for cell in flow):
        panels[r"$‖\partial h_T/\partial s_t‖$"] = [cell.jacobians for cell in flow]
    figure = _figure(5.5 * len(panels) + 0.5, 4)
    for axes, (label, norms) in zip(_axes(figure, 1, len(panels)), panels.items(), strict=True):
        for cell, of_cell, colour in zip(flow, norms, cycle(COLOURS), strict=False):
            for (part, values), style in zip(of_cell.items(), cycle(STYLES), strict=False):
                _line(axes, values, colour, style, f"s = {part}, {cell.name}")
        axes.set_ylabel(label)
        _time_axis(axes)
        _log_scale(axes)
    figure.axes[0].set_title("Gradient of the loss by the state", fontsize=10)
    if len(panels) > 1:
        figure.axes[1].set_title("Last hidden state by the state, Frobenius norm", fontsize=10)
    figure.axes[0].legend(fontsize=8)
    batch = next(iter(flow[0].gradients.values())).shape[1]
    if batch > 1:
        figure.suptitle(f"mean over {batch} rows, between the least and the greatest", fontsize=9)
    return figure


def plot_shares(flow: CellFlow) -> Figure:
    """Each step's share of the weights' gradients: along the whole gradient, and its own norm.

    ⟨G_t, G⟩ / ‖G‖² adds up to 1 for each weight; ‖G_t‖ also shows what cancels. Returns a
    matplotlib Figure; raises ImportError without matplotlib, ValueError where the flow has none.
    """
    expect("plot_shares", flow, CellFlow, "the flow in one layer and direction, flow[k]")
    if not flow.shares:
        raise ValueError(
            "plot_shares: this flow has no shares; give grad_flow the weights: "
            "grad_flow(loss, trace, dict(layer.named_parameters()))"
        )
    figure = _figure(11.5, 4)
    along, norms = _axes(figure, 1, 2)
    for weight, colour in zip(flow.shares, cycle(COLOURS), strict=False):
        look = {"marker": "o", "markersize": 3, "color": colour}
        along.plot(flow.fractions(weight), label=weight, **look)
        norms.plot(_positive(flow.share_norms(weight)), **look)
    along.axhline(0, color="0.3", linewidth=0.8)
    along.set(ylabel=r"$⟨G_t, G⟩\,/\,‖G‖^2$")
    along.set_title(rf"{flow.name}: share of the gradient $G = Σ_t G_t$; adds up to 1", fontsize=10)
    norms.set_ylabel("$‖G_t‖$")
    norms.set_title("Norm of each step's share", fontsize=10)
    for axes in along, norms:
        _time_axis(axes)
    _log_scale(norms)
    along.legend(fontsize=8)
    return figure


def plot_gates(
    trace: CellTrace,
    row: int = 0,
    tokens: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """The gates of one sequence as heat maps: units over time steps, one map for each gate.

    trace: of one layer and direction, `trace[k]` of `y, state, trace = layer(x, trace=True)`.
    row: which sequence of the batch.
    tokens: T labels for the time steps, or fewer: what is beyond them (padding) is not shown.
    names: of the gates to show, all that the cell has `named` by default.

    Values in 0…1 are shown from white to dark, others with 0 in the middle. Returns a matplotlib
    Figure; raises ImportError without matplotlib, IndexError for a row that is not there, and
    ValueError for more tokens than steps and for a cell that names no gates.

    >>> import minigrad as mg
    >>> _, _, trace = mg.nn.GRU(3, 4)(mg.randn(3, 2, 3), trace=True)
    >>> figure = mg.inspect.plot_gates(trace[0], tokens=["to", "be", "or"])
    >>> [axes.get_ylabel() for axes in figure.axes[:3]]
    ['r', 'z', 'n']
    """
    expect("plot_gates", trace, CellTrace, "the trace of one layer and direction, trace[k]")
    gates = [name for name in trace.values if name not in _states(trace)]
    return _heat_maps(trace, gates if names is None else names, row, tokens, "gate")


def plot_states(
    trace: CellTrace,
    row: int = 0,
    tokens: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
) -> Figure:
    """The state of one sequence as heat maps, one for each of its parts; see `plot_gates`."""
    expect("plot_states", trace, CellTrace, "the trace of one layer and direction, trace[k]")
    return _heat_maps(trace, _states(trace) if names is None else names, row, tokens, "state")


def _states(trace: CellTrace) -> list[str]:
    """The names of the state's tensors."""
    return list(named_leaves(trace.cell.state_names, trace.last))


def _heat_maps(
    trace: CellTrace, names: Sequence[str], row: int, tokens: Sequence[str] | None, kind: str
) -> Figure:
    maps = {name: _of_row(trace[name], row, tokens) for name in names}
    if not maps:
        raise ValueError(
            f"plot_{kind}s: {trace!r} has no {kind}s to show; a cell gives them names in its step: "
            "f = mg.named(f=mg.sigmoid(f))"
        )
    steps, units = next(iter(maps.values())).shape
    width = min(max(0.24 * steps, 4), 16) + 1.5
    figure = _figure(width, len(maps) * min(max(0.06 * units, 1.0), 2.5) + 0.8)
    all_axes = _axes(figure, len(maps), 1, sharex=True)
    for axes, (name, values) in zip(all_axes, maps.items(), strict=True):
        _heat_map(figure, axes, values)
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
    last = all_axes[-1]
    last.set_xlabel("time step")
    if tokens is not None:
        long = max(map(len, tokens)) > 2
        last.set_xticks(range(steps), tokens, rotation=90 if long else 0, fontsize=8)
        last.set_xlabel("")
    figure.suptitle(f"{trace.name}: {kind}s of row {row}, by unit", fontsize=10)
    return figure


def _heat_map(figure: Figure, axes: Any, values: np.ndarray[Any, Any]) -> None:
    """Units over time steps, with a scale beside them."""
    if values.min() >= 0 and values.max() <= 1:
        how = {"vmin": 0, "vmax": 1, "cmap": "Blues"}
    else:
        bound = float(np.abs(values).max())
        how = {"vmin": -bound, "vmax": bound, "cmap": "RdBu_r"}
    image = axes.imshow(values.T, aspect="auto", interpolation="nearest", **how)
    axes.set_yticks([0, values.shape[1] - 1])
    figure.colorbar(image, ax=axes, pad=0.01)


def _of_row(values: Tensor, row: int, tokens: Sequence[str] | None) -> np.ndarray[Any, Any]:
    """(T, units) of one row of the batch, as far as there are tokens."""
    steps, batch, _ = values.shape
    if not -batch <= row < batch:
        raise IndexError(f"row {row} of a batch of {batch}")
    if tokens is not None and not 0 < len(tokens) <= steps:
        raise ValueError(f"expected 1 to {steps} tokens, one a time step, got {len(tokens)}")
    return values.detach().cpu().numpy()[: None if tokens is None else len(tokens), row]


def _time_axis(axes: Any) -> None:
    axes.set_xlabel("time step t")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)


def _log_scale(axes: Any) -> None:
    """Logarithmic, unless there is nothing that has a logarithm."""
    if any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
        axes.set_yscale("log")


def _positive(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values that have a logarithm, NaN in the place of the others."""
    return np.where(values > 0, values, np.nan)


def _line(axes: Any, values: np.ndarray[Any, Any], colour: str, style: str, label: str) -> None:
    """The mean over rows of (T, B), and the range of the rows."""
    steps = np.arange(len(values))
    axes.plot(steps, _positive(values.mean(1)), style, color=colour, label=label)
    if values.shape[1] > 1:
        each = _positive(values)
        low, high = np.fmin.reduce(each, axis=1), np.fmax.reduce(each, axis=1)
        axes.fill_between(steps, low, high, color=colour, alpha=0.12, linewidth=0)


def _figure(width: float, height: float) -> Figure:
    """A new figure of that many inches, which no global state knows and no window shows."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            'pictures need matplotlib, of the extra `train`: pip install "minigrad[train]"'
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def _axes(figure: Figure, rows: int, columns: int, **options: Any) -> list[Any]:
    return list(figure.subplots(rows, columns, squeeze=False, **options).flat)
