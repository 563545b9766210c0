"""Compute every Keras case and store it: python -m tests.reference.make_keras_fixtures.

Needs keras and tensorflow-cpu: on its other backends Keras computes parts of a layer in float32,
whatever its floatx is.
"""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

import keras
import numpy as np
import tensorflow as tf

from tests.reference.interchange_cases import (
    BATCH,
    HIDDEN,
    INPUT,
    KERAS_CASES,
    LENGTHS,
    STEPS,
    Arrays,
    KerasCase,
    path_of,
    save,
)

VOCABULARY, CLASSES = 7, 2


def with_new_weights(weights: list[np.ndarray], random: np.random.Generator) -> list[np.ndarray]:
    """As many numbers of the same shapes, biases included: Keras starts these with zeros."""
    return [random.standard_normal(w.shape) / 2 for w in weights]


def model_of(case: KerasCase) -> keras.Model:
    x = keras.Input((STEPS, INPUT))
    mask = keras.Input((STEPS,), dtype="bool")
    y, states = x, []
    for _ in range(case.layers):
        layer = getattr(keras.layers, case.kind)(
            HIDDEN, return_sequences=True, return_state=True, **case.options
        )
        if case.bidirectional:
            layer = keras.layers.Bidirectional(layer)
        y, *states = layer(y, mask=mask)
    return keras.Model([x, mask], [y, *states])


def run(case: KerasCase, random: np.random.Generator) -> Arrays:
    model = model_of(case)
    model.set_weights(with_new_weights(model.get_weights(), random))
    x = random.standard_normal((BATCH, STEPS, INPUT))
    lengths = np.array(LENGTHS if case.masked else [STEPS] * BATCH)
    y, *states = model.predict([x, np.arange(STEPS) < lengths[:, None]], verbose=0)
    arrays = {f"weight{i}": w for i, w in enumerate(model.get_weights())}
    return (
        {"x": x, "lengths": lengths, "y": y} | arrays | {f"s{i}": s for i, s in enumerate(states)}
    )


def run_classifier(random: np.random.Generator) -> Arrays:
    """A whole model: words, an LSTM in both directions, a normalisation, and a score a class."""
    model = keras.Sequential(
        [
            keras.layers.Embedding(VOCABULARY, INPUT),
            keras.layers.Bidirectional(keras.layers.LSTM(HIDDEN, return_sequences=True)),
            keras.layers.LayerNormalization(epsilon=1e-5),
            keras.layers.Dense(CLASSES),
        ]
    )
    x = random.integers(0, VOCABULARY, (BATCH, STEPS))
    model.predict(x, verbose=0)
    model.set_weights(with_new_weights(model.get_weights(), random))
    arrays = {f"weight{i}": w for i, w in enumerate(model.get_weights())}
    return {"x": x, "y": model.predict(x, verbose=0)} | arrays


def main() -> None:
    keras.config.set_floatx("float64")
    random = np.random.default_rng(0)
    runs = {case.name: run(case, random) for case in KERAS_CASES}
    runs["classifier"] = run_classifier(random)
    made_by = f"keras {keras.__version__} on tensorflow {tf.__version__}, float64"
    save("keras", runs, made_by)
    print(f"{len(runs)} cases, {path_of('keras').stat().st_size:,} bytes, {made_by}")  # noqa: T201


if __name__ == "__main__":
    main()
