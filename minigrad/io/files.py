"""`save` and `load`: named tensors, or a whole checkpoint, in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
import safetensors
import safetensors.numpy

from minigrad.backend import get_backend
from minigrad.creation import get_default_device
from minigrad.io.atomic import write_whole
from minigrad.io.tree import Host, put_together, take_apart
from minigrad.tensor import Tensor

_Entries: TypeAlias = list[tuple[str, dict[str, Any]]]  # name → dtype, shape, data
_TREE = "minigrad.tree"  # the metadata key under which the rest of a tree travels
_LONGEST_HEADER = 100_000_000  # bytes; no reader of the format accepts more
_DTYPES = {
    "BOOL": np.dtype(np.bool_),
    **{f"I{8 * n}": np.dtype(f"<i{n}") for n in (1, 2, 4, 8)},
    **{f"U{8 * n}": np.dtype(f"<u{n}") for n in (1, 2, 4, 8)},
    **{f"F{8 * n}": np.dtype(f"<f{n}") for n in (2, 4, 8)},
    "C64": np.dtype("<c8"),
}
_FOREIGN = {  # how files begin that are often taken for one of ours
    **{bytes([0x80, protocol]): "a pickle" for protocol in range(2, 6)},
    b"PK\x03\x04": "a zip archive, as torch.save and np.savez write them",
    b"\x93NUMPY": "a .npy file",
    b"\x89HDF": "an HDF5 file, as Keras writes them",
}


class Loaded(NamedTuple):
    """What `load` gives: the tensors (or the tree) and the file's metadata."""

    tensors: dict[str, Any]
    metadata: dict[str, str]


def save(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Save named tensors in a safetensors file: whole, or the file stays what it was before.

    `tensors` may also be a tree, such as the checkpoint below: dicts, lists and tuples whose leaves
    are tensors, NumPy arrays, numbers, text or None. `load` then gives the same tree, with arrays
    as Tensors, NumPy scalars as Python numbers and named tuples as tuples. In the file a tensor's
    name is its dotted path (`model.weight`), so that any reader of safetensors finds it; what is
    not a tensor travels as JSON in the metadata. Values keep their bits, on whatever device.

    Args:
        path: where to; the folder must exist.
        tensors: a mapping from names; bool, integers, float16, -32, -64 and complex64.
        metadata: more about them, text by name.

    Raises:
        TypeError: something in the tree cannot be saved; the message names it.
        ValueError: the metadata or the plain values need more than 100 MB.
        OSError: the file cannot be written; one that was there before is unchanged.

    >>> import minigrad as mg
    >>> model = mg.nn.Linear(3, 2)
    >>> optimizer = mg.optim.Adam(model.named_parameters())
    >>> mg.save(
    ...     "checkpoint.safetensors",
    ...     {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 7},
    ... )
    >>> checkpoint = mg.load("checkpoint.safetensors").tensors
    >>> model.load_state_dict(checkpoint["model"])
    IncompatibleKeys(missing_keys=[], unexpected_keys=[])
    >>> optimizer.load_state_dict(checkpoint["optimizer"])
    >>> checkpoint["epoch"]
    7
    """
    target = _path("save", path)
    if not isinstance(tensors, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] -- users without a type checker
        raise TypeError(
            f"save: expected a mapping from names to tensors, got {type(tensors).__name__}; "
            "write model.state_dict(), or {'x': x}"
        )
    arrays, tree = take_apart(tensors)
    for name, array in arrays.items():
        if array.dtype not in _DTYPES.values():
            raise TypeError(
                f"save: {name!r} has dtype {array.dtype}, which safetensors files cannot hold; "
                "convert it first, for example with .float()"
            )
    about = _checked(metadata or {})
    if tree is not None:
        about[_TREE] = tree
    data = safetensors.numpy.save(arrays, about or None)
    header = int.from_bytes(data[:8], "little")
    if header > _LONGEST_HEADER:
        raise ValueError(
            f"save: metadata and plain values take {header:,} bytes, and {_LONGEST_HEADER:,} are "
            "allowed; turn long lists of numbers into tensors"
        )
    write_whole(target, data)


def load(path: str | os.PathLike[str], device: str | None = None) -> Loaded:
    """Load what `save` saved, or any other safetensors file: all of it, or nothing.

    Nothing is unpickled, and nothing in the file is run. The tensors are off the tape;
    `Module.load_state_dict` and `Optimizer.load_state_dict` copy them in.

    Args:
        path: the file.
        device: where the tensors shall live; None for the default device.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it is empty, cut short, damaged or of another format, or it has a dtype that
            NumPy lacks (bfloat16, the float8 kinds).

    >>> import minigrad as mg
    >>> mg.save("x.safetensors", {"x": mg.tensor([1.0, 2.0])}, metadata={"unit": "m"})
    >>> tensors, metadata = mg.load("x.safetensors")
    >>> tensors["x"], metadata["unit"]
    (tensor([1., 2.]), 'm')
    """
    source = _path("load", path)
    backend = get_backend(device or get_default_device())
    data = source.read_bytes()
    try:
        arrays, metadata = _decode(data)
        tensors = {name: Tensor(backend.from_host(array)) for name, array in arrays.items()}
        tree = metadata.pop(_TREE, None)
        return Loaded(tensors if tree is None else put_together(tensors, tree), metadata)
    except ValueError as error:
        raise ValueError(f"load: cannot read {source}: {error}") from error


def _path(caller: str, path: Any) -> Path:
    if isinstance(path, (str, os.PathLike)):
        return Path(path)  # pyright: ignore[reportUnknownArgumentType] -- any path that is text
    raise TypeError(
        f"{caller}: expected a path first, got {type(path).__name__}; "
        + ("write mg.save(path, tensors)" if caller == "save" else "write mg.load(path)")
    )


def _checked(metadata: Mapping[Any, Any]) -> dict[str, str]:
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(
                f"save: metadata hold text by name, got {key!r}: {type(value).__name__}; numbers "
                "may lie among the tensors: save(path, {'model': ..., 'epoch': 7})"
            )
        if key == _TREE:
            raise TypeError(f"save: the metadata key {_TREE!r} is minigrad's own; use another one")
    return dict(metadata)


def _decode(data: bytes) -> tuple[dict[str, Host], dict[str, str]]:
    try:
        entries = cast(_Entries, safetensors.deserialize(data))  # pyright: ignore[reportUnknownMemberType] -- untyped there
    except safetensors.SafetensorError as error:
        raise ValueError(_diagnosis(data, error)) from error
    arrays = {name: _array(name, entry) for name, entry in entries}
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return arrays, header.get("__metadata__") or {}


def _array(name: str, entry: dict[str, Any]) -> Host:
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise ValueError(
            f"{name!r} has dtype {entry['dtype']}, which NumPy lacks; convert the file to F32 "
            "with the library that wrote it"
        )
    try:
        array = np.ndarray(entry["shape"], dtype, buffer=entry["data"])
    except ValueError as error:
        raise ValueError(f"{name!r} has a shape that NumPy cannot hold: {error}") from error
    if dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise ValueError(f"it is damaged: the booleans {name!r} hold bytes other than 0 and 1")
    return array


def _diagnosis(data: bytes, error: safetensors.SafetensorError) -> str:
    if not data:
        return "it is empty"
    for start, kind in _FOREIGN.items():
        if data.startswith(start):
            return (
                f"it is {kind}, not a safetensors file; minigrad unpickles nothing, because a "
                "pickle can run any code: convert it with the program that wrote it"
            )
    reason = str(error).removeprefix("Error while deserializing: ")
    return f"it is cut short, damaged or no safetensors file ({reason}; {len(data):,} bytes)"
