"""The digits: they are learnt, the weights can be loaded, and mistakes are one clear line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

pytest.importorskip("sklearn")  # of the extra `examples`
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
digits_mlp = importlib.import_module("digits_mlp")


def run(*args: Any) -> int:
    return digits_mlp.main([*map(str, args), "--device", mg.get_default_device()])


def test_it_learns_and_the_weights_give_the_same(tmp_path: Path, capsys: Any) -> None:
    assert run("--out", tmp_path / "new", "--steps", 300, "--hidden", 64) == 0
    printed = capsys.readouterr().out
    assert "taken for" in printed

    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    model.load_state_dict(mg.load(tmp_path / "new" / digits_mlp.WEIGHTS).tensors)
    *_, pixels, digits = digits_mlp.read_digits(0)
    right = digits_mlp.read_with(model, pixels, mg.get_default_device()) == digits
    assert right.mean() > 0.9
    assert f"digits not learnt from: {right.mean():.4f}" in printed


def test_nothing_is_both_learnt_and_tested() -> None:
    pixels, digits, test_pixels, test_digits = digits_mlp.read_digits(3)
    assert len(digits) + len(test_digits) == 1797
    assert pixels.dtype == np.float32
    assert digits.dtype == np.int64
    assert 0 <= pixels.min() <= pixels.max() == 1
    learnt = {image.tobytes() for image in pixels}
    assert not any(image.tobytes() in learnt for image in test_pixels)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path) -> None:
    for out in "a", "b":
        run("--out", tmp_path / out, "--steps", 5, "--hidden", 8, "--seed", 4)
    one, other = ((tmp_path / out / digits_mlp.WEIGHTS).read_bytes() for out in "ab")
    assert one == other


def test_the_confusion_table() -> None:
    table = digits_mlp.confusion(np.array([3, 3, 3, 0]), np.array([3, 3, 8, 0])).splitlines()
    assert table[5].split() == ["3", ".", ".", ".", "2", ".", ".", ".", ".", "1", "."]
    assert table[2].split()[:2] == ["0", "1"]


def test_without_scikit_learn(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert run("--out", tmp_path) == 2
    errors = capsys.readouterr().err
    assert "pip install 'minigrad[examples]'" in errors
    assert errors.count("\n") == 1


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "file").write_text("")
    assert run("--out", tmp_path / "file" / "out") == 2
    errors = capsys.readouterr().err
    assert errors.startswith("digits_mlp: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--hidden", "0"), ("--steps", "ten"), ("--seed", "-1"), ("--device", "tpu")],
)
def test_options_out_of_range(flag: str, value: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        digits_mlp.main([flag, value])
    assert stop.value.code == 2
    assert f"error: argument {flag}: " in capsys.readouterr().err
