"""Looking inside: the gradient at each time step, pictures of gates, and the tape as a graph."""

from minigrad.inspect.drawing import Graph as Graph
from minigrad.inspect.drawing import graph as graph
