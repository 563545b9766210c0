"""Tensors and trees of tensors in safetensors files; weights as Keras and ONNX have them."""

from minigrad.io import keras as keras
from minigrad.io import onnx as onnx
from minigrad.io.files import Loaded as Loaded
from minigrad.io.files import load as load
from minigrad.io.files import save as save
