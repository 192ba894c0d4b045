"""The instruction sets of the math libraries, pinned so that x86 machines of different age compute the same bits.

Imports no torch: the libraries read these variables once, some of them when they are first used.
"""

import os

PINNED = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # convolutions and linear layers
    "MKL_CBWR": "COMPATIBLE",  # batches of matrix products, on processors of both makers; see matrix_products
}


def pin() -> None:
    """Set the variables, for this process and those that it starts."""
    os.environ.update(PINNED)
