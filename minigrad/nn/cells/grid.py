"""Grid LSTM: memory cells along every dimension of a grid, depth among them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from minigrad.creation import zeros
from minigrad.fuse import fuse, named
from minigrad.nn import init
from minigrad.nn.cell import Cell
from minigrad.nn.cells.gated import product
from minigrad.nn.module import Module, Parameter
from minigrad.nn.state import (
    Shared,
    checked_state,
    checked_value,
    map_state,
    stacked,
    transposed,
    unstacked,
)
from minigrad.ops import cat, sigmoid, tanh
from minigrad.tensor import Tensor

Point = tuple[int, ...]
Flow = tuple[Tensor, Tensor]  # what passes from a block to its neighbour: h and m, (H, B) each


@fuse
def grid_gates(gates: Any, m: Any) -> Any:
    """The equations of all dimensions at once; gates are the blocks i, f, g, o."""
    i, f, g, o = gates.chunk(4)
    i, f, g, o = named(i=sigmoid(i), f=sigmoid(f), g=tanh(g), o=sigmoid(o))
    m = f * m + i * g
    return tanh(o * m), m


def _block(weight: Tensor, bias: Tensor | None, h: Tensor, m: Tensor) -> Flow:
    return grid_gates(product(weight, h, bias), m)


class GridLSTM(Module):
    """N-dimensional Grid LSTM (Kalchbrenner et al., 2015): y, state = layer(x, hx).

    The grid has `dims` = N dimensions: the N - 1 of the data, and depth, of extent num_layers. At
    each of its points a block gets a hidden vector and a memory from its neighbour before it in
    each dimension, h = [h_1; …; h_N] and m = [m_1; …; m_N], and passes on in each

        i, f, g, o = σ, σ, tanh, σ of the blocks of W_hh h + b_hh
        m' = f ∘ m + i ∘ g
        h' = tanh(o ∘ m')

    so that every dimension has an LSTM of its own, whose gates see the hidden vectors of all.
    Into the depth dimension goes the input, h_N, m_N = W_ih x + b_ih; out of it comes y = h_N'.

    dims=1 is a feed-forward net of num_layers LSTM steps: x (B, I) → y (B, H). dims=2 is a stacked
    LSTM with memory in depth as well as in time: x (T, B, I) → y (T, B, H). dims=3 reads images,
    x (T₁, T₂, B, I) → y (T₁, T₂, B, H), and so on; without the batch axis x is one example.
    hx, the state: for each dimension of the data the pair (h, m) that enters the grid there, and
    as a result the pair that leaves it, each (num_layers, extents of the other data dimensions …,
    B, H); None for zeros.

    Lengths, resets, directions and dropout are a matter of one axis of time, which a grid of images
    does not have: for dims=2, which has one, see `GridLSTMCell`.

    Parameters: weight_ih (2·H, I), bias_ih (2·H,), and for each layer k weight_hh_l{k}
    (4·N·H, N·H) and bias_hh_l{k}; of the 4·N·H rows, N·H are for each of i, f, g, o, H of these for
    each dimension, depth last. tied: all layers share weight_hh_l0 and bias_hh_l0.
    Raises ValueError for sizes that are not positive, and for shapes that do not fit.

    >>> import minigrad as mg
    >>> layer = mg.nn.GridLSTM(4, 3, num_layers=2, dims=2)
    >>> y, ((h, m),) = layer(mg.zeros(5, 6, 4))
    >>> y.shape, h.shape, m.shape
    ((5, 6, 3), (2, 6, 3), (2, 6, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        *,
        dims: int = 2,
        tied: bool = False,
        device: str | None = None,
        dtype: Any = None,
    ) -> None:
        sizes = (input_size, hidden_size, num_layers, dims)
        if min(sizes) < 1:
            raise ValueError(
                f"GridLSTM: input_size, hidden_size, num_layers and dims must be positive, got "
                f"{', '.join(map(str, sizes))}"
            )
        self.input_size, self.hidden_size, self.num_layers, self.dims = sizes
        self.tied = tied
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight_ih = self._parameter(2 * hidden_size, input_size, **place)
        self.bias_ih = self._parameter(2 * hidden_size, **place) if bias else None
        n = dims * hidden_size
        for k in range(1 if tied else num_layers):
            setattr(self, f"weight_hh_l{k}", self._parameter(4 * n, n, **place))
            setattr(self, f"bias_hh_l{k}", self._parameter(4 * n, **place) if bias else None)

    def _parameter(self, *shape: int, **place: Any) -> Parameter:
        bound = 1 / math.sqrt(self.hidden_size)
        p = Parameter(zeros(*shape, **place))
        init.uniform_(p, -bound, bound)
        return p

    def block(self, layer: int, h: Tensor, m: Tensor) -> Flow:
        """One point of the grid: h and m of all dimensions, (N·H, B) each → the next ones."""
        return _block(*self._weights(layer), h, m)

    def _weights(self, layer: int) -> tuple[Tensor, Tensor | None]:
        k = 0 if self.tied else layer
        return getattr(self, f"weight_hh_l{k}"), getattr(self, f"bias_hh_l{k}")

    def forward(self, x: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        self._check_input(x)
        batched = x.ndim == self.dims + 1
        if not batched:
            x = x.unsqueeze(-2)
        extents, batch = x.shape[:-2], x.shape[-2]
        edges = self._entering(hx, extents, batch, batched, x)
        points = _points(extents)
        enters = product(self.weight_ih, transposed(x), self.bias_ih)
        columns = enters.reshape(len(points), 2 * self.hidden_size, batch)
        depth: dict[Point, Any] = {
            point: column.chunk(2) for point, column in zip(points, columns, strict=True)
        }
        leaving = [self._layer(k, depth, edges[k]) for k in range(self.num_layers)]
        y = stacked([depth[point][0] for point in points]).reshape(
            *extents, self.hidden_size, batch
        )
        after = self._leaving(leaving, extents, batch)
        if not batched:
            return y.squeeze(-1), map_state(lambda part: part.squeeze(-2), after)
        return transposed(y), after

    def _layer(
        self, layer: int, depth: dict[Point, Flow], edges: list[dict[Point, Flow]]
    ) -> list[dict[Point, Flow]]:
        """Run one layer over all points; `depth` and `edges` hold what flows, and are moved on."""
        for point, below in depth.items():
            lines = _others(point)
            flows = [*(edge[line] for edge, line in zip(edges, lines, strict=True)), below]
            h, m = (_joined(parts) for parts in zip(*flows, strict=True))
            h, m = self.block(layer, h, m)
            *passed, depth[point] = zip(*self._apart(h, m), strict=True)
            for edge, line, flow in zip(edges, lines, passed, strict=True):
                edge[line] = flow
        return edges

    def _apart(self, *parts: Tensor) -> list[tuple[Tensor, ...]]:
        return [_chunks(part, self.dims) for part in parts]

    # ---- the state at the edges of the grid ------------------------------------------------------

    def _entering(
        self, state: Any, extents: Point, batch: int, batched: bool, like: Tensor
    ) -> list[list[dict[Point, Flow]]]:
        """What enters the grid, by layer and dimension of the data."""
        shapes = [(self.num_layers, *o, batch, self.hidden_size) for o in _others(extents)]
        nothing = [zeros(s, dtype=like.dtype, device=like.device) for s in shapes]
        initial = tuple([(part, part) for part in nothing])
        if state is None:
            state = initial
        else:
            wanted = [s if batched else (*s[:-2], s[-1]) for s in shapes for _ in range(2)]
            legend = "h and m by data dimension: (num_layers, other data dimensions, batch, hidden)"
            legend += ", as a call with such an x gives it, or None for zeros"
            state = checked_state("GridLSTM", state, initial, wanted, legend)
            if not batched:
                state = map_state(lambda part: part.unsqueeze(-2), state)
        pairs = [unstacked(map_state(transposed, pair)) for pair in state]
        return [
            [
                dict(zip(_points(others), unstacked(map_state(_in_a_row, pair[k])), strict=True))
                for others, pair in zip(_others(extents), pairs, strict=True)
            ]
            for k in range(self.num_layers)
        ]

    def _leaving(
        self, layers: list[list[dict[Point, Flow]]], extents: Point, batch: int
    ) -> tuple[Flow, ...]:
        """What leaves the grid, as the state that a next grid can take."""
        found: list[Any] = []
        for a, others in enumerate(_others(extents)):
            pairs = [stacked(list(layer[a].values())) for layer in layers]
            shape = (self.num_layers, *others, self.hidden_size, batch)
            found.append(
                map_state(lambda part, s=shape: transposed(part.reshape(s)), stacked(pairs))
            )
        return tuple(found)

    def _check_input(self, x: Tensor) -> None:
        checked_value("GridLSTM", x)
        if x.ndim not in (self.dims, self.dims + 1) or x.shape[-1] != self.input_size:
            axes = ", ".join([*(f"time{k + 1}" for k in range(self.dims - 1)), "batch", "input"])
            cure = "bring the features to the last axis"
            if x.ndim not in (self.dims, self.dims + 1):
                cure = f"so many axes have dims={x.ndim - 1}, or dims={x.ndim} without batch"
            raise ValueError(
                f"GridLSTM(dims={self.dims}): expected x ({axes}), or without batch, with input = "
                f"{self.input_size}; got {x.shape}: {cure}"
            )
        if 0 in x.shape[: self.dims - 1]:
            raise ValueError(f"GridLSTM: x {x.shape} has no points: expected one in each dimension")

    def equations(self) -> str:
        """The equations of a block, as text; h and m are those of all dimensions, joined.

        See `Cell.equations`.
        """
        return _block_equations(self, *self._weights(0))

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"
        return f"{shown}, dims={self.dims}" + (", tied=True" if self.tied else "")


class GridLSTMCell(Cell):
    """The column of a 2-dimensional Grid LSTM above one step in time, for `Recurrent`.

        h_0, m_0 = the blocks of W_ih x + b_ih
        h_t,k', h_k; m_t,k', m_k = block k of h_t,k, h_k-1; m_t,k, m_k-1     for k = 1 … depth
        top' = h_depth

    with GridLSTM's block. `Recurrent(GridLSTMCell, I, H, depth=L)` computes what
    `GridLSTM(I, H, L, dims=2)` does, and can all that a layer can: lengths, resets, both
    directions, every dropout. (More layers of it are grids whose memories in depth begin anew.)

    The state has what goes to the next step from all blocks, h and m (depth · H, B), and what came
    out at the top (H, B), which the step does not read. In a trace, the gates are those of the top
    block. weight_ih (2·H, I) and bias_ih are GridLSTM's; weight_hh (depth · 8·H, 2·H) and bias_hh
    are those of its layers, one below the other, or of one if they are tied.
    Raises ValueError unless depth is positive.

    >>> import minigrad as mg
    >>> layer = mg.nn.Recurrent(mg.nn.GridLSTMCell, 4, 3, depth=2, bidirectional=True)
    >>> y, (top, h, m) = layer(mg.zeros(5, 6, 4), lengths=[5, 2, 0, 1, 3, 4])
    >>> y.shape, h.shape
    ((5, 6, 6), (2, 6, 6))
    """

    state_names = ("top", "h", "m")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: str | None = None,
        dtype: Any = None,
        *,
        depth: int = 1,
        tied: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if depth < 1:
            raise ValueError(f"GridLSTMCell: depth must be positive, got {depth}")
        self.depth, self.bias = depth, bias
        self.blocks = 1 if tied else depth  # whose weights differ
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        enters, rows = 2 * hidden_size, 8 * hidden_size * self.blocks
        self.weight_ih = self.parameter(enters, input_size, **place)
        self.weight_hh = self.parameter(rows, enters, **place)
        self.bias_ih = self.parameter(enters, **place) if bias else None
        self.bias_hh = self.parameter(rows, **place) if bias else None

    def initial_state(self, batch: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Zeros: top (hidden_size, B), h and m (depth · hidden_size, B)."""
        sizes = (self.hidden_size, *(self.depth * self.hidden_size,) * 2)
        top, h, m = (zeros(n, batch, dtype=like.dtype, device=like.device) for n in sizes)
        return top, h, m

    def project(self, x: Tensor) -> Any:
        weights = _chunks(self.weight_hh, self.blocks)
        none = (None,) * self.blocks
        biases = none if self.bias_hh is None else _chunks(self.bias_hh, self.blocks)
        h, m = product(self.weight_ih, x, self.bias_ih).chunk(2, -2)
        return h, m, Shared(tuple(zip(weights, biases, strict=True)))

    def step(self, p: Any, state: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        (h, m, weights), (_, *in_time) = p, state
        passed: list[Flow] = []
        flows = zip(*(_chunks(part, self.depth) for part in in_time), strict=True)
        repeated = weights * (self.depth // self.blocks)
        for (weight, bias), (h_t, m_t) in zip(repeated, flows, strict=True):
            h, m = _block(weight, bias, cat([h_t, h]), cat([m_t, m]))
            (h_t, h), (m_t, m) = h.chunk(2), m.chunk(2)
            passed.append((h_t, m_t))
        after_h, after_m = map(_joined, zip(*passed, strict=True))
        return h, after_h, after_m

    def equations(self) -> str:
        """The equations of a block, as text; h and m are those of time and of depth, joined.

        See `Cell.equations`.
        """
        rows = 8 * self.hidden_size
        bias = None if self.bias_hh is None else self.bias_hh[:rows]
        return _block_equations(self, self.weight_hh[:rows], bias)

    def extra_repr(self) -> str:
        return super().extra_repr() + (", tied=True" if self.blocks < self.depth else "")


def _chunks(x: Tensor, n: int) -> tuple[Tensor, ...]:
    return (x,) if n == 1 else x.chunk(n)


def _block_equations(layer: Module, weight: Tensor, bias: Tensor | None) -> str:
    from minigrad.nn.equations import equations, symbol  # needed by those who print

    W: Any = symbol("W_hh", weight.detach(), parameter=True)
    b: Any = None if bias is None else symbol("b_hh", bias.detach(), parameter=True)
    like = weight.detach()[: weight.shape[1], :1]

    def block(_twin: Any) -> Sequence[tuple[str, Any]]:
        h: Any = symbol("h", like)
        m: Any = symbol("m", like)
        return list(zip(("h'", "m'"), _block(W, b, h, m), strict=True))

    return equations(layer, block)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else cat(parts)


def _in_a_row(part: Tensor) -> Tensor:
    """(extents …, H, B) as (points, H, B)."""
    return part.reshape(math.prod(part.shape[:-2]), *part.shape[-2:])


def _points(extents: Point) -> list[Point]:
    return list(itertools.product(*map(range, extents)))


def _others(axes: Point) -> list[Point]:
    """For each dimension of the data, what belongs to the others."""
    return [axes[:a] + axes[a + 1 :] for a in range(len(axes))]
