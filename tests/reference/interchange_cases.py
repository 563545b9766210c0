"""Layers of Keras and nodes of ONNX: computed there once, stored, and computed here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

Arrays = dict[str, np.ndarray]

DATA = Path(__file__).parent / "data"
STEPS, BATCH, INPUT, HIDDEN = 5, 3, 4, 6
LENGTHS = [3, 5, 2]


@dataclass(frozen=True)
class KerasCase:
    """Recurrent layers of one kind on top of each other."""

    name: str
    kind: str  # a class of keras.layers
    options: Mapping[str, Any]
    layers: int = 1
    bidirectional: bool = False
    masked: bool = False


@dataclass(frozen=True)
class OnnxCase:
    """One recurrent node."""

    name: str
    kind: str  # an operator of ONNX
    attributes: Mapping[str, Any]
    bias: bool = True
    peepholes: bool = False
    state: bool = False
    lengths: bool = False

    @property
    def directions(self) -> int:
        return 1 + (self.attributes["direction"] == "bidirectional")

    @property
    def only_onnxruntime(self) -> bool:
        """Whether onnx's evaluator lacks something of it: sequence_lens, or relu in an RNN."""
        return self.lengths or "activations" in self.attributes


def _keras_cases() -> list[KerasCase]:
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("lstm", "LSTM", {}),
        ("gru", "GRU", {"reset_after": True}),
        ("gru-before", "GRU", {"reset_after": False}),
        ("rnn", "SimpleRNN", {}),
        ("rnn-relu", "SimpleRNN", {"activation": "relu"}),
    ]
    cases: list[KerasCase] = []
    for name, kind, options in kinds:
        cases += [
            KerasCase(name, kind, options),
            KerasCase(f"{name}-no-bias", kind, {**options, "use_bias": False}),
            KerasCase(f"{name}-two-layers-both-ways", kind, options, 2, True),
            KerasCase(f"{name}-masked-both-ways", kind, options, 1, True, True),
        ]
    return cases


def _onnx_cases() -> list[OnnxCase]:
    kinds: list[tuple[str, str, dict[str, Any], bool]] = [
        ("lstm", "LSTM", {}, False),
        ("lstm-peephole", "LSTM", {}, True),
        ("gru", "GRU", {"linear_before_reset": 1}, False),
        ("gru-before", "GRU", {"linear_before_reset": 0}, False),
        ("rnn", "RNN", {}, False),
        ("rnn-relu", "RNN", {"activations": ["Relu"]}, False),
    ]
    cases: list[OnnxCase] = []
    for name, kind, attributes, peepholes in kinds:
        for direction in ("forward", "reverse", "bidirectional"):
            given = {**attributes, "direction": direction}
            if "activations" in given and direction == "bidirectional":
                given["activations"] = 2 * given["activations"]
            for more, bias, state, lengths in (
                ("", True, False, False),
                ("-no-bias", False, False, False),
                ("-state", True, True, False),
                ("-state-lengths", True, True, True),
            ):
                full = f"{name}-{direction}{more}"
                cases.append(OnnxCase(full, kind, given, bias, peepholes, state, lengths))
    return cases


KERAS_CASES = _keras_cases()
ONNX_CASES = _onnx_cases()


def path_of(library: str) -> Path:
    """The file with what a library computed."""
    return DATA / f"{library}.safetensors"


def save(library: str, runs: Mapping[str, Arrays], made_by: str) -> None:
    """Write the arrays of every case, and which versions computed them."""
    arrays = {f"{case}|{name}": x for case, run in runs.items() for name, x in run.items()}
    contiguous = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
    save_file(contiguous, path_of(library), {"made_by": made_by})


def load(library: str) -> dict[str, Arrays]:
    """The arrays by case and name."""
    runs: dict[str, Arrays] = {}
    with safe_open(path_of(library), framework="numpy") as file:
        for key in file.keys():  # noqa: SIM118  # the file is no dict
            case, name = key.split("|")
            runs.setdefault(case, {})[name] = file.get_tensor(key)
    return runs


def numbered(run: Arrays, prefix: str) -> list[np.ndarray]:
    """The arrays prefix0, prefix1, … in order."""
    count = sum(name.removeprefix(prefix).isdigit() for name in run)
    return [run[f"{prefix}{i}"] for i in range(count)]
