"""Runs in files: one safetensors file a family, with the versions that computed it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.reference.case import Run

DATA = Path(__file__).parent / "data"


def path_of(family: str) -> Path:
    """The file of a family of cases."""
    return DATA / f"{family}.safetensors"


def save(family: str, runs: Mapping[str, Run], metadata: dict[str, str]) -> None:
    """Write the runs of a family: each array under case|part|name."""
    arrays: dict[str, np.ndarray] = {}
    for case, run in runs.items():
        for part, values in (
            ("in", run.inputs),
            ("weight", run.weights),
            ("cotangent", {str(i): x for i, x in enumerate(run.cotangents)}),
            ("out", {str(i): x for i, x in enumerate(run.outputs)}),
            ("grad", run.gradients),
        ):
            for name, x in values.items():
                arrays[f"{case}|{part}|{name}"] = x.copy()
    DATA.mkdir(exist_ok=True)
    save_file(arrays, path_of(family), metadata)


def load(family: str) -> dict[str, Run]:
    """The runs of a family by case."""
    runs: dict[str, Run] = {}
    with safe_open(path_of(family), framework="numpy") as file:
        for key in file.keys():  # noqa: SIM118  # the file is no dict
            case, part, name = key.split("|")
            run = runs.setdefault(case, Run({}))
            x = file.get_tensor(key)
            match part:
                case "in":
                    run.inputs[name] = x
                case "weight":
                    run.weights[name] = x
                case "grad":
                    run.gradients[name] = x
                case "cotangent":
                    _put(run.cotangents, int(name), x)
                case _:
                    _put(run.outputs, int(name), x)
    return runs


def _put(arrays: list[np.ndarray], i: int, x: np.ndarray) -> None:
    arrays += [x] * (i + 1 - len(arrays))
    arrays[i] = x


def duplicates(names: Iterable[str]) -> list[str]:
    """The names that occur twice."""
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]
