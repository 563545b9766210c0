"""What every test stands on: the backend it runs on, its hypothesis profile, and no leaks."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import minigrad as mg

DEVICES = {"numpy": "cpu", "native": "cpu", "strict": "strict", "cupy": "cuda"}

# Each piece of global state: how to read it, and how to put it back.
STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "default device": (mg.get_default_device, mg.set_default_device),
    "default dtype": (mg.get_default_dtype, mg.set_default_dtype),
    "grad mode": (mg.is_grad_enabled, lambda on: mg.set_grad_enabled(on).__enter__()),
    "native kernels": (lambda: mg.ones(1, device="cpu").backend.native, mg.use_native),
    "NumPy error state": (np.geterr, lambda state: np.seterr(**state)),
}

REFERENCE = Path(__file__).parent / "reference"
HAS_TORCH = importlib.util.find_spec("torch") is not None
collect_ignore = [] if HAS_TORCH else [str(REFERENCE)]  # they import torch at their top

# How long an example takes says nothing here: a machine with two cores is busy with its neighbour.
_PATIENT: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=20, **_PATIENT)
settings.register_profile(
    "ci", max_examples=20, derandomize=True, database=None, print_blob=True, **_PATIENT
)
settings.register_profile("intense", max_examples=500, **_PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backend",
        choices=list(DEVICES),
        default="numpy",
        help="the backend that the tests compute on (default: numpy)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Before collection: tables of cases may hold tensors.
    mg.set_default_device(DEVICES[config.getoption("--backend")])
    if config.getoption("--backend") == "native":
        mg.use_native()


def pytest_report_header(config: pytest.Config) -> str:
    left_out = "" if HAS_TORCH else "; tests/reference left out: torch is not installed"
    return f"minigrad backend: {config.getoption('--backend')}{left_out}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    on_gpu = config.getoption("--backend") == "cupy"
    for item in items:
        if REFERENCE in item.path.parents:
            item.add_marker("reference")
        if item.get_closest_marker("gpu") and not on_gpu:
            item.add_marker(pytest.mark.skip(reason="needs a GPU: run pytest --backend=cupy"))
        if item.get_closest_marker("reference") and not HAS_TORCH:
            item.add_marker(pytest.mark.skip(reason="needs torch: run make test-reference"))


@pytest.fixture(scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """The name given to --backend: "numpy", "native" (NumPy, compiled), "strict" or "cupy"."""
    return request.config.getoption("--backend")


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Seed the default generator; fail a test that changes global state and leaves it so."""
    mg.manual_seed(0)
    before = {name: read() for name, (read, _) in STATE.items()}
    yield
    leaked = {name: read() for name, (read, _) in STATE.items() if read() != before[name]}
    for name in leaked:
        _, restore = STATE[name]
        restore(before[name])
    if leaked:
        changes = ", ".join(f"{name} from {before[name]} to {leaked[name]}" for name in leaked)
        pytest.fail(f"the test leaks global state: {changes}")
