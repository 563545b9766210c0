"""What a Tensor promises as a Python object, and the errors of its constructors."""

import copy
import pickle

import numpy as np
import pytest

import minigrad as mg


def test_lists_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="not equally long"):
        mg.tensor([[1.0, 2.0], [3.0]])


def test_things_that_are_no_numbers_are_refused():
    with pytest.raises(TypeError, match="expected numbers"):
        mg.tensor(["one", "two"])


def test_a_scalar_formats_like_a_number():
    assert f"{mg.tensor(3.14159):.2f}" == "3.14"
    with pytest.raises(TypeError):
        format(mg.tensor([1.0, 2.0]), ".2f")


def test_a_gradient_must_be_a_tensor_of_the_same_shape():
    x = mg.zeros(2, requires_grad=True)
    with pytest.raises(TypeError, match="must be a Tensor"):
        x.grad = np.zeros(2)  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="shape"):
        x.grad = mg.zeros(3)
    assert x.grad is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_leaf_can_be_copied_and_a_computed_tensor_cannot(copied):
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    again = copied(x)
    assert again.requires_grad
    assert again.is_leaf
    assert again.tolist() == [1.0, 2.0]
    with pytest.raises(RuntimeError, match="detach"):
        copied(x * 2)


def test_sizes_must_be_whole():
    with pytest.raises(TypeError):
        mg.zeros(2).reshape(2.0)


def test_random_integers_from_zero_and_random_numbers_of_a_floating_dtype_only():
    draws = mg.randint(3, (100,))
    assert set(draws.tolist()) == {0, 1, 2}
    with pytest.raises(TypeError, match="floating"):
        mg.rand(3, dtype=mg.int64)
