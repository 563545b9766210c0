"""A multilayer perceptron that reads handwritten digits, 8×8 pixels each."""

from __future__ import annotations

import argparse
import sys

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _program import options, run_program, show_verdict
from _progress import progress
from _text import InputError

import minigrad as mg
from minigrad import nn, optim
from minigrad.nn import functional as F
from minigrad.optim.lr_scheduler import CosineAnnealingLR

TARGET = 0.97  # accuracy on digits that were not learnt from
BATCH = 128
NOISE = 0.25  # standard deviation of what is added to the pixels (0…1) while learning
WEIGHTS = "model.safetensors"


def read_digits(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The 1797 digits of scikit-learn, shuffled, a quarter of them put aside.

    Returns:
        pixels in 0…1, float32 (n, 64), and digits, int64 (n,), to learn from; and the same to test.

    Raises:
        InputError: scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError(
            "the digits come with scikit-learn: pip install 'minigrad[examples]'"
        ) from None
    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(digits))
    pixels, digits = (pixels[order] / 16).astype(np.float32), digits[order].astype(np.int64)
    cut = len(digits) * 3 // 4
    return pixels[:cut], digits[:cut], pixels[cut:], digits[cut:]


def learn(
    model: nn.Module, pixels: np.ndarray, digits: np.ndarray, args: argparse.Namespace
) -> None:
    """Trains the model on random batches, with fresh noise on the pixels each time."""
    rng = np.random.default_rng(args.seed)
    optimiser = optim.Adam(model.named_parameters(), lr=2e-3)
    schedule = CosineAnnealingLR(optimiser, T_max=args.steps)
    bar = progress(args.steps, unit="step")
    for _ in range(args.steps):
        rows = rng.integers(0, len(digits), BATCH)
        noise = rng.normal(0, NOISE, (BATCH, pixels.shape[1])).astype(np.float32)
        x = mg.tensor(pixels[rows] + noise, device=args.device)
        loss = F.cross_entropy(model(x), mg.tensor(digits[rows], device=args.device))

        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        bar.set_postfix_str(f"loss {loss.item():.3f}", refresh=False)
        bar.update(1)
    bar.close()


@mg.no_grad()
def read_with(model: nn.Module, pixels: np.ndarray, device: str) -> np.ndarray:
    """The digit that the model takes each image for, int64 (n,)."""
    return model(mg.tensor(pixels, device=device)).argmax(dim=1).numpy()


def confusion(truth: np.ndarray, taken: np.ndarray) -> str:
    """A table: how often each digit (row) was taken for each digit (column)."""
    counts = np.zeros((10, 10), dtype=int)
    np.add.at(counts, (truth, taken), 1)
    lines = ["     taken for", "      " + "".join(f"{d:4}" for d in range(10))]
    for digit, row in enumerate(counts):
        lines.append(f"    {digit} " + "".join(f"{n or '.':>4}" for n in row))
    return "\n".join(lines)


def run(args: argparse.Namespace) -> None:
    """Trains, shows what is confused with what, and saves the weights."""
    pixels, digits, test_pixels, test_digits = read_digits(args.seed)
    model = nn.Sequential(nn.Linear(64, args.hidden), nn.ReLU(), nn.Linear(args.hidden, 10))
    model.to(args.device)
    learn(model, pixels, digits, args)

    taken = read_with(model, test_pixels, args.device)
    print(confusion(test_digits, taken))
    wrong, n = int((taken != test_digits).sum()), len(taken)
    accuracy = 1 - wrong / n
    print(f"\naccuracy on {n} digits not learnt from: {accuracy:.4f} ({wrong} wrong)")
    show_verdict(str(TARGET), accuracy >= TARGET)
    mg.save(args.out / WEIGHTS, model.state_dict())
    print(f"weights: {args.out / WEIGHTS}")


def parse(argv: list[str] | None) -> argparse.Namespace:
    return options("digits_mlp", __doc__, hidden=256, steps=2000).parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
