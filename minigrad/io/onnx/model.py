"""A recurrent layer as an ONNX model, and the layer that a model holds; needs the extra `onnx`."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from minigrad.io.layouts import Host
from minigrad.io.onnx.weights import get_weights, set_weights
from minigrad.nn.cell import Cell
from minigrad.nn.cells import (
    GRU,
    LSTM,
    RNN,
    GRUCell,
    LSTMCell,
    PeepholeLSTM,
    PeepholeLSTMCell,
    RNNCell,
)
from minigrad.nn.recurrent import Recurrent

_OPSET, _IR = 14, 8  # of 2021; what came later changes nothing about these operators
_OPERATORS: dict[type[Cell], str] = {
    RNNCell: "RNN",
    LSTMCell: "LSTM",
    PeepholeLSTMCell: "LSTM",
    GRUCell: "GRU",
}
_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")  # of a node
_BETWEEN = {"Transpose", "Reshape", "Squeeze", "Identity", "Dropout"}  # two nodes of a stack
_ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}


def _library() -> Any:
    try:
        return importlib.import_module("onnx")
    except ImportError as error:
        raise ImportError(
            'ONNX models need onnx, of the extra `onnx`: pip install "minigrad[onnx]"'
        ) from error


# ---- to a model ------------------------------------------------------------------------------


def to_model(layer: Recurrent, lengths: bool = False) -> Any:
    """A layer as an ONNX model (opset 14), for any batch and number of steps, without dropout.

    Inputs are x and the states h_0 and c_0 in the layer's own shapes (batched), with `lengths=True`
    also lengths (batch,), int32; outputs are y, h_n and c_n. States are always given, zeros to
    begin with: a stream goes on by feeding h_n and c_n back as h_0 and c_0.

    layer: of RNN, LSTM, GRU or peephole cells; in float32 for onnxruntime, which has no other.
    Returns an `onnx.ModelProto` that onnx's checker has passed, to `onnx.save(model, path)`.

    Raises:
        ImportError: onnx is not installed.
        TypeError: the layer is none of a cell that has an ONNX operator.

    >>> import minigrad as mg
    >>> model = mg.io.onnx.to_model(mg.nn.LSTM(4, 3))  # doctest: +SKIP
    """
    onnx = _library()
    nodes, tensors = _stack(layer, lengths)
    inputs, outputs = _signature(layer, lengths)
    helper = onnx.helper

    def info(shapes: Mapping[str, tuple[Any, list[Any]]]) -> list[Any]:
        kind = helper.np_dtype_to_tensor_dtype
        return [
            helper.make_tensor_value_info(name, kind(np.dtype(dtype)), shape)
            for name, (dtype, shape) in shapes.items()
        ]

    graph = helper.make_graph(
        [helper.make_node(name, given, made, **more) for name, given, made, more in nodes],
        type(layer).__name__,
        info(inputs),
        info(outputs),
        [onnx.numpy_helper.from_array(x, name) for name, x in tensors.items()],
    )
    opset = [helper.make_opsetid("", _OPSET)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=_IR, producer_name="minigrad")
    onnx.checker.check_model(model, full_check=True)
    return model


_Node = tuple[str, list[str], list[str], dict[str, Any]]  # operator, inputs, outputs, attributes


def _stack(layer: Recurrent, lengths: bool) -> tuple[list[_Node], dict[str, Host]]:
    """The nodes of a layer, and the tensors that they use."""
    cell, layers = layer.cells[0][0], range(layer.num_layers)
    directions = len(layer.cells[0])
    tensors = {"directions": np.full(len(layers), directions), "flat": np.array([0, 0, -1])}
    nodes: list[_Node] = []
    x = "x"
    if layer.batch_first:
        nodes.append(("Transpose", ["x"], ["x_by_step"], {"perm": [1, 0, 2]}))
        x = "x_by_step"
    for s in cell.state_names:
        parts = [f"{s}_0_l{k}" for k in layers]
        nodes.append(("Split", [f"{s}_0", "directions"], parts, {"axis": 0}))
    for k, weights in enumerate(get_weights(layer)):
        tensors |= {f"{name}_l{k}": w for name, w in weights.items()}
        given = {
            "X": x,
            "sequence_lens": "lengths" if lengths else "",
            **{name: f"{name}_l{k}" for name in weights},
            **{f"initial_{s}": f"{s}_0_l{k}" for s in cell.state_names},
        }
        made = [f"Y_l{k}", *(f"{s}_n_l{k}" for s in cell.state_names)]
        count = len(_INPUTS) if _OPERATORS[type(cell)] == "LSTM" else 6
        inputs = [given.get(name, "") for name in _INPUTS[:count]]
        nodes += [
            (_OPERATORS[type(cell)], inputs, made, _attributes(cell, directions)),
            ("Transpose", [f"Y_l{k}"], [f"Y_by_row_l{k}"], {"perm": [0, 2, 1, 3]}),
            ("Reshape", [f"Y_by_row_l{k}", "flat"], [f"y_l{k}"], {}),
        ]
        x = f"y_l{k}"
    turned = ("Transpose", [x], ["y"], {"perm": [1, 0, 2]})
    nodes.append(turned if layer.batch_first else ("Identity", [x], ["y"], {}))
    for s in cell.state_names:
        nodes.append(("Concat", [f"{s}_n_l{k}" for k in layers], [f"{s}_n"], {"axis": 0}))
    return nodes, tensors


def _attributes(cell: Cell, directions: int) -> dict[str, Any]:
    """What a node's attributes say of the cell."""
    attributes: dict[str, Any] = {
        "hidden_size": cell.hidden_size,
        "direction": "bidirectional" if directions == 2 else "forward",
    }
    if isinstance(cell, GRUCell):
        attributes["linear_before_reset"] = int(cell.reset == "after")
    if isinstance(cell, RNNCell):
        attributes["activations"] = [cell.nonlinearity.capitalize()] * directions
    return attributes


def _signature(layer: Recurrent, lengths: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs and outputs: dtype and shape by name."""
    dtype = next(layer.parameters()).dtype
    axes = ["batch", "steps"] if layer.batch_first else ["steps", "batch"]
    directions = len(layer.cells[0])
    state = (dtype, [layer.num_layers * directions, "batch", layer.hidden_size])
    names = layer.cells[0][0].state_names
    inputs: dict[str, Any] = {"x": (dtype, [*axes, layer.input_size])}
    inputs |= {f"{s}_0": state for s in names}
    if lengths:
        inputs["lengths"] = (np.int32, ["batch"])
    outputs: dict[str, Any] = {"y": (dtype, [*axes, directions * layer.hidden_size])}
    return inputs, outputs | {f"{s}_n": state for s in names}


# ---- from a model ----------------------------------------------------------------------------


def from_model(model: Any) -> Recurrent:
    """The RNN, LSTM or GRU nodes of an ONNX model as one layer, with the model's weights.

    The nodes must be a stack, each fed by the one before (through no more than reshaping). What
    else the model computes is not looked at. The layer takes (steps, batch, input), in the dtype of
    the weights.

    model: an `onnx.ModelProto`, as `onnx.load(path)` gives it.

    Raises:
        ImportError: onnx is not installed.
        ValueError: there are no such nodes, they are no stack, or have attributes that our layers
            have no counterpart of: direction "reverse", clip, input_forget, other activations.

    >>> import minigrad as mg
    >>> layer = mg.io.onnx.from_model(onnx.load("model.onnx"))  # doctest: +SKIP
    """
    onnx = _library()
    nodes = [node for node in model.graph.node if node.op_type in _ACTIVATIONS]
    tensors = _tensors(onnx, model.graph)
    made_by = {output: node for node in model.graph.node for output in node.output}
    settings = [_settings(onnx, node) for node in nodes]
    if not nodes or any(other != settings[0] for other in settings):
        raise ValueError(
            "io.onnx.from_model: expected RNN, LSTM or GRU nodes of one kind and with the same "
            f"attributes, got {settings or 'none'}"
        )
    for below, above in itertools.pairwise(nodes):
        if _source(above.input[0], made_by) not in below.output[:1]:
            raise ValueError(
                f"io.onnx.from_model: expected a stack, but {_called(above)} is not fed by "
                f"{_called(below)}"
            )
    weights = [_weights_of(node, tensors) for node in nodes]
    layer = _layer(settings[0], weights)
    set_weights(layer, weights)
    return layer


def _tensors(onnx: Any, graph: Any) -> dict[str, Host]:
    """The constants of a graph by name."""
    found = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
    return {name: onnx.numpy_helper.to_array(t) for name, t in found.items()}


def _source(name: str, made_by: Mapping[str, Any]) -> str:
    """The value that this one is, reshaping left aside."""
    while name in made_by and made_by[name].op_type in _BETWEEN:
        name = made_by[name].input[0]
    return name


def _called(node: Any) -> str:
    """A node's name; not all models give them any."""
    return f"{node.op_type} {node.name or node.output[0]!r}"


def _settings(onnx: Any, node: Any) -> dict[str, Any]:
    """The operator and attributes of a node that decide about the layer, checked."""
    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    direction = given.get("direction", b"forward").decode()
    activations = [a.decode() for a in given.get("activations", [])]
    own = _ACTIVATIONS[node.op_type]
    first = activations[: len(own)] or own
    known = [["Tanh"], ["Relu"], ["Sigmoid"]] if node.op_type == "RNN" else [own]
    odd = [name for name in ("clip", "input_forget", "layout") if given.get(name)]
    if first not in known or activations not in ([], first, 2 * first):
        odd.append(f"activations {activations}")
    if direction == "reverse":
        odd.append("direction reverse (read its tensors and flip x: io.onnx.set_weights)")
    if odd:
        raise ValueError(
            f"io.onnx.from_model: {_called(node)}: our layers have no {', '.join(odd)}"
        )
    return {
        "operator": node.op_type,
        "bidirectional": direction == "bidirectional",
        "activation": first[0],
        "linear_before_reset": given.get("linear_before_reset", 0),
    }


def _weights_of(node: Any, tensors: Mapping[str, Host]) -> dict[str, Host]:
    """The weights of a node, which must be constants."""
    inputs = {role: name for role, name in zip(_INPUTS, node.input, strict=False) if name}
    wanted = {role: name for role, name in inputs.items() if role in ("W", "R", "B", "P")}
    absent = [name for name in wanted.values() if name not in tensors]
    if absent:
        raise ValueError(
            f"io.onnx.from_model: {_called(node)}: {', '.join(absent)}: expected "
            "constants, but the model computes them; fold its constants first"
        )
    return {role: tensors[name] for role, name in wanted.items()}


def _layer(settings: Mapping[str, Any], weights: list[dict[str, Host]]) -> Recurrent:
    """A new layer of the kind and size of some nodes."""

    def any_has(role: str) -> bool:
        return any(role in given for given in weights)

    hidden, size = weights[0]["R"].shape[-1], weights[0]["W"].shape[-1]
    options: dict[str, Any] = {
        "bias": any_has("B"),
        "bidirectional": settings["bidirectional"],
        "dtype": weights[0]["W"].dtype,
    }
    match settings["operator"]:
        case "RNN":
            return RNN(size, hidden, len(weights), settings["activation"].lower(), **options)
        case "GRU":
            reset = "after" if settings["linear_before_reset"] else "before"
            return GRU(size, hidden, len(weights), reset=reset, **options)
        case _:
            return (PeepholeLSTM if any_has("P") else LSTM)(size, hidden, len(weights), **options)
