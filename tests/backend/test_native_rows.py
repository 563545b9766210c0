"""Compiled row functions give the plain ones' numbers, in every layout, or leave it to them."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.backend.native_rows import row_functions
from minigrad.backend.numpy_ import NumpyBackend
from minigrad.backend.rows import Rowwise, rowwise
from minigrad.op import Op

pytestmark = [
    pytest.mark.skipif(
        shutil.which(os.environ.get("CC", "cc")) is None, reason="there is no C compiler"
    ),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

Host = np.ndarray[Any, Any]
PLAIN, NATIVE = NumpyBackend(), NumpyBackend()
NATIVE.native = True
TOLERANCE = {np.float32: 3e-6, np.float64: 5e-15}  # of the largest number of a result
OURS = {
    one.__name__.strip("_"): one
    for one in gc.get_objects()
    if isinstance(one, Rowwise) and one.plain.__module__.startswith("minigrad.")
}
PARAMS: dict[str, dict[str, list[Any]]] = {
    "standardize_forward": {"eps": [1e-5, 0.5], "centre": [True, False], "axis": [-1, -2]},
    "standardize_backward": {"centre": [True, False], "axis": [-1, -2]},
    "layer_norm_forward": {"eps": [1e-5], "centre": [True, False], "axis": [-1, -2]},
    "layer_norm_backward": {"centre": [True, False], "axis": [-1, -2]},
}
CASES = {
    " ".join([name, *map(str, values)]): (OURS[name], dict(zip(choices, values, strict=True)))
    for name, choices in [(name, PARAMS.get(name, {})) for name in sorted(OURS)]
    for values in itertools.product(*choices.values())
}
SHAPES = [(5, 100), (37, 16), (20, 33), (3, 18, 7), (2, 3, 1), (1, 1), (4, 5, 300), (33, 6)]


def drawn(
    rows: Rowwise, shape: tuple[int, ...], dtype: Any, axis: int = -1, **_: Any
) -> list[Host]:
    """Arrays for the inputs, of which the first has this shape."""
    random = np.random.default_rng(0)
    column, without = list(shape), list(shape)
    column[axis], n = 1, without.pop(axis)
    shapes = {"m,n": shape, "m,1": column, "m": without, "n": [n]}
    return [random.uniform(-2, 2, shapes[x.axes]).astype(dtype) for x in rows.inputs]


def results(rows: Rowwise, xp: Any, xs: list[Host], params: dict[str, Any]) -> tuple[Host, ...]:
    ys = rows(xp, *xs, **params)
    return ys if isinstance(ys, tuple) else (ys,)


def same(rows: Rowwise, xs: list[Host], params: dict[str, Any]) -> None:
    found, expected = (results(rows, xp, xs, params) for xp in (NATIVE, PLAIN))
    for y, z in zip(found, expected, strict=True):
        assert (y.shape, y.dtype) == (z.shape, z.dtype)
        top = np.abs(z[np.isfinite(z)]).max(initial=1e-3)
        np.testing.assert_allclose(y, z, rtol=0, atol=TOLERANCE[z.dtype.type] * top)


def test_every_function_is_found() -> None:
    assert {"standardize_forward", "layer_norm_backward", "softmax_forward"} <= OURS.keys()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_every_row_function(case: Any, dtype: Any) -> None:
    rows, params = case
    for shape in SHAPES:
        xs = drawn(rows, shape, dtype, **params)
        same(rows, xs, params)
        for change in (np.asfortranarray, lambda x: np.repeat(x, 2, -1)[..., ::2]):
            same(rows, list(map(change, xs)), params)
        first = np.take(xs[0], [0], -3 - params.get("axis", -1))
        same(rows, [np.broadcast_to(first, shape), *xs[1:]], params)
        for absent in range(1, 2 if rows.__name__ == "_layer_norm_forward" else 1):
            same(rows, xs[:-absent], params)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_row_does_not_depend_on_those_beside_it(case: Any) -> None:
    rows, params = case
    axis = params.get("axis", -1)
    lanes = [k for k, x in enumerate(rows.inputs) if x.axes != "n"]
    xs = drawn(rows, (40, 40), np.float32, **params)
    part = [x[7:30] if axis == -1 else x[..., 7:30] for x in xs]
    part = [x if k in lanes else whole for k, (x, whole) in enumerate(zip(part, xs, strict=True))]
    whole, some = (results(rows, NATIVE, list(given), params) for given in (xs, part))
    for y, z, of in zip(whole, some, rows.outputs, strict=True):
        if of.axes != "n":
            np.testing.assert_array_equal(y[7:30] if axis == -1 else y[..., 7:30], z)


SPECIAL = {
    "NaN": [np.nan, 1.0, 2.0],
    "all NaN": [np.nan] * 3,
    "infinity": [np.inf, 0.0, 1.0],
    "masked": [-np.inf, 0.0, 1.0],
    "all masked": [-np.inf] * 3,
    "equal": [2.0] * 3,
    "zeros": [0.0] * 3,
    "far apart": [-1e9, 0.0, 1e4],
    "far below": [-200.0, 0.0, -90.0],
}


@pytest.mark.parametrize("row", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_not_finite_and_does_not_vary(case: Any, row: list[float]) -> None:
    rows, params = case
    if params.get("axis") == -2 or rows.__name__ == "_shares_forward":
        return  # of which the first is of less than the second
    for dtype, eps in TOLERANCE.items():
        xs = drawn(rows, (4, 3), dtype, **params)
        xs[0][1] = row
        found, expected = (results(rows, xp, xs, params) for xp in (NATIVE, PLAIN))
        for y, z in zip(found, expected, strict=True):
            np.testing.assert_allclose(y, z, 100 * eps, eps)


@pytest.mark.parametrize("name", ["softmax_forward", "finite_logsumexp", "standardize_forward"])
@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)])
def test_no_rows(name: str, shape: tuple[int, ...]) -> None:
    params = {"eps": 1e-5, "centre": True, "axis": -1} if name.startswith("sta") else {}
    same(OURS[name], [np.zeros(shape, np.float32)], params)


@pytest.mark.parametrize("dtype", [np.float16, ">f4", ">f8"])
def test_other_dtypes_run_as_before(dtype: Any) -> None:
    rows = OURS["softmax_backward_forward"]
    xs = [x.astype(dtype) for x in drawn(rows, (3, 5), np.float32)]
    found, expected = (results(rows, xp, xs, {})[0] for xp in (NATIVE, PLAIN))
    np.testing.assert_array_equal(found, expected)


def test_of_two_dtypes() -> None:
    rows = OURS["layer_norm_forward"]
    x, w, b = drawn(rows, (3, 5), np.float32)
    same(rows, [x, w.astype(np.float64), b], {"eps": 1e-5, "centre": True, "axis": -1})


@pytest.mark.parametrize("axis", [-1, -2])
def test_sums_of_many_numbers(axis: int) -> None:
    x = np.full((100_000, 20), 0.1, np.float32)
    x[::2] += 2e-3
    x = x if axis == -2 else x.T.copy()
    _, r = OURS["standardize_forward"](NATIVE, x, eps=0.0, centre=False, axis=axis)
    np.testing.assert_allclose(
        r, 1 / np.sqrt((x.astype(float) ** 2).mean(axis, keepdims=True)), 1e-6
    )


# ---- a row function of one's own -----------------------------------------------------------------


@rowwise(
    "x[m,n], k[m], w[n] -> y[m,n], top[m], weight[n]",
    """
    max top = fabs(x)
    scale = top > 0 ? 1 / top : 0
    each part = x * scale
    each y = part * w + k
    total weight = part
    """,
)
def own(xp: Any, x: Any, k: Any, w: Any) -> Any:
    top = xp.abs(x).max(-1)
    part = x * xp.where(top > 0, 1 / top, 0)[..., None]
    return part * w + k[..., None], top, part.reshape(-1, x.shape[-1]).sum(0)


@pytest.mark.parametrize("shape", [(7,), (5, 40), (3, 4, 18)])
def test_a_row_function_of_one_s_own(shape: tuple[int, ...]) -> None:
    xs = drawn(own, shape, np.float64)
    same(own, [np.zeros_like(xs[0]), *xs[1:]], {})
    same(own, xs, {})


def test_as_an_op() -> None:
    text = "sum s = x * x\nr = 1 / sqrt(s)\neach y = x * r"
    forward = rowwise("x[m,n] -> y[m,n]", text)(
        lambda xp, x: x / xp.sqrt((x * x).sum(-1)[..., None])
    )
    unit = Op("unit", forward, lambda g, y, x: (g - y * (g * y).sum(-1, keepdim=True)) / x.norm())
    before = mg.ones(1, device="cpu").backend.native
    mg.use_native()
    try:
        y = unit(mg.tensor([3.0, 4.0], device="cpu"))
    finally:
        mg.use_native(before)
    np.testing.assert_allclose(y.numpy(), [0.6, 0.8], rtol=1e-6)
    assert len(forward._runs) == 1


NAMES = "n1 i j m k at along down here few all x_ true expf linux T1"


@pytest.mark.parametrize("name", NAMES.split())
def test_names_that_the_text_uses_itself(name: str) -> None:
    text = f"sum {name} = x\neach {name}y = x - {name} / n\neach y = {name}y"
    forward = rowwise("x[m,n] -> y[m,n]", text)(lambda _xp, x: x - x.mean(-1, keepdims=True))
    same(forward, drawn(forward, (20, 18), np.float64), {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("each d = x - 1\nsum s = d\neach y = d * s", "'d'.* of an earlier loop"),
        ("each y := x", "expected `name = value`"),
    ],
)
def test_a_text_that_says_nothing(text: str, message: str) -> None:
    forward = rowwise("x[m,n] -> y[m,n]", text)(lambda _xp, x: x)
    with pytest.raises(ValueError, match=message):
        row_functions(forward.kernel(1), "f")
