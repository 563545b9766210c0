"""Networks: modules with parameters, layers, and recurrent layers of any cell."""

from minigrad.nn import init as init
from minigrad.nn.cells import GRU as GRU
from minigrad.nn.cells import LSTM as LSTM
from minigrad.nn.cells import RNN as RNN
from minigrad.nn.cells import GRUCell as GRUCell
from minigrad.nn.cells import LSTMCell as LSTMCell
from minigrad.nn.cells import RNNCell as RNNCell
from minigrad.nn.module import Buffer as Buffer
from minigrad.nn.module import Module as Module
from minigrad.nn.module import ModuleList as ModuleList
from minigrad.nn.module import Parameter as Parameter
from minigrad.nn.module import Sequential as Sequential
from minigrad.nn.recurrent import Cell as Cell
from minigrad.nn.recurrent import Recurrent as Recurrent
