"""Modules: what the walk finds and in which order, state in and out, modes, moves and text."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn


class Net(nn.Module):
    def __init__(self) -> None:
        self.hidden = nn.Linear(3, 4)
        self.scale = nn.Parameter(mg.ones(1))
        self.steps = nn.Buffer(mg.zeros(2, dtype=mg.int64))
        self.layers = [nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2, bias=False)]
        self.heads = {"a": nn.Linear(2, 1), "b": (nn.Linear(2, 1), nn.Parameter(mg.zeros(2)))}
        self.words = ["not", "a", "module"]
        self.plain = mg.ones(3)

    def forward(self, x: mg.Tensor) -> mg.Tensor:
        return self.heads["a"](self.layers[2](self.layers[1](self.layers[0](self.hidden(x)))))


NAMES = [
    "scale",
    "heads.b.1",
    "hidden.weight",
    "hidden.bias",
    "layers.0.weight",
    "layers.0.bias",
    "layers.2.weight",
    "heads.a.weight",
    "heads.a.bias",
    "heads.b.0.weight",
    "heads.b.0.bias",
]


def names(module: nn.Module) -> list[str]:
    return [name for name, _ in module.named_parameters()]


def values(module: nn.Module) -> dict[str, list[Any]]:
    return {name: x.tolist() for name, x in module.state_dict().items()}


# ---- the walk --------------------------------------------------------------------------------


def test_parameters_come_in_the_order_of_definition_own_before_inner() -> None:
    assert names(Net()) == NAMES
    assert [name for name, _ in Net().named_buffers()] == ["steps"]
    assert names(nn.Sequential(Net()))[0] == "0.scale"


def test_modules_and_children() -> None:
    net = Net()
    paths = ["", "hidden", "layers.0", "layers.1", "layers.2", "heads.a", "heads.b.0"]
    assert [path for path, _ in net.named_modules()] == paths
    assert [path for path, _ in net.named_children()] == paths[1:]
    assert next(net.modules()) is net
    assert [path for path, _ in net.named_modules("top")][1] == "top.hidden"


def test_a_replaced_attribute_is_found_in_the_old_place_and_a_deleted_one_is_gone() -> None:
    net = Net()
    net.hidden = nn.Linear(3, 4, bias=False)
    assert names(net)[:4] == ["scale", "heads.b.1", "hidden.weight", "layers.0.weight"]
    del net.hidden
    assert "hidden.weight" not in names(net)
    net.layers.append(nn.Linear(1, 1))
    assert "layers.3.weight" in names(net)


def test_a_subclass_replaces_what_its_base_made() -> None:
    class Wider(Net):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(3, 4, bias=False)
            self.extra = nn.Parameter(mg.zeros(1))

    expected = [*NAMES[:2], "extra", *(name for name in NAMES[2:] if name != "hidden.bias")]
    assert names(Wider()) == expected


def test_a_shared_parameter_comes_once_and_is_saved_under_each_name() -> None:
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert names(tied) == ["0.weight", "0.bias", "1.bias"]
    assert list(tied.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    (tied(mg.ones(1, 2))).sum().backward()
    assert tied[1].weight.grad is tied[0].weight.grad


def test_a_shared_module_comes_once_and_is_saved_under_each_name() -> None:
    layer = nn.Linear(2, 2)
    shared = nn.Sequential(layer, nn.Tanh(), layer)
    assert names(shared) == ["0.weight", "0.bias"]
    assert len(list(shared.modules())) == 3
    assert list(shared.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_a_reference_upwards_ends_the_walk() -> None:
    net = nn.Sequential(nn.Linear(1, 1))
    net[0].parent = net
    assert names(net) == ["0.weight", "0.bias"]
    assert list(net.state_dict()) == ["0.weight", "0.bias"]


def test_lists_of_modules() -> None:
    several = nn.ModuleList([nn.Linear(1, 1)]).append(nn.Tanh())
    assert len(several) == 2
    assert isinstance(several[1], nn.Tanh)
    assert [type(m) for m in several] == [nn.Linear, nn.Tanh]
    assert names(several) == ["0.weight", "0.bias"]
    sequence = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    assert len(sequence) == 2
    assert sequence(mg.zeros(3, 2, 2)).shape == (3, 2)


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Bare defines no forward"):
        type("Bare", (nn.Module,), {})()(1)


# ---- state -----------------------------------------------------------------------------------


def test_state_dict_round_trip() -> None:
    a, b = Net(), Net()
    assert values(a) != values(b)
    keys = b.load_state_dict(a.state_dict())
    assert keys.missing_keys == keys.unexpected_keys == []
    assert values(a) == values(b)
    assert set(a.state_dict()) == {*NAMES, "steps"}
    assert not any(x.requires_grad for x in a.state_dict().values())


def test_load_state_dict_takes_arrays_and_casts_them() -> None:
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": np.array([[1.5, 2.0]]), "bias": [0.25]})
    assert layer.weight.dtype == np.float32
    assert values(layer) == {"weight": [[1.5, 2.0]], "bias": [0.25]}


def bad_states() -> dict[str, tuple[dict[str, Any], type[Exception], str]]:
    good = {"weight": np.ones((1, 2)), "bias": np.ones(1)}
    return {
        "missing": ({"weight": good["weight"]}, KeyError, "missing.*bias"),
        "unexpected": ({**good, "other": np.ones(1)}, KeyError, "unexpected.*other"),
        "shape": ({**good, "bias": np.ones(2)}, ValueError, r"bias: expected \(1,\).*got \(2,\)"),
        "dtype": ({**good, "bias": np.ones(1, complex)}, ValueError, "bias: expected"),
    }


@pytest.mark.parametrize("name", bad_states())
def test_load_state_dict_changes_nothing_where_it_raises(name: str) -> None:
    state, error, text = bad_states()[name]
    layer = nn.Linear(2, 1)
    before = values(layer)
    with pytest.raises(error, match=text):
        layer.load_state_dict(state)
    assert values(layer) == before


def test_load_state_dict_not_strict_loads_what_matches() -> None:
    layer = nn.Linear(2, 1)
    keys = layer.load_state_dict({"bias": np.array([3.0]), "other": np.ones(1)}, strict=False)
    assert (keys.missing_keys, keys.unexpected_keys) == (["weight"], ["other"])
    assert layer.bias.tolist() == [3.0]


def test_loading_makes_an_older_graph_stale() -> None:
    layer = nn.Linear(2, 1)
    y = layer(mg.ones(1, 2, requires_grad=True)).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="stale graph"):
        y.backward()


def test_a_deep_copy_shares_nothing() -> None:
    net = Net()
    twin = copy.deepcopy(net)
    assert values(twin) == values(net)
    nn.init.zeros_(twin.scale)
    twin(mg.ones(1, 3)).sum().backward()
    assert net.scale.tolist() == [1.0]
    assert net.hidden.weight.grad is None
    assert twin.hidden.weight.grad is not None


# ---- modes and moves -------------------------------------------------------------------------


def test_train_and_eval_reach_every_module() -> None:
    net = Net()
    assert net.training
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.train()
    assert all(m.training for m in net.modules())
    net.heads["a"].eval()
    assert net.training
    assert not net.heads["a"].training


def test_zero_grad_and_freezing() -> None:
    net = Net()
    net(mg.ones(1, 3)).sum().backward()
    assert net.hidden.weight.grad is not None
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.hidden.requires_grad_(False)
    net(mg.ones(1, 3)).sum().backward()
    assert net.layers[0].weight.grad is not None
    assert not net.hidden.weight.requires_grad
    net.zero_grad()


def test_dtype_of_all_but_integer_buffers() -> None:
    net = Net().double()
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    assert net.steps.dtype == np.int64
    assert net.float().scale.dtype == np.float32
    assert net.to(mg.get_default_device()) is net
    with pytest.raises(TypeError, match="floating"):
        net.to(mg.int64)
    assert net.scale.dtype == np.float32


def test_apply_goes_inside_out() -> None:
    seen: list[str] = []
    nn.Sequential(nn.Tanh(), nn.Sequential(nn.ReLU())).apply(
        lambda m: seen.append(type(m).__name__)
    )
    assert seen == ["Tanh", "ReLU", "Sequential", "Sequential"]


# ---- text ------------------------------------------------------------------------------------

SHOWN = """\
Sequential(
  (0): Embedding(10, 4, padding_idx=0)
  (1): Sequential(
    (0): Linear(4, 3, bias=True)
    (1): LayerNorm((3,), eps=1e-05, elementwise_affine=True)
    (2): RMSNorm((3,), eps=None, elementwise_affine=True)
    (3): GELU(approximate='none')
  )
  (2): Dropout(p=0.5)
  (3): Flatten(start_dim=1, end_dim=-1)
  (4): CrossEntropyLoss(ignore_index=-100, reduction='mean', label_smoothing=0.1)
)"""


def test_repr() -> None:
    inner = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.RMSNorm(3), nn.GELU())
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    model = nn.Sequential(nn.Embedding(10, 4, 0), inner, nn.Dropout(), nn.Flatten(), loss)
    assert repr(model) == SHOWN
    assert repr(nn.Parameter(mg.zeros(1))).startswith("Parameter containing:\ntensor([0.]")


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.ReLU(), "ReLU()"),
        (nn.LeakyReLU(0.2), "LeakyReLU(negative_slope=0.2)"),
        (nn.PReLU(3), "PReLU(num_parameters=3)"),
        (nn.Threshold(0.1, 20), "Threshold(threshold=0.1, value=20)"),
        (nn.ELU(), "ELU(alpha=1.0)"),
        (nn.CELU(), "CELU(alpha=1.0)"),
        (nn.Softplus(), "Softplus(beta=1.0, threshold=20.0)"),
        (nn.Hardtanh(), "Hardtanh(min_val=-1.0, max_val=1.0)"),
        (nn.GLU(0), "GLU(dim=0)"),
        (nn.Softmax(1), "Softmax(dim=1)"),
        (nn.LogSoftmax(1), "LogSoftmax(dim=1)"),
        (nn.MSELoss(), "MSELoss(reduction='mean')"),
        (nn.SmoothL1Loss(), "SmoothL1Loss(reduction='mean', beta=1.0)"),
        (nn.HuberLoss("sum", 2.0), "HuberLoss(reduction='sum', delta=2.0)"),
        (nn.KLDivLoss("batchmean"), "KLDivLoss(reduction='batchmean', log_target=False)"),
        (nn.NLLLoss(), "NLLLoss(ignore_index=-100, reduction='mean')"),
    ],
    ids=repr,
)
def test_repr_of_a_layer(module: nn.Module, text: str) -> None:
    assert repr(module) == text


def test_a_move_to_where_it_is_keeps_the_gradients() -> None:
    layer = nn.Linear(2, 1)
    loss = layer(mg.ones(1, 2)).sum()
    layer.to(layer.weight.device).float()
    loss.backward()
    assert layer.weight.grad is not None
    layer.to(layer.weight.device).float()
    assert layer.weight.grad.tolist() == [[1.0, 1.0]]
