"""Checkpoints whose mistakes are told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _text import InputError

import minigrad as mg

WRITER = {"written by": "char_lm.py"}  # in the metadata: the mark of our own files


def save_checkpoint(path: Path, tree: dict[str, Any]) -> None:
    """Writes a tree of Tensors and plain values whole, or not at all: then the old file stays."""
    try:
        mg.save(path, tree, WRITER)
    except OSError as error:
        raise InputError(str(error)) from None


def make_folder(path: Path) -> None:
    """Makes the folder unless it is there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {path}: {error.strerror}") from None


def load_checkpoint(path: Path, device: str) -> dict[str, Any]:
    """Reads what `save_checkpoint` wrote."""
    if not path.is_file():
        raise InputError(f"there is no checkpoint {path}: train first")
    try:
        tree, metadata = mg.load(path, device)
    except (OSError, ValueError) as error:
        raise InputError(str(error)) from None
    if metadata != WRITER:
        raise InputError(f"{path} is no checkpoint of char_lm.py")
    return tree


@contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Within, what does not fit is the checkpoint's fault: InputError takes the error's place."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        first_line = str(error).partition("\n")[0]
        raise InputError(f"{path} is damaged, or does not fit: {first_line}") from None
