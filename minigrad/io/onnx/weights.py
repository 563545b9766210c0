"""ONNX's recurrent operators: the tensors W, R, B and P of LSTM, GRU and RNN nodes, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minigrad.io.layouts import (
    Entry,
    Host,
    Order,
    check_covered,
    exported,
    load,
    order_of,
    reordered,
    restored,
)
from minigrad.nn.cell import Cell
from minigrad.nn.cells import GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
from minigrad.nn.recurrent import Recurrent

# The gates in ONNX's order, by our names: what is g here is c there, and n is h.
_GATES: dict[type[Cell], str] = {
    RNNCell: "h",
    LSTMCell: "iofg",
    PeepholeLSTMCell: "iofg",
    GRUCell: "zrn",
}
_PEEPHOLES: Order = (0, 2, 1)  # i, o, f there; i, f, o here


def set_weights(layer: Recurrent, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Copy the tensors of ONNX's recurrent nodes into a layer: all of them, or none.

    nodes: for each of the layer's `num_layers` one mapping with the tensors of one node, by the
    names in ONNX's specification of LSTM, GRU and RNN (opset 7 and later), for g gates:

        W (directions, g·H, I), R (directions, g·H, H), B (directions, 2·g·H), P (directions, 3·H)

    B may be missing, and is then zero, as the specification has it; so may P, the peepholes.
    What the tensors do not tell, the layer must have been made with: `bidirectional` for that
    direction, GRU's `reset="after"` for linear_before_reset = 1 and `"before"` for 0, an RNN's
    nonlinearity. A node of direction "reverse" is a layer that is run on `x.flip(0)`.

    Raises:
        TypeError: the layer is none of a cell that has an ONNX operator.
        ValueError: tensors are missing, unknown, or of other shapes than expected.

    >>> import minigrad as mg, numpy as np
    >>> layer = mg.nn.LSTM(4, 3)
    >>> node = {"W": np.ones((1, 12, 4)), "R": np.ones((1, 12, 3)), "B": np.zeros((1, 24))}
    >>> mg.io.onnx.set_weights(layer, [node])
    >>> float(layer.weight_ih_l0.sum())
    48.0
    """
    expected = _nodes(layer)
    if isinstance(nodes, Mapping) or len(nodes) != len(expected):
        got = "one mapping" if isinstance(nodes, Mapping) else f"{len(nodes)} mappings"
        raise ValueError(
            f"io.onnx.set_weights: expected a list of {len(expected)} mappings, one for each of "
            f"num_layers; got {got}: write [{{'W': w, 'R': r, 'B': b}}]"
        )
    entries: list[Entry] = []
    tensors: list[Any] = []
    for known, node in zip(expected, nodes, strict=True):
        _check_names(known, node)
        entries += known.values()
        now = exported(layer, list(known.values()))
        tensors += [node.get(name, np.zeros_like(x)) for name, x in zip(known, now, strict=True)]
    load(layer, entries, tensors, "io.onnx.set_weights")


def get_weights(layer: Recurrent) -> list[dict[str, Host]]:
    """The tensors of a layer as ONNX has them: for each of num_layers a mapping from W, R, B, P.

    Names and shapes are those of `set_weights` above, which reads exactly what this gives.

    Raises:
        TypeError: the layer is none of a cell that has an ONNX operator.

    >>> import minigrad as mg
    >>> (node,) = mg.io.onnx.get_weights(mg.nn.GRU(4, 3, bidirectional=True))
    >>> {name: tensor.shape for name, tensor in node.items()}
    {'W': (2, 9, 4), 'R': (2, 9, 3), 'B': (2, 18)}
    """
    return [
        dict(zip(known, exported(layer, list(known.values())), strict=True))
        for known in _nodes(layer)
    ]


def _check_names(known: Mapping[str, Entry], node: Mapping[str, Any]) -> None:
    unknown = [name for name in node if name not in known]
    missing = [name for name in ("W", "R") if name not in node]
    if unknown or missing:
        raise ValueError(
            f"io.onnx.set_weights: expected the tensors {', '.join(known)}; missing {missing}, "
            f"unknown {unknown} (B needs a layer with bias=True, P one with peepholes)"
        )


def _nodes(layer: Recurrent) -> list[dict[str, Entry]]:
    """The tensors of each node by their names."""
    if not isinstance(layer, Recurrent):  # pyright: ignore[reportUnnecessaryIsInstance] -- users without a type checker
        raise TypeError(
            f"io.onnx: expected a recurrent layer such as nn.LSTM, got {type(layer).__name__}"
        )
    nodes = [dict(_tensors(k, cells)) for k, cells in enumerate(layer.cells)]
    check_covered(layer, [entry for node in nodes for entry in node.values()], "io.onnx")
    return nodes


def _tensors(k: int, cells: Sequence[Any]) -> Iterator[tuple[str, Entry]]:
    """The tensors of the node of layer k, whose cells are its directions."""
    order = order_of(cells[0], _GATES, "io.onnx")
    parameters = {"W": (["weight_ih"], order), "R": (["weight_hh"], order)}
    if cells[0].bias_ih is not None:
        parameters["B"] = (["bias_ih", "bias_hh"], order)
    if isinstance(cells[0], PeepholeLSTMCell):
        parameters["P"] = (["weight_ch"], _PEEPHOLES)
    suffixes = [f"_l{k}", f"_l{k}_reverse"][: len(cells)]
    for tensor, (own, blocks) in parameters.items():
        names = tuple(name + suffix for suffix in suffixes for name in own)
        yield tensor, _joined(f"{tensor} of node {k}", names, blocks, len(cells))


def _joined(label: str, names: tuple[str, ...], order: Order, directions: int) -> Entry:
    """A tensor (directions, …) of the parameters of each direction, one below the other."""

    def there(parts: Sequence[Host]) -> Host:
        rows = np.concatenate([reordered(part, order) for part in parts])
        return rows.reshape(directions, -1, *rows.shape[1:])

    def here(tensor: Host) -> list[Host]:
        parts = tensor.reshape(len(names), -1, *tensor.shape[2:])
        return [restored(part, order) for part in parts]

    return Entry(label, names, there, here)
