"""Comparison with PyTorch: one table of cases, run live, or against stored results."""
