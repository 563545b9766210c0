"""Two pictures of a training: its loss beside the n-gram models, and how far gradients reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.nn import functional as F


def gradient_flow(model: Any, ids: mg.Tensor, targets: mg.Tensor) -> list[float]:
    """‖dL/dh_t‖ for every step t of a chunk but its last, where L is the loss at the last step.

    h_t is the top layer's hidden state; every row of the batch has its own L, and the norms are
    averaged over the rows.

    Args:
        model: a `CharLM`.
        ids: characters, int64 (time, rows).
        targets: the character behind the last one, int64 (rows,).
    """
    model.eval()
    hidden, _, trace = model.rnn(model.embedding(ids), trace=True)
    loss = F.cross_entropy(model.head(hidden[-1]), targets, reduction="sum")
    top = mg.inspect.grad_flow(loss, trace, jacobians=False)[-1]
    model.train()
    return top.gradients["h"][:-1].mean(1).tolist()


def draw(path: Path, history: dict[str, Any], references: dict[str, float], title: str) -> None:
    """Writes the picture; raises ImportError without matplotlib.

    Args:
        history: "train", bits per character of each step; "valid", pairs (step, bits);
            "flow", what `gradient_flow` gave, by the label of its curve.
        references: bits per character of other models, by name, drawn as horizontal lines.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    draw_loss(left, history, references)
    draw_flow(right, history["flow"])
    figure.savefig(path, dpi=130)


def draw_loss(axes: Any, history: dict[str, Any], references: dict[str, float]) -> None:
    train, (steps, valid) = history["train"], zip(*history["valid"], strict=True)
    axes.plot(
        range(1, len(train) + 1),
        train,
        color="tab:blue",
        linewidth=0.6,
        alpha=0.8,
        label="training",
    )
    axes.plot(steps, valid, "o-", color="tab:orange", label=f"validation, {valid[-1]:.2f} at last")
    for name, bits in references.items():
        axes.axhline(bits, color="0.6", linewidth=0.8, linestyle="--")
        others = [b for b in references.values() if b != bits]
        nearest = min(others, key=lambda b: abs(b - bits), default=np.inf)
        crowded = abs(nearest - bits) < 0.3  # then the names keep away from each other
        axes.annotate(
            f"{name} {bits:.2f}",
            (1.01, bits),
            xycoords=("axes fraction", "data"),
            va="center" if not crowded else "bottom" if nearest < bits else "top",
            color="0.35",
            annotation_clip=False,
        )
    axes.set(xlabel="step", ylabel="bits per character", title="Loss, and what counting achieves")
    axes.set_xlim(0, len(train))
    axes.legend()


def draw_flow(axes: Any, flow: dict[str, list[float]]) -> None:
    for (label, norms), colour in zip(flow.items(), ("0.6", "tab:green"), strict=False):
        axes.semilogy(range(-len(norms), 0), norms, color=colour, label=label)
    axes.set(
        xlabel="step t, counted from the predicted character",
        ylabel=r"$\|\partial L\,/\,\partial h_t\|$  (nats per unit of h, mean over rows)",
        title="How far back the loss of one character reaches",
    )
    axes.grid(alpha=0.3)
    axes.legend()
