"""Networks: modules with parameters, layers, and recurrent layers of any cell."""

import importlib
from typing import TYPE_CHECKING, Any

from minigrad.nn import functional as functional
from minigrad.nn import init as init
from minigrad.nn import utils as utils
from minigrad.nn.activation import CELU as CELU
from minigrad.nn.activation import ELU as ELU
from minigrad.nn.activation import GELU as GELU
from minigrad.nn.activation import GLU as GLU
from minigrad.nn.activation import SELU as SELU
from minigrad.nn.activation import Hardsigmoid as Hardsigmoid
from minigrad.nn.activation import Hardswish as Hardswish
from minigrad.nn.activation import Hardtanh as Hardtanh
from minigrad.nn.activation import Identity as Identity
from minigrad.nn.activation import LeakyReLU as LeakyReLU
from minigrad.nn.activation import LogSigmoid as LogSigmoid
from minigrad.nn.activation import LogSoftmax as LogSoftmax
from minigrad.nn.activation import Mish as Mish
from minigrad.nn.activation import PReLU as PReLU
from minigrad.nn.activation import ReLU as ReLU
from minigrad.nn.activation import ReLU6 as ReLU6
from minigrad.nn.activation import Sigmoid as Sigmoid
from minigrad.nn.activation import SiLU as SiLU
from minigrad.nn.activation import Softmax as Softmax
from minigrad.nn.activation import Softmin as Softmin
from minigrad.nn.activation import Softplus as Softplus
from minigrad.nn.activation import Softsign as Softsign
from minigrad.nn.activation import Tanh as Tanh
from minigrad.nn.activation import Threshold as Threshold
from minigrad.nn.alignment import AdditiveAttention as AdditiveAttention
from minigrad.nn.alignment import ContentAttention as ContentAttention
from minigrad.nn.alignment import MultiplicativeAttention as MultiplicativeAttention
from minigrad.nn.attention import MultiheadAttention as MultiheadAttention
from minigrad.nn.cell import Cell as Cell
from minigrad.nn.cells import GRU as GRU
from minigrad.nn.cells import LSTM as LSTM
from minigrad.nn.cells import MGU as MGU
from minigrad.nn.cells import RNN as RNN
from minigrad.nn.cells import CoupledLSTM as CoupledLSTM
from minigrad.nn.cells import CoupledLSTMCell as CoupledLSTMCell
from minigrad.nn.cells import GridLSTM as GridLSTM
from minigrad.nn.cells import GridLSTMCell as GridLSTMCell
from minigrad.nn.cells import GRUCell as GRUCell
from minigrad.nn.cells import Highway as Highway
from minigrad.nn.cells import LayerNormGRU as LayerNormGRU
from minigrad.nn.cells import LayerNormGRUCell as LayerNormGRUCell
from minigrad.nn.cells import LayerNormLSTM as LayerNormLSTM
from minigrad.nn.cells import LayerNormLSTMCell as LayerNormLSTMCell
from minigrad.nn.cells import LSTMCell as LSTMCell
from minigrad.nn.cells import MGUCell as MGUCell
from minigrad.nn.cells import PeepholeLSTM as PeepholeLSTM
from minigrad.nn.cells import PeepholeLSTMCell as PeepholeLSTMCell
from minigrad.nn.cells import Residual as Residual
from minigrad.nn.cells import RNNCell as RNNCell
from minigrad.nn.dropout import Dropout as Dropout
from minigrad.nn.dropout import Flatten as Flatten
from minigrad.nn.linear import Embedding as Embedding
from minigrad.nn.linear import Linear as Linear
from minigrad.nn.loss import BCELoss as BCELoss
from minigrad.nn.loss import BCEWithLogitsLoss as BCEWithLogitsLoss
from minigrad.nn.loss import CrossEntropyLoss as CrossEntropyLoss
from minigrad.nn.loss import HuberLoss as HuberLoss
from minigrad.nn.loss import KLDivLoss as KLDivLoss
from minigrad.nn.loss import L1Loss as L1Loss
from minigrad.nn.loss import MSELoss as MSELoss
from minigrad.nn.loss import NLLLoss as NLLLoss
from minigrad.nn.loss import SmoothL1Loss as SmoothL1Loss
from minigrad.nn.module import Buffer as Buffer
from minigrad.nn.module import Module as Module
from minigrad.nn.module import ModuleList as ModuleList
from minigrad.nn.module import Parameter as Parameter
from minigrad.nn.module import Sequential as Sequential
from minigrad.nn.norm import LayerNorm as LayerNorm
from minigrad.nn.norm import RMSNorm as RMSNorm
from minigrad.nn.recurrent import Recurrent as Recurrent
from minigrad.nn.state import Shared as Shared
from minigrad.nn.transformer import Transformer as Transformer
from minigrad.nn.transformer import TransformerDecoder as TransformerDecoder
from minigrad.nn.transformer import TransformerEncoder as TransformerEncoder
from minigrad.nn.transformer_layers import TransformerDecoderLayer as TransformerDecoderLayer
from minigrad.nn.transformer_layers import TransformerEncoderLayer as TransformerEncoderLayer

if TYPE_CHECKING:
    from minigrad.nn import presets as presets


def __getattr__(name: str) -> Any:
    """The presets are imported when they are first asked for."""
    if name == "presets":
        return importlib.import_module("minigrad.nn.presets")
    raise AttributeError(f"module 'minigrad.nn' has no attribute {name!r}")
