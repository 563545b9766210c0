"""Finding a backend: by device name, by array, and what is said when there is none."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minigrad.backend as backends
from minigrad.backend import backend_of, get_backend, is_array


@pytest.fixture
def without_cuda(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As in a process that has not asked for "cuda" yet."""
    monkeypatch.setattr(
        backends, "_by_device", {k: v for k, v in backends._by_device.items() if k != "cuda"}
    )
    return monkeypatch


def test_backends_are_made_once() -> None:
    for device in ("cpu", "strict"):
        backend = get_backend(device)
        assert backend is get_backend(device)
        assert backend.device == device
    assert get_backend("cpu").name == "numpy"
    assert repr(get_backend("strict")) == "<backend strict>"


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(ValueError, match="unknown device 'tpu': expected 'cpu' or 'cuda'"):
        get_backend("tpu")


def test_a_missing_cupy_names_the_extra(without_cuda: pytest.MonkeyPatch) -> None:
    without_cuda.setitem(sys.modules, "cupy", None)
    with pytest.raises(ImportError, match=r"device 'cuda:0' needs cupy.*minigrad\[cuda12\]"):
        get_backend("cuda:0")


def test_a_missing_gpu_is_told_from_a_missing_cupy(without_cuda: pytest.MonkeyPatch) -> None:
    class CUDARuntimeError(RuntimeError):
        pass

    def count() -> int:
        raise CUDARuntimeError("cudaErrorNoDevice")

    runtime = SimpleNamespace(getDeviceCount=count, CUDARuntimeError=CUDARuntimeError)
    cupy: Any = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))
    without_cuda.setitem(sys.modules, "cupy", cupy)
    without_cuda.setitem(sys.modules, "cupyx.scipy.special", SimpleNamespace(erf=None))
    with pytest.raises(RuntimeError, match=r"finds no GPU .*cudaErrorNoDevice.*device='cpu'"):
        get_backend("cuda")


def test_the_first_array_decides() -> None:
    strict = get_backend("strict")
    x = strict.from_host(np.ones(2))
    assert backend_of(2.0, None, x, np.ones(2)) is strict
    assert backend_of(2.0, np.float32(1), x) is get_backend("cpu")
    assert backend_of(2.0, "text") is get_backend("cpu")
    assert is_array(x)
    assert is_array(np.float32(1))
    assert not is_array(1.0)
    assert not is_array([1.0])
