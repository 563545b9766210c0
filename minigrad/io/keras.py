"""Keras's weights: what its `get_weights` gives into modules of ours, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from minigrad.nn.cells import GRUCell, LSTMCell, RNNCell
from minigrad.nn.linear import Embedding, Linear
from minigrad.nn.module import Module
from minigrad.nn.norm import LayerNorm
from minigrad.nn.recurrent import Recurrent

# The gates in Keras's order, by our names: what is g here is c there, and n is h.
_GATES: dict[type[Cell], str] = {RNNCell: "h", LSTMCell: "ifgo", GRUCell: "zrn"}
_PLAIN: dict[type[Module], list[tuple[str, str]]] = {  # Keras's names and ours
    Linear: [("kernel", "weight"), ("bias", "bias")],
    Embedding: [("embeddings", "weight")],
    LayerNorm: [("gamma", "weight"), ("beta", "bias")],
}


def set_weights(module: Module, weights: Sequence[Any]) -> None:
    """Copy the weights of a Keras layer or model into a module: all of them, or none.

    module: a recurrent layer, a cell, nn.Linear (Dense), nn.Embedding, nn.LayerNorm, or a module
    whose parameters all lie in such modules, defined in the order of the Keras model's layers.
    weights: the list of arrays that `get_weights()` of the Keras layer or model gives.

    Keras's layers have these kernels and biases, for g gates of H rows (LSTM: i, f, c, o; GRU: z,
    r, h); those of stacked layers follow each other, Bidirectional's forward and then backward:

        kernel (I, g·H), recurrent_kernel (H, g·H), bias (g·H); (2, g·H) in a GRU with reset_after

    Keras has one bias where PyTorch's layers have two that are added up: `bias_ih` becomes the
    bias, and `bias_hh` zero. Arrays do not tell of activations, and of options such as a
    LayerNormalization's epsilon (1e-3, unlike ours): the module must have been made with the same.

    Raises:
        TypeError: the module holds parameters of which no Keras layout is known.
        ValueError: there are more or fewer arrays than expected, or of other shapes.

    >>> import minigrad as mg, numpy as np
    >>> layer = mg.nn.LSTM(4, 3, batch_first=True)
    >>> weights = [np.ones((4, 12)), np.zeros((3, 12)), np.ones(12)]  # keras_layer.get_weights()
    >>> mg.io.keras.set_weights(layer, weights)
    >>> float(layer.bias_ih_l0.sum()), float(layer.bias_hh_l0.sum())
    (12.0, 0.0)
    """
    entries = _entries(module)
    if len(weights) != len(entries):
        labels = ", ".join(entry.label for entry in entries)
        raise ValueError(
            f"io.keras.set_weights: expected {len(entries)} arrays ({labels}), got {len(weights)} "
            f"of shapes {[tuple(np.shape(w)) for w in weights]}; use_bias=False there is "
            "bias=False here, and Bidirectional is bidirectional=True"
        )
    load(module, entries, weights, "io.keras.set_weights")


def get_weights(module: Module) -> list[Host]:
    """The weights of a module as Keras has them: what `keras_layer.set_weights(…)` takes.

    Arguments, order and shapes are those of `set_weights` above, which reads exactly what this
    gives. Where Keras has one bias, it is `bias_ih + bias_hh`.

    Raises:
        TypeError: the module holds parameters of which no Keras layout is known.

    >>> import minigrad as mg
    >>> [w.shape for w in mg.io.keras.get_weights(mg.nn.GRU(4, 3))]
    [(4, 9), (3, 9), (2, 9)]
    """
    return exported(module, _entries(module))


def _entries(module: Module) -> list[Entry]:
    """The arrays of a module in Keras's order; each parameter must belong to one."""
    found = [
        entry
        for path, inner in module.named_modules()
        for entry in _of_module(f"{path}." if path else "", inner)
    ]
    check_covered(module, found, "io.keras")
    return found


def _of_module(path: str, module: Module) -> Iterator[Entry]:
    """The arrays of the parameters that a module holds itself."""
    if isinstance(module, Recurrent):
        for suffix, cell in module.named_cells():
            yield from _of_cell(path, suffix, cell)
    elif isinstance(module, Cell):
        yield from _of_cell(path, "", module)
    for kind, parameters in _PLAIN.items():
        if isinstance(module, kind):
            for label, own in parameters:
                if getattr(module, own) is not None:
                    yield (_transposed if label == "kernel" else _same)(label, f"{path}{own}")


def _of_cell(path: str, suffix: str, cell: Any) -> Iterator[Entry]:
    order = order_of(cell, _GATES, "io.keras")

    def name(own: str) -> str:
        return f"{path}{own}{suffix}"

    yield _transposed("kernel", name("weight_ih"), order)
    yield _transposed("recurrent_kernel", name("weight_hh"), order)
    if cell.bias_ih is not None:
        biases = name("bias_ih"), name("bias_hh")
        resets_after = isinstance(cell, GRUCell) and cell.reset == "after"
        yield (_two_biases if resets_after else _one_bias)(biases, order)


def _transposed(label: str, name: str, order: Order = (0,)) -> Entry:
    return Entry(
        f"{label} ({name})",
        (name,),
        lambda weights: reordered(weights[0], order).T,
        lambda kernel: [restored(kernel.T, order)],
    )


def _same(label: str, name: str) -> Entry:
    return Entry(f"{label} ({name})", (name,), lambda weights: weights[0], lambda w: [w])


def _one_bias(names: tuple[str, str], order: Order) -> Entry:
    return Entry(
        f"bias ({' + '.join(names)})",
        names,
        lambda biases: reordered(biases[0] + biases[1], order),
        lambda bias: [restored(bias, order), np.zeros_like(bias)],
    )


def _two_biases(names: tuple[str, str], order: Order) -> Entry:
    return Entry(
        f"bias ({', '.join(names)})",
        names,
        lambda biases: np.stack([reordered(b, order) for b in biases]),
        lambda bias: [restored(b, order) for b in bias],
    )
