"""How the weight of a loss rises."""

import math


def ramp_up(step: int, steps: int) -> float:
    """Factor of a weight at a step: exp(−5 (1 − t)²) with t = step / steps (Laine & Aila 2017), 1 from ``steps`` on."""
    if step >= steps:
        return 1.0
    return math.exp(-5 * (1 - step / steps) ** 2)
