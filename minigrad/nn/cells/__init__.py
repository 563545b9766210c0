"""The cells and their layers, one family a file, each written as its equations."""

from minigrad.nn.cells.grid import GridLSTM as GridLSTM
from minigrad.nn.cells.grid import GridLSTMCell as GridLSTMCell
from minigrad.nn.cells.gru import GRU as GRU
from minigrad.nn.cells.gru import MGU as MGU
from minigrad.nn.cells.gru import GRUCell as GRUCell
from minigrad.nn.cells.gru import MGUCell as MGUCell
from minigrad.nn.cells.lstm import LSTM as LSTM
from minigrad.nn.cells.lstm import CoupledLSTM as CoupledLSTM
from minigrad.nn.cells.lstm import CoupledLSTMCell as CoupledLSTMCell
from minigrad.nn.cells.lstm import LSTMCell as LSTMCell
from minigrad.nn.cells.lstm import PeepholeLSTM as PeepholeLSTM
from minigrad.nn.cells.lstm import PeepholeLSTMCell as PeepholeLSTMCell
from minigrad.nn.cells.norm import LayerNormGRU as LayerNormGRU
from minigrad.nn.cells.norm import LayerNormGRUCell as LayerNormGRUCell
from minigrad.nn.cells.norm import LayerNormLSTM as LayerNormLSTM
from minigrad.nn.cells.norm import LayerNormLSTMCell as LayerNormLSTMCell
from minigrad.nn.cells.rnn import RNN as RNN
from minigrad.nn.cells.rnn import RNNCell as RNNCell
from minigrad.nn.cells.wrappers import Highway as Highway
from minigrad.nn.cells.wrappers import Residual as Residual
