"""Schedules: how the learning rate changes from epoch to epoch."""

from minigrad.optim.lr_scheduler.base import EpochLR as EpochLR
from minigrad.optim.lr_scheduler.base import FactorLR as FactorLR
from minigrad.optim.lr_scheduler.base import LRScheduler as LRScheduler
from minigrad.optim.lr_scheduler.closed import ConstantLR as ConstantLR
from minigrad.optim.lr_scheduler.closed import CosineAnnealingLR as CosineAnnealingLR
from minigrad.optim.lr_scheduler.closed import ExponentialLR as ExponentialLR
from minigrad.optim.lr_scheduler.closed import LambdaLR as LambdaLR
from minigrad.optim.lr_scheduler.closed import LinearLR as LinearLR
from minigrad.optim.lr_scheduler.closed import MultiStepLR as MultiStepLR
from minigrad.optim.lr_scheduler.closed import StepLR as StepLR
from minigrad.optim.lr_scheduler.plateau import ReduceLROnPlateau as ReduceLROnPlateau
from minigrad.optim.lr_scheduler.sequential import SequentialLR as SequentialLR
