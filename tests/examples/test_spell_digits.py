"""Numbers spelled: names, pictures, what is learnt at a smaller size, greedy decoding."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg

pytest.importorskip("sklearn")  # of the extra `examples`
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
spell_digits = importlib.import_module("spell_digits")
digits_mlp = importlib.import_module("digits_mlp")


def test_names() -> None:
    names = [spell_digits.name_of(n) for n in range(100)]
    assert len(set(names)) == 100
    assert (names[0], names[13], names[20], names[42], names[99]) == (
        *("zero", "thirteen", "twenty", "forty-two", "ninety-nine"),
    )
    assert max(map(len, names)) + 1 == spell_digits.LONGEST
    assert spell_digits.decode(spell_digits.encode(np.arange(100)).clip(0)) == names


def test_numbers_are_left_out() -> None:
    assert set(spell_digits.TAUGHT) | set(spell_digits.UNSEEN) == set(range(100))
    assert not set(spell_digits.TAUGHT) & set(spell_digits.UNSEEN)


def test_pictures_are_of_their_digits() -> None:
    pixels, labels, *_ = digits_mlp.read_digits(0)
    digits, numbers = spell_digits.Digits(pixels, labels), np.array([7, 42, 99])
    pictures = digits.draw(np.random.default_rng(0), numbers).reshape(3, 8, 16)
    label_of = {image.tobytes(): label for image, label in zip(pixels, labels, strict=True)}
    for picture, number in zip(pictures, numbers, strict=True):
        left, right = (label_of[half.tobytes()] for half in np.split(picture, 2, axis=1))
        assert 10 * left + right == number


def test_spelling_is_greedy_and_reads_its_own_letters() -> None:
    model, device = spell_digits.Speller(6), mg.get_default_device()
    pictures = np.random.default_rng(0).random((3, 128), dtype=np.float32)
    names, p = spell_digits.spell(model, pictures, device)
    assert p.shape == (spell_digits.LONGEST, 3, len(spell_digits.LETTERS))
    said = p.argmax(2)
    assert spell_digits.decode(said) == names

    model.eval()
    read = np.concatenate([np.zeros((1, 3), dtype=np.int64), said[:-1]])
    state = model.first_state(mg.tensor(pictures, device=device))
    logits, _ = model(mg.tensor(read, device=device), state)
    np.testing.assert_allclose(mg.softmax(logits, 2).detach().numpy(), p, rtol=1e-4)


def test_a_few_numbers_are_learnt(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(spell_digits, "TAUGHT", np.array([0, 42]))
    options = ["--hidden", "32", "--steps", "200", "--out", str(tmp_path)]
    args = spell_digits.parse([*options, "--device", mg.get_default_device()])
    pixels, labels, test_pixels, test_labels = digits_mlp.read_digits(0)
    mg.manual_seed(0)
    model = spell_digits.Speller(args.hidden)
    spell_digits.learn(model, spell_digits.Digits(pixels, labels), args)
    numbers = np.array([0, 42] * 50)
    fresh = spell_digits.Digits(test_pixels, test_labels)
    names, _ = spell_digits.spell(model, fresh.draw(np.random.default_rng(0), numbers), args.device)
    right = [name == spell_digits.name_of(n) for n, name in zip(numbers, names, strict=True)]
    assert np.mean(right) > 0.9


def test_the_whole_program(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    options = ["--hidden", "8", "--steps", "2", "--out", str(tmp_path)]
    assert spell_digits.main([*options, "--device", mg.get_default_device()]) == 0
    assert "target (0.94 and 0.7): missed" in capsys.readouterr().out
    assert (tmp_path / spell_digits.PICTURE).stat().st_size > 20_000
    model = spell_digits.Speller(8)
    model.load_state_dict(mg.load(tmp_path / spell_digits.WEIGHTS).tensors)


def test_without_scikit_learn(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert spell_digits.main(["--out", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert "pip install 'minigrad[examples]'" in errors
    assert errors.count("\n") == 1
