"""What training does around a model: gradients, batches of sequences, and truncated BPTT."""

from minigrad.nn.utils import rnn as rnn
from minigrad.nn.utils.gradients import clip_grad_norm_ as clip_grad_norm_
from minigrad.nn.utils.gradients import clip_grad_value_ as clip_grad_value_
from minigrad.nn.utils.gradients import nonfinite_gradients as nonfinite_gradients
from minigrad.nn.utils.gradients import parameters_to_vector as parameters_to_vector
from minigrad.nn.utils.gradients import vector_to_parameters as vector_to_parameters
from minigrad.nn.utils.tbptt import Window as Window
from minigrad.nn.utils.tbptt import tbptt as tbptt
