"""The character Transformer: as many weights as the LSTM, causal, judged fairly, and mistakes."""

from __future__ import annotations

import argparse
import importlib
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
writer = importlib.import_module("char_transformer")
text = importlib.import_module("_text")


def run(*args: Any) -> int:
    return writer.main([*map(str, args), "--device", mg.get_default_device()])


@pytest.fixture
def sea(tmp_path: Path) -> Path:
    """A text that a model can learn in no time."""
    path = tmp_path / "sea.txt"
    path.write_text("she sells sea shells on the sea shore. " * 600)
    return path


@pytest.mark.parametrize("hidden", [4, 16, 64])
@pytest.mark.parametrize("characters", [10, 100])
def test_both_have_as_many_weights(characters: int, hidden: int) -> None:
    transformer = writer.CharTransformer(characters, hidden)
    lstm = writer.lstm_as_large_as(transformer)
    more = writer.CharLSTM(characters, hidden, lstm.lstm.hidden_size + 1)
    step = writer.weights_of(more) - writer.weights_of(lstm)
    assert abs(writer.weights_of(transformer) - writer.weights_of(lstm)) <= step


@pytest.mark.parametrize("name", ["Transformer", "LSTM"])
def test_no_model_looks_ahead(name: str) -> None:
    transformer = writer.CharTransformer(5, 8)
    model = transformer if name == "Transformer" else writer.lstm_as_large_as(transformer)
    ids = mg.randint(0, 5, (3, writer.WINDOW))
    logits = model(ids)
    for t in (1, 17, writer.WINDOW - 1):
        later = mg.where(mg.arange(writer.WINDOW) >= t, (ids + 1) % 5, ids)
        changed = model(later)
        assert mg.allclose(changed[:, :t], logits[:, :t], rtol=1e-4, atol=1e-4)
        assert not mg.allclose(changed[:, t:], logits[:, t:], rtol=1e-2, atol=1e-2)


def test_each_character_is_judged_once_with_half_a_window_before_it() -> None:
    seen: list[int] = []

    class Even(mg.nn.Module):
        """Knows nothing, and remembers where it was asked: the text counts from 0."""

        def forward(self, ids: mg.Tensor) -> mg.Tensor:
            seen.extend(ids[:, writer.WINDOW // 2 :].flatten().tolist())
            return mg.zeros(*ids.shape, 1000)

    ids = np.arange(990)
    bits = writer.judge(Even(), ids, mg.get_default_device())
    assert bits == pytest.approx(math.log2(1000), rel=1e-4)
    assert seen == list(range(writer.WINDOW // 2, writer.WINDOW // 2 + len(seen)))
    assert len(seen) > len(ids) - 2 * writer.WINDOW


def test_both_learn(sea: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(writer, "BATCH", 4)
    args = argparse.Namespace(steps=50, seed=0, device=mg.get_default_device())
    corpus = text.read_corpus(sea, writer.BATCH, writer.WINDOW)
    mg.manual_seed(0)
    transformer = writer.CharTransformer(len(corpus.alphabet), 16)
    for model in (transformer, writer.lstm_as_large_as(transformer)):
        curve = writer.learn(model, "model", corpus, args)
        assert len(curve) == 50
        assert writer.judge(model, corpus.valid, mg.get_default_device()) < curve[0] / 2


def test_the_whole_program(tmp_path: Path, sea: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    sizes = ("--hidden", 4, "--steps", 2, "--length", 80, "--sample", "she ")
    assert run("--text", sea, *sizes, "--out", tmp_path / "new") == 0
    printed = capsys.readouterr().out
    assert "5-gram" in printed
    assert "missed" in printed
    sample = printed.partition("temperature 0.7\n")[2].partition("\n---")[0]
    assert sample.startswith("she ")
    assert len(sample) == 84
    assert (tmp_path / "new" / writer.PICTURE).stat().st_size > 20_000


def test_a_text_that_is_too_short(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "short.txt").write_text("too short")
    assert run("--text", tmp_path / "short.txt", "--out", tmp_path) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("char_transformer: the text has 9 characters")
    assert errors.count("\n") == 1


def test_a_prompt_of_unknown_characters(tmp_path: Path, sea: Path, capsys: Any) -> None:
    sizes = ("--hidden", 4, "--steps", 1, "--sample", "Ж")
    assert run("--text", sea, *sizes, "--out", tmp_path) == 2
    assert "never holds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--hidden", "6", "a multiple of 4"),
        ("--length", "0", "1 or more"),
        ("--temperature", "0", "above 0"),
        ("--sample", "", "one character or more"),
    ],
)
def test_options_out_of_range(flag: str, value: str, words: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        writer.main([flag, value])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
