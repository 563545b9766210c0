"""Groups, names, skipped parameters and saved state are the same for every optimiser."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import optim
from minigrad.optim import optimizer as base
from minigrad.optim.state import State


def leaf(*values: float) -> mg.Tensor:
    return mg.tensor([float(v) for v in values], requires_grad=True)


def with_grad(*values: float) -> mg.Tensor:
    p = leaf(*values)
    p.grad = mg.ones(p.shape)
    return p


def host(p: mg.Tensor) -> list[float]:
    return p.detach().cpu().tolist()


# ---- groups and names -------------------------------------------------------------------------


def test_unnamed_parameters_are_numbered_over_all_groups() -> None:
    optimizer = optim.SGD([{"params": [leaf(1), leaf(2)]}, {"params": leaf(3), "lr": 0.5}], lr=0.1)
    assert [g["param_names"] for g in optimizer.param_groups] == [
        ["param.0", "param.1"],
        ["param.2"],
    ]
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5]


def test_named_parameters_keep_their_names() -> None:
    named = {"cell.weight": leaf(1), "cell.bias": leaf(2)}
    assert optim.SGD(named.items()).param_groups[0]["param_names"] == list(named)
    groups = [{"params": [item]} for item in named.items()]
    assert [g["param_names"] for g in optim.SGD(groups).param_groups] == [[n] for n in named]


def test_a_group_may_join_later() -> None:
    a, b = with_grad(1), with_grad(1)
    optimizer = optim.SGD([a], lr=0.5)
    optimizer.step()
    optimizer.add_param_group({"params": [b], "lr": 0.25, "name": "head"})
    optimizer.step()
    assert (host(a), host(b)) == ([0.0], [0.75])


def test_options_of_a_group_may_be_written() -> None:
    p = with_grad(1)
    optimizer = optim.SGD([p], lr=0.5)
    optimizer.param_groups[0]["lr"] = mg.tensor(0.25)
    optimizer.step()
    assert host(p) == [0.75]


def test_repr_shows_groups_and_options() -> None:
    text = repr(optim.Adam([{"params": [leaf(1), leaf(2)]}, {"params": [leaf(3)], "lr": 0.5}]))
    assert "Adam(" in text
    assert "group 0: 2 parameters, lr=0.001, betas=(0.9, 0.999)" in text
    assert "group 1: 1 parameters, lr=0.5" in text


# ---- steps ------------------------------------------------------------------------------------


def test_parameters_without_gradient_are_skipped() -> None:
    a, b = with_grad(1), leaf(1)
    optimizer = optim.SGD([a, b], lr=0.5, weight_decay=0.5)
    optimizer.step()
    assert (host(a), host(b)) == ([0.25], [1.0])
    assert list(optimizer.state) == ["param.0"]


def test_a_step_without_any_gradient_raises() -> None:
    optimizer = optim.SGD([leaf(1), leaf(2)])
    with pytest.raises(RuntimeError, match=r"call loss\.backward\(\) before step\(\)"):
        optimizer.step()


def test_a_frozen_parameter_stays() -> None:
    a, b = with_grad(1), with_grad(1)
    optimizer = optim.SGD([a, b], lr=0.5)
    b.requires_grad_(False)
    optimizer.step()
    optimizer.zero_grad()
    assert (host(a), host(b)) == ([0.5], [1.0])


def test_zero_grad_forgets_or_fills_with_zeros() -> None:
    a, b = with_grad(1, 2), leaf(3)
    optimizer = optim.SGD([a, b])
    optimizer.zero_grad(set_to_none=False)
    assert a.grad is not None
    assert a.grad.tolist() == [0.0, 0.0]
    assert b.grad is None
    optimizer.zero_grad()
    assert a.grad is None


def test_a_closure_computes_the_gradients_and_gives_the_loss() -> None:
    w = leaf(1)
    optimizer = optim.SGD([w], lr=0.25)

    def closure() -> mg.Tensor:
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 1.0
    assert host(w) == [0.5]


def test_a_graph_older_than_the_step_is_stale() -> None:
    w = leaf(1)
    loss = (w * w).sum()
    w.grad = mg.ones(w.shape)
    optim.SGD([w]).step()
    with pytest.raises(RuntimeError, match="stale"):
        loss.backward()


def test_a_parameter_made_from_a_numpy_scalar_is_written() -> None:
    w = mg.Tensor(np.float32(1)).requires_grad_()
    optimizer = optim.SGD([w], lr=0.5)
    w.grad = mg.Tensor(np.float32(1))
    optimizer.step()
    assert w.item() == 0.5


def test_an_option_switched_on_too_late_is_named() -> None:
    p = with_grad(1)
    optimizer = optim.SGD([p])
    optimizer.step()
    optimizer.param_groups[0]["momentum"] = 0.9
    with pytest.raises(RuntimeError, match=r"keeps no 'momentum_buffer'.*switched on"):
        optimizer.step()


def test_state_is_written_in_place_only() -> None:
    state = State(step=0, m=mg.ones(2).data)
    state["step"] += 1
    state["m"] *= 2
    with pytest.raises(TypeError, match=re.escape("state['m'][...] = value")):
        state["m"] = state["m"] * 2


class Recorder(optim.Optimizer):
    """Does nothing, and notes the shapes of what it is given."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.0})
        self.seen: list[tuple[int, ...]] = []

    def init(self, p: Any, group: Any) -> dict[str, Any]:
        return {"kept": p.copy()} if self.elementwise else {"norm": p.sum()}

    def update(self, p: Any, g: Any, state: Any, group: Any) -> Any:
        if self.elementwise:
            assert state["kept"].shape == p.shape
        assert g.shape == p.shape
        self.seen.append(p.shape)
        return 0 * g


class ElementwiseRecorder(Recorder):
    elementwise = True


def test_only_elementwise_optimisers_get_parts(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "BLOCK", 10)
    p = mg.ones(7, 4).requires_grad_()
    p.grad = mg.ones(7, 4)
    seen: list[list[tuple[int, ...]]] = []
    for kind in (Recorder, ElementwiseRecorder):
        recorder = kind([p])
        recorder.step()
        seen.append(recorder.seen)
    parts = [(7, 4)] if backend == "cupy" else [(2, 4), (2, 4), (2, 4), (1, 4)]
    assert seen == [[(7, 4)], parts]


# ---- saved state ------------------------------------------------------------------------------


def momentum_sgd(*names: str) -> tuple[optim.SGD, dict[str, mg.Tensor]]:
    params = {name: with_grad(1, 2) for name in names}
    return optim.SGD(params.items(), momentum=0.5), params


def plain(state_dict: dict[str, Any]) -> dict[str, Any]:
    """The same with lists for Tensors, to compare and to keep."""
    state = {
        name: {k: v if k == "step" else v.tolist() for k, v in entry.items()}
        for name, entry in state_dict["state"].items()
    }
    return {"state": state, "param_groups": copy.deepcopy(state_dict["param_groups"])}


def test_the_form_of_the_state_dict() -> None:
    optimizer, _ = momentum_sgd("w", "b")
    optimizer.step()
    assert plain(optimizer.state_dict()) == {
        "state": {name: {"step": 1, "momentum_buffer": [1.0, 1.0]} for name in ("w", "b")},
        "param_groups": [
            {
                "lr": 1e-3,
                "momentum": 0.5,
                "dampening": 0,
                "weight_decay": 0,
                "nesterov": False,
                "maximize": False,
                "params": ["w", "b"],
            }
        ],
    }


def test_saved_and_loaded_state_is_a_copy() -> None:
    optimizer, _ = momentum_sgd("w")
    optimizer.step()
    saved = optimizer.state_dict()
    before = plain(saved)
    optimizer.step()
    assert plain(saved) == before
    optimizer.load_state_dict(saved)
    optimizer.step()
    assert plain(saved) == before


def test_the_order_of_names_does_not_matter() -> None:
    one, _ = momentum_sgd("w", "b")
    one.step()
    other, _ = momentum_sgd("b", "w")
    other.load_state_dict(one.state_dict())
    assert plain(other.state_dict())["state"] == plain(one.state_dict())["state"]


def test_loaded_groups_are_the_same_dicts() -> None:
    optimizer, _ = momentum_sgd("w")
    group = optimizer.param_groups[0]
    saved = optimizer.state_dict()
    saved["param_groups"][0] |= {"lr": 0.5, "initial_lr": 1.0}
    optimizer.load_state_dict(saved)
    assert group is optimizer.param_groups[0]
    assert (group["lr"], group["initial_lr"]) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["param_groups"].append({}), "expected 1 parameter groups, got 2"),
        (lambda d: d["param_groups"][0]["params"].remove("b"), "'b' is missing"),
        (lambda d: d["param_groups"][0]["params"].append("c"), "'c' is not a parameter of it"),
        (lambda d: d["param_groups"][0].pop("dampening"), "option 'dampening' is missing"),
        (lambda d: d["param_groups"][0].update(lr=-1.0), "expected lr to be"),
        (lambda d: d["param_groups"][0].update(momentum=0), "expected the saved state to hold"),
        (lambda d: d["state"].update(c={}), "no parameter is called c"),
        (
            lambda d: d["state"]["b"].pop("momentum_buffer"),
            "'b'.*to hold 'momentum_buffer', 'step'",
        ),
        (lambda d: d["state"]["b"].update(extra=1), "'b'.*got 'extra'"),
        (lambda d: d["state"]["b"].update(step=-1), "'b'.*whole number"),
        (
            lambda d: d["state"]["b"].update(momentum_buffer=mg.ones(3)),
            r"'b'.*to have shape \(2,\), got \(3,\)",
        ),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(
    change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    optimizer, _ = momentum_sgd("w", "b")
    optimizer.step()
    before = plain(optimizer.state_dict())
    saved = optimizer.state_dict()
    saved["param_groups"][0]["lr"] = 0.5
    saved["state"]["w"]["step"] = 7
    change(saved)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(saved)
    assert plain(optimizer.state_dict()) == before


def test_the_state_of_another_optimiser_is_refused() -> None:
    optimizer, _ = momentum_sgd("w")
    with pytest.raises(ValueError, match="the option 'alpha' is missing"):
        optim.RMSprop([("w", leaf(1, 2))]).load_state_dict(optimizer.state_dict())


# ---- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        (list, ValueError, "an empty one"),
        (lambda: leaf(1), TypeError, r"got one Tensor; write \[parameter\]"),
        (lambda: {"w": leaf(1)}, TypeError, r"got a dict; write its \.items\(\)"),
        (lambda: {leaf(1)}, TypeError, "got a set"),
        (lambda: 3, TypeError, r"got int; write model\.parameters\(\)"),
        (lambda: [np.ones(2)], TypeError, "got ndarray called 'param.0'"),
        (lambda: [("w", 3)], TypeError, "got int called 'w'"),
        (lambda: [leaf(1), {"params": [leaf(1)]}], TypeError, "got dict called 'param.1'"),
        (lambda: [{"lr": 0.1}], ValueError, r"expected a group \{'params': ...\}"),
        (
            lambda: [{"params": [leaf(1)], "wieght_decay": 1}],
            TypeError,
            "did you mean 'weight_decay'",
        ),
        (lambda: [{"params": [leaf(1)], "zzz": 1}], TypeError, "its options are lr, momentum"),
        (lambda: [{"params": [leaf(1)], "lr": -1}], ValueError, "at least 0, got -1"),
        (lambda: [leaf(1) * 2], ValueError, "was computed from other tensors"),
        (lambda: [mg.ones(2)], ValueError, "does not require grad"),
        (lambda: [leaf(1)] * 2, ValueError, r"'param.1' comes twice \(first as 'param.0'\)"),
        (lambda: [("w", leaf(1)), ("w", leaf(1))], ValueError, "two parameters are called 'w'"),
    ],
)
def test_bad_parameters(params: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        optim.SGD(params())


def test_a_parameter_in_two_groups_raises() -> None:
    p = leaf(1)
    with pytest.raises(ValueError, match="comes twice"):
        optim.SGD([{"params": [p]}, {"params": [p]}])


@pytest.mark.parametrize(
    ("make", "options", "names"),
    [
        (optim.SGD, {"nesterov": True}, "nesterov"),
        (optim.SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "nesterov"),
        (optim.RMSprop, {"alpha": 1.5}, "alpha"),
        (optim.Adadelta, {"rho": -0.1}, "rho"),
        (optim.Adadelta, {"rho": 1.1}, "rho"),
        (optim.Adam, {"betas": (1.0, 0.9)}, r"betas\[0\]"),
        (optim.AdamW, {"betas": (0.9, -1)}, r"betas\[1\]"),
        *[
            (make, {name: -1}, name)
            for make, names in [
                (optim.SGD, ("lr", "momentum", "weight_decay")),
                (
                    optim.Adagrad,
                    ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"),
                ),
                (optim.RMSprop, ("lr", "alpha", "eps", "weight_decay", "momentum")),
                (optim.Adadelta, ("lr", "eps", "weight_decay")),
                (optim.Adam, ("lr", "eps", "weight_decay")),
                (optim.AdamW, ("lr", "eps", "weight_decay")),
            ]
            for name in names
        ],
    ],
)
def test_options_out_of_range(
    make: type[optim.Optimizer], options: dict[str, Any], names: str
) -> None:
    with pytest.raises(ValueError, match=f"{make.__name__}: .*{names}"):
        make([leaf(1)], **options)


@pytest.mark.parametrize("lr", ["0.1", None, True, [0.1]])
def test_a_rate_that_is_no_number(lr: Any) -> None:
    with pytest.raises(TypeError, match="expected lr to be a number at least 0, got"):
        optim.SGD([leaf(1)], lr=lr)


@pytest.mark.parametrize("lr", [float("nan"), float("inf"), np.float32("nan")])
def test_a_rate_that_is_not_finite(lr: float) -> None:
    with pytest.raises(ValueError, match=r"write, for example, lr=0\.001"):
        optim.SGD([leaf(1)], lr=lr)


@pytest.mark.parametrize("betas", [0.9, (0.9,), (0.9, 0.99, 0.999)])
def test_betas_that_are_not_two(betas: Any) -> None:
    with pytest.raises(TypeError, match="expected betas to be two numbers"):
        optim.Adam([leaf(1)], betas=betas)
