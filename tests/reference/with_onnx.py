"""A recurrent node of ONNX, computed by onnx's reference evaluator or by onnxruntime."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from tests.reference.interchange_cases import (
    BATCH,
    HIDDEN,
    INPUT,
    LENGTHS,
    STEPS,
    Arrays,
    OnnxCase,
)

OPSET = 14  # the equations have stood since 7; 14 added the layout
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")  # in the node's order
OUTPUTS = ("Y", "Y_h", "Y_c")


def inputs_of(case: OnnxCase, random: np.random.Generator) -> Arrays:
    """The inputs that a case gives, by their names in the operator's specification."""
    directions, rows = case.directions, GATES[case.kind] * HIDDEN
    shapes: dict[str, tuple[int, ...]] = {
        "X": (STEPS, BATCH, INPUT),
        "W": (directions, rows, INPUT),
        "R": (directions, rows, HIDDEN),
    }
    if case.bias:
        shapes["B"] = (directions, 2 * rows)
    if case.state:
        shapes["initial_h"] = (directions, BATCH, HIDDEN)
    if case.state and case.kind == "LSTM":
        shapes["initial_c"] = (directions, BATCH, HIDDEN)
    if case.peepholes:
        shapes["P"] = (directions, 3 * HIDDEN)
    arrays = {name: random.standard_normal(shape) / 2 for name, shape in shapes.items()}
    if case.lengths:
        arrays["sequence_lens"] = np.array(LENGTHS, np.int32)
    return arrays


def model_of(case: OnnxCase, arrays: Arrays) -> onnx.ModelProto:
    """A model of this one node, with all of its inputs open."""
    outputs = OUTPUTS if case.kind == "LSTM" else OUTPUTS[:2]
    order = INPUTS if case.kind == "LSTM" else INPUTS[:6]
    names = [name if name in arrays else "" for name in order]
    node = helper.make_node(case.kind, names, outputs, hidden_size=HIDDEN, **case.attributes)

    def info(name: str, dtype: np.dtype, rank: int) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(dtype)
        return helper.make_tensor_value_info(name, kind, [None] * rank)

    given = [info(name, x.dtype, x.ndim) for name, x in arrays.items()]
    results = [info(name, arrays["X"].dtype, 4 if name == "Y" else 3) for name in outputs]
    graph = helper.make_graph([node], case.name, given, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def evaluate(case: OnnxCase, arrays: Arrays) -> Arrays:
    """The outputs by onnx's reference evaluator, in the precision of the inputs."""
    model = model_of(case, arrays)
    results = ReferenceEvaluator(model).run(None, arrays)
    return {info.name: x for info, x in zip(model.graph.output, results, strict=True)}


def run_with_onnxruntime(case: OnnxCase, arrays: Arrays) -> Arrays:
    """The outputs by onnxruntime: float32, and sequence_lens, which the evaluator ignores."""
    import onnxruntime

    single = {
        name: x.astype(np.float32) if x.dtype.kind == "f" else x for name, x in arrays.items()
    }
    model = model_of(case, single)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    results = session.run(None, single)
    return {info.name: np.asarray(x) for info, x in zip(model.graph.output, results, strict=True)}
