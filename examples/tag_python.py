"""Many to many: a syntax highlighter learnt from characters, reading one way or both.

Each character of Python's own library belongs to a keyword, a string, a comment, …, and `tokenize`
says to which. A recurrent network has to say it of characters of modules that it never saw, in
pieces cut anywhere. Who reads forwards only has to guess at the f of `for` and of `foo`, at a name
that may be called, and inside a string that began before the piece: the future tells. So one layer
is trained twice, forwards only, and, with states half as wide, in both directions.
"""

from __future__ import annotations

import argparse
import io
import keyword
import sys
import sysconfig
import tokenize
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _options import even
from _program import fit, options, run_program, save_picture, show_verdict
from _text import InputError, read_text

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

TAGS = ("blank", "operator", "name", "called", "keyword", "number", "string", "comment")
COLOURS = ("0.5", "0.45", "black", "tab:blue", "tab:purple", "tab:cyan", "tab:green", "tab:brown")
ANSI = ("0", "0", "0", "34", "35;1", "36", "32", "2")  # of the same, on a terminal
LEARNT = (
    *("argparse", "ast", "calendar", "cmd", "codecs", "configparser", "copy", "csv", "dataclasses"),
    *("difflib", "dis", "enum", "fractions", "ftplib", "functools", "gzip", "heapq", "inspect"),
    *("mailbox", "pickle", "platform", "pprint", "random", "shutil", "smtplib", "socketserver"),
    *("statistics", "tarfile", "tempfile", "textwrap", "threading", "traceback", "zipapp"),
)
ASKED = ("bisect", "contextlib", "fileinput", "glob", "operator", "queue", "shlex", "uuid")
PAGE = ("queue", "        If optional args 'block' is true", 28)  # module, its first line, lines
WINDOW, BATCH = 100, 32
CHARACTERS = 128  # ASCII; any other character is read as the last of them
TARGET = 0.95  # of characters in windows of the modules asked, by the one that reads both ways
WEIGHTS, PICTURE = "model.safetensors", "highlighted.png"

# ---- the text and its tags -----------------------------------------------------------------------


def tags_of(source: str) -> np.ndarray:
    """The tag of each character, as its place in TAGS, int64 (len(source),).

    >>> [TAGS[tag] for tag in tags_of("f(1)")]
    ['called', 'operator', 'number', 'operator']
    """
    starts = np.cumsum([0, *(len(line) + 1 for line in source.split("\n"))])
    tags = np.zeros(len(source), dtype=np.int64)
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for token, after in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
        (row, column), (last_row, last_column) = token.start, token.end
        if (tag := tag_of(token, after)) != "blank":
            span = slice(starts[row - 1] + column, starts[last_row - 1] + last_column)
            tags[span] = TAGS.index(tag)
    return tags


def tag_of(token: tokenize.TokenInfo, after: tokenize.TokenInfo) -> str:
    """What a token is; a name before a parenthesis counts as called."""
    if token.type == tokenize.NAME:
        named = "called" if after.string == "(" else "name"
        return "keyword" if keyword.iskeyword(token.string) else named
    kinds = {"OP": "operator", "NUMBER": "number", "STRING": "string", "COMMENT": "comment"}
    kind = tokenize.tok_name[token.type]
    if kind.startswith(("FSTRING", "TSTRING")):  # since Python 3.12 these come in pieces
        return "string"
    return kinds.get(kind, "blank")


def read_module(name: str) -> str:
    """The source of a module of Python's library."""
    folder = Path(sysconfig.get_path("stdlib"))
    try:
        return read_text(folder / f"{name}.py")
    except InputError:
        raise InputError(f"this Python came without the source of {name} in {folder}") from None


def encode(source: str) -> np.ndarray:
    """The characters as numbers, int64 (len(source),)."""
    codes = [min(ord(character), CHARACTERS - 1) for character in source]
    return np.array(codes, dtype=np.int64)


def read_modules(names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Characters and tags of the modules, one behind the other, int64 (n,) each."""
    sources = [read_module(name) for name in names]
    ids, tags = zip(*((encode(s), tags_of(s)) for s in sources), strict=True)
    return np.concatenate(ids), np.concatenate(tags)


def windows(texts: tuple[np.ndarray, ...], starts: np.ndarray) -> list[np.ndarray]:
    """From each text the windows that begin at `starts`, side by side: (WINDOW, rows) each."""
    places = starts + np.arange(WINDOW)[:, None]
    return [text[places] for text in texts]


# ---- the networks --------------------------------------------------------------------------------


class Tagger(nn.Module):
    """From characters (steps, rows) to logits of the tags (steps, rows, tags)."""

    def __init__(self, hidden: int, bidirectional: bool) -> None:
        self.embedding = nn.Embedding(CHARACTERS, 32)
        self.lstm = nn.LSTM(32, hidden // (1 + bidirectional), bidirectional=bidirectional)
        self.head = nn.Linear(hidden, len(TAGS))

    def forward(self, ids: mg.Tensor) -> mg.Tensor:
        y, _ = self.lstm(self.embedding(ids))
        return self.head(y)

    @mg.no_grad()
    def tag(self, ids: np.ndarray, device: str) -> np.ndarray:
        """The likeliest tag of each character (steps, rows)."""
        return self(mg.tensor(ids, device=device)).argmax(dim=2).numpy()


def count_triples(ids: np.ndarray, tags: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The commonest tag of a character between its two neighbours: `asked` (n,) but its ends."""
    counts: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for a, b, c, tag in zip(ids, ids[1:], ids[2:], tags[1:], strict=False):
        counts[a, b, c][tag] += 1
        counts[(b,)][tag] += 1  # for triples that were never seen
    triples = zip(asked, asked[1:], asked[2:], strict=False)
    best = [(counts.get(t) or counts[t[1:2]] or Counter([0])).most_common(1)[0][0] for t in triples]
    return np.array(best)


# ---- the program ---------------------------------------------------------------------------------


def learn(model: Tagger, label: str, ids: np.ndarray, tags: np.ndarray, args: Any) -> None:
    """Trains on random pieces of the text."""
    rng = np.random.default_rng(args.seed)

    def loss_of_batch() -> mg.Tensor:
        starts = rng.integers(0, len(ids) - WINDOW, BATCH)
        x, y = (mg.tensor(a, device=args.device) for a in windows((ids, tags), starts))
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten())

    fit(model, loss_of_batch, args.steps, lr=1e-2, label=f"{label}: loss")


def run(args: argparse.Namespace) -> None:
    """Trains both, compares them tag by tag, and shows a page as each sees it."""
    own = None if args.file is None else read_text(args.file)
    ids, tags = read_modules(LEARNT)
    asked, truth = read_modules(ASKED)
    starts = np.arange(0, len(asked) - WINDOW, WINDOW)
    x, y = windows((asked, truth), starts)

    models = {
        "forwards only": Tagger(args.hidden, bidirectional=False),
        "both ways": Tagger(args.hidden, bidirectional=True),
    }
    said: dict[str, np.ndarray] = {}
    for label, model in models.items():
        learn(model.to(args.device), label, ids, tags, args)
        said[label] = model.tag(x, args.device)
    mg.save(args.out / WEIGHTS, {label: m.state_dict() for label, m in models.items()})

    print(f"{len(ids):,} characters of {len(LEARNT)} modules learnt from; of {y.size:,} characters")
    print(f"of {len(ASKED)} other modules, in windows of {WINDOW}, tagged rightly by")
    shares = {"count triples": float(np.mean(count_triples(ids, tags, asked) == truth[1:-1]))}
    shares |= {label: float(np.mean(tags == y)) for label, tags in said.items()}
    for label, share in shares.items():
        print(f"  {label:14} {share:.4f}")
    one_way, both_ways = shares["forwards only"], shares["both ways"]
    met = both_ways >= TARGET and 1 - both_ways < (1 - one_way) / 2
    show_verdict(f"both ways {TARGET}, with half the errors of one way", met)

    name, first_line, height = PAGE
    source = read_module(name)
    start = max(source.find(first_line), 0)  # amid a docstring, as a window may begin
    page = "\n".join(source[start:].split("\n")[:height])
    meant = tags_of(source)[start : start + len(page)]
    pages = {label: read_page(model, page, args.device) for label, model in models.items()}
    save_picture(
        args.out / PICTURE,
        lambda figure: draw(figure, page, meant, pages, accuracy_by_tag(said, y)),
        (14, 9.5),
    )
    if own is not None:
        print(highlighted(own, read_page(models["both ways"], own, args.device)))


def read_page(model: Tagger, text: str, device: str) -> np.ndarray:
    """The tags that a model gives the characters of one text, (len(text),)."""
    return model.tag(encode(text)[:, None], device)[:, 0]


def accuracy_by_tag(said: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, list[float]]:
    """Of each model the share of characters of each tag that it tags rightly."""
    return {
        label: [float(np.mean(tags[truth == tag] == tag)) for tag in range(len(TAGS))]
        for label, tags in said.items()
    }


def highlighted(text: str, tags: np.ndarray) -> str:
    """The text with its tags as the colours of a terminal."""
    pieces: list[str] = []
    for character, tag, before in zip(text, tags, [-1, *tags], strict=False):
        pieces.append(f"\x1b[0;{ANSI[tag]}m{character}" if tag != before else character)
    return "".join(pieces) + "\x1b[0m"


# ---- the picture ---------------------------------------------------------------------------------


def draw(
    figure: Any,
    page: str,
    meant: np.ndarray,
    pages: dict[str, np.ndarray],
    by_tag: dict[str, list[float]],
) -> None:
    """A page as each model sees it, mistakes on red; below, how often each tag is seen rightly."""
    above, below = figure.subfigures(2, 1, height_ratios=(3, 1))
    for axes, (label, tags) in zip(above.subplots(1, 2), pages.items(), strict=True):
        draw_page(axes, page, tags, tags != meant)
        axes.set_title(f"{label}: {np.mean(tags != meant):.1%} of this page mistaken")
    axes = below.subplots()
    for i, (label, shares) in enumerate(by_tag.items()):
        bars = axes.bar(np.arange(len(TAGS)) + 0.4 * i - 0.2, shares, 0.38, label=label)
        axes.bar_label(bars, [f"{share:.2f}" for share in shares], fontsize=8, color="0.3")
        for bar, colour in zip(bars, COLOURS, strict=True):
            bar.set(color=colour, alpha=0.4 + 0.6 * i)
    axes.set_xticks(range(len(TAGS)), TAGS)
    axes.set(ylim=(0, 1.15), ylabel="tagged rightly")
    axes.set_title("left, pale: forwards only; right: both ways (all modules asked)", fontsize=10)


def draw_page(axes: Any, page: str, tags: np.ndarray, wrong: np.ndarray) -> None:
    """The characters, each in its tag's colour, and red behind those tagged wrongly."""
    lines = page.split("\n")
    width, at = max(map(len, lines)), 0
    for row, line in enumerate(lines):
        for column, character in enumerate(line):
            if wrong[at]:
                axes.fill_between(
                    [column - 0.5, column + 0.5], row - 0.5, row + 0.5, color="#ffb3b3"
                )
            if character != " ":
                look = {"color": COLOURS[tags[at]], "family": "monospace", "fontsize": 9}
                place = {"ha": "center", "va": "center_baseline", "in_layout": False}
                axes.text(column, row, character, **look, **place)
            at += 1
        at += 1  # the line's end
    axes.set(xlim=(-1, width), ylim=(len(lines) - 0.5, -0.5), xticks=[], yticks=[])


# ---- the command line ----------------------------------------------------------------------------


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = options("tag_python", __doc__, hidden=128, steps=1200, hidden_type=even)
    parser.add_argument("--file", type=Path, metavar="FILE", help="a text to highlight in the end")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
