"""Highlighting: tags against Python's own words, what is learnt at a smaller size, mistakes."""

from __future__ import annotations

import importlib
import keyword
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
tag_python = importlib.import_module("tag_python")

SOURCE = '''\
@wraps(f)
def go(x: int = 0x1F) -> None:  # call(it)
    """Not return
    here."""
    return "a" if x else go (x.y)\f
'''


def runs(source: str, tag: str) -> list[str]:
    """The unbroken pieces of the source that have this tag."""
    place = tag_python.TAGS.index(tag)
    marked = "".join(
        c if t == place else "\0" for c, t in zip(source, tag_python.tags_of(source), strict=True)
    )
    return [piece for piece in marked.split("\0") if piece]


def test_every_tag() -> None:
    assert runs(SOURCE, "keyword") == ["def", "None", "return", "if", "else"]
    assert runs(SOURCE, "called") == ["wraps", "go", "go"]
    assert runs(SOURCE, "name") == ["f", "x", "int", "x", "x", "y"]
    assert runs(SOURCE, "number") == ["0x1F"]
    assert runs(SOURCE, "string") == ['"""Not return\n    here."""', '"a"']
    assert runs(SOURCE, "comment") == ["# call(it)"]
    assert runs(SOURCE, "operator") == ["@", "(", ")", "(", ":", "=", ")", "->", ":", "(", ".", ")"]
    assert not "".join(runs(SOURCE, "blank")).strip()


@pytest.mark.parametrize("name", tag_python.ASKED)
def test_tags_of_python_s_own_modules(name: str) -> None:
    source = tag_python.read_module(name)
    assert all(keyword.iskeyword(word) for word in runs(source, "keyword"))
    assert all(word.isidentifier() for word in runs(source, "name") + runs(source, "called"))
    assert all(comment.startswith("#") for comment in runs(source, "comment"))
    assert not "".join(runs(source, "blank")).strip("\\ \n\t\f")


def test_counting_triples() -> None:
    ids, tags = np.array([1, 2, 3, 1, 2, 3, 5, 2, 3]), np.array([0, 1, 0, 0, 1, 0, 0, 2, 0])
    asked = np.array([1, 2, 3, 5, 2, 9, 9])
    # 1 2 3 and 3 5 2 were seen; 2 between 5 and 9, and 3 before 5 from one place; 9 never
    assert tag_python.count_triples(ids, tags, asked).tolist() == [1, 0, 0, 1, 0]


def test_it_learns_at_a_smaller_size(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    pytest.importorskip("matplotlib")  # of the extra `train`
    monkeypatch.setattr(tag_python, "LEARNT", ("threading", "socketserver"))
    monkeypatch.setattr(tag_python, "ASKED", ("queue",))
    monkeypatch.setattr(tag_python, "WINDOW", 20)
    monkeypatch.setattr(tag_python, "PAGE", ("queue", "no such line", 5))
    own = tmp_path / "own.py"
    own.write_text("for é in x:\n    go()\n", encoding="utf-8")
    options = ["--hidden", "64", "--steps", "150", "--file", str(own), "--out", str(tmp_path)]
    assert tag_python.main([*options, "--device", mg.get_default_device()]) == 0
    printed = capsys.readouterr().out
    share = dict(
        re.findall(r"^  (count triples|forwards only|both ways) +(\S+)$", printed, re.MULTILINE)
    )
    assert float(share["both ways"]) > float(share["forwards only"]) + 0.03 > 0.6
    assert re.sub(r"\x1b\[[\d;]*m", "", printed).endswith(own.read_text(encoding="utf-8") + "\n")
    assert (tmp_path / tag_python.PICTURE).stat().st_size > 20_000


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    out = ["--out", str(tmp_path)]
    assert tag_python.main(["--file", str(tmp_path / "none.py"), *out]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr(tag_python, "LEARNT", ("no_such_module",))
    assert tag_python.main(out) == 2
    assert "without the source of no_such_module" in capsys.readouterr().err
