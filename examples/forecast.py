"""Forecasting a chaotic series: one step ahead, and far, fed with nothing but its own forecasts.

The series is Mackey and Glass's model of the number of blood cells, which repeats itself almost,
and never quite:

    dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x(t)

A GRU reads it value by value and says each time how far the next one lies from this. Its state is
carried on (streaming), and after the last known value it goes on with what it said itself. It
learns both, to forecast while it reads, and to stay on the track while it does not. Three that do
without a network are compared with it: the last value again, the last period again, and linear
autoregression.

Source: Mackey, Glass, Oscillation and chaos in physiological control systems, Science 197, 1977.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import _one_thread  # noqa: F401 -- first: NumPy looks at the number of threads when it is loaded
import numpy as np
from _program import fit, options, run_program, save_picture, show_verdict

import minigrad as mg
from minigrad import nn
from minigrad.nn import functional as F

DELAY, DT, EVERY = 17.0, 0.1, 3.0  # of the equation; of its integration; between two values
LEARNT, ASKED = 2000, 1000  # values
KNOWN, AHEAD = 50, 30  # values that are read in a lesson; values then to be forecast
READ, FAR = 100, 80  # the same in the test
HORIZON = 28  # 84 units of time, at which forecasts of this series are usually judged
LAGS = 32  # of the linear autoregression
TARGET = 0.1  # error at the horizon, in standard deviations of the series
BATCH = 32
WEIGHTS, PICTURE = "model.safetensors", "forecast.png"
COLOURS = ("tab:purple", "tab:green", "tab:orange", "tab:blue")
Forecast = Callable[[np.ndarray, int], np.ndarray]  # known values (steps, rows), n → (n, rows)

# ---- the series, and forecasts without a network -------------------------------------------------


def mackey_glass(n: int, rng: np.random.Generator) -> np.ndarray:
    """n values, EVERY units of time apart, float32 (n,), scaled to mean 0 and variance 1.

    Heun's method; the first 1000 values, on the way to the attractor, are dropped.
    """
    lag, stride = round(DELAY / DT), round(EVERY / DT)
    x = [1.2 + 0.2 * rng.standard_normal()] * (lag + 1)

    def slope(now: float, late: float) -> float:
        return 0.2 * late / (1 + late**10) - 0.1 * now

    for t in range(lag, (n + 1000) * stride + lag):
        first = slope(x[t], x[t - lag])
        second = slope(x[t] + DT * first, x[t + 1 - lag])
        x.append(x[t] + DT / 2 * (first + second))
    values = np.array(x[lag + 1 :: stride][1000:])
    return ((values - values.mean()) / values.std()).astype(np.float32)


def last_value(known: np.ndarray, n: int) -> np.ndarray:
    return np.repeat(known[-1:], n, axis=0)


def last_period(learnt: np.ndarray) -> Forecast:
    """Repeats the last period, the time after which the series resembles itself most."""
    lags = range(LAGS // 4, 2 * LAGS)
    period = max(lags, key=lambda lag: np.corrcoef(learnt[:-lag], learnt[lag:])[0, 1])
    return lambda known, n: known[-period + np.arange(n) % period]


def autoregression(learnt: np.ndarray) -> Forecast:
    """x(t) = w · (the LAGS values before) + b by least squares, then fed with its own forecasts."""
    before = np.lib.stride_tricks.sliding_window_view(learnt[:-1], LAGS)
    before = np.column_stack([before, np.ones(len(before))])
    weights = np.linalg.lstsq(before, learnt[LAGS:])[0]

    def forecast(known: np.ndarray, n: int) -> np.ndarray:
        values = list(known[-LAGS:])
        for _ in range(n):
            values.append(weights[:-1] @ np.array(values[-LAGS:]) + weights[-1])
        return np.array(values[LAGS:])

    return forecast


# ---- the network ---------------------------------------------------------------------------------


class Forecaster(nn.Module):
    """From values (steps, rows) to the next value of each, and the state to go on with."""

    def __init__(self, hidden: int) -> None:
        self.gru = nn.GRU(1, hidden)
        self.change = nn.Linear(hidden, 1)

    def forward(self, values: mg.Tensor, state: mg.Tensor | None = None) -> tuple[mg.Tensor, Any]:
        y, state = self.gru(values.unsqueeze(2), state)
        return values + self.change(y).squeeze(2), state

    def forecast(self, known: mg.Tensor, n: int) -> tuple[mg.Tensor, mg.Tensor]:
        """Reads `known` (steps, rows): what it expects next at each step, and n values more.

        The first of the n is what it expects after the last known value.
        """
        expected, state = self(known)
        far = [expected[-1:]]
        while len(far) < n:
            value, state = self(far[-1], state)
            far.append(value)
        return expected, mg.cat(far)


def learn(model: Forecaster, learnt: np.ndarray, args: argparse.Namespace) -> None:
    """Trains on random pieces: on each value read but the first few, and on those forecast far."""
    rng = np.random.default_rng(args.seed)
    piece, blind = np.arange(KNOWN + AHEAD)[:, None], 10

    def loss_of_batch() -> mg.Tensor:
        starts = rng.integers(0, len(learnt) - len(piece), BATCH)
        values = mg.tensor(learnt[starts + piece], device=args.device)
        expected, far = model.forecast(values[:KNOWN], AHEAD)
        near = F.mse_loss(expected[blind:-1], values[blind + 1 : KNOWN])
        return near + F.mse_loss(far, values[KNOWN:])

    fit(model, loss_of_batch, args.steps, lr=5e-3)


# ---- the program ---------------------------------------------------------------------------------


def run(args: argparse.Namespace) -> None:
    """Trains, and compares errors near and far from the last value that was known."""
    series = mackey_glass(LEARNT + ASKED, np.random.default_rng(args.seed))
    learnt, asked = series[:LEARNT], series[LEARNT:]
    model = Forecaster(args.hidden).to(args.device)
    learn(model, learnt, args)
    mg.save(args.out / WEIGHTS, model.state_dict())

    starts = np.arange(READ, ASKED - FAR, 5)
    known = asked[starts + np.arange(-READ, 0)[:, None]]
    truth = asked[starts + np.arange(FAR)[:, None]]

    @mg.no_grad()
    def gru(known: np.ndarray, n: int) -> np.ndarray:
        return model.forecast(mg.tensor(known, device=args.device), n)[1].numpy()

    forecasts = {
        "last value": last_value(known, FAR),
        "last period": last_period(learnt)(known, FAR),
        "autoregression": autoregression(learnt)(known, FAR),
        "GRU": gru(known, FAR),
    }
    errors = {name: np.sqrt(((f - truth) ** 2).mean(1)) for name, f in forecasts.items()}
    print(
        f"root mean squared error of {len(starts)} forecasts, in standard deviations of the series"
    )
    horizons = (1, 5, 10, HORIZON, 2 * HORIZON)
    print(f"  {'steps ahead':14}" + "".join(f"{h:8}" for h in horizons))
    for name, error in errors.items():
        print(f"  {name:14}" + "".join(f"{error[h - 1]:8.4f}" for h in horizons))
    show_verdict(f"GRU {TARGET} at {HORIZON} steps", errors["GRU"][HORIZON - 1] <= TARGET)
    shown = {name: f[:, 0] for name, f in forecasts.items()}
    save_picture(
        args.out / PICTURE,
        lambda figure: draw(figure, known[:, 0], truth[:, 0], shown, errors),
        (13, 8),
    )


def draw(
    figure: Any,
    known: np.ndarray,
    truth: np.ndarray,
    forecasts: dict[str, np.ndarray],
    errors: dict[str, np.ndarray],
) -> None:
    """One forecast; and the error of all by how far they look ahead."""
    above, below = figure.subplots(2, 1)
    ahead = np.arange(1, FAR + 1)
    above.plot(np.arange(-len(known) + 1, 1), known, color="black")
    above.plot(ahead, truth, color="black", linewidth=4, alpha=0.3, label="what came")
    for (name, forecast), colour in zip(forecasts.items(), COLOURS, strict=True):
        above.plot(ahead, forecast, color=colour, label=name)
        below.semilogy(ahead, errors[name], color=colour, label=name)
    above.axvline(0.5, color="0.7", linewidth=1)
    above.set(
        title="A forecast, fed with nothing but itself from the line on",
        xlabel=f"steps of {EVERY:g} units of time",
        ylabel="standard deviations",
        xlim=(-len(known) // 2, FAR),
    )
    below.set(
        title="The error of all of them",
        xlabel="steps ahead",
        ylabel="root mean squared error",
        xlim=(1, FAR),
    )
    below.axvline(AHEAD, color="0.7", linewidth=1)
    below.annotate("as far as the lessons went", (AHEAD + 0.5, 0.03), color="0.5")
    below.grid(color="0.9")
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=5)


def parse(argv: list[str] | None) -> argparse.Namespace:
    return options("forecast", __doc__, hidden=64, steps=1200).parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    return run_program(run, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
