"""Which loss against the ground truth."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from igl_dt.utils.parameters import Parameters


class SupervisedLossParameters(Parameters):
    """Loss against the ground truth."""

    name: Literal["cross_entropy", "ohem"] = "cross_entropy"
    """``ohem``: online hard example mining, the field's choice for Cityscapes [family]."""
    ohem_threshold: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Pixels whose probability of the true class is below this count as hard."""
    ohem_min_kept: PositiveInt = 200_000
    """At least this many pixels of a batch, or of its part where it is cut into parts, count, the hardest."""
