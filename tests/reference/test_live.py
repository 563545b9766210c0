"""minigrad against an installed PyTorch: every case with new numbers, and random ones."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import nn
from tests.reference.case import MINIGRAD, Case, assert_agree, run
from tests.reference.cases import FAMILIES
from tests.reference.recurrent_cases import KINDS, layer_case

torch = pytest.importorskip("torch")
with_torch = pytest.importorskip("tests.reference.with_torch")
CASES = [case for cases in FAMILIES.values() for case in cases]
pytestmark = [
    pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning"),  # of kl_div
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning"),
]


def name_of(value: Any) -> str | None:
    return value.name if isinstance(value, Case) else None


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_case(case: Case, seed: int) -> None:
    theirs = with_torch.run_torch(case, seed)
    assert_agree(case, run(case, MINIGRAD, theirs), theirs, case.rtol)


@st.composite
def recurrent_cases(draw: st.DrawFn) -> Case:
    steps, batch = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    batched = draw(st.booleans())
    lengths = draw(
        st.none() | st.lists(st.integers(1, steps), min_size=batch, max_size=batch)
        if batched
        else st.none()
    )
    return layer_case(
        draw(st.sampled_from(list(KINDS))),
        draw(st.integers(1, 3)),
        draw(st.booleans()),
        batched=batched,
        batch_first=draw(st.booleans()),
        bias=draw(st.booleans()),
        state=draw(st.booleans()),
        lengths=lengths is not None,
        given_lengths=lengths,
        sizes=(steps, batch, draw(st.integers(1, 4)), draw(st.integers(1, 4))),
    )


@given(case=recurrent_cases(), seed=st.integers(0, 99))
def test_recurrent_layer_of_any_size(case: Case, seed: int) -> None:
    theirs = with_torch.run_torch(case, seed)
    assert_agree(case, run(case, MINIGRAD, theirs), theirs, case.rtol)


@pytest.mark.parametrize("case", [c for c in CASES if c.module is not None], ids=name_of)
def test_state_has_the_same_names_and_shapes(case: Case) -> None:
    assert case.module is not None
    ours, theirs = case.module(MINIGRAD), case.module(with_torch.TORCH)
    expected = {name: tuple(x.shape) for name, x in theirs.state_dict().items()}
    assert {name: x.shape for name, x in ours.state_dict().items()} == expected
    assert list(ours.state_dict()) == list(expected)
    ours.load_state_dict(theirs.state_dict())


# What minigrad adds, or leaves out because tensors are values, is not in PyTorch's order.
OURS = {"generator", "proj_size", "reset"}
THEIRS = {
    "inplace",
    "size_average",
    "reduce",
    "sparse",
    "max_norm",
    "norm_type",
    "scale_grad_by_freq",
    "_weight",
    "_freeze",
    "proj_size",
    "_stacklevel",
    "min_value",
    "max_value",
    "enable_nested_tensor",
    "mask_check",
    "args",
    "kwargs",
}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, value in vars(nn).items()
        if inspect.isclass(value)
        and hasattr(torch.nn, name)
        and name not in ("Module", "Parameter", "Buffer", "Sequential", "RNN", "LSTM", "GRU")
    ],
)
def test_arguments_have_the_same_names_and_order(name: str) -> None:
    def names(cls: Any, without: set[str]) -> list[str]:
        return [p for p in inspect.signature(cls).parameters if p not in without]

    ours, theirs = names(getattr(nn, name), OURS), names(getattr(torch.nn, name), THEIRS)
    if name != "Identity":  # takes anything
        assert ours == theirs


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers_take_pytorchs_arguments(name: str) -> None:
    between = ["relu"] if name == "RNN" else []  # its nonlinearity comes before the bias
    layer, peer = (
        getattr(library, name)(3, 4, 2, *between, False, True, 0.25, True)
        for library in (nn, torch.nn)
    )
    for attribute in ("num_layers", "batch_first", "dropout", "bidirectional"):
        assert getattr(layer, attribute) == getattr(peer, attribute)
    assert set(layer.state_dict()) == set(peer.state_dict())


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("kind", ["", "Cell"])
def test_recurrent_layers_read_as_pytorchs(name: str, kind: str) -> None:
    for options in [{}, {"bias": False}, {"num_layers": 2, "dropout": 0.5, "bidirectional": True}]:
        if kind and "num_layers" in options:
            continue
        ours, theirs = (getattr(lib, name + kind)(3, 4, **options) for lib in (nn, torch.nn))
        assert repr(ours) == repr(theirs)
        read = ["input_size", "hidden_size", "bias"]
        if not kind:
            read += ["num_layers", "batch_first", "dropout", "bidirectional", "proj_size"]
        for attribute in read:
            assert getattr(ours, attribute) == getattr(theirs, attribute)
        x = mg.zeros(2, 3) if kind else mg.zeros(5, 2, 3)
        expected = theirs(torch.zeros(*x.shape), hx=None)
        assert len(ours(x, hx=None)) == len(expected)


def test_options_of_one_layer_read_as_pytorchs() -> None:
    for name, options in [("LSTM", {"proj_size": 2}), ("RNNCell", {"nonlinearity": "relu"})]:
        ours, theirs = (getattr(lib, name)(3, 4, **options) for lib in (nn, torch.nn))
        assert repr(ours) == repr(theirs)
    assert nn.LSTM(3, 4, proj_size=2).proj_size == 2
    assert nn.RNN(3, 4, nonlinearity="relu").nonlinearity == "relu"


@given(
    norm_type=st.sampled_from([1.0, 2.0, 3.5, float("inf")]),
    max_norm=st.floats(0.0, 10.0),
    seed=st.integers(0, 99),
)
def test_clip_grad_norm(norm_type: float, max_norm: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    ours, theirs = [], []
    for shape in [(3, 2), (4,), ()]:
        g = np.asarray(random.standard_normal(shape))
        p, q = nn.Parameter(mg.zeros(shape, dtype=mg.float64)), torch.zeros(shape).double()
        p.grad, q.grad = mg.tensor(g), torch.tensor(g)
        ours.append(p)
        theirs.append(q)
    total = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert float(total) == pytest.approx(float(expected), rel=1e-12)
    for p, q in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(p.grad.cpu().numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-15)
