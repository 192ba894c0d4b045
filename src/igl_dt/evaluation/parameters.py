"""Constants of the evaluation that reports mention too."""

CONFIDENT = 0.9
"""Probability from which on a pseudo-label counts as confident, in reports only."""
