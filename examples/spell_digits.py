"""One to many: a picture of a number sets the state of an LSTM, which spells the number's name.

Two handwritten digits of scikit-learn side by side, 8×16 pixels, make a number: 4 and 2 are spelled
f-o-r-t-y---t-w-o. The picture is seen once, in the state that the LSTM begins with; then it reads
nothing but its own last letter, until it says that the name is over. A few numbers are left out of
the lessons: their names have to be put together from parts that were met elsewhere.
"""

from __future__ import annotations

import argparse
import string
import sys
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _program import fit, options, run_program, save_picture, show_verdict
from digits_mlp import read_digits

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
    *("seventeen", "eighteen", "nineteen"),
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
LETTERS = "." + string.ascii_lowercase + "-"  # the first one begins and ends a name
LONGEST = len("seventy-seven") + 1  # with the end
UNSEEN = np.array([24, 38, 42, 57, 63, 76, 89, 95])  # never in the lessons
TAUGHT = np.setdiff1d(np.arange(100), UNSEEN)
TARGET, TARGET_UNSEEN = 0.94, 0.7  # share of whole names right, of new pictures
BATCH, NOISE = 64, 0.2
IGNORED = -100  # what cross_entropy does not count
WEIGHTS, PICTURE = "model.safetensors", "spelled.png"


def name_of(number: int) -> str:
    """The English name of 0 … 99.

    >>> name_of(42), name_of(7), name_of(30)
    ('forty-two', 'seven', 'thirty')
    """
    if number < len(ONES):
        return ONES[number]
    tens, ones = divmod(number, 10)
    return TENS[tens - 2] + (f"-{ONES[ones]}" if ones else "")


def encode(numbers: np.ndarray) -> np.ndarray:
    """Their names and ends as places in LETTERS, int64 (LONGEST, rows); IGNORED behind them."""
    ids = np.full((LONGEST, len(numbers)), IGNORED, dtype=np.int64)
    for row, number in enumerate(numbers):
        name = name_of(number) + "."
        ids[: len(name), row] = [LETTERS.index(letter) for letter in name]
    return ids


def decode(ids: np.ndarray) -> list[str]:
    """The name in each column (steps, rows), up to its first end."""
    return ["".join(LETTERS[i] for i in column).partition(".")[0] for column in ids.T]


class Digits:
    """Handwritten digits to draw numbers with."""

    def __init__(self, pixels: np.ndarray, digits: np.ndarray) -> None:
        self.images = pixels.reshape(-1, 8, 8)
        self.of = [np.flatnonzero(digits == digit) for digit in range(10)]

    def draw(self, rng: np.random.Generator, numbers: np.ndarray) -> np.ndarray:
        """A picture of each number, float32 (rows, 128), of digits drawn at random."""
        halves = [
            np.stack([self.images[rng.choice(self.of[digit])] for digit in digits])
            for digits in divmod(numbers, 10)
        ]
        return np.concatenate(halves, axis=2).reshape(len(numbers), 128)


class Speller(nn.Module):
    """From pictures (rows, 128) to letters, one at a time."""

    def __init__(self, hidden: int) -> None:
        self.look = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Dropout(0.2))
        self.begin = nn.Linear(256, 2 * hidden)
        self.embedding = nn.Embedding(len(LETTERS), 16)
        self.lstm = nn.LSTM(16, hidden)
        self.head = nn.Linear(hidden, len(LETTERS))

    def first_state(self, pictures: mg.Tensor) -> tuple[mg.Tensor, mg.Tensor]:
        """The state (h, c) that holds all that was seen, (1, rows, hidden) each."""
        h, c = self.begin(self.look(pictures)).unsqueeze(0).chunk(2, dim=2)
        return h.tanh(), c

    def forward(self, letters: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        """Logits of the letters behind these (steps, rows), and the state then."""
        y, state = self.lstm(self.embedding(letters), state)
        return self.head(y), state


@mg.no_grad()
def spell(model: Speller, pictures: np.ndarray, device: str) -> tuple[list[str], np.ndarray]:
    """Greedily: the likeliest letter, which is read next; and p of every letter at each step.

    Returns:
        the names; probabilities, (LONGEST, rows, letters).
    """
    model.eval()
    state = model.first_state(mg.tensor(pictures, device=device))
    letters = mg.zeros(1, len(pictures), dtype=mg.int64, device=device)
    said: list[mg.Tensor] = []
    p: list[np.ndarray] = []
    for _ in range(LONGEST):
        logits, state = model(letters, state)
        letters = logits.argmax(dim=2)
        said.append(letters)
        p.append(F.softmax(logits[0], dim=1).numpy())
    model.train()
    return decode(mg.cat(said).numpy()), np.stack(p)


# ---- the program ---------------------------------------------------------------------------------


def learn(model: Speller, digits: Digits, args: argparse.Namespace) -> None:
    """Trains on all numbers but the unseen; it reads the right letters (teacher forcing)."""
    rng = np.random.default_rng(args.seed)

    def loss_of_batch() -> mg.Tensor:
        numbers = rng.choice(TAUGHT, BATCH)
        pictures = digits.draw(rng, numbers)
        pictures += rng.normal(0, NOISE, pictures.shape).astype(np.float32)
        names = encode(numbers)
        read = np.concatenate([np.zeros((1, BATCH), dtype=np.int64), names[:-1].clip(0)])
        x, names, read = (mg.tensor(a, device=args.device) for a in (pictures, names, read))
        logits, _ = model(read, model.first_state(x))
        return F.cross_entropy(logits.flatten(0, 1), names.flatten(), ignore_index=IGNORED)

    fit(model, loss_of_batch, args.steps, lr=3e-3)


def run(args: argparse.Namespace) -> None:
    """Trains, and has new pictures spelled: of numbers that were taught, and of the others."""
    pixels, digits, test_pixels, test_digits = read_digits(args.seed)
    model = Speller(args.hidden).to(args.device)
    learn(model, Digits(pixels, digits), args)
    mg.save(args.out / WEIGHTS, model.state_dict())

    rng, fresh = np.random.default_rng(args.seed + 1), Digits(test_pixels, test_digits)
    shares: list[float] = []
    for label, choice in ("numbers taught", TAUGHT), ("numbers never taught", UNSEEN):
        numbers = rng.choice(choice, 1000)
        said, _ = spell(model, fresh.draw(rng, numbers), args.device)
        mistakes = [(name_of(n), name) for n, name in zip(numbers, said, strict=True)]
        mistakes = [f"{truth} as {name}" for truth, name in mistakes if truth != name]
        shares.append(1 - len(mistakes) / len(numbers))
        print(f"{label:20}: {shares[-1]:.3f} of 1000 new pictures spelled rightly")
        print(f"  mistakes: {', '.join(mistakes[:4])}, …")
    met = shares[0] >= TARGET and shares[1] >= TARGET_UNSEEN
    show_verdict(f"{TARGET} and {TARGET_UNSEEN}", met)

    numbers = np.concatenate([rng.choice(TAUGHT, 400), rng.choice(UNSEEN, 8)])
    pictures = fresh.draw(rng, numbers)
    said, p = spell(model, pictures, args.device)
    save_picture(
        args.out / PICTURE, lambda figure: draw(figure, pictures, numbers, said, p), (13, 7.5)
    )


def draw(
    figure: Any, pictures: np.ndarray, numbers: np.ndarray, said: list[str], p: np.ndarray
) -> None:
    """The last 16 pictures and their names; below, the letters of three that were hard to read."""
    above, below = figure.subfigures(2, 1, height_ratios=(2, 3))
    above.suptitle("New pictures and what was spelled (red: wrong; below: numbers never taught)")
    shown = range(len(numbers) - 16, len(numbers))
    for axes, i in zip(above.subplots(2, 8).flat, shown, strict=True):
        axes.imshow(pictures[i].reshape(8, 16), cmap="Greys")
        right = said[i] == name_of(numbers[i])
        axes.set_title(said[i], fontsize=10, color="black" if right else "tab:red")
        axes.set_axis_off()
    below.suptitle("p(letter) at each step, for those among 400 where it was least sure")
    sure = [p[: len(name) + 1, i].max(1).min() for i, name in enumerate(said)]
    for column, i in zip(below.subfigures(1, 3), np.argsort(sure)[:3], strict=True):
        picture, letters = column.subplots(2, 1, height_ratios=(1, 3))
        picture.imshow(pictures[i].reshape(8, 16), cmap="Greys")
        picture.set_title(f"{name_of(numbers[i])}, spelled {said[i]}", fontsize=10)
        picture.set_axis_off()
        draw_letters(letters, said[i], p[: len(said[i]) + 1, i])


def draw_letters(axes: Any, name: str, p: np.ndarray) -> None:
    """p of the letters (steps, letters), of those that had a chance, as shades."""
    likely = np.flatnonzero(p.max(0) > 0.05)
    axes.imshow(p[:, likely].T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(name) + 1), f"{name}.")
    axes.set_yticks(range(len(likely)), [LETTERS[letter] for letter in likely], fontsize=8)


def parse(argv: list[str] | None) -> argparse.Namespace:
    return options("spell_digits", __doc__, hidden=128, steps=2000).parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
