"""minigrad; a suffix such as `_loop` is another way to write a task, `minigrad:loop`."""

from __future__ import annotations

import gc
import runpy
from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import numpy as np

import minigrad as mg
from benchmarks.peers import minigrad_cells
from benchmarks.peers.equations import CELLS, LAYERS, state_parts
from minigrad import nn
from minigrad.nn import functional
from minigrad.nn.cells.lstm import lstm_gates

Arrays = dict[str, Any]
Step = Callable[[], dict[str, Any]]
Size = tuple[int, int, int, int]
VERSION = f"minigrad {mg.__version__}"
LAYER_MODULES = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
CELL_MODULES = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}


def host(x: mg.Tensor) -> Any:
    return x.detach().numpy()


def leaf(x: Any) -> mg.Tensor:
    return mg.tensor(x, requires_grad=True)


def load(module: nn.Module, arrays: Arrays) -> dict[str, mg.Tensor]:
    """Copy arrays into the parameters of the same names."""
    parameters = dict(module.named_parameters())
    for name, parameter in parameters.items():
        parameter.copy_(arrays[name.removesuffix("_l0")].reshape(parameter.shape))
    return parameters


def as_it_stands(function: Any) -> Any:
    return function


def clear(leaves: Iterable[mg.Tensor]) -> None:
    for one in leaves:
        one.grad = None


# ---- layers ------------------------------------------------------------------------------------


def layer(arrays: Arrays, kind: str, size: Size) -> Step:
    return _module_training(LAYER_MODULES[kind](size[2], size[3]), arrays)


def layer_unroll(arrays: Arrays, kind: str, size: Size) -> Step:
    if size[0] > 50:
        raise NotImplementedError("a loop of more steps is for a scan, which it does not outrun")
    module = LAYER_MODULES[kind](size[2], size[3])
    compiled = mg.compile(module)
    return _training(lambda x: compiled(x)[0], arrays, _leaves(module, arrays))


def masked(arrays: Arrays, kind: str, size: Size, mask: str) -> Step:
    """Rows of several lengths; some that start anew at some steps; or units that stay as is."""
    steps, batch, *widths = size
    zoneout = 0.1 if mask == "zoneout" else 0.0
    module = LAYER_MODULES[kind](*widths, zoneout=zoneout, generator=mg.Generator(0))
    given: Arrays = {
        "lengths": {"lengths": [steps * (k + 1) // batch for k in range(batch)]},
        "resets": {"reset": np.arange(steps)[:, None] % 10 == np.arange(batch)},
        "zoneout": {},
    }
    return _module_training(module, arrays, **given[mask])


def _module_training(module: nn.Module, arrays: Arrays, **given: Any) -> Step:
    return _training(lambda x: module(x, **given)[0], arrays, _leaves(module, arrays))


def _leaves(module: nn.Module, arrays: Arrays) -> Arrays:
    return {name.removesuffix("_l0"): p for name, p in load(module, arrays).items()}


def _training(outputs: Callable[[mg.Tensor], mg.Tensor], arrays: Arrays, leaves: Arrays) -> Step:
    """Loss and gradients of a function of x, and of the leaves that it is closed over."""
    x, r = leaf(arrays["x"]), mg.tensor(arrays["r"])
    leaves = {"x": x, **leaves}

    def run() -> dict[str, Any]:
        clear(leaves.values())
        loss = (outputs(x) * r).sum()
        loss.backward()
        gradients = {name: one.grad.reshape(arrays[name].shape) for name, one in leaves.items()}
        return {"loss": loss, **gradients}

    return run


def inference(arrays: Arrays, kind: str, size: Size) -> Step:
    module = LAYER_MODULES[kind](size[2], size[3]).eval()
    load(module, arrays)
    x = mg.tensor(arrays["x"])

    @mg.no_grad()
    def run() -> dict[str, Any]:
        return {"y": module(x)[0]}

    return run


def _stream(arrays: Arrays, kind: str, size: Size, compiled: bool) -> Step:
    cell = CELL_MODULES[kind](size[2], size[3]).eval()
    load(cell, arrays)
    step = mg.compile(cell) if compiled else cell
    x = mg.tensor(arrays["x"][0])
    state: Any = None

    @mg.no_grad()
    def run() -> dict[str, Any]:
        nonlocal state
        state = step(x, state)
        return {"y": state[0] if kind == "LSTM" else state}

    return run


def stream(arrays: Arrays, kind: str, size: Size) -> Step:
    return _stream(arrays, kind, size, compiled=False)


def stream_compile(arrays: Arrays, kind: str, size: Size) -> Step:
    return _stream(arrays, kind, size, compiled=True)


# ---- a user's cells ----------------------------------------------------------------------------


def user_cell(arrays: Arrays, kind: str, size: Size) -> Step:
    return _module_training(nn.Recurrent(minigrad_cells.CELLS[kind], size[2], size[3]), arrays)


class Functions:
    """What the equations of cells are written in."""

    linear = staticmethod(functional.linear)
    sigmoid = staticmethod(mg.sigmoid)
    tanh = staticmethod(mg.tanh)

    @staticmethod
    def chunk(x: mg.Tensor, n: int) -> Any:
        return x.chunk(n, dim=-1)

    @staticmethod
    def layer_norm(x: mg.Tensor, gain: mg.Tensor, shift: mg.Tensor | None = None) -> Any:
        return functional.layer_norm(x, gain.shape, gain, shift)


def plain_cells() -> dict[str, Any]:
    """The cells of minigrad_cells.py as they are without @fuse."""
    with mock.patch.object(mg, "fuse", as_it_stands):
        return runpy.run_path(str(minigrad_cells.__file__))["CELLS"]


def user_cell_plain(arrays: Arrays, kind: str, size: Size) -> Step:
    return _module_training(nn.Recurrent(plain_cells()[kind], size[2], size[3]), arrays)


def user_cell_called(arrays: Arrays, kind: str, size: Size) -> Step:
    return _calls(minigrad_cells.CELLS[kind](size[2], size[3]), arrays, kind)


def user_cell_called_plain(arrays: Arrays, kind: str, size: Size) -> Step:
    return _calls(plain_cells()[kind](size[2], size[3]), arrays, kind)


def _calls(cell: nn.Cell, arrays: Arrays, kind: str) -> Step:
    """A loop over tensors that calls a cell."""
    leaves = load(cell, arrays)

    def step(state: Any, x: mg.Tensor) -> Any:
        state = cell(x, state)
        return state, state[0] if state_parts(kind) > 1 else state

    return _training(lambda x: in_turn(step, None, x)[1], arrays, leaves)


def in_turn(step: Any, state: Any, xs: mg.Tensor) -> tuple[Any, mg.Tensor]:
    """What `mg.scan` does, as one writes it for PyTorch: a loop over tensors."""
    ys: list[mg.Tensor] = []
    for x in xs:
        state, y = step(state, x)
        ys.append(y)
    return state, mg.stack(ys)


def _equations(
    arrays: Arrays,
    kind: str,
    size: Size,
    over_time: Any = in_turn,
    step_as: Any = as_it_stands,
    loop_as: Any = as_it_stands,
) -> Step:
    """A cell in ordinary ops, and a layer's, for which the input's product is taken once."""
    leaves = {name: leaf(value) for name, value in arrays.items() if name not in ("x", "r")}
    cell = {**CELLS, **LAYERS}[kind]

    def step(state: Any, x: mg.Tensor) -> Any:
        state = cell(Functions, leaves, x, state)
        return state, state[0]

    step = step_as(step)

    def outputs(x: mg.Tensor) -> mg.Tensor:
        if kind in LAYERS:
            x = functional.linear(x, leaves["weight_ih"], leaves["bias_ih"])
        return over_time(step, (mg.zeros(size[1], size[3]),) * state_parts(kind), x)[1]

    return _training(loop_as(outputs), arrays, leaves)


def user_cell_loop(arrays: Arrays, kind: str, size: Size) -> Step:
    return _equations(arrays, kind, size)


def user_cell_scan(arrays: Arrays, kind: str, size: Size) -> Step:
    return _equations(arrays, kind, size, over_time=mg.scan)


def user_cell_compile(arrays: Arrays, kind: str, size: Size) -> Step:
    return _equations(arrays, kind, size, step_as=mg.compile)


def user_cell_unroll(arrays: Arrays, kind: str, size: Size) -> Step:
    return _equations(arrays, kind, size, loop_as=mg.compile)


layer_loop, layer_scan = user_cell_loop, user_cell_scan


# ---- training steps ----------------------------------------------------------------------------


class CharLM(nn.Module):
    """Embedding, two LSTM layers, and a linear head."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int) -> None:
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden, num_layers=2)
        self.head = nn.Linear(hidden, vocabulary)

    def forward(self, text: mg.Tensor) -> mg.Tensor:
        return self.head(self.lstm(self.embedding(text))[0])


def char_lm(arrays: Arrays, vocabulary: int, embedding: int, hidden: int, **_shape: int) -> Step:
    model = CharLM(vocabulary, embedding, hidden)
    named: dict[str, mg.Tensor] = {}
    for name, parameter in model.named_parameters():
        short = name.removeprefix("lstm.").replace("embedding.weight", "embedding")
        named[short.replace(".", "_")] = parameter
    for name, parameter in named.items():
        parameter.copy_(arrays[name])
    text, target = mg.tensor(arrays["text"]), mg.tensor(arrays["target"])
    optimizer = mg.optim.Adam(model.parameters(), lr=1e-3)

    def run() -> dict[str, Any]:
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(text).flatten(0, 1), target.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return {"loss": loss, **{name: p.grad for name, p in named.items()}}

    return run


def _mlp(arrays: Arrays, widths: tuple[int, int, int], compiled: bool) -> Step:
    first, second = nn.Linear(*widths[:2]), nn.Linear(*widths[1:])
    model = nn.Sequential(first, nn.ReLU(), second)
    named = {"w1": first.weight, "b1": first.bias, "w2": second.weight, "b2": second.bias}
    for name, parameter in named.items():
        parameter.copy_(arrays[name])
    x, target = mg.tensor(arrays["x"]), mg.tensor(arrays["target"])
    optimizer = mg.optim.SGD(model.parameters(), lr=0.01)

    def loss_of(x: mg.Tensor, target: mg.Tensor) -> mg.Tensor:
        return functional.cross_entropy(model(x), target)

    forward = mg.compile(loss_of) if compiled else loss_of

    def run() -> dict[str, Any]:
        optimizer.zero_grad()
        loss = forward(x, target)
        loss.backward()
        optimizer.step()
        return {"loss": loss, **{name: p.grad for name, p in named.items()}}

    return run


def mlp(arrays: Arrays, widths: tuple[int, int, int]) -> Step:
    return _mlp(arrays, widths, compiled=False)


def mlp_compile(arrays: Arrays, widths: tuple[int, int, int]) -> Step:
    return _mlp(arrays, widths, compiled=True)


# ---- operations --------------------------------------------------------------------------------


def chain(arrays: Arrays, kind: str, ops: int, backward: bool) -> Step:
    x = leaf(arrays["x"])

    def affine() -> mg.Tensor:
        y = x
        for _ in range(ops // 2):
            y = y * 1.0001 + 0.1
        return y

    def tanh() -> mg.Tensor:
        y = x
        for _ in range(ops):
            y = mg.tanh(y)
        return y

    forward = tanh if kind == "tanh(x)" else affine

    def run() -> dict[str, Any]:
        clear([x])
        y = forward()
        if not backward:
            return {"y": y}
        y.sum().backward()
        return {"y": y, "x": x.grad}

    return run


def chain_frozen(arrays: Arrays, kind: str, ops: int, backward: bool) -> Step:
    gc.freeze()  # Python's collector need not look through the modules each time that it runs
    return chain(arrays, kind, ops, backward)


OPERATIONS: dict[str, Callable[..., mg.Tensor]] = {
    "matmul": lambda x, y: x @ y,
    "softmax cross-entropy": functional.cross_entropy,
    "softmax": lambda x: functional.softmax(x, -1),
    "log-softmax": lambda x: functional.log_softmax(x, -1),
    "layer norm": lambda x, gain, shift: functional.layer_norm(x, gain.shape, gain, shift),
    "embedding": lambda x, index: functional.embedding(index, x),
    "sum": lambda x: x.sum(),
    "sum over axis 0": lambda x: x.sum(0),
    "max over axis 1": lambda x: x.amax(1),
    "tanh(x)·y + z": lambda x, y, z: mg.tanh(x) * y + z,
    "LSTM gates": lambda gates, c: lstm_gates(gates, c)[0],
    "standardize columns": lambda x: mg.standardize(x, dim=0),
}


def operation(arrays: Arrays, kind: str, **_shape: Any) -> Step:
    return _operation(arrays, OPERATIONS[kind])


@mg.fuse
def tanh_times_plus(x: Any, y: Any, z: Any) -> Any:
    return mg.tanh(x) * y + z


def operation_fuse(arrays: Arrays, kind: str, **_shape: Any) -> Step:
    if kind != "tanh(x)·y + z":
        raise NotImplementedError("the others are one op each: there is nothing to fuse")
    return _operation(arrays, tanh_times_plus)


def operation_rows(arrays: Arrays, kind: str, **_shape: Any) -> Step:
    """Columns as rows: brought to the end first, and back again."""
    if kind != "standardize columns":
        raise NotImplementedError("the others have no columns that could be rows")
    return _operation(arrays, lambda x: mg.standardize(x.T.clone()).T)


def _operation(arrays: Arrays, function: Callable[..., mg.Tensor]) -> Step:
    gradient = mg.tensor(arrays.pop("r", np.float32(1)))
    tensors = {name: mg.tensor(value) for name, value in arrays.items()}
    leaves = {name: t.requires_grad_() for name, t in tensors.items() if t.dtype.kind == "f"}

    def run() -> dict[str, Any]:
        clear(leaves.values())
        y = function(*tensors.values())
        y.backward(gradient)
        return {"result": y, **{name: one.grad for name, one in leaves.items()}}

    return run
