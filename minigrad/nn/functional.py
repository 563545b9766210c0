"""The functions of `minigrad.functional`, where PyTorch's users look for them."""

from minigrad.functional import *  # noqa: F403  # every function of it is one of this module
