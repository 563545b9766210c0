"""Functions without parameters of their own: activations, losses, and what layers compute."""

from minigrad.functional.activations import celu as celu
from minigrad.functional.activations import elu as elu
from minigrad.functional.activations import gelu as gelu
from minigrad.functional.activations import glu as glu
from minigrad.functional.activations import hardsigmoid as hardsigmoid
from minigrad.functional.activations import hardswish as hardswish
from minigrad.functional.activations import hardtanh as hardtanh
from minigrad.functional.activations import leaky_relu as leaky_relu
from minigrad.functional.activations import logsigmoid as logsigmoid
from minigrad.functional.activations import mish as mish
from minigrad.functional.activations import prelu as prelu
from minigrad.functional.activations import relu6 as relu6
from minigrad.functional.activations import selu as selu
from minigrad.functional.activations import silu as silu
from minigrad.functional.activations import softplus as softplus
from minigrad.functional.activations import softsign as softsign
from minigrad.functional.activations import threshold as threshold
from minigrad.functional.attention import (
    scaled_dot_product_attention as scaled_dot_product_attention,
)
from minigrad.functional.entropy import cross_entropy as cross_entropy
from minigrad.functional.entropy import nll_loss as nll_loss
from minigrad.functional.layers import dropout as dropout
from minigrad.functional.layers import embedding as embedding
from minigrad.functional.layers import one_hot as one_hot
from minigrad.functional.layers import pad as pad
from minigrad.functional.losses import binary_cross_entropy as binary_cross_entropy
from minigrad.functional.losses import (
    binary_cross_entropy_with_logits as binary_cross_entropy_with_logits,
)
from minigrad.functional.losses import huber_loss as huber_loss
from minigrad.functional.losses import kl_div as kl_div
from minigrad.functional.losses import l1_loss as l1_loss
from minigrad.functional.losses import mse_loss as mse_loss
from minigrad.functional.losses import smooth_l1_loss as smooth_l1_loss
from minigrad.functional.normalise import cosine_similarity as cosine_similarity
from minigrad.functional.normalise import layer_norm as layer_norm
from minigrad.functional.normalise import normalize as normalize
from minigrad.functional.normalise import rms_norm as rms_norm
from minigrad.functional.normalise import softmin as softmin
from minigrad.ops import linear as linear
from minigrad.ops import log_softmax as log_softmax
from minigrad.ops import relu as relu
from minigrad.ops import sigmoid as sigmoid
from minigrad.ops import softmax as softmax
from minigrad.ops import tanh as tanh
