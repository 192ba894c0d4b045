"""Randomness as a function, not a state.

Whatever is drawn at random is drawn from a seed and the names of what it is for: stage, step, sample. No generator
survives from one step to the next, so a result does not depend on the number of loader workers, and a run that resumes
after an interruption draws what it would have drawn without it.
"""

import hashlib

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """Derive a seed for one purpose: 63 bits of a SHA-256 over the seed and the names, in order."""
    digest = hashlib.sha256(repr((seed, *names)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Make the NumPy generator of one purpose (PCG64, the same stream on every machine)."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *names)))
