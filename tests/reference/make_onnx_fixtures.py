"""Compute every ONNX case and store it: python -m tests.reference.make_onnx_fixtures.

Needs onnx and onnxruntime. Stored is what onnx's reference evaluator gives in float64, or, where it
lacks something (sequence_lens, relu in an RNN), onnxruntime in float32; where both can, they agree.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from tests.reference.interchange_cases import ONNX_CASES, Arrays, OnnxCase, path_of, save
from tests.reference.with_onnx import evaluate, inputs_of, run_with_onnxruntime


def run(case: OnnxCase, random: np.random.Generator) -> Arrays:
    arrays = inputs_of(case, random)
    single = run_with_onnxruntime(case, arrays)
    if case.only_onnxruntime:
        return arrays | single
    double = evaluate(case, arrays)
    for name, y in double.items():
        np.testing.assert_allclose(single[name], y, rtol=0, atol=1e-6, err_msg=case.name)
    return arrays | double


def main() -> None:
    random = np.random.default_rng(0)
    runs = {case.name: run(case, random) for case in ONNX_CASES}
    made_by = f"onnx {onnx.__version__} (float64), onnxruntime {onnxruntime.__version__} (float32)"
    save("onnx", runs, made_by)
    print(f"{len(runs)} cases, {path_of('onnx').stat().st_size:,} bytes, {made_by}")  # noqa: T201


if __name__ == "__main__":
    main()
