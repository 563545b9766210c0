"""The copy task: say again what was read before a long wait. RNN, LSTM and GRU, chrono or not.

A sequence begins with 5 symbols of 8, then come blanks, a sign, and 5 blanks more: at each of these
the network has to say one of the symbols, in order, and "blank" at every step before. Who remembers
nothing but says all else rightly has, per step, the loss

    5 ln 8 / (length of the sequence)

which every network learns at once, and below which only a memory gets. The RNN stays there when the
wait is long. Chrono initialisation sets an LSTM's biases so that it begins with memories of up to
the length of the sequence.

Sources: Hochreiter, Schmidhuber, Long short-term memory, 1997; in this form Arjovsky, Shah, Bengio,
Unitary evolution recurrent neural networks, ICML 2016; Tallec, Ollivier, Can recurrent neural
networks warp time?, ICLR 2018.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _options import positive
from _program import fit, options, run_program, save_picture, show_verdict

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

SYMBOLS, RECALLED = 8, 5
BLANK, SIGN = SYMBOLS, SYMBOLS + 1
BATCH = 16
TARGET = 0.9  # share of symbols that a GRU recalls after the longest wait
PICTURE = "copy_memory.png"
COLOURS = {
    "RNN": "0.4",
    "LSTM": "tab:orange",
    "LSTM, chrono": "tab:red",
    "GRU": "tab:blue",
}


def draw_batch(rng: np.random.Generator, delay: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """What is read, and what is to be said, int64 (delay + 2 * RECALLED, rows) each."""
    symbols = rng.integers(0, SYMBOLS, (RECALLED, rows))
    wait = np.full((delay, rows), BLANK)
    wait[-1] = SIGN
    blanks = np.full_like(symbols, BLANK)
    silence = np.full((delay + RECALLED, rows), BLANK)
    return np.concatenate([symbols, wait, blanks]), np.concatenate([silence, symbols])


def remembering_nothing(delay: int) -> float:
    """The loss of who knows when to speak, and guesses what."""
    return RECALLED * math.log(SYMBOLS) / (delay + 2 * RECALLED)


class Copier(nn.Module):
    """From symbols (steps, rows) to logits of what to say at each step."""

    def __init__(self, kind: str, hidden: int, delay: int) -> None:
        layer = nn.RNN if kind == "RNN" else nn.GRU if kind == "GRU" else nn.LSTM
        self.embedding = nn.Embedding(SYMBOLS + 2, SYMBOLS + 2)
        self.recurrent = layer(SYMBOLS + 2, hidden)
        self.head = nn.Linear(hidden, SYMBOLS + 1)
        if kind.endswith("chrono"):
            nn.presets.chrono(delay + 2 * RECALLED)(self.recurrent)

    def forward(self, symbols: mg.Tensor) -> mg.Tensor:
        y, _ = self.recurrent(self.embedding(symbols))
        return self.head(y)


def study(kind: str, delay: int, args: argparse.Namespace) -> dict[str, Any]:
    """Trains on fresh sequences; returns the losses, and the share of symbols then recalled."""
    mg.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    model = Copier(kind, args.hidden, delay).to(args.device)

    def loss_of_batch() -> mg.Tensor:
        x, y = (mg.tensor(a, device=args.device) for a in draw_batch(rng, delay, BATCH))
        return F.cross_entropy(model(x).flatten(0, 1), y.flatten())

    losses = fit(model, loss_of_batch, args.steps, lr=0.02, label=f"{kind}, wait {delay}: loss")
    x, y = draw_batch(np.random.default_rng(args.seed + 1), delay, 1000)
    with mg.no_grad():
        said = model(mg.tensor(x, device=args.device)).argmax(dim=2).numpy()
    return {"losses": losses, "recalled": float(np.mean(said[-RECALLED:] == y[-RECALLED:]))}


def run(args: argparse.Namespace) -> None:
    """Studies every kind at every wait, and shows who remembers how long."""
    waits = sorted(set(args.waits))
    results = {kind: {wait: study(kind, wait, args) for wait in waits} for kind in COLOURS}
    print(f"share of {RECALLED} symbols recalled after a wait; who guesses has {1 / SYMBOLS:.3f}")
    print(f"  {'steps':14}" + "".join(f"{wait:7}" for wait in waits))
    for kind, by_wait in results.items():
        shares = "".join(f"{r['recalled']:7.3f}" for r in by_wait.values())
        print(f"  {kind:14}{shares}")
    recalled = {kind: by_wait[waits[-1]]["recalled"] for kind, by_wait in results.items()}
    met = recalled["GRU"] >= TARGET and recalled["LSTM, chrono"] > recalled["LSTM"]
    show_verdict(f"GRU {TARGET} after {waits[-1]} steps, and chrono helps the LSTM", met)
    save_picture(args.out / PICTURE, lambda figure: draw(figure, results, waits), (13, 5))


def draw(figure: Any, results: dict[str, dict[int, dict[str, Any]]], waits: list[int]) -> None:
    """Learning at the longest wait, and what is recalled in the end after each."""
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for kind, by_wait in results.items():
        losses = by_wait[waits[-1]]["losses"]
        width = max(1, len(losses) // 50)
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        steps = np.arange(width, len(losses) + 1)
        left.semilogy(steps, smooth, color=COLOURS[kind], label=kind)
        shares = [by_wait[wait]["recalled"] for wait in waits]
        right.plot(waits, shares, "o-", color=COLOURS[kind])
    baseline = remembering_nothing(waits[-1])
    left.axhline(baseline, color="0.6", linestyle=":", label="who remembers nothing")
    left.set(
        title=f"Learning to recall {RECALLED} symbols after {waits[-1]} steps",
        xlabel="training step",
        ylabel=f"loss, nats a step (mean over {width})",
        ylim=(None, 2 * baseline),
    )
    left.legend(loc="lower left")
    right.axhline(1 / SYMBOLS, color="0.6", linestyle=":")
    right.set(
        title="In the end", xlabel="steps of waiting", ylabel="symbols recalled", ylim=(0, 1.03)
    )


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = options("copy_memory", __doc__, hidden=64, steps=2500)
    parser.add_argument(
        "--waits",
        type=positive,
        nargs="+",
        default=[5, 15, 30],
        metavar="T",
        help="steps between reading and recalling (5 15 30)",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
