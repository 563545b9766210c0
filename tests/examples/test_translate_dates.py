"""Dates: how they are written, what is learnt at a smaller size, every way of writing, mistakes."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
dates = importlib.import_module("translate_dates")


def run(*args: Any) -> int:
    return dates.main([*map(str, args), "--device", mg.get_default_device()])


def test_ordinals() -> None:
    endings = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
    for n in range(1, 32):
        assert dates.ordinal(n) == f"{n}{endings.get(n, 'th')}"


def test_every_form_without_a_mistake(monkeypatch: Any) -> None:
    monkeypatch.setattr(dates, "TYPO", 0.0)
    rng = np.random.default_rng(0)
    written = {dates.write_out(dt.date(2011, 5, 3), rng) for _ in range(2000)}
    assert {
        "tuesday, 3rd of may 2011",
        "tue, 3rd of may 11",
        "tuesday, may 3, 2011",
        "tue 3 may 11",
        "the 3rd of may, 2011",
        "may 3, 2011",
        "may 3rd 11",
        "3 may 2011",
        "03-may-11",
        "5/3/11",
        "3.5.2011",
    } <= written
    assert all("11" in text for text in written)
    dates.encode(sorted(written))  # every letter is known


def test_mistyped_words_differ_a_little() -> None:
    rng = np.random.default_rng(0)
    wrong = {dates.mistyped("may", rng) for _ in range(500)}
    assert {"ay", "mmay", "amy", "my", "maay", "mya"} <= wrong
    assert all(2 <= len(word) <= 4 for word in wrong)


def test_no_day_is_both_learnt_and_tested() -> None:
    lessons, aside = dates.split_days(3)
    assert sorted([*lessons, *aside]) == list(range(dates.DAYS))
    assert len(aside) == dates.DAYS // 10
    last = dates.FIRST_DAY + dt.timedelta(dates.DAYS - 1)
    assert last == dt.date(2069, 12, 31)


def test_the_codes() -> None:
    ids, lengths = dates.encode(["5/3/11", "3.5.2011"])
    assert lengths == [6, 8]
    assert ids.shape == (2, 8)
    iso = dates.encode_iso(["2011-05-03"])
    assert iso.shape == (1, dates.LONGEST)
    assert dates.spelled(mg.tensor(iso)) == ["2011-05-03"]


def test_trust_falls_from_one() -> None:
    trust = [dates.decay(step, 100) for step in range(101)]
    assert trust[0] > 0.99
    assert trust[-1] == pytest.approx(dates.TRUST, abs=0.01)
    assert trust == sorted(trust, reverse=True)


def test_what_is_beyond_a_date_is_never_read() -> None:
    """A date says the same in a batch of longer ones, in each way that draws no numbers."""
    mg.manual_seed(0)
    model = dates.Translator(8)
    texts = ["5/3/11", "wednesday, 21st of september 2011"]
    for way in ("greedy", "beam"):
        both = dates.translate(model, texts, way, mg.get_default_device())
        (alone,) = dates.translate(model, texts[:1], way, mg.get_default_device())
        assert both[0] == alone


@pytest.mark.parametrize("scheduled", [False, True])
def test_short_dates_are_learnt(scheduled: bool, monkeypatch: Any) -> None:
    monkeypatch.setattr(dates, "FORMS", dates.FORMS[-1:])
    monkeypatch.setattr(dates, "BATCH", 16)
    days = np.arange(9)
    args = argparse.Namespace(hidden=24, steps=120, seed=0, device=mg.get_default_device())
    model = dates.learn(scheduled, days, args)
    texts, truth = dates.draw_pairs(days, 50, np.random.default_rng(1))
    for way in ("greedy", "beam"):
        said = dates.translate(model, texts, way, mg.get_default_device())
        assert np.mean([a == b for a, b in zip(said, truth, strict=True)]) > 0.7


def test_the_whole_program(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    sizes = ("--hidden", 4, "--steps", 2, "--tested", 10)
    assert run(*sizes, "--out", tmp_path / "new", "--date", "5/3/11", "May 3, 2011") == 0
    printed = capsys.readouterr().out
    assert "target (beam 0.95): missed" in printed
    assert "may 3, 2011 → " in printed
    assert (tmp_path / "new" / dates.PICTURE).stat().st_size > 10_000
    assert (tmp_path / "new" / dates.WEIGHTS).exists()


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--date", "3. März 2011", "expected a date of the letters"),
        ("--date", "  ", "expected a date of the letters"),
        ("--tested", "0", "1 or more"),
        ("--steps", "0", "1 or more"),
    ],
)
def test_options_out_of_range(flag: str, value: str, words: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        dates.main([flag, value])
    assert stop.value.code == 2
    assert words in capsys.readouterr().err
