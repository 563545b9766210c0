"""One file per peer: for each task a function that prepares a step, which is what is timed."""
