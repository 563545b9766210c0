"""The tests mirror minigrad/: what checks a module lies where the module lies."""
