"""Reviews: the grammar against another reader, the course's classes, what is learnt, mistakes."""

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
sentiment = importlib.import_module("sentiment")


def judged(text: str) -> bool:
    """Whether a text of the grammar praises, found from left to right."""
    text = text.replace("anything but", "hardly")
    for frame in sentiment.FRAMES:
        if text.startswith(frame + " "):
            return judged(text.removeprefix(frame + " "))
    for frame in sentiment.NEGATING_FRAMES:
        if text.startswith(frame + " "):
            return not judged(text.removeprefix(frame + " "))
    if text.startswith("although "):
        return judged(text.partition(" , ")[2])
    first, _, second = text.partition(" but ")
    if second:
        return judged(second)
    negated = re.search(r"\b(not|hardly|far from)\b", first) is not None
    return (first.split()[-1] in sentiment.GOOD) != negated


@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_praise_is_what_the_words_say(depth: int) -> None:
    reviews = sentiment.reviews(np.random.default_rng(depth), 500, depth)
    assert [r.praise for r in reviews] == [judged(r.text) for r in reviews]
    assert 0.4 < np.mean([r.praise for r in reviews]) < 0.6
    assert {r.turns for r in reviews} >= set(range(depth + 1))
    ids, lengths = sentiment.encode([r.text for r in reviews])
    assert ids.shape == (lengths.max(), 500)


def test_the_reviews_shown_are_judged_by_the_same_rules() -> None:
    assert [r.praise for r in sentiment.SHOWN] == [judged(r.text) for r in sentiment.SHOWN]
    sentiment.encode([r.text for r in sentiment.SHOWN])


@pytest.mark.parametrize(
    ("kind", "rows", "layers"),
    [("Classifier", 8, 2), ("LSTMClassifier", 32, 2), ("DeepGRUClassifier", 12, 6)],
)
def test_the_course_s_classes(kind: str, rows: int, layers: int) -> None:
    model = getattr(sentiment, kind)(len(sentiment.NUMBER_OF), 5, 8, layers=2, classes=2)
    weights = dict(model.named_parameters())
    assert weights["rnn_stack.weight_hh_l0"].shape[0] == rows
    assert sum("weight_hh" in name for name in weights) == layers
    texts = [r.text for r in sentiment.SHOWN]
    p = sentiment.praise(model, texts, mg.get_default_device())
    for text, of_batch in zip(texts, p, strict=True):
        alone = sentiment.praise(model, [text], mg.get_default_device())
        np.testing.assert_allclose(alone, of_batch, rtol=1e-4)


def test_negation_is_learnt(tmp_path: Path, monkeypatch: Any) -> None:
    for name in "ASIDES", "DEGREES":  # short sentences
        monkeypatch.setattr(sentiment, name, ("",))
    taught, asked = (sentiment.reviews(np.random.default_rng(n), 600, 0) for n in range(2))
    args = sentiment.parse(
        ["--steps", "200", "--out", str(tmp_path), "--device", mg.get_default_device()]
    )
    mg.manual_seed(0)
    model = sentiment.DeepGRUClassifier(len(sentiment.NUMBER_OF), 16, 32, layers=1, classes=2)
    sentiment.learn(model, "deep GRU", taught, args)
    said = sentiment.praise(model, [r.text for r in asked], args.device) > 0.5
    truth = np.array([r.praise for r in asked])
    judgements = dict(sentiment.judgements({}, taught, asked, args.device))
    assert np.mean(said == truth) > 0.97
    assert np.mean(judgements["words"] == truth) < 0.8


def test_the_whole_program(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    monkeypatch.setattr(sentiment, "TAUGHT", 60)
    options = ["--hidden", "4", "--steps", "2", "--out", str(tmp_path)]
    options += ["--review", "It was NOT  dull", "--device", mg.get_default_device()]
    assert sentiment.main(options) == 0
    printed = capsys.readouterr().out
    rows = re.findall(r"^  (\S.*?)  +0\.\d{3} +0\.\d{3}$", printed, re.MULTILINE)
    assert rows == ["words", "and pairs", "and triples", "RNN", "LSTM", "deep GRU"]
    assert re.search(r"^it was not dull: p\(praise\) = 0\.\d+$", printed, re.MULTILINE)
    assert (tmp_path / sentiment.PICTURE).stat().st_size > 20_000
    assert set(mg.load(tmp_path / sentiment.WEIGHTS).tensors) == {"RNN", "LSTM", "deep GRU"}


@pytest.mark.parametrize("text", ["", "the film was a masterpiece"])
def test_words_that_the_grammar_lacks(text: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        sentiment.main(["--review", text])
    assert stop.value.code == 2
    assert "argument --review: expected words of the grammar" in capsys.readouterr().err
