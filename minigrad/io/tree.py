"""A tree of dicts, lists and tuples as the arrays in it and a text about the rest, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from minigrad.backend import backend_of, is_array
from minigrad.tensor import Tensor

Host = np.ndarray[Any, Any]

_TENSOR, _TUPLE = "$tensor", "$tuple"  # marks in the text; a key that begins with $ gets another $
_RESERVED = "__metadata__"  # a tensor of this name would make the file unreadable


def take_apart(tree: Mapping[str, Any]) -> tuple[dict[str, Host], str | None]:
    """Give the arrays of a tree under dotted names, and the rest of it as JSON.

    The text is None when there is no rest: when the tree is one dict of tensors.

    Raises:
        TypeError: a key is no text, or a leaf is neither an array nor a plain value.
    """
    arrays: dict[str, Host] = {}
    rest = _rest(tree, "", arrays)
    is_flat = rest == {name: {_TENSOR: name} for name in arrays}
    return arrays, None if is_flat else json.dumps(rest)


def _rest(value: Any, name: str, arrays: dict[str, Host]) -> Any:
    node = _unboxed(value)
    if isinstance(node, Tensor) or is_array(node):
        while name in arrays or name == _RESERVED:
            name += "_"
        arrays[name] = _on_host(node.data if isinstance(node, Tensor) else node)
        return {_TENSOR: name}
    if isinstance(node, Mapping):
        return {
            _marked(key, name): _rest(child, f"{name}.{key}" if name else key, arrays)
            for key, child in cast(Mapping[Any, Any], node).items()
        }
    if isinstance(node, (list, tuple)):
        children = cast(Sequence[Any], node)
        items = [_rest(child, f"{name}.{i}", arrays) for i, child in enumerate(children)]
        return {_TUPLE: items} if isinstance(node, tuple) else items
    if node is None or isinstance(node, (str, int, float)):
        return node
    raise TypeError(
        f"save: {name!r} is a {type(node).__name__}; expected a tensor, a NumPy array, a number, "
        "text, None, or a dict, list or tuple of these; write mg.tensor(...), or a state_dict()"
    )


def _unboxed(value: object) -> object:
    """Give the Python number that a NumPy scalar holds, and anything else as it is."""
    return cast(Any, value).item() if isinstance(value, np.generic) else value


def _on_host(array: Any) -> Host:
    host = backend_of(array).to_host(array)
    return np.asarray(host, host.dtype.newbyteorder("<"), order="C")


def _marked(key: Any, name: str) -> str:
    if not isinstance(key, str):
        where = f"in {name!r} " if name else ""
        raise TypeError(f"save: the key {key!r} {where}is no text; write {str(key)!r}")
    return "$" + key if key.startswith("$") else key


def put_together(tensors: Mapping[str, Tensor], text: str) -> Any:
    """Build the tree again from what `take_apart` gave.

    Raises:
        ValueError: the text does not fit the tensors.
    """
    unused = dict(tensors)

    def build(node: Any) -> Any:
        if isinstance(node, list):
            return [build(child) for child in cast(list[Any], node)]
        if not isinstance(node, dict):
            return node
        children = cast(dict[str, Any], node)
        if children.keys() == {_TENSOR}:
            return unused.pop(children[_TENSOR])
        if children.keys() == {_TUPLE}:
            return tuple(build(child) for child in children[_TUPLE])
        return {key.removeprefix("$"): build(child) for key, child in children.items()}

    try:
        tree = build(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("the tree in its metadata is damaged") from error
    if unused:
        raise ValueError(f"the tree in its metadata has no place for {next(iter(unused))!r}")
    return tree
