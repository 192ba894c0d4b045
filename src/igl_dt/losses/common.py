"""What several losses need."""

import torch
from torch import Tensor

EPSILON = 1e-6
"""Added to squared lengths. Gradients at a vector of zeros (dead ReLU channels) stay below 1 / sqrt(EPSILON)."""


def full_precision(x: Tensor) -> Tensor:
    """The tensor in float32, or as it is where it is float64."""
    return x if x.dtype == torch.float64 else x.float()


def unit_vectors(x: Tensor) -> Tensor:
    """Scale the vectors along dimension 1 to length 1; those much shorter than 1e-3 go to 0 instead."""
    return x * (x.square().sum(dim=1, keepdim=True) + EPSILON).rsqrt()
