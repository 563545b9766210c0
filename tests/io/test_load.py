"""A file is loaded as it was saved, or refused with the reason."""

from __future__ import annotations

import contextlib
import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn

TREE = {"model": {"w": mg.ones(2, 3), "b": mg.zeros(2)}, "state": (mg.ones(1), 3), "epoch": 7}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("load") / "file.safetensors"


@pytest.fixture(scope="module")
def content(path: Path) -> bytes:
    mg.save(path, TREE, metadata={"a": "b"})
    return path.read_bytes()


def refused(path: Path, data: bytes) -> str:
    """The reason for which a file of this content is refused."""
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"^load: cannot read ") as caught:
        mg.load(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(start: int, end: int, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> Any:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


# ---- damage --------------------------------------------------------------------------------------


def test_cut_short_anywhere(path: Path, content: bytes) -> None:
    for n in range(1, len(content)):
        assert "cut short, damaged or no safetensors file" in refused(path, content[:n])


def test_an_empty_file(path: Path) -> None:
    assert refused(path, b"").endswith("it is empty")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not a tensor", "no safetensors file"),
        (struct.pack("<Q", 2**63) + b"{}", "header"),
        (struct.pack("<Q", 100) + b"{}", "header"),
        (file(b"\xff\xfe"), "header"),
        (file(b"{nope}"), "header"),
        (file([1]), "header"),
        (file({"a": entry(0, 4, "F7")}, b"1234"), "F7"),
        (file({"a": entry(-4, 0)}), "header"),
        (file({"a": entry(4, 0)}, b"1234"), "offset"),
        (file({"a": entry(0, 4), "b": entry(0, 4)}, b"1234"), "offset"),  # overlapping
        (file({"a": entry(0, 4), "b": entry(8, 12)}, b"1234" * 3), "offset"),  # with a hole
        (file({"a": entry(0, 400, shape=(100,))}, b"1234"), "not fully covered"),
        (file({"a": entry(0, 4)}, b"12345"), "not fully covered"),
        (file({"a": entry(0, 4, shape=(2,))}, b"1234"), "shape"),
        (file({"a": entry(0, 0, shape=(2**40, 2**40))}), "overflow"),
        (file({"a": entry(0, 0, shape=(0, 2**62))}), "'a' has a shape that NumPy cannot hold"),
        (
            file({"a": entry(0, 4, shape=(1,) * 70)}, b"1234"),
            "'a' has a shape that NumPy cannot hold",
        ),
        (file({"a": entry(0, 1, "BOOL")}, b"\x02"), "'a' hold bytes other than 0 and 1"),
    ],
)
def test_damaged_files(path: Path, data: bytes, reason: str) -> None:
    assert reason in refused(path, data)


@pytest.mark.parametrize(
    "tree",
    [
        "{",
        "[]]",
        '{"x": {"$tensor": "y"}}',  # not in the file
        '{"x": {"$tensor": "x"}, "y": {"$tensor": "x"}}',  # twice
        '{"x": {"$tensor": ["x"]}}',
        '{"x": {"$tuple": 3}}',
        '{"y": 3}',  # x is left over
        "3",
        "[" * 100_000,
    ],
)
def test_a_tree_that_does_not_fit_the_tensors(path: Path, tree: str) -> None:
    header = {"__metadata__": {"minigrad.tree": tree}, "x": entry(0, 4)}
    assert "the tree in its metadata" in refused(path, file(header, b"1234"))


@given(st.data())
def test_damage_is_refused_or_harmless(path: Path, content: bytes, data: st.DataObject) -> None:
    """A flipped bit may go unnoticed in a value or a name, but all that is there is loaded."""
    at = data.draw(st.integers(0, len(content) - 1))
    bit = data.draw(st.integers(0, 7))
    path.write_bytes(content[:at] + bytes([content[at] ^ 1 << bit]) + content[at + 1 :])
    with contextlib.suppress(ValueError):  # any other error fails
        assert count(mg.load(path).tensors) == count(TREE)


def count(node: Any) -> int:
    """The number of elements in the tensors of a tree."""
    if isinstance(node, mg.Tensor):
        return node.numel()
    children = list(node.values()) if isinstance(node, dict) else node
    return sum(map(count, children)) if isinstance(children, (list, tuple)) else 0


# ---- other formats -------------------------------------------------------------------------------


class Trap:
    """Unpickling one would be noticed."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("something was unpickled",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_not_opened(path: Path, protocol: int) -> None:
    reason = refused(path, pickle.dumps({"x": Trap()}, protocol))
    if protocol >= 2:  # the older ones have no mark at their start
        assert "it is a pickle, not a safetensors file; minigrad unpickles nothing" in reason


def test_archives_of_arrays_are_not_opened(path: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.ones(2))
    np.save(tmp_path / "x.npy", np.ones(2))
    assert "torch.save and np.savez" in refused(path, (tmp_path / "x.npz").read_bytes())
    assert "a .npy file" in refused(path, (tmp_path / "x.npy").read_bytes())
    assert "Keras" in refused(path, b"\x89HDF\r\n\x1a\n" + bytes(100))


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 2), ("F8_E4M3", 1), ("F8_E5M2", 1)])
def test_dtypes_that_numpy_lacks(path: Path, dtype: str, size: int) -> None:
    header = {"a": entry(0, 4), "b.weight": entry(4, 4 + size, dtype)}
    reason = refused(path, file(header, bytes(4 + size)))
    assert f"'b.weight' has dtype {dtype}, which NumPy lacks; convert the file to F32" in reason


# ---- the place -----------------------------------------------------------------------------------


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing_here"):
        mg.load(tmp_path / "nothing_here")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        mg.load(tmp_path)


def test_the_device_is_looked_up_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown device 'tpu'"):
        mg.load(tmp_path / "nothing_here", device="tpu")


def test_the_device(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert mg.load(path, device="cpu").tensors["model"]["w"].device == "cpu"


# ---- together with modules -----------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, hidden: int) -> None:
        self.rnn = nn.LSTM(3, hidden, num_layers=2, bidirectional=True)
        self.count = nn.Buffer(mg.tensor([1, 2, 3]))
        self.last = nn.Parameter(mg.randn(hidden))


def test_a_model_comes_back(tmp_path: Path) -> None:
    model, other = Net(4), Net(4)
    mg.save(tmp_path / "model", model.state_dict())
    assert other.load_state_dict(mg.load(tmp_path / "model").tensors) == ([], [])
    x = mg.randn(5, 2, 3)
    assert (model.rnn(x)[0] == other.rnn(x)[0]).all()


@pytest.mark.parametrize("mistake", ["missing", "unexpected", "shape", "last shape", "dtype"])
def test_a_model_that_does_not_fit_stays_as_it_was(tmp_path: Path, mistake: str) -> None:
    model, state = Net(4), Net(4).state_dict()
    if mistake == "missing":
        del state["last"]
    elif mistake == "unexpected":
        state["more"] = mg.ones(1)
    elif mistake == "shape":
        state = Net(5).state_dict()
    elif mistake == "last shape":
        state["last"] = mg.ones(1, 4)  # would broadcast
    else:
        state["count"] = mg.tensor([0.5, 1.5, 2.5])
    mg.save(tmp_path / "model", state)
    before = {name: value.numpy().copy() for name, value in model.state_dict().items()}
    with pytest.raises((KeyError, ValueError, TypeError), match="load_state_dict"):
        model.load_state_dict(mg.load(tmp_path / "model").tensors)
    after = model.state_dict()
    assert all(np.array_equal(after[name].numpy(), value) for name, value in before.items())
