"""A cell of your own in twenty lines, in a layer with everything: peepholes that count brackets.

The cell is an LSTM whose gates see the cell state. The task is to say of each bracket in a string
whether it has a partner. A closing one depends on what came before it and an opening one on what
comes after it, strings have different lengths, and a network has to count: so the layer runs in
both directions, twice, with `lengths=`, none of which the cell knows about.

Source: Gers, Schmidhuber, Recurrent nets that time and count, IJCNN 2000.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _options import positive
from _program import fit, options, run_program, show_verdict

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

TARGET = 0.98  # of brackets in new strings judged rightly
BATCH = 64
WEIGHTS = "model.safetensors"

# ---- the cell ------------------------------------------------------------------------------------


@mg.fuse
def peephole_gates(gates: Any, peepholes: Any, c: Any) -> Any:
    i, f, g, o = gates.chunk(4)
    see_i, see_f, see_o = peepholes.chunk(3)
    next_c = mg.sigmoid(f + see_f * c) * c + mg.sigmoid(i + see_i * c) * mg.tanh(g)
    return mg.sigmoid(o + see_o * next_c) * mg.tanh(next_c), next_c


class PeepholeCell(nn.Cell):
    state_names = ("h", "c")

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = self.parameter(4 * hidden_size, input_size)
        self.weight_hh = self.parameter(4 * hidden_size, hidden_size)
        self.bias = self.parameter(4 * hidden_size)
        self.peepholes = self.parameter(3 * hidden_size, 1)

    def project(self, x: mg.Tensor) -> mg.Tensor:
        return mg.affine(self.weight_ih, x, self.bias)

    def step(self, p: mg.Tensor, state: tuple[mg.Tensor, mg.Tensor]) -> Any:
        h, c = state
        return peephole_gates(mg.affine(self.weight_hh, h, p), self.peepholes, c)


# ---- the network and the task --------------------------------------------------------------------


class Tagger(nn.Module):
    """From brackets (steps, rows, 1) and lengths to logits (steps, rows): has it a partner?"""

    def __init__(self, hidden: int) -> None:
        self.recurrent = nn.Recurrent(PeepholeCell, 1, hidden, num_layers=2, bidirectional=True)
        self.head = nn.Linear(2 * hidden, 1)

    def forward(self, x: mg.Tensor, lengths: np.ndarray) -> mg.Tensor:
        y, _ = self.recurrent(x, lengths=lengths)
        return self.head(y).squeeze(2)


def partners(brackets: str) -> list[bool]:
    """Of each bracket, whether it has a partner.

    >>> partners("())(")
    [True, True, False, False]
    """
    found, opened = [False] * len(brackets), []
    for i, bracket in enumerate(brackets):
        if bracket == "(":
            opened.append(i)
        elif opened:
            found[i] = found[opened.pop()] = True
    return found


def draw_batch(
    rng: np.random.Generator, rows: int, longest: int
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Random strings of brackets, some with more opening ones, some with more closing ones.

    Returns:
        the strings; the brackets as ±1, float32 (longest, rows, 1), and NaN beyond a string's end,
        where it must not matter; whether each has a partner, float32 (longest, rows); lengths.
    """
    lengths = rng.integers(1, longest + 1, rows)
    opening = rng.uniform(0.3, 0.7, rows)
    x = np.full((longest, rows, 1), np.nan, dtype=np.float32)
    y = np.zeros((longest, rows), dtype=np.float32)
    strings: list[str] = []
    for row, (n, p) in enumerate(zip(lengths, opening, strict=True)):
        opens = rng.random(n) < p
        strings.append("".join(np.where(opens, "(", ")")))
        x[:n, row, 0] = np.where(opens, 1, -1)
        y[:n, row] = partners(strings[-1])
    return strings, x, y, lengths


def within(lengths: np.ndarray, longest: int) -> np.ndarray:
    """Which of the places (longest, rows) lie within the strings."""
    return np.arange(longest)[:, None] < lengths


# ---- the program ---------------------------------------------------------------------------------


def learn(model: Tagger, args: argparse.Namespace) -> None:
    """Trains on fresh strings."""
    rng = np.random.default_rng(args.seed)

    def loss_of_batch() -> mg.Tensor:
        _, x, y, lengths = draw_batch(rng, BATCH, args.length)
        counted = within(lengths, args.length).astype(np.float32) / lengths.sum()
        x, y, counted = (mg.tensor(a, device=args.device) for a in (x, y, counted))
        return F.binary_cross_entropy_with_logits(model(x, lengths), y, counted, reduction="sum")

    fit(model, loss_of_batch, args.steps, lr=1e-2)


@mg.no_grad()
def judge(model: Tagger, longest: int, args: argparse.Namespace) -> tuple[float, list[str]]:
    """The share of brackets in 1000 new strings judged rightly, and five of them with marks."""
    strings, x, y, lengths = draw_batch(np.random.default_rng(args.seed + 1), 1000, longest)
    said = model(mg.tensor(x, device=args.device), lengths).numpy() > 0
    right = said == (y > 0)
    shown: list[str] = []
    for row, string in enumerate(strings[:5]):
        n = lengths[row]
        marks = np.where(right[:n, row], np.where(said[:n, row], "+", "-"), "!")
        shown += [f"    {string}", f"    {''.join(marks)}"]
    return float(right[within(lengths, longest)].mean()), shown


def run(args: argparse.Namespace) -> None:
    """Trains, shows what the network says, and saves its weights."""
    model = Tagger(args.hidden).to(args.device)
    learn(model, args)

    accuracy, shown = judge(model, args.length, args)
    print("has a partner: +, has none: -, wrong: !")
    print("\n".join(shown))
    longer, _ = judge(model, 2 * args.length, args)
    print(
        f"\nright about {accuracy:.4f} of the brackets in 1000 new strings of up to {args.length},"
    )
    print(f"and about {longer:.4f} in strings of up to {2 * args.length}, which it never practised")
    show_verdict(str(TARGET), accuracy >= TARGET)
    mg.save(args.out / WEIGHTS, model.state_dict())
    print(f"weights: {args.out / WEIGHTS}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = options("custom_cell", __doc__, hidden=16, steps=300)
    add = parser.add_argument
    add("--length", type=positive, default=30, metavar="T", help="longest string (%(default)s)")
    add("--show-code", action="store_true", help="print what @fuse made of the equations, and stop")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    args = parse(argv)
    if args.show_code:
        print(peephole_gates.source)
        return 0
    return run_program(run, args)


if __name__ == "__main__":
    sys.exit(main())
