"""Ratios between minigrad and other frameworks, measured in turns in one run."""
