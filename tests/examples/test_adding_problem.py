"""The adding problem: its data, its gradients, what is learnt at a smaller size, and mistakes."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
adding = importlib.import_module("adding_problem")


def run(*args: Any) -> int:
    return adding.main([*map(str, args), "--device", mg.get_default_device()])


@pytest.mark.parametrize("steps", [2, 3, 11])
def test_each_half_has_one_mark(steps: int) -> None:
    x, sums = adding.draw_batch(np.random.default_rng(0), steps, 500)
    numbers, marks = x[..., 0], x[..., 1]
    assert x.dtype == sums.dtype == np.float32
    assert (marks[: steps // 2].sum(0) == 1).all()
    assert (marks[steps // 2 :].sum(0) == 1).all()
    assert (marks.sum(1) > 0).all(), "every step is marked sometimes"
    np.testing.assert_allclose(sums, (numbers * (marks == 1)).sum(0), rtol=1e-6)
    assert np.mean((sums - 1) ** 2) == pytest.approx(adding.BASELINE, rel=0.2)


@pytest.mark.parametrize("name", list(adding.CELLS))
def test_gradient_flow_is_that_of_finite_differences(name: str) -> None:
    steps, rows, hidden = 5, 1, 3
    model = adding.Adder(adding.CELLS[name], hidden).double()
    x, sums = adding.draw_batch(np.random.default_rng(0), steps, rows)
    x, sums = mg.tensor(x.astype(np.float64)), mg.tensor(sums.astype(np.float64))
    flow = model.gradient_flow(x, sums)
    assert flow.shape == (steps,)

    with mg.no_grad():
        states = [None]
        for t in range(steps):
            states.append(model.recurrent(x[t : t + 1], states[-1])[1])

        def loss(t: int, nudge: np.ndarray) -> float:
            """The loss when h_t, and of an LSTM nothing else, is nudged."""
            state: Any = states[t + 1]
            first = state[0] if isinstance(state, tuple) else state
            first = first + mg.tensor(nudge)
            state = (first, state[1]) if isinstance(state, tuple) else first
            if t + 1 < steps:
                _, state = model.recurrent(x[t + 1 :], state)
            last = state[0] if isinstance(state, tuple) else state
            return F.mse_loss(model.head(last[0]).squeeze(1), sums, reduction="sum").item()

        for t in range(steps):
            nudges = 1e-6 * np.eye(hidden)[:, None, None]
            slopes = [(loss(t, n) - loss(t, -n)) / 2e-6 for n in nudges]
            assert flow[t] == pytest.approx(np.linalg.norm(slopes), rel=1e-4, abs=1e-9)


def test_the_error_falls_below_the_baseline(tmp_path: Path) -> None:
    args = argparse.Namespace(
        length=8, hidden=16, steps=150, seed=0, device=mg.get_default_device(), out=tmp_path
    )
    result = adding.study("GRU", args)
    assert result["error"] < adding.BASELINE / 4
    assert len(result["curve"]) == 150


def test_the_whole_program(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    assert run("--length", 12, "--hidden", 4, "--steps", 3, "--out", tmp_path / "new") == 0
    printed = capsys.readouterr().out
    assert "target (LSTM and GRU below 0.0167, RNN not): missed" in printed
    assert (tmp_path / "new" / adding.PICTURE).stat().st_size > 20_000


def test_without_matplotlib(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run("--length", 2, "--hidden", 1, "--steps", 1, "--out", tmp_path) == 0
    assert "no picture: matplotlib is missing" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    assert run("--out", tmp_path / "file") == 2
    errors = capsys.readouterr().err
    assert errors.startswith("adding_problem: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--length", "1"), ("--hidden", "0"), ("--steps", "ten"), ("--seed", "-1")],
)
def test_options_out_of_range(flag: str, value: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        adding.main([flag, value])
    assert stop.value.code == 2
    assert f"error: argument {flag}: " in capsys.readouterr().err
