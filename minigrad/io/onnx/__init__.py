"""ONNX: the tensors of its recurrent operators in layers of ours, and whole models, both ways."""

from minigrad.io.onnx.model import from_model as from_model
from minigrad.io.onnx.model import to_model as to_model
from minigrad.io.onnx.weights import get_weights as get_weights
from minigrad.io.onnx.weights import set_weights as set_weights
