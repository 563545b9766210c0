"""Many to one: which script does the name of a syllable come from?

Unicode names its characters, and `unicodedata` knows all the names: YI SYLLABLE NBOT, CUNEIFORM
SIGN LUGAL. Without the script these are words, NBOT and LUGAL, that follow the habits of those who
transcribe the script in Latin letters. A bidirectional LSTM reads such a word letter by letter, and
what it holds at the end names the script. Words of all lengths share a batch (`lengths=`).

No word is both learnt and tested: words are put aside as words, and those that occur in several of
the scripts (A, KA) are left out, for nobody could tell.
"""

from __future__ import annotations

import argparse
import re
import string
import sys
import unicodedata
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _bag import bag_baseline
from _program import fit, options, run_program, save_picture, show_verdict

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

SCRIPTS = (
    *("BAMUM", "CANADIAN", "CUNEIFORM", "ETHIOPIC"),
    *("HANGUL", "MENDE KIKAKUI", "VAI", "YI"),
)
NAME = re.compile(
    rf"({'|'.join(SCRIPTS)}) (?:SYLLABLE|SYLLABICS|LETTER|SIGN)"
    r"(?: PHASE-[A-F]| M\d+)? ([A-Z]+)"
)
MOST = 1200  # words of a script: Hangul has 11,172
TARGET = 0.95  # share of words put aside that get their script
BATCH = 64
WEIGHTS, PICTURE = "model.safetensors", "confusion.png"

# ---- the words -----------------------------------------------------------------------------------


def read_words(seed: int) -> tuple[list[str], np.ndarray]:
    """Words that belong to one script each, shuffled, and which one it is, int64 (n,)."""
    found: dict[str, set[int]] = {}
    for code in range(sys.maxunicode + 1):
        if match := NAME.fullmatch(unicodedata.name(chr(code), "")):
            found.setdefault(match[2], set()).add(SCRIPTS.index(match[1]))
    rng = np.random.default_rng(seed)
    pairs: list[tuple[str, int]] = []
    for script in range(len(SCRIPTS)):
        own = sorted(word for word, scripts in found.items() if scripts == {script})
        pairs += [(word, script) for word in rng.permutation(own)[:MOST].tolist()]
    order = rng.permutation(len(pairs))
    return [pairs[i][0] for i in order], np.array([pairs[i][1] for i in order])


def encode(words: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Letters as 0…25, int64 (longest, rows), and lengths: what lies beyond them is never read."""
    lengths = np.array([len(word) for word in words])
    ids = np.zeros((lengths.max(), len(words)), dtype=np.int64)
    for row, word in enumerate(words):
        ids[: len(word), row] = [string.ascii_uppercase.index(letter) for letter in word]
    return ids, lengths


def grams(word: str, n: int) -> list[str]:
    """All runs of up to n letters, the word's ends marked.

    >>> grams("KA", 2)
    ['<', 'K', 'A', '>', '<K', 'KA', 'A>']
    """
    marked = f"<{word}>"
    return [marked[i : i + k] for k in range(1, n + 1) for i in range(len(marked) - k + 1)]


# ---- the network ---------------------------------------------------------------------------------


class NameClassifier(nn.Module):
    """From letters (steps, rows) and lengths to logits of the scripts (rows, scripts)."""

    def __init__(self, hidden: int) -> None:
        self.embedding = nn.Embedding(len(string.ascii_uppercase), 16)
        self.blur = nn.Dropout(0.3)  # a letter half seen: few words, so that it must not know them
        self.lstm = nn.LSTM(16, hidden, bidirectional=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(2 * hidden, len(SCRIPTS))

    def forward(self, ids: mg.Tensor, lengths: np.ndarray) -> mg.Tensor:
        _, (h, _) = self.lstm(self.blur(self.embedding(ids)), lengths=lengths)
        ends = mg.cat([h[0], h[1]], dim=1)  # after the last letter, and, backwards, the first
        return self.head(self.dropout(ends))


@mg.no_grad()
def probabilities(model: NameClassifier, words: list[str], device: str) -> np.ndarray:
    """p(script | word), (words, scripts)."""
    ids, lengths = encode(words)
    model.eval()
    p = F.softmax(model(mg.tensor(ids, device=device), lengths), dim=1).numpy()
    model.train()
    return p


# ---- the program ---------------------------------------------------------------------------------


def learn(
    model: NameClassifier, words: list[str], scripts: np.ndarray, args: argparse.Namespace
) -> None:
    """Trains on random batches of words."""
    rng = np.random.default_rng(args.seed)

    def loss_of_batch() -> mg.Tensor:
        rows = rng.integers(0, len(words), BATCH)
        ids, lengths = encode([words[row] for row in rows])
        logits = model(mg.tensor(ids, device=args.device), lengths)
        return F.cross_entropy(logits, mg.tensor(scripts[rows], device=args.device))

    fit(model, loss_of_batch, args.steps, lr=5e-3)


def run(args: argparse.Namespace) -> None:
    """Trains, compares with counting letters, shows what is confused with what."""
    words, scripts = read_words(args.seed)
    cut = len(words) * 3 // 4
    model = NameClassifier(args.hidden).to(args.device)
    learn(model, words[:cut], scripts[:cut], args)
    mg.save(args.out / WEIGHTS, model.state_dict())

    asked, truth = words[cut:], scripts[cut:]
    said = probabilities(model, asked, args.device).argmax(1)
    print(f"{cut} words learnt from; the script of {len(asked)} others, guessed rightly by")
    majority = np.bincount(scripts[:cut]).argmax()
    print(f"  {'the commonest script':22} {np.mean(truth == majority):.3f}")
    counted: list[float] = []
    for n, name in enumerate(("letters", "and pairs", "and triples"), start=1):
        bags, others = ([grams(word, n) for word in part] for part in (words[:cut], asked))
        counted.append(float(np.mean(truth == bag_baseline(bags, scripts[:cut], others))))
        print(f"  {'counting ' + name:22} {counted[-1]:.3f}")
    accuracy = float(np.mean(truth == said))
    print(f"  {'LSTM':22} {accuracy:.3f}")
    show_verdict(f"{TARGET}, and above counting", accuracy >= max(TARGET, *counted))

    counts = np.zeros((len(SCRIPTS), len(SCRIPTS)), dtype=int)
    np.add.at(counts, (truth, said), 1)
    save_picture(args.out / PICTURE, lambda figure: draw(figure, counts, accuracy), (7.5, 6.5))
    for word in args.word:
        show_guess(model, word, args.device)


def show_guess(model: NameClassifier, word: str, device: str) -> None:
    """Prints the three likeliest scripts of a word."""
    p = probabilities(model, [word], device)[0]
    likeliest = ", ".join(f"{SCRIPTS[i].title()} {p[i]:.2f}" for i in np.argsort(-p)[:3])
    print(f"{word}: {likeliest}")


def draw(figure: Any, counts: np.ndarray, accuracy: float) -> None:
    """The confusion matrix: rows are the truth, columns what the LSTM says."""
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), n in np.ndenumerate(counts):
        if n:
            dark = "white" if shares[row, column] > 0.5 else "0.2"
            axes.text(column, row, str(n), ha="center", va="center", color=dark)
    names, ticks = [script.title() for script in SCRIPTS], range(len(SCRIPTS))
    axes.set_xticks(ticks, names, rotation=35, ha="right")
    axes.set_yticks(ticks, names)
    axes.set(
        title=f"The script of a word: {accuracy:.1%} right of {counts.sum()} never seen before",
        xlabel="the LSTM says",
        ylabel="the word comes from",
    )


def known_word(text: str) -> str:
    if not re.fullmatch("[A-Za-z]+", text):
        raise argparse.ArgumentTypeError(f"expected a word of the letters A…Z, got {text!r}")
    return text.upper()


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = options("classify_names", __doc__, hidden=64, steps=2000)
    parser.add_argument(
        "--word",
        type=known_word,
        nargs="+",
        metavar="WORD",
        default=["MINIGRAD"],
        help="to classify in the end (MINIGRAD)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
