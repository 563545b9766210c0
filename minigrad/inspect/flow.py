"""The gradient of a recurrent layer at every time step, and each step's share of the weights'."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from minigrad import ops, tape
from minigrad.creation import eye, zeros_like
from minigrad.inspect.parts import expect, history
from minigrad.nn.state import leaves, named_leaves
from minigrad.nn.trace import CellTrace
from minigrad.tape import Edge, Leaf, Node
from minigrad.tensor import Tensor, seed_of

Norms = Mapping[str, np.ndarray[Any, Any]]  # by the name of a part of the state: (T, B), float64


@dataclass(frozen=True, eq=False)
class CellFlow:
    """The gradients in one layer and direction; steps are in the order of time in both directions.

    gradients: ‖dL/ds_t‖ of each row of the batch, (T, B), for each part s of the state by its name.
    jacobians: ‖∂h_T/∂s_t‖ (Frobenius), (T, B), h_T the row's last hidden state, for each part.
    shares: each step's share of the gradient of each weight that the cell uses: (T, *weight.shape).
    """

    name: str
    gradients: Norms
    jacobians: Norms
    shares: Mapping[str, Tensor]

    @property
    def steps(self) -> int:
        """T, the number of time steps."""
        return len(next(iter(self.gradients.values())))

    def fractions(self, weight: str) -> np.ndarray[Any, Any]:
        """⟨G_t, G⟩ / ‖G‖² of each step's share G_t of a weight's gradient G = Σ G_t, (T,).

        How much of the gradient a step makes up, along the gradient's own direction: the numbers
        add up to 1, and a step that pulls the other way has a negative one.
        """
        shares = self._flat(weight)
        whole = shares.sum(0)
        square = float(whole @ whole)
        return shares @ whole / square if square else np.zeros(self.steps)

    def share_norms(self, weight: str) -> np.ndarray[Any, Any]:
        """‖G_t‖ of each step's share of a weight's gradient, (T,)."""
        return np.linalg.norm(self._flat(weight), axis=1)

    def _flat(self, weight: str) -> np.ndarray[Any, Any]:
        return self.shares[weight].double().cpu().numpy().reshape(self.steps, -1)

    def describe(self, rows: int = 12) -> str:
        """A table of some steps, with the first and the last: norms, mean over the batch, shares.

        The shares are the `fractions` of the weights that are matrices, in per cent.
        """
        columns = {f"‖dL/d{s}_t‖": x.mean(1) for s, x in self.gradients.items()}
        columns |= {f"‖∂h_T/∂{s}_t‖": x.mean(1) for s, x in self.jacobians.items()}
        texts = {head: [f"{x:.2e}" for x in column] for head, column in columns.items()}
        for weight, shares in self.shares.items():
            if shares.ndim > 2:
                head = weight.removesuffix(f"_{self.name}")
                texts[head] = [f"{x:z.1%}" for x in self.fractions(weight)]
        shown = np.unique(np.linspace(0, self.steps - 1, rows).round().astype(int))
        table = [["t", *map(str, shown)]]
        table += [[head, *(column[t] for t in shown)] for head, column in texts.items()]
        widths = [max(map(len, column)) for column in table]
        lines = [
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
            for line in zip(*table, strict=True)
        ]
        batch = next(iter(self.gradients.values())).shape[1]
        return "\n".join([f"{self.name}: {self.steps} steps, {batch} rows", *lines])

    __repr__ = describe


class GradFlow(Sequence[CellFlow]):
    """The gradients in a recurrent layer, for each layer and direction as in its trace."""

    def __init__(self, cells: Sequence[CellFlow]) -> None:
        self._cells = tuple(cells)

    @overload
    def __getitem__(self, k: int) -> CellFlow: ...
    @overload
    def __getitem__(self, k: slice) -> Sequence[CellFlow]: ...
    def __getitem__(self, k: int | slice) -> CellFlow | Sequence[CellFlow]:
        return self._cells[k]

    def __len__(self) -> int:
        return len(self._cells)

    def describe(self, rows: int = 12) -> str:
        """The table of each layer and direction, one below the other."""
        return "\n\n".join(cell.describe(rows) for cell in self)

    __repr__ = describe


def grad_flow(
    loss: Tensor,
    trace: Sequence[CellTrace],
    params: Mapping[str, Tensor] | None = None,
    jacobians: bool = True,
) -> GradFlow:
    """How the gradient of `loss`, a scalar, flows back through a recurrent layer, step by step.

    For each layer and direction, and each part s of the state as it left step t:

        ‖dL/ds_t‖      the norm of the gradient, for each row of the batch
        ‖∂h_T/∂s_t‖    the Frobenius norm of the Jacobian of the row's last hidden state
        G_t            the step's share of the gradient of each weight in `params`: what reaches the
                       weight from s_t without passing through the state of another step

    As in textbooks, dL/dc_t of an LSTM counts the way through h_t = o ∘ tanh(c_t) too. h_T is the
    state at the row's true end, in the reverse direction that at t = 0, so that ‖∂h_T/∂h_T‖ is √H.
    Beyond a row's length all is 0.

    trace: from `y, state, trace = layer(x, trace=True)`.
    params: the weights by name, `dict(layer.named_parameters())`. The shares of all steps and cells
        add up to `.grad`, but for what reaches a weight past the steps: as a part of the head, of a
        learnt initial state, of `Cell.output` and `Cell.readout`.
    jacobians: whether to compute them. They are exact, at the cost of H backward passes.

    No `.grad` is written and no graph freed: call it before `loss.backward()`, which frees it.
    A weight's shares take T times its memory, and together about the time of a backward pass. In
    float32 what is below 10⁻⁴⁵ is 0: `layer.double()`
    sees further.

    Raises ValueError where the trace is not on the tape, RuntimeError where the loss does not
    depend on it or the graph was freed.

    Source: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks, 2013.

    >>> import minigrad as mg
    >>> layer = mg.nn.LSTM(3, 4)
    >>> y, _, trace = layer(mg.randn(5, 2, 3), trace=True)
    >>> loss = y[-1].square().mean()
    >>> flow = mg.inspect.grad_flow(loss, trace, dict(layer.named_parameters()))
    >>> flow[0].gradients["c"].shape, flow[0].shares["weight_hh_l0"].shape
    ((5, 2), (5, 16, 4))
    >>> loss.backward()
    >>> mg.allclose(flow[0].shares["weight_hh_l0"].sum(0), layer.weight_hh_l0.grad, atol=1e-7)
    True
    """
    expect("grad_flow", trace, Sequence, "the whole trace of a layer, not trace[k]")
    expect("grad_flow", params or {}, Mapping, "params by name, dict(layer.named_parameters())")
    after = [[named_leaves(run.cell.state_names, state) for state in run.after] for run in trace]
    before = [[_edges(leaves(state)) for state in run.before] for run in trace]
    states = _edges(x for steps in after for step in steps for x in step.values())
    cotangents = _cotangents(loss, states)
    ends = {*states, *(edge for steps in before for step in steps for edge in step)}
    flows: list[CellFlow] = []
    for run, steps, given in zip(trace, after, before, strict=True):
        made = [
            {e: cotangents[e] for e in _edges(step.values()) if e in cotangents and e not in old}
            for step, old in zip(steps, given, strict=True)
        ]
        gradients = _norms(steps, cotangents)
        norms = _jacobians(leaves(run.last)[0], steps) if jacobians else dict[str, Any]()
        flows.append(CellFlow(run.name, gradients, norms, _shares(made, ends, params or {})))
    return GradFlow(flows)


Step = Mapping[str, Tensor]  # the parts of the state as it left a step
Cotangents = Mapping[Edge, Any]  # arrays, by the place on the tape that they flowed into


def _edges(tensors: Iterable[Tensor]) -> list[Edge]:
    return [x.edge for x in tensors if x.edge is not None]


def _cotangents(loss: Tensor, states: Sequence[Edge]) -> Cotangents:
    """dL/ds of each state that the loss depends on."""
    if not states:
        raise ValueError(
            "grad_flow: expected the trace of a layer that computes with gradients; nothing in "
            "this one is on the tape (was it made within no_grad, or are its weights frozen?)"
        )
    found = _pulled_back(loss, seed_of(loss, None, "grad_flow"), states)
    if not found:
        raise RuntimeError("grad_flow: the loss does not depend on any state in the trace")
    return found


def _pulled_back(output: Tensor, seed: Tensor, targets: Sequence[Edge]) -> Cotangents:
    if output.edge is None:
        return {}
    return tape.sweep([(output.edge, seed.data)], targets=targets, retain=True)


def _norms(steps: Sequence[Step], cotangents: Cotangents) -> Norms:
    return {part: np.sqrt(square) for part, square in _squares(steps, cotangents).items()}


def _squares(steps: Sequence[Step], cotangents: Cotangents) -> Norms:
    """Σ g² over features, (T, B), of what flowed into each part of the state.

    In float64, where the square of what is small in float32 is not 0.
    """
    squares: dict[str, np.ndarray[Any, Any]] = {}
    for part, like in steps[0].items():
        found = [None if (e := step[part].edge) is None else cotangents.get(e) for step in steps]
        gs = [zeros_like(like) if g is None else Tensor(g) for g in found]
        squares[part] = ops.sum(ops.square(ops.stack(gs).double()), 1).cpu().numpy()
    return squares


def _jacobians(last: Tensor, steps: Sequence[Step]) -> Norms:
    """‖∂last/∂s_t‖ per row: a backward pass for each unit of last (H, B), in all rows at once."""
    states = _edges(x for step in steps for x in step.values())
    squares = {part: np.zeros((len(steps), x.shape[1])) for part, x in steps[0].items()}
    for unit in eye(last.shape[0], dtype=last.dtype, device=last.device):
        seed = unit.unsqueeze(1).expand(last.shape)
        for part, square in _squares(steps, _pulled_back(last, seed, states)).items():
            squares[part] += square
    return {part: np.sqrt(square) for part, square in squares.items()}


def _shares(
    made: Sequence[Cotangents], ends: AbstractSet[Edge], params: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """(T, *weight.shape) for each weight that some step uses, from what flowed into each step."""
    edges = {name: p.edge for name, p in params.items() if p.edge is not None}
    found = [_share(results, ends, list(edges.values())) for results in made]
    shares: dict[str, Tensor] = {}
    for name, edge in edges.items():
        if any(edge in share for share in found):
            zero = zeros_like(params[name])
            own = [Tensor(share[edge]) if edge in share else zero for share in found]
            shares[name] = ops.stack([g.to(zero.dtype) for g in own])
    return shares


def _share(made: Cotangents, ends: AbstractSet[Edge], targets: Sequence[Edge]) -> Cotangents:
    """What flows from what one step made into the targets without passing through another step."""
    seeds = zip(_severed(list(made), ends), made.values(), strict=True)
    return tape.sweep(seeds, targets=targets, retain=True)  # the copy shares what the ops hold


def _severed(results: Sequence[Edge], ends: AbstractSet[Edge]) -> list[Edge]:
    """The results on a copy of the tape on which nothing flows into `ends`: as if detached."""
    twins: dict[Node | Leaf, Node | Leaf] = {}
    for node in history(results, cut=ends):
        twin = twins[node] = copy.copy(node)
        twin.edges = [
            None if edge is None or edge in ends else (twins.get(edge[0], edge[0]), edge[1])
            for edge in node.edges
        ]
    return [(twins.get(node, node), i) for node, i in results]
