"""What the programs share around their subject: options, errors, a training loop, a picture."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _options import device, not_negative, positive
from _progress import progress
from _text import InputError

import minigrad as mg
from minigrad import nn, optim
from minigrad.optim.lr_scheduler import CosineAnnealingLR


def options(
    name: str,
    about: str,
    *,
    hidden: int,
    steps: int,
    hidden_type: Callable[[str], int] = positive,
) -> argparse.ArgumentParser:
    """The options that every program has, with these defaults; a program adds its own."""
    parser = argparse.ArgumentParser(f"{name}.py", description=about.splitlines()[0])
    add = parser.add_argument
    add(
        "--hidden", type=hidden_type, default=hidden, metavar="N", help="state's size (%(default)s)"
    )
    add("--steps", type=positive, default=steps, metavar="N", help="batches (%(default)s)")
    add("--seed", type=not_negative, default=0, metavar="N", help="of everything (%(default)s)")
    add("--device", type=device, default="cpu", help="cpu or cuda (%(default)s)")
    out = Path("runs") / name
    add("--out", type=Path, metavar="DIR", default=out, help="for the results (%(default)s)")
    return parser


def run_program(run: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> int:
    """Makes the folder for the results and runs; what cannot be used is told in one line.

    Returns the exit code: 0, 2 for unusable input, 130 for Ctrl-C.
    """
    name = run.__module__ if run.__module__ != "__main__" else Path(sys.argv[0]).stem
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        mg.manual_seed(args.seed)
        run(args)
    except (InputError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted; nothing was saved", file=sys.stderr)
        return 130
    return 0


def fit(
    model: nn.Module,
    loss_of_batch: Callable[[], mg.Tensor],
    steps: int,
    *,
    lr: float,
    last_lr: float = 0.0,
    label: str = "loss",
) -> list[float]:
    """Trains with Adam, lr falling on a cosine, and with clipped gradients; returns every loss.

    Args:
        loss_of_batch: draws a batch and gives the model's loss on it, a scalar.
        last_lr: where the learning rate ends; lr keeps it as it is.
        label: stands before the loss beside the progress bar.
    """
    optimiser = optim.Adam(model.named_parameters(), lr=lr)
    schedule = CosineAnnealingLR(optimiser, T_max=steps, eta_min=last_lr)
    losses: list[float] = []
    bar = progress(steps, unit="step")
    for _ in range(steps):
        loss = loss_of_batch()

        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        bar.set_postfix_str(f"{label} {losses[-1]:.4f}", refresh=False)
        bar.update(1)
    bar.close()
    return losses


def show_verdict(target: str, met: bool) -> None:
    print(f"target ({target}): {'met' if met else 'missed'}")


def save_picture(path: Path, draw: Callable[[Any], None], size: tuple[float, float]) -> None:
    """Lets `draw` fill a figure of `size` inches and writes it; says so where matplotlib lacks."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is missing (pip install 'minigrad[train]')")
        return
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    figure.savefig(path, dpi=130)
    print(f"picture: {path}")
