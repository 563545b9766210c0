"""How recurrent weights start, gate by gate: PyTorch's way, Keras's, orthogonal, long memory."""

from minigrad.nn.presets.known import bias as bias
from minigrad.nn.presets.known import chrono as chrono
from minigrad.nn.presets.known import constant as constant
from minigrad.nn.presets.known import forget_bias as forget_bias
from minigrad.nn.presets.known import keras as keras
from minigrad.nn.presets.known import orthogonal as orthogonal
from minigrad.nn.presets.known import torch as torch
from minigrad.nn.presets.known import uniform as uniform
from minigrad.nn.presets.preset import Draw as Draw
from minigrad.nn.presets.preset import Preset as Preset
from minigrad.nn.presets.preset import Rule as Rule
