"""Each optimiser goes where its paper says, and continues from saved state to the last bit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import minigrad as mg
from minigrad import optim
from minigrad.optim import optimizer as base
from tests.optim.table import CASES, ROWS, FloatArray, Row, name_of

SHAPES = [(3, 4), (5,), (), (0, 2)]
STEPS = 8

every_case = pytest.mark.parametrize(("row", "options"), CASES, ids=name_of)
every_row = pytest.mark.parametrize("row", ROWS, ids=name_of)


def on_device(value: Any, requires_grad: bool = False) -> mg.Tensor:
    return mg.tensor(value, device=mg.get_default_device(), requires_grad=requires_grad)


def leaves(seed: int = 0, dtype: Any = np.float64) -> list[mg.Tensor]:
    random = np.random.default_rng(seed)
    return [on_device(random.standard_normal(s).astype(dtype), True) for s in SHAPES]


def gradients(seed: int, dtype: Any = np.float64) -> list[FloatArray]:
    random = np.random.default_rng(seed)
    return [np.asarray(random.standard_normal(s), dtype) for s in SHAPES]


def values(params: Iterable[mg.Tensor]) -> list[FloatArray]:
    return [p.detach().cpu().numpy().copy() for p in params]


def run(optimizer: optim.Optimizer, params: list[mg.Tensor], steps: Iterable[int]) -> None:
    for seed in steps:
        for p, g in zip(params, gradients(seed, params[0].dtype), strict=True):
            p.grad = on_device(g)
        optimizer.step()


def assert_equal(got: list[FloatArray], wanted: list[FloatArray]) -> None:
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def by_the_paper(row: Row, options: dict[str, Any], p: FloatArray, gs: list[FloatArray]) -> Any:
    chosen = dict(options)
    decay, sign = chosen.pop("weight_decay"), -1 if chosen.pop("maximize") else 1
    seen: list[FloatArray] = []
    for g in gs:
        seen.append(sign * g + (0 if row.decoupled else decay * p))
        shrink = options["lr"] * decay * p if row.decoupled else 0
        p = p - row.formula(seen, **chosen) - shrink
    return p


@every_case
def test_the_trajectory_is_that_of_the_paper(row: Row, options: dict[str, Any]) -> None:
    params = leaves()
    start = values(params)
    run(row.make(params, **options), params, range(STEPS))
    steps = [gradients(seed) for seed in range(STEPS)]
    for i, p in enumerate(values(params)):
        wanted = by_the_paper(row, options, start[i], [gs[i] for gs in steps])
        np.testing.assert_allclose(p, wanted, rtol=1e-12, atol=1e-14)


@every_case
def test_saved_state_continues_bit_for_bit(
    row: Row, options: dict[str, Any], tmp_path: Path
) -> None:
    unbroken, params = leaves(), leaves()
    run(row.make(unbroken, **options), unbroken, range(STEPS))

    first = row.make(params, **options)
    run(first, params, range(3))
    write(first.state_dict(), tmp_path / "state")
    second = row.make(params)
    second.load_state_dict(read(tmp_path / "state"))
    run(second, params, range(3, STEPS))
    assert_equal(values(params), values(unbroken))


def write(state_dict: dict[str, Any], path: Path) -> None:
    """Into safetensors: arrays as "name/key", and the rest as one JSON text beside them."""
    arrays: dict[str, FloatArray] = {}
    rest: dict[str, Any] = {"param_groups": state_dict["param_groups"], "state": {}}
    for name, state in state_dict["state"].items():
        rest["state"][name] = {"step": state["step"]}
        for key in state.keys() - {"step"}:
            arrays[f"{name}/{key}"] = state[key].cpu().numpy()
    save_file(arrays, path, {"rest": json.dumps(rest, allow_nan=False)})


def read(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        state_dict: dict[str, Any] = json.loads(file.metadata()["rest"])
    for name_key, array in load_file(path).items():
        name, key = name_key.rsplit("/", 1)
        state_dict["state"][name][key] = array
    return state_dict


@every_row
def test_float32_stays_float32(row: Row) -> None:
    params = leaves(dtype=np.float32)
    optimizer = row.make(params, lr=np.float64(0.1))
    run(optimizer, params, range(2))
    optimizer.param_groups[0]["lr"] = np.float64(0.2)  # as from np.linspace
    run(optimizer, params, range(2))
    dtypes = {p.dtype for p in params}
    dtypes |= {v.dtype for s in optimizer.state.values() for k, v in s.items() if k != "step"}
    assert dtypes == {np.dtype(np.float32)}
    assert type(optimizer.state_dict()["param_groups"][0]["lr"]) is float


@every_row
def test_parts_give_what_the_whole_gives(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {k: v[-1] for k, v in row.options.items() if k != "dampening"}
    whole, parts = leaves(), leaves()
    run(row.make(whole, **options), whole, range(4))
    monkeypatch.setattr(base, "BLOCK", 4)
    run(row.make(parts, **options), parts, range(4))
    assert_equal(values(parts), values(whole))


@every_row
def test_the_layout_in_memory_does_not_matter(row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "BLOCK", 4)
    start, g = np.arange(12.0).reshape(3, 4), np.arange(12.0).reshape(3, 4) - 5
    found: list[FloatArray] = []
    for order in "CF":
        p = on_device(start, True)
        p.data = p.data.copy(order=order)
        optimizer = row.make([p])
        for grad in (on_device(g), on_device(g.T.copy()).T):
            p.grad = grad
            optimizer.step()
        found += values([p])
    assert_equal(found[:1], found[1:])


@every_row
def test_it_finds_the_minimum_of_a_parabola(row: Row) -> None:
    goal = on_device([1.0, -2.0])
    w = on_device([0.0, 0.0], True)
    optimizer = row.make([w], lr=0.1 if row.make is not optim.Adadelta else 50.0)
    for _ in range(300):
        optimizer.zero_grad()
        ((w - goal) * (w - goal)).sum().backward()
        optimizer.step()
    np.testing.assert_allclose(values([w])[0], [1.0, -2.0], atol=0.15)


def test_a_centered_rmsprop_survives_a_constant_gradient() -> None:
    w = on_device(np.ones(64, np.float32), True)
    optimizer = optim.RMSprop([w], centered=True, alpha=0.9, eps=1e-3)
    g = on_device(np.linspace(0.1, 3, 64, dtype=np.float32))
    for _ in range(200):  # v − m² is 0 but for rounding, which makes some elements negative
        w.grad = g
        optimizer.step()
    assert np.isfinite(values([w])[0]).all()
