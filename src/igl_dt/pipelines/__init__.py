"""Kedro's layer: thin nodes over the library.

Node modules do not import torch when they are imported, only when they run: listing, drawing and splitting have to be
quick. Networks are therefore annotated by the name below.
"""

from typing import Any

Network = Any
"""An ``igl_dt.networks.base.SegmentationNetwork``."""
