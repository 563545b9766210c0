"""The character model: exact resuming, samples, honest n-grams, and one clear line per mistake."""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

import minigrad as mg

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "examples"))
char_lm = importlib.import_module("char_lm")
ngram = importlib.import_module("_ngram")
text = importlib.import_module("_text")
progress = importlib.import_module("_progress")
checkpoint = importlib.import_module("_checkpoint")

TINY = [
    *("--embedding", "3", "--hidden", "5", "--layers", "2", "--dropout", "0.3"),
    *("--seq-len", "6", "--batch", "4", "--steps", "20"),
]


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A file of random words: 280 characters, so that 20 steps are more than one epoch."""
    rng = random.Random(0)
    path = tmp_path / "words.txt"
    path.write_text("".join(rng.choice(["the ", "cat ", "sat\n", "on "]) for _ in range(80)))
    return path


def run(*args: Any) -> int:
    return char_lm.main([*map(str, args), "--device", mg.get_default_device(), "--length", "5"])


def saved(out: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors of a checkpoint, and all the rest of it."""
    path = out / char_lm.CHECKPOINT
    with safe_open(path, framework="numpy") as file:
        return load_file(path), json.loads(file.metadata()["minigrad.tree"])


# ---- training ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_resumed_training_gives_the_same_bits(cell: str, words: Path, tmp_path: Path) -> None:
    options = ["--text", words, "--cell", cell, *TINY]
    assert run(*options, "--out", tmp_path / "whole") == 0
    assert run(*options, "--out", tmp_path / "halves", "--stop-after", 7) == 0
    mg.manual_seed(99)  # nothing may hang on what the process did in between
    assert run("--resume", tmp_path / "halves" / char_lm.CHECKPOINT) == 0

    (whole, about_whole), (halves, about_halves) = (
        saved(tmp_path / "whole"),
        saved(tmp_path / "halves"),
    )
    assert whole.keys() == halves.keys()
    assert {name for name in whole if not np.array_equal(whole[name], halves[name])} == set()
    del about_whole["history"]["valid"], about_halves["history"]["valid"]  # one more, at the stop
    assert about_whole == about_halves


def test_training_learns_and_draws(words: Path, tmp_path: Path, capsys: Any) -> None:
    assert run("--text", words, *TINY, "--lr", 0.05, "--out", tmp_path, "--dropout", 0) == 0
    _, about = saved(tmp_path)
    assert about["history"]["train"][-1] < about["history"]["train"][0]
    assert set(about["history"]["flow"]) == {"before training"}
    assert (tmp_path / char_lm.PICTURE).stat().st_size > 10_000
    printed = capsys.readouterr().out
    assert "trigram" in printed
    assert "sample at step 20" in printed


def test_ctrl_c_saves_first(words: Path, tmp_path: Path) -> None:
    options = ["--text", words, *TINY, "--steps", 5000, "--out", tmp_path]
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / "char_lm.py"), *map(str, options)],
        cwd=tmp_path,  # users start it from any folder
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    path = tmp_path / char_lm.CHECKPOINT
    while not path.exists() and process.poll() is None:
        time.sleep(0.01)  # a tenth of the steps: then it is saved for the first time
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert f"saved: go on with --resume {path}\n" in errors
    assert "Traceback" not in errors
    assert saved(tmp_path)[1]["step"] % 500 > 0, "saved at the interrupt, not only at the tenth"


def test_a_loss_that_is_no_number_is_told(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(char_lm.Training, "learn", lambda _: float("nan"))
    assert run("--text", words, *TINY, "--out", tmp_path) == 2
    assert_one_line(capsys, "the loss is nan at step 0: lower --lr or --clip")


# ---- samples -------------------------------------------------------------------------------------


def test_sample_continues_the_prompt(words: Path, tmp_path: Path, capsys: Any) -> None:
    run("--text", words, *TINY, "--out", tmp_path)
    before = (tmp_path / char_lm.CHECKPOINT).read_bytes()
    capsys.readouterr()
    drawn = set()
    for temperature in 0.01, 0.01, 5:
        assert run("--sample", "the c", "--temperature", temperature, "--out", tmp_path) == 0
        drawn.add(capsys.readouterr().out)
    assert len(drawn) == 2, "the same temperature draws the same, another one something else"
    for line in drawn:
        assert line.startswith("the c")
        assert len(line) == len("the c") + 5 + len("\n")
    assert (tmp_path / char_lm.CHECKPOINT).read_bytes() == before


# ---- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot read"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"text\0" * 1000, "is a binary file"),
        (b"caf\xe9 " * 1000, "is not UTF-8 (byte 0xe9 at 3)"),
        (b"too short", "the text has 9 characters"),
    ],
)
def test_unusable_text(content: bytes | None, expected: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "text.txt"
    if content is not None:
        path.write_bytes(content)
    assert run("--text", path, "--out", tmp_path) == 2
    assert_one_line(capsys, expected)


def test_unusable_checkpoints(words: Path, tmp_path: Path, capsys: Any) -> None:
    assert run("--text", words, *TINY, "--out", tmp_path, "--stop-after", 1) == 0
    path = tmp_path / char_lm.CHECKPOINT
    whole = path.read_bytes()
    capsys.readouterr()

    def refused(expected: str, *args: Any) -> None:
        assert run("--resume", path, *args) == 2
        assert_one_line(capsys, expected)

    refused("trained with --hidden 5, not 64", "--hidden", 64)
    refused("trained with --cell lstm, not gru", "--cell", "gru", "--sample", "cat")
    refused("never holds 'é☃'", "--sample", "é☃")
    other = tmp_path / "other.txt"
    other.write_text(words.read_text().replace("cat", "dog"))
    refused("is not the text", "--text", other)

    for damaged in whole[: len(whole) // 2], b"\xff" + whole[1:], b"":
        path.write_bytes(damaged)
        refused("load: ")
    mg.save(path, {"weight": mg.zeros(2)})
    refused("is no checkpoint of char_lm.py")
    path.unlink()
    refused("there is no checkpoint")


def test_a_checkpoint_with_weights_of_other_sizes(words: Path, tmp_path: Path, capsys: Any) -> None:
    run("--text", words, *TINY, "--out", tmp_path, "--stop-after", 1)
    path = tmp_path / char_lm.CHECKPOINT
    tree = checkpoint.load_checkpoint(path, "cpu")
    tree["recipe"]["hidden"] = 7
    checkpoint.save_checkpoint(path, tree)
    capsys.readouterr()
    for extra in [], ["--sample", "cat"]:
        assert run("--resume", path, *extra) == 2
        assert_one_line(capsys, "is damaged, or does not fit")


def test_a_folder_that_cannot_be_made(words: Path, capsys: Any) -> None:
    assert run("--text", words, *TINY, "--out", words) == 2
    assert_one_line(capsys, "cannot make the folder")


def assert_one_line(capsys: Any, expected: str) -> None:
    errors = capsys.readouterr().err
    assert expected in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--hidden", "0"),
        ("--dropout", "1"),
        ("--lr", "nan"),
        ("--temperature", "0"),
        ("--seed", "-1"),
        ("--sample", ""),
        ("--device", "tpu"),
    ],
)
def test_options_out_of_range(flag: str, value: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        char_lm.main([flag, value])
    assert stop.value.code == 2
    assert f"error: argument {flag}: " in capsys.readouterr().err


# ---- the progress in plain lines -----------------------------------------------------------------


def test_progress_without_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    clock = iter([0.0, 20.0, 25.0])
    monkeypatch.setattr(progress, "monotonic", lambda: next(clock))
    bar = progress.Lines(total=1000, initial=500, unit="char")
    bar.set_postfix_str("2.000 bits/char")
    bar.update(100)
    bar.update(100)  # too soon for another line
    assert capsys.readouterr().err == " 60%  2.000 bits/char  5 char/s  1:20 left\n"


# ---- the text and the n-gram models --------------------------------------------------------------


def test_streams_continue_each_other_and_know_the_next_character() -> None:
    inputs, targets = text.streams(np.arange(12), rows=3)
    assert inputs.T.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert targets.T.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_corpus_is_split_without_overlap(words: Path) -> None:
    corpus = text.read_corpus(words, rows=4, seq_len=6)
    content = words.read_text()
    cut = len(content) * 9 // 10
    assert text.decode(corpus.train, corpus.alphabet) == content[:cut]
    assert content[cut:].startswith(text.decode(corpus.valid, corpus.alphabet))
    assert (len(corpus.valid) - 1) % 4 == 0


def test_the_documentation_holds_no_paragraph_twice() -> None:
    paragraphs = text.python_docs().split("\n\n")
    assert len(paragraphs) == len(set(paragraphs)) > 1000


def test_ngrams_are_those_of_the_formula() -> None:
    rng = np.random.default_rng(0)
    train, valid = rng.integers(0, 5, 60), rng.integers(0, 6, 40)

    def p(symbol: int, history: list[int]) -> float:
        k = len(history)
        behind = [train[i + k] for i in range(len(train) - k) if list(train[i : i + k]) == history]
        lower = p(symbol, history[1:]) if history else 1 / 6
        kinds = len(set(behind))
        return (behind.count(symbol) + kinds * lower) / (len(behind) + kinds) if behind else lower

    whole = [*train, *valid]
    after = range(len(train) + 1, len(whole))
    expected = [np.log2(6)] + [
        -np.mean([np.log2(p(whole[i], whole[i - n + 1 : i])) for i in after]) for n in (1, 2, 3)
    ]
    assert ngram.ngram_entropies(train, valid, 6, 3) == pytest.approx(expected, rel=1e-12)
    assert sum(p(symbol, whole[3:5]) for symbol in range(6)) == pytest.approx(1)
