"""minigrad: write a recurrent cell as its equations; its gradients, kernels and layers follow."""

import importlib
from typing import TYPE_CHECKING, Any

from numpy import bool as bool
from numpy import float16 as float16
from numpy import float32 as float32
from numpy import float64 as float64
from numpy import int8 as int8
from numpy import int16 as int16
from numpy import int32 as int32
from numpy import int64 as int64
from numpy import uint8 as uint8

from minigrad import autograd as autograd
from minigrad import functional as functional
from minigrad import io as io
from minigrad import nn as nn
from minigrad import optim as optim
from minigrad.autograd import detach as detach
from minigrad.autograd import enable_grad as enable_grad
from minigrad.autograd import is_grad_enabled as is_grad_enabled
from minigrad.autograd import no_grad as no_grad
from minigrad.autograd import set_grad_enabled as set_grad_enabled
from minigrad.backend import use_native as use_native
from minigrad.compiled import compile as compile
from minigrad.creation import arange as arange
from minigrad.creation import as_tensor as as_tensor
from minigrad.creation import eye as eye
from minigrad.creation import from_numpy as from_numpy
from minigrad.creation import full as full
from minigrad.creation import full_like as full_like
from minigrad.creation import get_default_device as get_default_device
from minigrad.creation import get_default_dtype as get_default_dtype
from minigrad.creation import linspace as linspace
from minigrad.creation import ones as ones
from minigrad.creation import ones_like as ones_like
from minigrad.creation import set_default_device as set_default_device
from minigrad.creation import set_default_dtype as set_default_dtype
from minigrad.creation import tensor as tensor
from minigrad.creation import zeros as zeros
from minigrad.creation import zeros_like as zeros_like
from minigrad.fuse import FuseError as FuseError
from minigrad.fuse import fuse as fuse
from minigrad.fuse import named as named
from minigrad.io import load as load
from minigrad.io import save as save
from minigrad.ops import *  # noqa: F403  # every primitive is a function of the package
from minigrad.random import Generator as Generator
from minigrad.random import manual_seed as manual_seed
from minigrad.random import rand as rand
from minigrad.random import randint as randint
from minigrad.random import randn as randn
from minigrad.random import randperm as randperm
from minigrad.scans import scan as scan
from minigrad.tensor import Tensor as Tensor

if TYPE_CHECKING:
    from minigrad import decode as decode
    from minigrad import inspect as inspect

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Rooms that few programs enter are imported when they are first asked for."""
    if name in ("decode", "inspect"):
        return importlib.import_module(f"minigrad.{name}")
    raise AttributeError(f"module 'minigrad' has no attribute {name!r}")
