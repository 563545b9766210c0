"""The strict backend refuses what CuPy refuses, and is NumPy in everything else."""

from __future__ import annotations

import copy
import math
import operator
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from minigrad.backend import backend_of, get_backend, is_array
from minigrad.backend.strict import SilentOnCuPy, StrictArray

xp = get_backend("strict")


def host(*shape: int) -> np.ndarray[Any, Any]:
    return np.arange(1.0, 1 + math.prod(shape), dtype=np.float32).reshape(shape)


def device(*shape: int) -> Any:
    return xp.from_host(host(*shape))


def index(*values: int) -> Any:
    return xp.from_host(np.array(values))


# ---- what it refuses ---------------------------------------------------------------------------

Refusal = Callable[[], Any]

CONVERSIONS: dict[str, Refusal] = {
    "np.asarray": lambda: np.asarray(device(2)),
    "np.array of a list": lambda: np.array([device(), device()]),
    "assignment into a host array": lambda: operator.setitem(host(2), ..., device(2)),
    "a NumPy ufunc": lambda: np.tanh(device(2)),
    "a NumPy reduction": lambda: np.add.reduce(device(2)),
    "a NumPy function": lambda: np.sum(device(2)),
    "np.concatenate": lambda: np.concatenate([device(2), device(2)]),
    "np.where": lambda: np.where(device(2), device(2), device(2)),
    "range of a 0-d array": lambda: range(index(3)[0]),
    "a slice up to a 0-d array": lambda: device(3)[: index(2)[0]],
    "hash": lambda: hash(device(2)),
    "iteration over a 0-d array": lambda: list(device()),
    "len of a 0-d array": lambda: len(device()),
}
MIXTURES: dict[str, Refusal] = {
    "device + host": lambda: device(2) + host(2),
    "host + device": lambda: host(2) + device(2),
    "device * NumPy scalar": lambda: device(2) * np.float32(2),
    "NumPy scalar * device": lambda: np.float32(2) * device(2),
    "device == host": lambda: device(2) == host(2),
    "device @ host": lambda: device(2, 2) @ host(2, 2),
    "device += host": lambda: operator.iadd(device(2), host(2)),
    "device + list": lambda: operator.add(device(2), [1.0, 2.0]),
    "a ufunc": lambda: xp.maximum(device(2), host(2)),
    "a ufunc of a list": lambda: xp.add(device(2), [1.0, 2.0]),
    "a ufunc's positional out": lambda: xp.tanh(device(2), host(2)),
    "a ufunc's out": lambda: xp.tanh(device(2), out=host(2)),
    "a function": lambda: xp.matmul(device(2, 2), host(2, 2)),
    "a sequence of arrays": lambda: xp.concatenate([device(2), host(2)]),
    "a method's out": lambda: device(2).sum(out=np.zeros((), np.float32)),
    "a branch of where": lambda: xp.where(device(2) > 1, host(2), 0.0),
    "asarray": lambda: xp.asarray(host(2)),
    "an index": lambda: device(3)[np.array([0, 1])],
    "a mask": lambda: device(3)[np.array([True, False, True])],
    "a list as an index": lambda: device(3)[[0, 1]],
    "an index in a tuple": lambda: device(3, 3)[:, np.array([0])],
    "assignment": lambda: operator.setitem(device(3), slice(None), host(3)),
    "assignment by a host index": lambda: operator.setitem(device(3), np.array([0]), 1.0),
    "fill": lambda: device(2).fill(np.float32(1)),
    "scatter_add of host values": lambda: xp.scatter_add(device(3), index(0), host(1)),
    "scatter_add by a host index": lambda: xp.scatter_add(device(3), np.array([0]), device(1)),
    "scatter_add into a host array": lambda: xp.scatter_add(host(3), index(0), device(1)),
    "erf": lambda: xp.erf(host(2)),
    "to_host": lambda: xp.to_host(host(2)),
}
KEYWORDS: dict[str, Refusal] = {
    "where of a ufunc": lambda: xp.add(device(2), 1.0, where=device(2) > 1),
    "initial of sum": lambda: device(2).sum(initial=1.0),
    "where of sum": lambda: device(2).sum(where=device(2) > 1),
    "device of zeros": lambda: xp.zeros(3, device="cpu"),
    "like of empty": lambda: xp.ones(3, like=device(2)),
    "casting of astype": lambda: device(2).astype(np.float64, casting="safe"),
    "stable of argsort": lambda: xp.argsort(device(2), stable=True),
    "subok of broadcast_to": lambda: xp.broadcast_to(device(2), (3, 2), subok=True),
}
MISSING: dict[str, Refusal] = {
    "a function": lambda: xp.trapezoid,
    "a submodule": lambda: xp.lib,
    "an erf of NumPy's": lambda: xp.module.erf,
    "a method": lambda: device(2).setflags,
    "at of a ufunc": lambda: xp.add.at,
    "reduce of a ufunc": lambda: xp.add.reduce,
    "NumPy's view of the memory": lambda: device(2).__array_interface__,
    "writeable": lambda: device(2).flags.writeable,
    "a condition that is no array": lambda: xp.where(True, device(2), 0.0),
}


def cases(table: dict[str, Refusal]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("attempt", table.values(), ids=table.keys())


@cases(CONVERSIONS | MIXTURES | KEYWORDS)
def test_it_raises_type_errors(attempt: Refusal) -> None:
    with pytest.raises(TypeError):
        attempt()


@cases(MISSING)
def test_it_lacks_what_cupy_lacks(attempt: Refusal) -> None:
    with pytest.raises(AttributeError):
        attempt()


def test_messages_say_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"np\.tanh.* write xp\.tanh"):
        np.tanh(device(2))
    with pytest.raises(TypeError, match=r"numpy\.ndarray, met a device array: write xp\.from_host"):
        xp.add(device(2), host(2))
    with pytest.raises(TypeError, match=r"np\.sum .* write xp\.sum"):
        np.sum(device(2))
    with pytest.raises(TypeError, match="CuPy's sum takes no initial"):
        device(2).sum(initial=1.0)
    with pytest.raises(AttributeError, match=r"CuPy has no 'trapezoid'.*cupy_names\.py"):
        _ = xp.trapezoid


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: device(3)[index(0, 3)],
        lambda: device(3)[index(-4)],
        lambda: device(2, 3)[:, index(3)],
        lambda: device(2, 3)[index(0), index(3)],
        lambda: operator.setitem(device(3), index(3), 1.0),
        lambda: xp.scatter_add(device(3), index(3), device(1)),
        lambda: xp.scatter_add(device(2, 3), (index(0), index(5)), device(1)),
    ],
)
def test_an_index_array_out_of_bounds_is_louder_than_an_index_error(attempt: Refusal) -> None:
    """On the GPU nothing is raised, so that a test which expects IndexError must not pass."""
    with pytest.raises(SilentOnCuPy, match="CuPy would wrap"):
        attempt()
    assert not issubclass(SilentOnCuPy, IndexError)


def test_other_index_errors_stay() -> None:
    with pytest.raises(IndexError):
        device(3)[3]
    with pytest.raises(IndexError):
        device(3)[index(0), index(0)]


def test_scatter_add_takes_the_dtypes_of_atomic_addition() -> None:
    for dtype in (np.int64, np.int8, np.bool_, np.complex64):
        into = xp.zeros(3, dtype)
        with pytest.raises(TypeError, match="scatter_add"):
            xp.scatter_add(into, index(0), into[:1])
    for dtype in (np.float16, np.float32, np.float64, np.int32, np.uint64):
        into = xp.zeros(3, dtype)
        xp.scatter_add(into, index(0, 0), xp.ones(2, dtype))
        assert into.tolist() == [2, 0, 0]


def test_argsort_is_stable_only() -> None:
    with pytest.raises(ValueError, match="quicksort"):
        xp.argsort(device(2), kind="quicksort")


def test_dtypes_that_cupy_lacks() -> None:
    for array in (np.array([None]), np.zeros(2, np.longdouble), np.array(["a"])):
        with pytest.raises(ValueError, match="CuPy has no arrays of"):
            xp.from_host(array)


# ---- what it keeps -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "result",
    [
        lambda: device(2, 3).sum(),
        lambda: device(2, 3).max(axis=(0, 1)),
        lambda: device(3).argmax(),
        lambda: device(3).mean(),
        lambda: device(3).any(),
        lambda: device(3)[1],
        lambda: device(2, 3)[1, 2],
        lambda: device(3)[index(1)[0]],
        lambda: next(iter(device(3))),
        lambda: device() + 1.0,
        lambda: -device(),
        lambda: device() == 1.0,
        lambda: xp.tanh(device()),
        lambda: xp.multiply(2.0, 3.0),
        lambda: xp.matmul(device(3), device(3)),
        lambda: xp.einsum("i,i->", device(3), device(3)),
        lambda: xp.where(device() > 0, 1.0, 0.0),
        lambda: xp.erf(device()),
        lambda: xp.asarray(1.0),
    ],
)
def test_results_of_no_axes_are_arrays(result: Refusal) -> None:
    y = result()
    assert type(y) is StrictArray
    assert y.shape == ()
    assert type(y.item()) in (int, float, bool)
    assert bool(y) is bool(y.item())
    assert float(y) == y.item()
    assert int(y) == int(y.item())


def test_truth_of_several_elements_is_ambiguous() -> None:
    with pytest.raises(ValueError, match="ambiguous"):
        bool(device(2))


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[1:],
        lambda x: x[::2, 1],
        lambda x: x[0, 1],
        lambda x: x[..., None],
        lambda x: x.T,
        lambda x: x.reshape(3, 2),
        lambda x: x.transpose((1, 0))[1],
        lambda x: xp.chunks(x, 3, 1)[2],
        lambda x: xp.moveaxis(x, 0, 1)[0],
        lambda x: xp.swapaxes(x, 0, 1),
    ],
)
def test_views_write_through(view: Callable[[Any], Any]) -> None:
    x = device(2, 3)
    y = view(x)
    y += 10.0
    assert x.sum().item() == host(2, 3).sum() + 10 * y.size


def test_writing_through_indices() -> None:
    x = device(4)
    x[1:] += 1.0
    x[index(0, 2)] += 1.0
    x[x > 4.5] = 0.0
    xp.multiply(x, 2.0, x)
    xp.add(x[:1], 1.0, out=x[3:])
    assert x.tolist() == [4.0, 6.0, 0.0, 5.0]


def test_a_copy_is_a_copy() -> None:
    source = host(3)
    x = xp.from_host(source)
    back = xp.to_host(x)
    source[:] = back[:] = 0
    y, z = x.copy(), copy.deepcopy(x)
    y.fill(5.0)
    z += 1.0
    assert x.tolist() == [1.0, 2.0, 3.0]
    assert pickle.loads(pickle.dumps(x)).tolist() == x.tolist()


def test_python_numbers_are_weak() -> None:
    half = xp.from_host(np.ones(2, np.float16))
    for y in (half + 1.5, 1.5 * half, 2 / half, half**2, 2.0**half, xp.maximum(half, 0.0)):
        assert y.dtype == np.float16
    assert (device(2) > 1).dtype == bool
    assert xp.where(device(2) > 1, device(2), 0.0).dtype == np.float32


@pytest.mark.parametrize("name", ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow"])
def test_operators_are_numpys(name: str) -> None:
    compute, in_place = getattr(operator, name), getattr(operator, f"i{name}")
    x, y = host(2, 3), host(3) / 2
    a, b = xp.from_host(x), xp.from_host(y)
    np.testing.assert_array_equal(xp.to_host(compute(a, b)), compute(x, y))
    np.testing.assert_array_equal(xp.to_host(compute(2.5, a)), compute(2.5, x))
    same = a
    a = in_place(a, b)
    assert a is same
    np.testing.assert_array_equal(xp.to_host(a), compute(x, y))


def test_logic_and_comparisons() -> None:
    x = device(3)
    mask = (x > 1) & ~(x >= 3) | (x == 1.0) ^ (x != 2)
    assert mask.tolist() == [False, True, True]
    assert (abs(-x) <= +x).all()
    assert (x < 2).tolist() == [True, False, False]
    assert (device(2, 2) @ device(2, 2)).tolist() == [[7.0, 10.0], [15.0, 22.0]]


def test_it_leaves_operators_to_what_knows_better() -> None:
    class Tensor:
        def __radd__(self, other: Any) -> str:
            return "mine"

    assert device(2) + Tensor() == "mine"


def test_layout() -> None:
    x = device(2, 3)
    assert (x.ndim, x.size, x.itemsize, x.nbytes, x.strides) == (2, 6, 4, 24, (12, 4))
    assert x.flags.c_contiguous
    assert x.T.flags.f_contiguous
    assert not x.T.flags.c_contiguous
    assert x.T.copy().flags.c_contiguous
    assert x.astype(np.float64).dtype == np.float64
    assert [row.tolist() for row in x] == host(2, 3).tolist()
    assert len(x) == 2
    assert repr(device(1)) == "strict array([1.], dtype=float32)"


def test_memory_that_nobody_wrote_is_not_zero() -> None:
    assert np.isnan(xp.to_host(xp.empty((2, 2), np.float32))).all()
    assert xp.empty(2, np.int64).all()


def test_the_backend_is_found_by_type() -> None:
    assert is_array(device(2))
    assert backend_of(1.0, device(2)) is xp
    assert not is_array(device(2).data)  # CuPy's `data` is a pointer, unlike a Tensor's
