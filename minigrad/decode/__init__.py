"""Sequences out of a model: greedy, sampled, or the best that a beam search finds."""

from minigrad.decode.beam import Beams as Beams
from minigrad.decode.beam import beam_search as beam_search
from minigrad.decode.one import Decoded as Decoded
from minigrad.decode.one import draw as draw
from minigrad.decode.one import greedy as greedy
from minigrad.decode.one import sample as sample
from minigrad.decode.step import Step as Step
