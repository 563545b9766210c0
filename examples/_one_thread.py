"""One BLAS thread, unless the environment asks for more; to be imported before NumPy.

The products of a small recurrent step take some 0.1 ms. Two threads halve them on two idle cores;
but as soon as another program wants one of these, each thread waits for the other: a step of
training was measured to take 2 s then, in place of 0.14 s with one thread.
"""

import os

for library in "OPENBLAS", "OMP", "MKL":
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")
