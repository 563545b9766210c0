"""What simple counting achieves on a text: the entropy of interpolated n-gram models."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def ngram_entropies(
    train: np.ndarray, valid: np.ndarray, symbols: int, orders: int = 3
) -> list[float]:
    """Bits per character on `valid[1:]` of the n-gram models of order 0 (uniform), 1, ... `orders`.

    Each order interpolates with the one below, as Witten and Bell do: after a history h that was
    seen c(h) times in the training text, with t(h) different characters behind it,

        p(w | h) = (c(h, w) + t(h) * p(w | h')) / (c(h) + t(h))

    where h' is h without its first character and p is uniform below order 1. A history that was
    never seen leaves p(w | h'). The weight of h' grows with the variety behind h, and nothing
    is tuned.

    Args:
        train, valid: numbers in [0, symbols), int64 (n,); `valid` follows `train` in the text.
        symbols: the size of the alphabet.
        orders: the highest order, n.

    Source: Witten, Bell, The zero-frequency problem, IEEE Trans. Information Theory 37(4), 1991;
    in this recursive form: Chen, Goodman, An empirical study of smoothing techniques for
    language modeling, 1998.
    """
    p = np.full(len(valid) - 1, 1 / symbols)
    entropies = [float(-np.log2(p).mean())]
    for n in range(1, orders + 1):
        p = witten_bell(train, valid, n, p)
        entropies.append(float(-np.log2(p).mean()))
    return entropies


def witten_bell(train: np.ndarray, valid: np.ndarray, n: int, lower: np.ndarray) -> np.ndarray:
    """p(w | h) of order n for each of `valid[1:]`, given that of order n - 1."""
    text = np.concatenate([train, valid])
    grams = sliding_window_view(text, n)
    history, gram = number_rows(grams[:, :-1]), number_rows(grams)

    seen = len(train) - n + 1  # the windows that lie inside the training text
    asked = slice(len(grams) - len(lower), None)  # those that end at one of valid[1:]
    count_gram = np.bincount(gram[:seen], minlength=gram.max() + 1)
    count_history = np.bincount(history[:seen], minlength=history.max() + 1)
    first = np.unique(gram[:seen], return_index=True)[1]
    variety = np.bincount(history[first], minlength=history.max() + 1)

    c_hw, c_h, t_h = count_gram[gram], count_history[history], variety[history]
    c_hw, c_h, t_h = c_hw[asked], c_h[asked], t_h[asked]
    return np.where(c_h > 0, (c_hw + t_h * lower) / np.maximum(c_h + t_h, 1), lower)


def number_rows(rows: np.ndarray) -> np.ndarray:
    """Numbers the rows of an int64 array (m, k): equal rows get equal numbers, below m."""
    number = np.zeros(len(rows), dtype=np.int64)
    for column in rows.T:
        pairs = number * (column.max() + 1) + column
        number = np.unique(pairs, return_inverse=True)[1]
    return number
