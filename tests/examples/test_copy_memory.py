"""The copy task: its sequences, who remembers nothing, what is learnt at a smaller size."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
copy_memory = importlib.import_module("copy_memory")


@pytest.mark.parametrize("delay", [1, 2, 30])
def test_what_is_read_and_what_is_to_be_said(delay: int) -> None:
    n = copy_memory.RECALLED
    read, said = copy_memory.draw_batch(np.random.default_rng(0), delay, 200)
    assert read.shape == said.shape == (delay + 2 * n, 200)
    assert set(read[:n].ravel()) == set(range(copy_memory.SYMBOLS))
    assert (read[n : n + delay - 1] == copy_memory.BLANK).all()
    assert (read[n + delay - 1] == copy_memory.SIGN).all()
    assert (read[n + delay :] == copy_memory.BLANK).all()
    assert (said[: n + delay] == copy_memory.BLANK).all()
    np.testing.assert_array_equal(said[n + delay :], read[:n])


def test_the_loss_of_who_remembers_nothing() -> None:
    _, said = copy_memory.draw_batch(np.random.default_rng(0), 7, 3)
    logits = np.zeros((*said.shape, copy_memory.SYMBOLS + 1))
    speaks = np.arange(len(said)) >= len(said) - copy_memory.RECALLED
    logits[~speaks, :, copy_memory.BLANK] = 100
    logits[speaks, :, copy_memory.BLANK] = -100
    loss = F.cross_entropy(mg.tensor(logits).flatten(0, 1), mg.tensor(said).flatten())
    assert loss.item() == pytest.approx(copy_memory.remembering_nothing(7))


def test_chrono_makes_long_memories() -> None:
    biases = {}
    for kind in "LSTM", "LSTM, chrono":
        layer = copy_memory.Copier(kind, 50, 30).recurrent
        biases[kind] = (layer.bias_ih_l0 + layer.bias_hh_l0).detach().numpy()[50:100]
    assert biases["LSTM"].max() < 0.5
    assert biases["LSTM, chrono"].max() > 2


def test_symbols_are_recalled_after_a_short_wait(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(copy_memory, "RECALLED", 1)
    options = ["--hidden", "16", "--steps", "150", "--out", str(tmp_path)]
    args = copy_memory.parse([*options, "--device", mg.get_default_device()])
    result = copy_memory.study("GRU", 1, args)
    assert result["recalled"] > 0.95
    assert result["losses"][-1] < copy_memory.remembering_nothing(1) / 4


def test_the_whole_program(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    options = ["--hidden", "4", "--steps", "3", "--waits", "3", "1", "3", "--out", str(tmp_path)]
    assert copy_memory.main([*options, "--device", mg.get_default_device()]) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^  ([A-Z][\w, ]+?) +(0\.\d+) +(0\.\d+)$", printed, re.MULTILINE)
    assert [name for name, *_ in rows] == list(copy_memory.COLOURS)
    assert "target (GRU 0.9 after 3 steps, and chrono helps the LSTM): missed" in printed
    assert (tmp_path / copy_memory.PICTURE).stat().st_size > 20_000


def test_waits_that_are_none(capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        copy_memory.main(["--waits", "0"])
    assert stop.value.code == 2
    assert "argument --waits: expected 1 or more, got 0" in capsys.readouterr().err
