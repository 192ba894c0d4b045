"""Kedro's floor: thin nodes over the library.

Node modules do not import torch when they are imported, only when they run: listing, drawing and splitting have to be
quick. Networks and what they give are therefore annotated by the names below.
"""

from typing import Any

Network = Any
"""An ``igl_dt.networks.SegmentationNetwork``."""

Evaluation = Any
"""An ``igl_dt.stages.Evaluation``."""
