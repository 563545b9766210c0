"""What is saved is what is loaded: trees, dtypes, shapes, and the names in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg

DTYPES = ["bool", *(f"{s}int{n}" for s in ("", "u") for n in (8, 16, 32, 64))]
DTYPES += ["float16", "float32", "float64", "complex64"]

arrays = hnp.arrays(
    st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)
)
plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
)
# Few letters, so that names clash; $ and . because the file's own notation has them.
keys = st.text("a.$_", max_size=3) | st.sampled_from(["$tensor", "$tuple", "__metadata__"])
trees = st.dictionaries(
    keys,
    st.recursive(
        arrays | plain,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.lists(inner, max_size=3).map(tuple)
            | st.dictionaries(keys, inner, max_size=3)
        ),
        max_leaves=6,
    ),
    max_size=4,
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tree") / "file.safetensors"


def assert_same(loaded: Any, saved: Any) -> None:
    """The same structure, types, shapes and bits; arrays come back as Tensors."""
    if isinstance(saved, (mg.Tensor, np.ndarray)):
        assert isinstance(loaded, mg.Tensor)
        assert loaded.device == mg.get_default_device()
        got = loaded.numpy()
        before = saved.detach().numpy() if isinstance(saved, mg.Tensor) else saved
        assert (got.dtype, got.shape) == (before.dtype, before.shape)
        assert got.tobytes() == before.tobytes()
    elif isinstance(saved, dict):
        assert type(loaded) is dict
        assert loaded.keys() == saved.keys()
        for key in saved:
            assert_same(loaded[key], saved[key])
    elif isinstance(saved, (list, tuple)):
        assert type(loaded) is type(saved)
        for one, other in zip(loaded, saved, strict=True):
            assert_same(one, other)
    else:
        assert type(loaded) is type(saved)
        assert loaded == saved
        assert repr(loaded) == repr(saved)  # -0.0 is not 0.0


@given(trees)
@example({"__metadata__": np.ones(1)})
@example({"a": {"b": np.ones(1)}, "a.b": np.ones(2), "a.b_": np.ones(3)})
@example({"a": np.ones(1), "x": {"$tensor": "a"}, "y": {"$tuple": [np.ones(2)]}, "$": {}})
def test_any_tree_comes_back(file: Path, tree: dict[str, Any]) -> None:
    mg.save(file, tree)
    assert_same(mg.load(file).tensors, tree)
    assert mg.load(file).metadata == {}


@given(arrays)
def test_tensors_keep_their_bits(file: Path, array: np.ndarray) -> None:
    mg.save(file, {"x": mg.tensor(array)}, metadata={"a": "b"})
    tensors, metadata = mg.load(file)
    assert_same(tensors, {"x": array})
    assert metadata == {"a": "b"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_layout_in_memory(file: Path, dtype: str) -> None:
    x = np.arange(24).reshape(2, 3, 4).astype(dtype)
    layouts = {
        "transposed": x.T,
        "strided": x[:, ::2, 1:],
        "reversed": x[::-1],
        "repeated": np.broadcast_to(x[:1], (5, 3, 4)),
        "column-major": np.asfortranarray(x),
        "one element": x[1:, 1:2, 3:],
        "other endian": x.astype(x.dtype.newbyteorder(">")),
    }
    mg.save(file, layouts)
    loaded = mg.load(file).tensors
    for name, array in layouts.items():
        assert_same(loaded[name], array.astype(dtype))


def test_parameters_and_computed_tensors_are_saved_by_value(file: Path) -> None:
    weight = mg.nn.Parameter(mg.ones(2, 3))
    mg.save(file, {"leaf": weight, "computed": weight.T * 2.0, "scalar": weight.sum()})
    loaded = mg.load(file).tensors
    assert loaded["computed"].shape == (3, 2)
    assert loaded["scalar"].item() == 6.0
    assert not any(t.requires_grad for t in loaded.values())


def test_what_is_loaded_can_be_written_and_trained(file: Path) -> None:
    mg.save(file, {"x": mg.ones(3)})
    x = mg.load(file).tensors["x"].requires_grad_()
    x.copy_(mg.full((3,), 2.0))
    (x * x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [4.0, 4.0, 4.0]


def test_values_that_compare_as_unequal_come_back(file: Path) -> None:
    payloads = np.array([0x7FC00001, 0xFFC12345, 0x7F800001], np.uint32).view(np.float32)
    mg.save(file, {"nan": payloads, "log": {"loss": [float("nan"), float("inf"), -float("inf")]}})
    loaded = mg.load(file).tensors
    assert_same(loaded["nan"], payloads)
    assert repr(loaded["log"]["loss"]) == "[nan, inf, -inf]"


class State(NamedTuple):
    h: Any
    c: Any


def test_numpy_scalars_become_numbers_and_named_tuples_tuples(file: Path) -> None:
    mg.save(file, {"best": np.float32(0.1), "n": np.int64(3), "state": State(mg.ones(1), None)})
    loaded = mg.load(file).tensors
    assert loaded["best"] == float(np.float32(0.1))
    assert type(loaded["n"]) is int
    assert type(loaded["state"]) is tuple
    assert_same(loaded["state"][0], np.ones(1, np.float32))


def test_the_state_of_a_random_generator_travels(file: Path) -> None:
    g = mg.Generator(3)
    mg.save(file, {"random": g.get_state()})  # integers of 128 bits
    expected = mg.rand(4, generator=g)
    again = mg.Generator(0)
    again.set_state(mg.load(file).tensors["random"])
    assert mg.rand(4, generator=again).tolist() == expected.tolist()


def test_other_readers_find_tensors_by_dotted_name(file: Path) -> None:
    state = {"layer.weight": mg.ones(2, 3), "layer.bias": mg.zeros(2)}
    mg.save(file, state)
    assert safetensors.numpy.load_file(file).keys() == state.keys()
    with safetensors.safe_open(file, framework="numpy") as opened:
        assert not opened.metadata(), "a plain state_dict makes a plain file"

    tree = {"model": state, "ema": [mg.ones(1)], "ema.0": mg.ones(2), "epoch": 3}
    mg.save(file, tree, metadata={"author": "Ada"})
    plain_arrays = safetensors.numpy.load_file(file)
    assert plain_arrays.keys() == {"model.layer.weight", "model.layer.bias", "ema.0", "ema.0_"}
    assert plain_arrays["model.layer.weight"].tolist() == [[1.0] * 3] * 2
    assert mg.load(file).metadata == {"author": "Ada"}


def test_files_of_other_writers_are_read(file: Path) -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    safetensors.numpy.save_file({"a": array}, file, metadata={"format": "pt"})
    tensors, metadata = mg.load(file)
    assert_same(tensors, {"a": array})
    assert metadata == {"format": "pt"}


@pytest.mark.parametrize(
    ("leaf", "kind"), [({1, 2}, "set"), (b"x", "bytes"), (1j, "complex"), (Path("p"), "Path")]
)
def test_a_leaf_that_cannot_be_saved_is_named(file: Path, leaf: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=rf"save: 'model\.x\.1' is a .*{kind}; expected a tensor"):
        mg.save(file, {"model": {"x": [0, leaf]}})


def test_a_module_is_not_a_state_dict(file: Path) -> None:
    with pytest.raises(TypeError, match=r"'model' is a RNNCell; .* or a state_dict\(\)"):
        mg.save(file, {"model": mg.nn.RNNCell(2, 3)})
    with pytest.raises(TypeError, match=r"got RNNCell; write model\.state_dict\(\)"):
        mg.save(file, mg.nn.RNNCell(2, 3))


@pytest.mark.parametrize(
    "array",
    [np.ones(2, np.complex128), np.ones(2, np.longdouble), np.array(["a"]), np.array([None])],
    ids=lambda array: str(array.dtype),
)
def test_a_dtype_that_the_format_lacks_is_named(file: Path, array: np.ndarray) -> None:
    with pytest.raises(TypeError, match=rf"save: 'a\.b' has dtype {array.dtype}, which"):
        mg.save(file, {"a": {"b": array}})


def test_keys_are_text(file: Path) -> None:
    with pytest.raises(TypeError, match="the key 3 in 'state' is no text; write '3'"):
        mg.save(file, {"state": {3: mg.ones(1)}})
    with pytest.raises(TypeError, match="the key 3 is no text"):
        mg.save(file, {3: mg.ones(1)})


def test_metadata_are_text(file: Path) -> None:
    with pytest.raises(TypeError, match="metadata hold text by name, got 'epoch': int"):
        mg.save(file, {}, metadata={"epoch": 3})
    with pytest.raises(TypeError, match=r"'minigrad\.tree' is minigrad's own"):
        mg.save(file, {}, metadata={"minigrad.tree": "{}"})


def test_arguments_in_the_wrong_order(file: Path) -> None:
    with pytest.raises(TypeError, match=r"a path first, got dict; write mg\.save\(path, tensors\)"):
        mg.save({"x": mg.ones(1)}, file)
    with pytest.raises(TypeError, match=r"got BytesIO; write mg\.load\(path\)"):
        mg.load(__import__("io").BytesIO())
