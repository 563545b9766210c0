"""Forecasts: the series against a finer integration, what needs no network, streaming, learning."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
forecast = importlib.import_module("forecast")


def test_the_series_obeys_its_equation(monkeypatch: Any) -> None:
    """With a value each DT, slopes by central differences are those of the equation."""
    monkeypatch.setattr(forecast, "EVERY", forecast.DT)
    x = forecast.mackey_glass(3000, np.random.default_rng(0)).astype(np.float64)
    assert x.mean() == pytest.approx(0, abs=1e-5)
    assert x.std() == pytest.approx(1, abs=1e-5)
    lag, dt = round(forecast.DELAY / forecast.DT), forecast.DT
    slopes = (x[lag + 1 :] - x[lag - 1 : -2])[:-1] / (2 * dt)
    # x = (value - mean) / deviation: of the equation's two sides only the scale is unknown
    best = min(
        np.abs(deviation * slopes - right_side(mean + deviation * x, lag)).max()
        for mean in np.linspace(0.7, 1.1, 81)
        for deviation in np.linspace(0.15, 0.35, 81)
    )
    assert best < 0.003


def right_side(values: np.ndarray, lag: int) -> np.ndarray:
    late, now = values[: -lag - 2], values[lag:-2]
    return 0.2 * late / (1 + late**10) - 0.1 * now


def test_baselines_of_a_series_that_they_know() -> None:
    t = np.arange(400)
    wave = (np.sin(2 * np.pi * t / 20) + 0.5 * np.cos(2 * np.pi * t / 10)).astype(np.float64)
    known, truth = wave[200:300, None], wave[300:350, None]
    for method in forecast.last_period(wave[:200]), forecast.autoregression(wave[:200]):
        np.testing.assert_allclose(method(known, 50), truth, atol=1e-6)
    assert (forecast.last_value(known, 3) == known[-1]).all()


@mg.no_grad()
def test_value_by_value_is_the_same_as_all_at_once() -> None:
    mg.manual_seed(0)
    model, values = forecast.Forecaster(5), mg.randn(8, 2)
    expected, far = model.forecast(values, 3)
    state = None
    for value, of_all in zip(values, expected, strict=True):
        said, state = model(value.unsqueeze(0), state)
        np.testing.assert_allclose(said[0].numpy(), of_all.numpy(), atol=1e-6)
    assert far.shape == (3, 2)
    assert (far[0] == expected[-1]).all()
    again, _ = model(mg.cat([values, far[:2]]))
    np.testing.assert_allclose(again[-3:].numpy(), far.numpy(), atol=1e-6)


def test_it_learns_at_a_smaller_size(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    for name, value in {"LEARNT": 400, "ASKED": 300, "KNOWN": 30, "AHEAD": 5}.items():
        monkeypatch.setattr(forecast, name, value)
    options = ["--hidden", "16", "--steps", "60", "--out", str(tmp_path)]
    assert forecast.main([*options, "--device", mg.get_default_device()]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^  ([a-zA-Z ]+?) +(\d\.\d+) +(\d\.\d+)", printed, re.MULTILINE)
    near = {name: float(one) for name, one, _ in rows}
    far = {name: float(five) for name, _, five in rows}
    assert near["GRU"] < near["last value"]
    assert far["GRU"] < min(far["last value"], far["last period"])
    assert (tmp_path / forecast.PICTURE).stat().st_size > 20_000
    model = forecast.Forecaster(16)
    model.load_state_dict(mg.load(tmp_path / forecast.WEIGHTS).tensors)
