"""Names by script: nothing gives the script away, what is learnt at a smaller size, mistakes."""

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
names = importlib.import_module("classify_names")


def test_a_word_belongs_to_one_script_and_does_not_name_it() -> None:
    words, scripts = names.read_words(0)
    assert len(words) == len(set(words)) == len(scripts)
    assert set(scripts) == set(range(len(names.SCRIPTS)))
    assert np.bincount(scripts).max() <= names.MOST
    of = dict(zip(words, scripts, strict=True))
    assert names.SCRIPTS[of["LUGAL"]] == "CUNEIFORM"
    assert "KA" not in of  # of nearly all of them
    given_away = {part for script in names.SCRIPTS for part in script.split() if len(part) > 2}
    assert not any(part in word for part in given_away for word in words)
    again, _ = names.read_words(0)
    other, _ = names.read_words(1)
    assert words == again != other


def test_grams() -> None:
    assert names.grams("KA", 1) == list("<KA>")
    assert names.grams("KA", 3) == [*"<KA>", "<K", "KA", "A>", "<KA", "KA>"]


def test_a_word_alone_is_judged_as_in_a_batch() -> None:
    model, device = names.NameClassifier(5), mg.get_default_device()
    words = ["A", "LUGAL", "NBOT"]
    p = names.probabilities(model, words, device)
    np.testing.assert_allclose(p.sum(1), 1, rtol=1e-5)
    for word, row in zip(words, p, strict=True):
        np.testing.assert_allclose(names.probabilities(model, [word], device)[0], row, rtol=1e-5)
    assert model.training


def test_it_learns_at_a_smaller_size(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    monkeypatch.setattr(names, "MOST", 60)
    options = ["--hidden", "16", "--steps", "150", "--word", "lugal", "--out", str(tmp_path)]
    assert names.main([*options, "--device", mg.get_default_device()]) == 0
    printed = capsys.readouterr().out
    share = {n: float(s) for n, s in re.findall(r"^  (\S.*?) +(0\.\d+)$", printed, re.MULTILINE)}
    assert share["LSTM"] > share["the commonest script"] + 0.3
    assert share["counting and pairs"] > share["counting letters"]
    assert re.search(r"^LUGAL: \w+( Kikakui)? 0\.\d\d, ", printed, re.MULTILINE)
    assert (tmp_path / names.PICTURE).stat().st_size > 20_000

    model = names.NameClassifier(16)
    model.load_state_dict(mg.load(tmp_path / names.WEIGHTS).tensors)
    p = names.probabilities(model, ["LUGAL"], mg.get_default_device())[0]
    assert f"LUGAL: {names.SCRIPTS[p.argmax()].title()} {p.max():.2f}" in printed


@pytest.mark.parametrize("word", ["", "né", "A1", "TWO WORDS"])
def test_words_that_are_none(word: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        names.main(["--word", word])
    assert stop.value.code == 2
    assert "argument --word: expected a word of the letters A…Z" in capsys.readouterr().err
