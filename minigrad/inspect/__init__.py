"""Looking inside: the gradient at each time step, pictures of gates, and the tape as a graph."""

from minigrad.inspect.drawing import Graph as Graph
from minigrad.inspect.drawing import graph as graph
from minigrad.inspect.flow import CellFlow as CellFlow
from minigrad.inspect.flow import GradFlow as GradFlow
from minigrad.inspect.flow import grad_flow as grad_flow
from minigrad.inspect.pictures import plot_gates as plot_gates
from minigrad.inspect.pictures import plot_grad_flow as plot_grad_flow
from minigrad.inspect.pictures import plot_shares as plot_shares
from minigrad.inspect.pictures import plot_states as plot_states
