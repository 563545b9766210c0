"""Tensors and trees of tensors in safetensors files; weights as Keras and ONNX have them."""

import importlib
from typing import TYPE_CHECKING, Any

from minigrad.io.files import Loaded as Loaded
from minigrad.io.files import load as load
from minigrad.io.files import save as save

if TYPE_CHECKING:
    from minigrad.io import keras as keras
    from minigrad.io import onnx as onnx


def __getattr__(name: str) -> Any:
    """The other libraries' layouts are imported when they are first asked for."""
    if name in ("keras", "onnx"):
        return importlib.import_module(f"minigrad.io.{name}")
    raise AttributeError(f"module 'minigrad.io' has no attribute {name!r}")
