"""The adding problem: which recurrent cells remember two numbers, and where their gradients go.

A sequence holds T random numbers in 0…1, two of which are marked; the network reads it and says the
sum of the two. Who always says 1 has a mean squared error of 1/6. The gradient of an RNN shrinks at
every step on its way back, so the RNN learns nothing better; LSTM and GRU were made against this.

Source: Hochreiter, Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997, section 5.4.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _program import fit, options, run_program, save_picture, show_verdict

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

CELLS = {"RNN": nn.RNN, "LSTM": nn.LSTM, "GRU": nn.GRU}
BASELINE = 1 / 6  # the variance of the sum of two numbers from U(0, 1)
SOLVED = BASELINE / 10
BATCH = 64
LR = 0.01
PICTURE = "adding_problem.png"
COLOURS = ("0.2", "tab:orange", "tab:blue")


def draw_batch(rng: np.random.Generator, steps: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Random sequences of (number, mark), float32 (steps, rows, 2), and their sums (rows,).

    One mark lies in the first half and one in the second.
    """
    numbers = rng.random((steps, rows), dtype=np.float32)
    marks = np.zeros_like(numbers)
    each = np.arange(rows)
    for half in (0, steps // 2), (steps // 2, steps):
        marks[rng.integers(*half, rows), each] = 1
    return np.stack([numbers, marks], axis=-1), (numbers * marks).sum(0)


class Adder(nn.Module):
    """A recurrent layer that reads (steps, rows, 2), and a linear one that says the sum."""

    def __init__(self, layer: Any, hidden: int) -> None:
        self.recurrent = layer(2, hidden)
        self.head = nn.Linear(hidden, 1)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        y, _ = self.recurrent(x)
        return self.head(y[-1]).squeeze(1)

    def gradient_flow(self, x: mg.Tensor, sums: mg.Tensor) -> np.ndarray:
        """‖dL/dh_t‖ for each step t, averaged over the rows; L is the error at the end."""
        y, _, trace = self.recurrent(x, trace=True)
        loss = F.mse_loss(self.head(y[-1]).squeeze(1), sums, reduction="sum")
        (flow,) = mg.inspect.grad_flow(loss, trace, jacobians=False)
        return flow.gradients["h"].mean(1)


def train(model: Adder, name: str, args: argparse.Namespace) -> list[float]:
    """Trains on fresh batches; returns the mean squared error of each."""
    rng = np.random.default_rng(args.seed)

    def loss_of_batch() -> mg.Tensor:
        x, sums = (mg.tensor(a, device=args.device) for a in draw_batch(rng, args.length, BATCH))
        return F.mse_loss(model(x), sums)

    return fit(model, loss_of_batch, args.steps, lr=LR, last_lr=LR, label=f"{name}: error")


def flow_in_double(model: Adder, name: str, x: mg.Tensor, sums: mg.Tensor) -> np.ndarray:
    """The gradient flow of a float64 copy: what an RNN leaves is too small for float32."""
    copy = Adder(CELLS[name], model.head.in_features).to(x.device).double()
    copy.load_state_dict(model.state_dict())
    return copy.gradient_flow(x.double(), sums.double())


def study(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """Trains one cell; returns its curve, its gradients before and after, its error and time."""
    mg.manual_seed(args.seed)
    model = Adder(CELLS[name], args.hidden).to(args.device)
    fresh = draw_batch(np.random.default_rng(args.seed + 1), args.length, 1000)
    x, sums = (mg.tensor(a, device=args.device) for a in fresh)
    before = flow_in_double(model, name, x, sums)
    start = time.perf_counter()
    errors = train(model, name, args)
    seconds = time.perf_counter() - start
    with mg.no_grad():
        error = F.mse_loss(model(x), sums).item()
    after = flow_in_double(model, name, x, sums)
    return {"curve": errors, "flow": (before, after), "error": error, "seconds": seconds}


def report(results: dict[str, dict[str, Any]], args: argparse.Namespace) -> None:
    print(f"the sum of two marked numbers among {args.length}; who says 1 has error {BASELINE:.4f}")
    print("      error on 1000    time    ‖dL/dh‖ at the first step, relative to the last")
    print("      new sequences            before training       after")
    for name, r in results.items():
        before, after = (flow[0] / flow[-1] for flow in r["flow"])
        print(f"{name:5} {r['error']:10.5f}    {r['seconds']:6.1f} s {before:14.1e} {after:14.1e}")
    met = all((r["error"] < SOLVED) == (name != "RNN") for name, r in results.items())
    show_verdict(f"LSTM and GRU below {SOLVED:.4f}, RNN not", met)


def draw_picture(figure: Any, results: dict[str, dict[str, Any]], args: argparse.Namespace) -> None:
    figure.suptitle(f"The adding problem over {args.length} steps, {args.hidden} hidden units")
    left, right = figure.subplots(1, 2)
    for (name, r), colour in zip(results.items(), COLOURS, strict=True):
        curve, width = r["curve"], max(1, args.steps // 60)
        smooth = np.convolve(curve, np.ones(width) / width, mode="valid")
        left.semilogy(np.arange(width, len(curve) + 1), smooth, color=colour, label=name)
        for flow, style in zip(r["flow"], ("--", "-"), strict=True):
            right.semilogy(np.arange(1, args.length + 1), flow, style, color=colour)
    left.axhline(BASELINE, color="0.5", linewidth=1, linestyle=":", label="who always says 1")
    left.set(
        title="Learning",
        xlabel="training step",
        ylabel=f"mean squared error (mean over {width} steps)",
    )
    right.set(
        title="Gradients, on their way back from the error at the end",
        xlabel="step t of the sequence",
        ylabel="‖dL/dh_t‖ (mean over 1000 sequences)",
    )
    right.plot([], [], "--", color="0.6", label="before training, colours as on the left")
    right.plot([], [], "-", color="0.6", label="after training")
    right.set_ylim(bottom=max(right.get_ylim()[0], 1e-40))
    for axes in left, right:
        axes.grid(color="0.9")
    left.legend(loc="lower left", fontsize="small")
    right.legend(loc="lower right", fontsize="small")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = options("adding_problem", __doc__, hidden=32, steps=1500)
    add = parser.add_argument
    add("--length", type=at_least_two, default=100, metavar="T", help="of sequences (%(default)s)")
    return parser.parse_args(argv)


def at_least_two(text: str) -> int:
    if int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected 2 or more, for two marks, got {text}")
    return int(text)


def run(args: argparse.Namespace) -> None:
    """Studies the three cells, prints what came of it, and writes the picture."""
    results = {name: study(name, args) for name in CELLS}
    report(results, args)
    save_picture(args.out / PICTURE, lambda fig: draw_picture(fig, results, args), (12, 4.8))


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
