"""Backpropagation by hand: the terms, their sum and reach, learning w, and mistakes."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
bptt = importlib.import_module("bptt_by_hand")

numbers = st.floats(-1.5, 1.5)
sequences = st.lists(numbers, min_size=1, max_size=12)
squashes = pytest.mark.parametrize("squash", list(bptt.SQUASH))


def run(*args: Any) -> int:
    return bptt.main([*map(str, args), "--device", mg.get_default_device()])


def last_state(w: float, u: float, x: list[float], squash: str) -> float:
    h = 0.0
    for x_t in x:
        h = {"linear": float, "tanh": np.tanh}[squash](w * h + u * x_t)
    return h


@squashes
@given(w=numbers, u=numbers, x=sequences)
def test_the_terms_by_hand_are_the_shares_on_the_tape(
    squash: str, w: float, u: float, x: list[float]
) -> None:
    terms, reaches = bptt.terms_by_hand(w, u, x, squash)
    device = mg.get_default_device()
    shares, jacobians = bptt.terms_on_the_tape(w, u, x, squash, device)
    np.testing.assert_allclose(shares, terms, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(jacobians, np.abs(reaches), rtol=1e-11, atol=1e-150)


@squashes
@given(w=numbers, u=numbers, x=sequences)
def test_the_terms_add_up_to_the_slope(squash: str, w: float, u: float, x: list[float]) -> None:
    terms, _ = bptt.terms_by_hand(w, u, x, squash)
    ends = [last_state(w + d, u, x, squash) for d in (1e-6, -1e-6)]
    slope = (ends[0] - ends[1]) / 2e-6
    assert sum(terms) == pytest.approx(slope, rel=1e-5, abs=1e-6)


@given(w=numbers, u=numbers, x=sequences)
def test_linear_terms_are_powers_of_w(w: float, u: float, x: list[float]) -> None:
    terms, reaches = bptt.terms_by_hand(w, u, x, "linear")
    steps = len(x)
    for t in range(1, steps + 1):
        before = last_state(w, u, x[: t - 1], "linear")
        assert reaches[t - 1] == pytest.approx(w ** (steps - t), rel=1e-12, abs=1e-300)
        assert terms[t - 1] == pytest.approx(w ** (steps - t) * before, rel=1e-12, abs=1e-300)


def test_clipping_tames_the_explosion() -> None:
    x, target = bptt.draw_data(np.random.default_rng(1), 30, mg.get_default_device())
    path, losses = bptt.descend(x, target, 110, bptt.MAX_NORM)
    assert len(path) == len(losses) == 110
    assert path[0] == bptt.START
    assert (np.abs(np.diff(path)) <= bptt.LEARNING_RATE * bptt.MAX_NORM * (1 + 1e-9)).all()
    assert abs(path[-1] - bptt.TEACHER) < bptt.NEAR
    assert losses[-1] < losses[0] / 1e6
    with np.errstate(over="ignore", invalid="ignore"):
        path, losses = bptt.descend(x, target, 110, None)
    assert len(path) <= 4
    assert abs(path[1]) > 1000
    assert not np.isfinite(losses[-1])


def test_the_whole_program(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    assert run("--length", 20, "--steps", 110, "--out", tmp_path / "new") == 0
    printed = capsys.readouterr().out
    assert "w = 1.2, φ tanh: dh_T/dw = " in printed
    assert "w within 0.01 with clipping, not without): met" in printed
    assert (tmp_path / "new" / bptt.PICTURE).stat().st_size > 20_000


def test_the_least_program_without_matplotlib(
    tmp_path: Path, monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run("--length", 2, "--steps", 1, "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    assert "not without): missed" in printed
    assert "no picture: matplotlib is missing" in printed


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    assert run("--out", tmp_path / "file") == 2
    errors = capsys.readouterr().err
    assert errors.startswith("bptt_by_hand: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--length", "1"), ("--steps", "0"), ("--steps", "ten"), ("--seed", "-1")],
)
def test_options_out_of_range(flag: str, value: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        bptt.main([flag, value])
    assert stop.value.code == 2
    assert f"error: argument {flag}: " in capsys.readouterr().err
