"""Show, attend and tell: its pictures and windows, what is learnt at a smaller size, mistakes."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg

pytest.importorskip("sklearn")  # of the extra `examples`
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
teller = importlib.import_module("show_attend_tell")


def run(*args: Any) -> int:
    return teller.main([*map(str, args), "--device", mg.get_default_device()])


def test_digits_lie_apart_from_left_to_right() -> None:
    images = np.stack([np.full((8, 8), digit + 1, dtype=np.float32) for digit in range(10)])
    rng = np.random.default_rng(0)
    pictures, said = teller.draw_pictures(images, np.arange(10), 200, rng)
    assert pictures.shape == (200, teller.HEIGHT, teller.WIDTH)
    tops = set()
    for picture, text in zip(pictures, said, strict=True):
        assert (picture > 0).sum() == teller.DIGITS * 64, "none covers another"
        columns = picture.max(0)
        values = columns[columns > 0].reshape(teller.DIGITS, 8)
        assert (values == values[:, :1]).all()
        assert " ".join(teller.NAMES[int(v) - 1] for v in values[:, 0]) == text
        tops.add(int(np.flatnonzero(picture.max(1))[0]))
    assert len(tops) > 5


def test_windows_and_their_weights_are_at_the_same_place() -> None:
    rows, columns = teller.GRID
    picture = np.zeros((1, teller.HEIGHT, teller.WIDTH), dtype=np.float32)
    picture[0, 4:12, 10:18] = 1
    seen = teller.windows(picture)
    assert seen.shape == (1, rows * columns, 64)
    full = int(seen[0].sum(1).argmax())
    assert seen[0, full].sum() == 64
    weights = np.zeros(rows * columns)
    weights[full] = 1
    np.testing.assert_array_equal(teller.spread(weights), picture[0])


def test_the_codes() -> None:
    ids = teller.encode(["one two six", "three three three"])
    assert ids.shape == (2, teller.LONGEST)
    assert (ids[0, 12:] == teller.IGNORED).all()
    assert teller.spelled(mg.tensor(ids[1:])) == ["three three three"]
    assert teller.pairs("one", "one two six") == [("one", "one"), ("", "two"), ("", "six")]


def test_letters_behind_the_end_do_not_count() -> None:
    model = teller.Reader(4)
    seen = mg.randn(1, teller.GRID[0] * teller.GRID[1], 64)
    ids = teller.encode(["one two six"])
    longer = np.full((1, teller.LONGEST + 5), teller.IGNORED)
    longer[:, : teller.LONGEST] = ids
    one, other = (model.loss(seen, mg.tensor(a)).item() for a in (ids, longer))
    assert one == pytest.approx(other, rel=1e-5)


def test_one_digit_is_learnt(monkeypatch: Any) -> None:
    """With one digit a picture, of two kinds."""
    monkeypatch.setattr(teller, "DIGITS", 1)
    monkeypatch.setattr(teller, "LONGEST", 6)
    monkeypatch.setattr(teller, "BATCH", 16)
    pixels, digits, new_pixels, new_digits = teller.read_digits(0)
    two, new_two = digits < 2, new_digits < 2
    args = argparse.Namespace(steps=120, seed=0, device=mg.get_default_device())
    mg.manual_seed(0)
    model = teller.Reader(32)
    teller.learn(model, pixels[two].reshape(-1, 8, 8), digits[two], args)
    pictures, truth = teller.draw_pictures(
        new_pixels[new_two].reshape(-1, 8, 8), new_digits[new_two], 100, np.random.default_rng(1)
    )
    with mg.no_grad():
        said = model.read(pictures, mg.get_default_device())
    assert np.mean([a == b for a, b in zip(said, truth, strict=True)]) > 0.9


def test_the_whole_program(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    assert run("--hidden", 4, "--steps", 2, "--out", tmp_path / "new") == 0
    printed = capsys.readouterr().out
    assert "missed" in printed
    assert "for example: " in printed
    assert (tmp_path / "new" / teller.PICTURE).stat().st_size > 5_000
    assert (tmp_path / "new" / teller.WEIGHTS).exists()


def test_without_scikit_learn(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert run("--out", tmp_path) == 2
    errors = capsys.readouterr().err
    assert "pip install 'minigrad[examples]'" in errors
    assert errors.count("\n") == 1
