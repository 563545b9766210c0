"""Show, attend and tell: an LSTM reads out the digits of a picture, looking where it must.

Three handwritten digits of scikit-learn (8×8 pixels each) lie scattered over a picture of 16×40;
the network says their names from left to right, letter by letter: "four one nine". The picture is
seen as windows of 8×8 pixels on a grid; before each letter, attention weighs the windows anew by
what the LSTM holds, and the LSTM reads their weighted mean. Nobody tells it where the digits are.

Source: Xu et al., Show, attend and tell, 2015 (its soft attention).
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _program import fit, options, run_program, save_picture, show_verdict
from digits_mlp import read_digits
from numpy.lib.stride_tricks import sliding_window_view

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LETTERS = "." + " " + "".join(sorted(set("".join(NAMES))))  # "." begins and ends what is said
END = 0
HEIGHT, WIDTH, SIDE, DIGITS = 16, 40, 8, 3
STRIDE = 2  # of the windows: 5×17 of them
GRID = ((HEIGHT - SIDE) // STRIDE + 1, (WIDTH - SIDE) // STRIDE + 1)
LONGEST = len("three three three") + 1  # with the end
BATCH = 32
NOISE = 0.1  # standard deviation of what is added to the pixels (0…1) while learning
TARGET = 0.9  # share of pictures, of digits never seen before, that are read without a mistake
IGNORED = -100  # what nll_loss does not count
WEIGHTS, PICTURE = "model.safetensors", "where_it_looks.png"

# ---- pictures ------------------------------------------------------------------------------------


def draw_pictures(
    images: np.ndarray, digits: np.ndarray, rows: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[str]]:
    """Digits drawn at random on black, float32 (rows, HEIGHT, WIDTH), and what they say."""
    pictures = np.zeros((rows, HEIGHT, WIDTH), dtype=np.float32)
    said: list[str] = []
    for picture in pictures:
        chosen = rng.integers(0, len(digits), DIGITS)
        gaps = rng.multinomial(WIDTH - DIGITS * SIDE, [1 / (DIGITS + 1)] * (DIGITS + 1))
        left = 0
        for gap, image in zip(gaps, images[chosen], strict=False):
            left += gap
            top = rng.integers(0, HEIGHT - SIDE + 1)
            picture[top : top + SIDE, left : left + SIDE] = image
            left += SIDE
        said.append(" ".join(NAMES[digit] for digit in digits[chosen]))
    return pictures, said


def windows(pictures: np.ndarray) -> np.ndarray:
    """The pixels of each window of the grid, (rows, windows, SIDE²)."""
    every = sliding_window_view(pictures, (SIDE, SIDE), axis=(1, 2))[:, ::STRIDE, ::STRIDE]
    return every.reshape(len(pictures), GRID[0] * GRID[1], SIDE * SIDE)


def spread(weights: np.ndarray) -> np.ndarray:
    """Weights of the windows (windows,) as a weight of each pixel (HEIGHT, WIDTH)."""
    looked = np.zeros((HEIGHT, WIDTH))
    for (row, column), weight in np.ndenumerate(weights.reshape(GRID)):
        top, left = STRIDE * row, STRIDE * column
        looked[top : top + SIDE, left : left + SIDE] += weight
    return looked


def encode(said: list[str]) -> np.ndarray:
    """Places in LETTERS, int64 (rows, LONGEST), with the end, and IGNORED behind it."""
    ids = np.full((len(said), LONGEST), IGNORED, dtype=np.int64)
    for row, text in zip(ids, said, strict=True):
        row[: len(text) + 1] = [LETTERS.index(letter) for letter in text + LETTERS[END]]
    return ids


def spelled(tokens: mg.Tensor) -> list[str]:
    """What each row of tokens (rows, n) says, up to its end."""
    return ["".join(LETTERS[i] for i in row).partition(LETTERS[END])[0] for row in tokens.tolist()]


# ---- the network ---------------------------------------------------------------------------------


class Reader(nn.Module):
    """Looks at windows (rows, windows, pixels), then takes steps: a letter and a state to log p.

    The state is ((h, c), memory, weights): the LSTM's, the windows, and where it looked last.
    """

    def __init__(self, hidden: int) -> None:
        self.see = nn.Linear(SIDE * SIDE, hidden)
        self.row, self.column = (nn.Embedding(n, hidden) for n in GRID)
        self.understand = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.begin = nn.Linear(hidden, 2 * hidden)
        self.letter = nn.Embedding(len(LETTERS), 16)
        self.attention = nn.AdditiveAttention(hidden, hidden, hidden)
        self.cell = nn.LSTMCell(16 + hidden, hidden)
        self.head = nn.Linear(2 * hidden, len(LETTERS))
        for table in self.row, self.column:  # at first, what a window shows counts more
            nn.init.normal_(table.weight, std=0.1)

    def start(self, seen: mg.Tensor) -> tuple[mg.Tensor, Any]:
        """The token that begins each row, and the state before it."""
        row, column = (table.weight for table in (self.row, self.column))
        place = (row.unsqueeze(1) + column).flatten(0, 1)
        features = self.norm(self.understand((self.see(seen) + place).relu()))
        h, c = self.begin(features.mean(1)).tanh().chunk(2, 1)
        tokens = mg.full((len(seen),), END, device=seen.device)
        return tokens, ((h, c), self.attention.memory(features), mg.zeros_like(features[:, :, 0]))

    def step(self, tokens: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        """One letter on: log-probabilities (rows, letters) and the next state."""
        (h, c), memory, _ = state
        context, weights = self.attention(h, memory)
        h, c = self.cell(mg.cat([self.letter(tokens), context], dim=1), (h, c))
        logits = self.head(mg.cat([h, context], dim=1))
        return F.log_softmax(logits, dim=1), ((h, c), memory, weights)

    def loss(self, seen: mg.Tensor, letters: mg.Tensor) -> mg.Tensor:
        """Mean -log p of the letters (rows, LONGEST), each after the right ones before it."""
        tokens, state = self.start(seen)
        said = []
        for right in letters.unbind(1):
            log_probs, state = self.step(tokens, state)
            said.append(log_probs)
            tokens = right.clamp(min=END)  # behind the end it does not matter
        return F.nll_loss(mg.stack(said, 1).flatten(0, 1), letters.flatten(), ignore_index=IGNORED)

    def read(self, pictures: np.ndarray, device: str) -> list[str]:
        """What it says of each picture, the best of a beam of 3."""
        tokens, state = self.start(mg.tensor(windows(pictures), device=device))
        found = mg.decode.beam_search(
            self.step, state, tokens, end=END, max_length=LONGEST, beam_size=3
        )
        return spelled(found.tokens[:, 0])


# ---- the program ---------------------------------------------------------------------------------


def learn(model: Reader, images: np.ndarray, digits: np.ndarray, args: argparse.Namespace) -> None:
    rng = np.random.default_rng(args.seed)

    def loss_of_batch() -> mg.Tensor:
        pictures, said = draw_pictures(images, digits, BATCH, rng)
        pictures += rng.normal(0, NOISE, pictures.shape)
        seen, letters = (
            mg.tensor(a, device=args.device) for a in (windows(pictures), encode(said))
        )
        return model.loss(seen, letters)

    fit(model, loss_of_batch, args.steps, lr=6e-3)


def run(args: argparse.Namespace) -> None:
    """Trains, reads new pictures, and shows where the network looks."""
    pixels, digits, new_pixels, new_digits = read_digits(args.seed)
    images, new_images = (p.reshape(-1, SIDE, SIDE) for p in (pixels, new_pixels))
    model = Reader(args.hidden).to(args.device)
    learn(model, images, digits, args)
    mg.save(args.out / WEIGHTS, model.state_dict())

    rng = np.random.default_rng(args.seed + 1)
    pictures, truth = draw_pictures(new_images, new_digits, 500, rng)
    with mg.no_grad():
        said = model.read(pictures, args.device)
    right = float(np.mean([a == b for a, b in zip(said, truth, strict=True)]))
    names = [(a, b) for s, t in zip(said, truth, strict=True) for a, b in pairs(s, t)]
    print(f"{len(truth)} pictures of digits that were never seen before")
    print(f"  names right                {np.mean([a == b for a, b in names]):.3f}")
    print(f"  pictures without a mistake {right:.3f}")
    show_verdict(f"pictures without a mistake {TARGET}", right >= TARGET)
    for a, b in [(a, b) for a, b in zip(said, truth, strict=True) if a != b][:3]:
        print(f"  for example: {a!r}, in truth {b!r}")
    different = next((i for i, t in enumerate(truth) if len(set(t.split())) == DIGITS), 0)
    shown = pictures[different], *show(model, pictures[different], args.device)
    save_picture(args.out / PICTURE, lambda figure: draw(figure, *shown), (14, 5.2))


def pairs(said: str, truth: str) -> list[tuple[str, str]]:
    """What was said for each digit, and its name; "" for one that was left out."""
    words = [*said.split(" "), *[""] * DIGITS]
    return list(zip(words, truth.split(" "), strict=False))


@mg.no_grad()
def show(model: Reader, picture: np.ndarray, device: str) -> tuple[str, np.ndarray]:
    """What it says of one picture, greedily, and the weights of each letter (letters, windows)."""
    tokens, state = model.start(mg.tensor(windows(picture[None]), device=device))
    looks: list[np.ndarray] = []

    def step(tokens: mg.Tensor, state: Any) -> tuple[mg.Tensor, Any]:
        log_probs, state = model.step(tokens, state)
        looks.append(state[2][0].cpu().numpy())
        return log_probs, state

    found = mg.decode.greedy(step, state, tokens, end=END, max_length=LONGEST)
    (said,) = spelled(found.tokens)
    return said, np.stack(looks[: len(said)])


def draw(figure: Any, picture: np.ndarray, said: str, weights: np.ndarray) -> None:
    """The picture, and for each letter, a row a name, the same with light on where it looked."""
    words = [word + " " for word in said.split(" ")]
    top, below = figure.subfigures(2, 1, height_ratios=(1, len(words)))
    axes = top.subplots()
    axes.imshow(picture, cmap="gray")
    axes.set_title(f"Read as “{said}”, and where the network looked for each letter")
    axes.set_axis_off()
    table = below.subplots(len(words), max(map(len, words)), squeeze=False)
    for axes in table.flat:
        axes.set_axis_off()
    looks = iter(weights)
    for row, word in zip(table, words, strict=True):
        for axes, letter, look in zip(row, word, looks, strict=False):
            light = spread(look)
            axes.imshow(picture, cmap="gray")
            axes.imshow(light, cmap="inferno", alpha=0.6, vmin=0, vmax=light.max())
            axes.set_title("space" if letter == " " else letter, fontsize=11, family="monospace")


def parse(argv: list[str] | None) -> argparse.Namespace:
    return options("show_attend_tell", __doc__, hidden=96, steps=1500).parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
