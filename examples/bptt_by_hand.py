"""Backpropagation through time by hand: the terms of one gradient, why they vanish or explode.

A recurrent cell of single numbers, h_t = φ(w h_{t-1} + u x_t), reads T of them. By the chain rule

    dh_T/dw = Σ_t (Π_{k>t} w φ'(a_k)) φ'(a_t) h_{t-1},    a_t = w h_{t-1} + u x_t,

a term for each step at which w was used; where φ(a) = a it is Σ_t w^(T-t) h_{t-1}. The product is
how far step t reaches, dh_T/dh_t: with |w| < 1, or where tanh saturates, it vanishes as t goes
back, with |w| > 1 it explodes. The program prints the terms as loops over numbers give them, beside
the shares of the steps that `mg.inspect.grad_flow` finds on the tape. Then it learns w by gradient
descent: the first step down the cliff throws it out of the world, unless the gradient is clipped.

Source: Werbos, Backpropagation through time, 1990; Pascanu, Mikolov, Bengio, On the difficulty of
training recurrent neural networks, ICML 2013.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _options import device, not_negative, positive
from _program import run_program, save_picture, show_verdict
from _progress import progress

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F

SQUASH = {"linear": lambda a: a, "tanh": mg.tanh}
BY_HAND = {  # φ and φ' on numbers
    "linear": (lambda a: a, lambda _: 1.0),
    "tanh": (math.tanh, lambda a: 1 - math.tanh(a) ** 2),
}
CASES = [(0.8, "linear"), (1.2, "linear"), (1.2, "tanh")]
TEACHER, START = 0.95, 1.25  # the w that made the data, and the one that learning starts from
ROWS, LEARNING_RATE, MAX_NORM = 20, 0.003, 1.0
NEAR = 0.01  # how close to the teacher's w learning has to come
AGREE = 1e-12  # how far two terms may be apart, relative to the largest
PICTURE = "bptt_by_hand.png"
COLOURS = ("#0072B2", "#D55E00", "#009E73")


# ---- the terms, twice ----------------------------------------------------------------------------


def terms_by_hand(
    w: float, u: float, x: list[float], squash: str
) -> tuple[list[float], list[float]]:
    """What each step adds to dh_T/dw, and dh_T/dh_t, with numbers and the chain rule alone."""
    phi, slope = BY_HAND[squash]
    h, slopes, before = 0.0, [], []
    for x_t in x:
        a = w * h + u * x_t
        before.append(h)
        slopes.append(slope(a))
        h = phi(a)
    terms, reach, reaches = [], 1.0, []
    for t in reversed(range(len(x))):
        reaches.append(reach)
        terms.append(reach * slopes[t] * before[t])
        reach *= w * slopes[t]
    return terms[::-1], reaches[::-1]


class ScalarCell(nn.Cell):
    """h_t = φ(w h_{t-1} + u x_t)."""

    def __init__(self, input_size: int, hidden_size: int, squash: str) -> None:
        super().__init__(input_size, hidden_size)
        self.squash = SQUASH[squash]
        self.u = self.parameter(hidden_size, input_size)
        self.w = self.parameter(hidden_size, hidden_size)

    def project(self, x: mg.Tensor) -> mg.Tensor:
        return mg.matmul(self.u, x)

    def step(self, p: mg.Tensor, h: mg.Tensor) -> mg.Tensor:
        return self.squash(mg.affine(self.w, h, p))


def scalar_layer(w: float, u: float, squash: str, device: str) -> Any:
    layer: Any = nn.Recurrent(ScalarCell, 1, 1, squash=squash).double().to(device)
    layer.w_l0.copy_([[w]])
    layer.u_l0.copy_([[u]])
    return layer


def terms_on_the_tape(
    w: float, u: float, x: list[float], squash: str, device: str
) -> tuple[list[float], list[float]]:
    """The same from the graph that a layer records; of dh_T/dh_t the size."""
    layer = scalar_layer(w, u, squash, device)
    inputs = mg.tensor(x, dtype=mg.float64, device=device).reshape(-1, 1, 1)
    _, last, trace = layer(inputs, trace=True)
    (flow,) = mg.inspect.grad_flow(last.sum(), trace, {"w": layer.w_l0})
    return flow.shares["w"].reshape(-1).tolist(), flow.jacobians["h"][:, 0].tolist()


def compare(x: list[float], device: str) -> tuple[dict[str, Any], float]:
    """Prints terms and reaches of each case both ways; returns them, and how far they are apart."""
    found: dict[str, Any] = {}
    apart = 0.0
    for w, squash in CASES:
        by_hand = np.array(terms_by_hand(w, 1.0, x, squash))
        on_tape = np.array(terms_on_the_tape(w, 1.0, x, squash, device))
        apart = max(apart, *(np.abs(by_hand - on_tape).max(1) / np.abs(by_hand).max(1)))
        found[f"w = {w}, φ {squash}"] = by_hand
        (terms, reaches), (shares, jacobians) = by_hand, on_tape
        print(f"w = {w}, φ {squash}: dh_T/dw = {terms.sum():.6g}, the sum of {len(x)} terms")
        print("    t   term by hand    on the tape   dh_T/dh_t by hand    on the tape")
        for t in np.unique(np.linspace(2, len(x), 6).round().astype(int)) - 1:  # the first is 0
            row = f"{t + 1:5} {terms[t]:14.6e} {shares[t]:14.6e}"
            print(f"{row} {reaches[t]:19.6e} {jacobians[t]:14.6e}")
    print(f"largest difference: {apart:.1e} of the largest\n")
    return found, apart


# ---- learning w ----------------------------------------------------------------------------------


def draw_data(rng: np.random.Generator, length: int, device: str) -> tuple[mg.Tensor, mg.Tensor]:
    """Random sequences (length, ROWS, 1), and the last state that the teacher's w gives them."""
    x = mg.tensor(rng.normal(size=(length, ROWS, 1)), device=device)
    with mg.no_grad():
        return x, scalar_layer(TEACHER, 1.0, "linear", device)(x)[1]


def loss_at(w: float, x: mg.Tensor, target: mg.Tensor) -> float:
    with mg.no_grad():
        return F.mse_loss(scalar_layer(w, 1.0, "linear", x.device)(x)[1], target).item()


def descend(
    x: mg.Tensor, target: mg.Tensor, steps: int, max_norm: float | None
) -> tuple[list[float], list[float]]:
    """Learns w by gradient descent; returns w and its loss at each step, until that overflows.

    Args:
        max_norm: a longer gradient is scaled down to that norm; None: it is taken as it is.
    """
    layer = scalar_layer(START, 1.0, "linear", x.device)
    optimiser = optim.SGD([layer.w_l0], lr=LEARNING_RATE)
    path: list[float] = []
    losses: list[float] = []
    bar = progress(steps, unit="step")
    for _ in range(steps):
        loss = F.mse_loss(layer(x)[1], target)
        path.append(layer.w_l0.item())
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            break

        optimiser.zero_grad()
        loss.backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_([layer.w_l0], max_norm)
        optimiser.step()
        bar.set_postfix_str(f"w {path[-1]:.4g}", refresh=False)
        bar.update(1)
    bar.close()
    return path, losses


# ---- the program ---------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Compares the terms, learns w with and without clipping, and draws both."""
    rng = np.random.default_rng(args.seed)
    found, apart = compare(rng.normal(size=args.length).tolist(), args.device)

    x, target = draw_data(rng, args.length, args.device)
    with np.errstate(over="ignore", invalid="ignore"):  # to overflow is what it is there for
        free, free_losses = descend(x, target, args.steps, None)
    clipped, losses = descend(x, target, args.steps, MAX_NORM)
    print(f"learning w = {TEACHER} from {START}, T = {args.length}, learning rate {LEARNING_RATE}")
    shown = " → ".join(f"{w:.4g}" for w in free[:4])
    print(f"  as it is:      w = {shown}, the loss {free_losses[0]:.3g} → {free_losses[-1]:.3g}")
    print(f"  norm at most {MAX_NORM:g}: w = {clipped[-1]:.4f}, the loss {losses[-1]:.3g}")
    met = apart < AGREE and abs(clipped[-1] - TEACHER) < NEAR < abs(free[-1] - TEACHER)
    show_verdict(f"terms equal to {AGREE:.0e}; w within {NEAR} with clipping, not without", met)
    save_picture(
        args.out / PICTURE,
        lambda figure: draw(figure, found, x, target, {"as it is": free, "clipped": clipped}),
        (12, 8.5),
    )


def draw(
    figure: Any,
    found: dict[str, Any],
    x: mg.Tensor,
    target: mg.Tensor,
    paths: dict[str, list[float]],
) -> None:
    """Reaches and terms over time; below, the loss as a landscape over w, and the ways down."""
    (reach, term), (cliff, way) = figure.subplots(2, 2)
    for (label, (terms_of, reaches)), colour in zip(found.items(), COLOURS, strict=True):
        steps = np.arange(1, len(reaches) + 1)
        reach.semilogy(steps, np.abs(reaches), "o-", ms=3, color=colour, label=label)
        term.semilogy(steps[1:], np.abs(terms_of[1:]), "o-", ms=3, color=colour, label=label)
    reach.set(xlabel="time step t", ylabel="$|∂h_T/∂h_t|$", title="How far step t reaches")
    term.set(xlabel="time step t", ylabel="size of the term of step t")
    term.set_title("What step t adds to $dh_T/dw$")
    reach.legend()

    clipped, free = paths["clipped"], paths["as it is"]
    ws = np.linspace(0.6, 1.3, 200)
    cliff.semilogy(ws, [loss_at(w, x, target) for w in ws], color="0.4", label="the loss")
    on_way = [loss_at(w, x, target) for w in clipped]
    cliff.semilogy(clipped, on_way, "o", ms=3, color=COLOURS[0], label="the way with clipping")
    cliff.set(xlabel="w", ylabel="mean squared error of $h_T$", title="The cliff")
    cliff.set_ylim(bottom=1e-4)
    cliff.legend(loc="lower left")

    way.plot(clipped, color=COLOURS[0], label=f"gradient clipped to norm {MAX_NORM:g}")
    way.axhline(TEACHER, color="0.5", linewidth=1, linestyle=":", label="the w that made the data")
    way.set(xlabel="step of gradient descent", ylabel="w", title="Learning w", ylim=way.get_ylim())
    if len(free) > 1:
        first = f"gradient as it is: the first step goes to {free[1]:.1e}"
        way.plot([0, 1], free[:2], color=COLOURS[1], label=first)
        look = {"arrowstyle": "->", "color": COLOURS[1], "linewidth": 1.5}
        cliff.annotate("", (0.6, on_way[0]), (START, on_way[0]), arrowprops=look)
        cliff.text(0.62, on_way[0] / 20, f"as it is: to w = {free[1]:.1e}", color=COLOURS[1])
    way.legend()
    for axes in (reach, term, cliff, way):
        axes.grid(color="0.92")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bptt_by_hand.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--length", type=at_least_two, default=30, metavar="T", help="of sequences (%(default)s)")
    add("--steps", type=positive, default=200, metavar="N", help="of learning (%(default)s)")
    add("--seed", type=not_negative, default=0, metavar="N", help="of everything (%(default)s)")
    add("--device", type=device, default="cpu", help="cpu or cuda (%(default)s)")
    out = Path("runs/bptt_by_hand")
    add("--out", type=Path, metavar="DIR", default=out, help="for the picture (%(default)s)")
    return parser.parse_args(argv)


def at_least_two(text: str) -> int:
    if int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected 2 or more: h_0 is 0, and w is used, got {text}")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
