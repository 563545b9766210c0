"""What checks minigrad itself, for your own ops and layers: gradients against differences.

>>> import minigrad as mg
>>> from minigrad.testing import gradcheck
>>> x = mg.tensor([1.0, 0.0], dtype="float64", requires_grad=True)
>>> gradcheck(mg.relu, x)
Traceback (most recent call last):
...
minigrad.testing.gradcheck.KinkError: not smooth near x: kink at input 0, element (1,)

`minigrad.testing.strategies` draws shapes, arrays, indices and tensors for hypothesis.
"""

from minigrad.testing.gradcheck import GradientError as GradientError
from minigrad.testing.gradcheck import KinkError as KinkError
from minigrad.testing.gradcheck import gradcheck as gradcheck
