"""A small Transformer learns to write, beside an LSTM of as many weights on the same text.

Both read windows of the language reference that Python carries and say what the next character is.
The LSTM gets there step by step, with a state; the Transformer (Vaswani et al., 2017; layers with
the norm first) looks at all characters before at once, through a causal mask, and has to be told
where they stand. Both see the same windows, and are judged where half a window or more is known.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _ngram import ngram_entropies
from _options import above_zero, positive, prompt
from _program import fit, options, run_program, save_picture, show_verdict
from _text import Corpus, decode, encode, read_corpus

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

WINDOW, BATCH = 64, 24  # characters that a model sees at once, and windows in a batch
LAYERS, HEADS = 3, 4
TARGET = "4-gram"
NGRAMS = ("uniform", "unigram", "bigram", "trigram", "4-gram", "5-gram")
WEIGHTS, PICTURE = "model.safetensors", "learning.png"


class CharTransformer(nn.Module):
    """From characters (rows, steps), at most WINDOW of them, to logits of the one behind each."""

    def __init__(self, characters: int, hidden: int) -> None:
        self.embedding = nn.Embedding(characters, hidden)
        self.position = nn.Embedding(WINDOW, hidden)
        self.layers = [
            nn.TransformerEncoderLayer(
                hidden, HEADS, 4 * hidden, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(LAYERS)
        ]
        self.norm = nn.LayerNorm(hidden)
        self.head = nn.Linear(hidden, characters)
        for table in self.embedding, self.position:
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, ids: mg.Tensor) -> mg.Tensor:
        x = self.embedding(ids) + self.position(mg.arange(ids.shape[1], device=ids.device))
        for layer in self.layers:
            x = layer(x, is_causal=True)
        return self.head(self.norm(x))


class CharLSTM(nn.Module):
    """The same with an LSTM in the place of layers and positions."""

    def __init__(self, characters: int, embedding: int, hidden: int) -> None:
        self.embedding = nn.Embedding(characters, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True)
        self.head = nn.Linear(hidden, characters)

    def forward(self, ids: mg.Tensor) -> mg.Tensor:
        return self.head(self.lstm(self.embedding(ids))[0])


def weights_of(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def lstm_as_large_as(model: CharTransformer) -> CharLSTM:
    """The LSTM whose number of weights is nearest to the Transformer's."""
    characters, embedding = model.embedding.weight.shape
    wanted = weights_of(model)
    # weights: h² of 4, h times (4 · embedding + 8 biases + head), and the rest
    linear, rest = 4 * embedding + 8 + characters, characters * (embedding + 1) - wanted
    hidden = round((math.sqrt(linear**2 - 16 * rest) - linear) / 8)
    return CharLSTM(characters, embedding, max(1, hidden))


# ---- learning and judging ------------------------------------------------------------------------


def learn(model: nn.Module, name: str, corpus: Corpus, args: argparse.Namespace) -> list[float]:
    """Trains on windows drawn at random, the same for each model; bits per character of each."""
    rng = np.random.default_rng(args.seed)

    def loss_of_batch() -> mg.Tensor:
        starts = rng.integers(0, len(corpus.train) - WINDOW, (BATCH, 1))
        ids = mg.tensor(corpus.train[starts + np.arange(WINDOW + 1)], device=args.device)
        return F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())

    losses = fit(model, loss_of_batch, args.steps, lr=4e-3, label=f"{name}: nats/char")
    return [loss / math.log(2) for loss in losses]


@mg.no_grad()
def judge(model: nn.Module, ids: np.ndarray, device: str) -> float:
    """Bits per character; each is judged once, with half a window or more before it."""
    half = WINDOW // 2
    starts = np.arange(0, len(ids) - WINDOW, half)[:, None]
    nats, windows = 0.0, ids[starts + np.arange(WINDOW + 1)]
    for rows in np.array_split(windows, math.ceil(len(windows) / 128)):
        batch = mg.tensor(rows, device=device)
        logits = model(batch[:, :-1])[:, half:]
        right = batch[:, 1 + half :].flatten()
        nats += F.cross_entropy(logits.flatten(0, 1), right, reduction="sum").item()
    return nats / (len(windows) * half) / math.log(2)


def write(model: nn.Module, corpus: Corpus, args: argparse.Namespace) -> str:
    """Continues the prompt; the state of the writer is the window that it sees, (1, steps)."""
    ids = mg.tensor(encode(args.sample, corpus.alphabet), device=args.device)

    def step(tokens: mg.Tensor, window: mg.Tensor) -> tuple[mg.Tensor, mg.Tensor]:
        window = mg.cat([window, tokens.unsqueeze(1)], dim=1)[:, -WINDOW:]
        return F.log_softmax(model(window)[:, -1], dim=1), window

    found = mg.decode.sample(
        step,
        ids[:-1].unsqueeze(0),
        ids[-1:],
        max_length=args.length,
        temperature=args.temperature,
        generator=mg.Generator(args.seed),
    )
    return args.sample + decode(found.tokens[0].tolist(), corpus.alphabet)


# ---- the program ---------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Trains both, judges them beside counting, and lets the Transformer write."""
    corpus = read_corpus(args.text, BATCH, WINDOW)
    transformer = CharTransformer(len(corpus.alphabet), args.hidden)
    models = {"Transformer": transformer, "LSTM": lstm_as_large_as(transformer)}
    counted = ngram_entropies(
        corpus.train, corpus.valid, len(corpus.alphabet), orders=len(NGRAMS) - 1
    )
    references = dict(zip(NGRAMS, counted, strict=True))
    curves, bits = {}, {}
    print(f"text: {corpus.name}, {len(corpus.train):,} characters to learn from")
    print(f"{'':12} {'weights':>8} {'seconds':>8} {'bits per character, not learnt from':>36}")
    for name, model in models.items():
        model.to(args.device)
        start = time.perf_counter()
        curves[name] = learn(model, name, corpus, args)
        seconds = time.perf_counter() - start
        bits[name] = judge(model, corpus.valid, args.device)
        print(f"{name:12} {weights_of(model):8,} {seconds:8.0f} {bits[name]:36.3f}")
    for name in NGRAMS[1:]:
        print(f"{name:12} {references[name]:54.3f}")
    show_verdict(f"both below the {TARGET}", max(bits.values()) < references[TARGET])
    mg.save(args.out / WEIGHTS, transformer.state_dict())
    print(f"\n--- the Transformer, temperature {args.temperature:g}")
    print(f"{write(transformer, corpus, args)}\n---\n")
    save_picture(
        args.out / PICTURE, lambda figure: draw(figure, curves, bits, references), (8.5, 5)
    )


def draw(
    figure: Any,
    curves: dict[str, list[float]],
    bits: dict[str, float],
    references: dict[str, float],
) -> None:
    """Bits per character of each batch, and where counting stands."""
    axes = figure.subplots()
    for (name, curve), colour in zip(curves.items(), ("tab:blue", "tab:orange"), strict=True):
        width = max(1, len(curve) // 50)
        smooth = np.convolve(curve, np.ones(width) / width, mode="valid")
        steps = np.arange(width, len(curve) + 1)
        axes.plot(steps, smooth, color=colour, label=f"{name}, {bits[name]:.2f} in the test")
    for name in NGRAMS[1:]:
        axes.axhline(references[name], color="0.6", linewidth=0.8, linestyle="--")
        axes.annotate(
            f"{name} {references[name]:.2f}",
            (1, references[name]),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 2),
            textcoords="offset points",
            ha="right",
            color="0.4",
            fontsize=8,
        )
    axes.set(
        title="A Transformer and an LSTM of as many weights on the same text",
        xlabel="batch",
        ylabel="bits per character",
    )
    axes.legend(loc="upper center")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = options("char_transformer", __doc__, hidden=64, steps=1300)
    add = parser.add_argument
    add("--text", type=Path, metavar="FILE", help="UTF-8 text (the Python documentation)")
    add("--sample", type=prompt, default="The ", metavar="PROMPT", help="to continue (%(default)s)")
    add("--length", type=positive, default=300, metavar="N", help="of the sample (%(default)s)")
    add("--temperature", type=above_zero, default=0.7, metavar="T", help="of it (%(default)s)")
    args = parser.parse_args(argv)
    if args.hidden % HEADS:
        parser.error(f"argument --hidden: expected a multiple of {HEADS}, got {args.hidden}")
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")  # the text may hold more than the terminal can show
    sys.exit(main())
