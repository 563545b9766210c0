"""A text as a language model wants it: checked, split in two, numbered, cut into streams."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


class InputError(Exception):
    """What the user gave cannot be used; the message is one line and says what to do."""


@dataclass(frozen=True)
class Corpus:
    """A text in two parts, as numbers that say where in the alphabet each character stands."""

    path: str | None  # None: the documentation that Python carries
    digest: str
    prompt: str  # its first word
    alphabet: str
    train: np.ndarray
    valid: np.ndarray

    @property
    def name(self) -> str:
        return self.path or "the Python documentation"


def read_corpus(path: Path | None, rows: int, seq_len: int) -> Corpus:
    """Reads a UTF-8 file, or for None the documentation that Python carries, and splits it.

    The last tenth is for validation, cut so that `rows` equal streams hold all of it: then every
    model is judged on the same characters. The alphabet is that of the whole text.
    Raises InputError when the text cannot be read or is too short for chunks (seq_len, rows).
    """
    text = python_docs() if path is None else read_text(path)
    needed = 10 * (rows * seq_len + 1)
    if len(text) < needed:
        raise InputError(
            f"the text has {len(text):,} characters, but chunks of --batch {rows} × --seq-len "
            f"{seq_len} take {needed:,} or more: give a longer text, or lower these two"
        )
    alphabet = "".join(sorted(set(text)))
    ids = encode(text, alphabet)
    cut = len(ids) * 9 // 10
    whole = (len(ids) - cut - 1) // rows * rows + 1
    return Corpus(
        path=path and str(path.resolve()),
        digest=hashlib.sha256(text.encode()).hexdigest(),
        prompt=text.split(maxsplit=1)[0][:20],
        alphabet=alphabet,
        train=ids[:cut],
        valid=ids[cut : cut + whole],
    )


def python_docs() -> str:
    """The language reference behind `help()`, in alphabetical order, each paragraph once.

    Whole sections come several times under several names there; with its repetitions left in,
    the validation part would hold pages of the training part.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError(
            "this Python came without its documentation text: give --text FILE"
        ) from None
    paragraphs = (p for name in sorted(topics) for p in topics[name].strip().split("\n\n"))
    return "\n\n".join(dict.fromkeys(paragraphs))


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, its line ends made `\\n`."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from None
    if not raw.strip():
        raise InputError(f"{path} is empty: give a text of some 100,000 characters")
    if b"\0" in raw:
        raise InputError(f"{path} is a binary file (it holds NUL bytes): give a UTF-8 text")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 (byte {raw[error.start]:#04x} at {error.start}): convert it first"
        ) from None
    return text.replace("\r\n", "\n")


def encode(text: str, alphabet: str) -> np.ndarray:
    """The place in the alphabet of each character, int64; raises InputError for an unknown one."""
    number = {character: i for i, character in enumerate(alphabet)}
    unknown = "".join(sorted(set(text) - number.keys()))
    if unknown:
        raise InputError(f"the training text never holds {unknown!r}: write the prompt without it")
    return np.array([number[character] for character in text], dtype=np.int64)


def decode(ids: Iterable[int], alphabet: str) -> str:
    """The characters at these places of the alphabet: undoes `encode`."""
    return "".join(alphabet[i] for i in ids)


def streams(ids: np.ndarray, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a text into `rows` contiguous streams, side by side: inputs and targets, (time, rows).

    The target is the character that follows, so both come from the same text, one apart. Chunks of
    consecutive times then continue each other in every column, and so may the recurrent state.
    """
    time = (len(ids) - 1) // rows
    inputs = ids[: time * rows].reshape(rows, time).T
    targets = ids[1 : time * rows + 1].reshape(rows, time).T
    return inputs, targets
