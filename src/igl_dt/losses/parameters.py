"""Which loss against the ground truth."""

from typing import Annotated, Literal

from pydantic import Field

from igl_dt.utils.parameters import Parameters


class SupervisedLossParameters(Parameters):
    """Loss against the ground truth."""

    name: Literal["cross_entropy", "ohem"] = "cross_entropy"
    """``ohem``: online hard example mining, the field's choice for Cityscapes [family]."""
    ohem_threshold: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Pixels whose probability of the true class is below this count as hard."""
    ohem_min_fraction: Annotated[float, Field(gt=0, le=1)] = 1 / 16
    """At least this share of the pixels of a batch (or of its part, under gradient accumulation) counts, the
    hardest ones [family: CPS keeps a sixteenth]."""
    class_weights: Literal["median_frequency"] | None = None
    """Weights of the pixels by their true class, for either loss: ``median_frequency`` favours rare classes (Eigen &
    Fergus, ICCV 2015) [family]; null: all pixels weigh the same."""
    class_weight_limit: Annotated[float, Field(ge=1)] = 5.0
    """Class weights are clipped to between 1 over this and this [ours]."""
