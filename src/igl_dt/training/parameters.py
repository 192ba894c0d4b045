"""What a training is given: steps, batches, optimisers, losses."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from igl_dt.data.parameters import AugmentationParameters
from igl_dt.utils.parameters import Parameters, Probability, Weight


class OptimizerParameters(Parameters):
    """One network's optimiser: poly schedule after a linear warm-up, no decay on norms and biases."""

    name: Literal["adamw", "sgd"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak rate of the head (everything that is not the backbone)."""
    base_batch_size: PositiveInt | None = None
    """Images per step, labelled and unlabelled ones together, that the rate is meant for; with others it is scaled
    linearly [family]. null: it holds for any."""
    backbone_lr_mult: Annotated[float, Field(gt=0)] = 1.0
    """The backbone's rate over the head's: 0.1 in the field's recipes, where the backbone is pretrained."""
    weight_decay: Weight = 1e-4
    momentum: Probability = 0.9
    """SGD's momentum; AdamW's first beta."""
    poly_power: Weight = 0.9
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    max_grad_norm: Annotated[float, Field(gt=0)] | None = None
    """Largest gradient norm of the network; null: no clipping."""

    def for_batch(self, images: int) -> "OptimizerParameters":
        """Give the same with the rate for so many images per step."""
        if self.base_batch_size is None:
            return self
        rate = self.learning_rate * images / self.base_batch_size
        return self.model_copy(update={"learning_rate": rate, "base_batch_size": None})


class StageParameters(Parameters):
    """What the training loop needs to know of a stage."""

    steps: PositiveInt
    """Optimiser steps."""
    batch_size: PositiveInt
    """Labelled images per step; as many unlabelled ones come on top."""
    gradient_accumulation_steps: PositiveInt = 1
    """Parts that a step's batch is cut into, one after the other, to save memory; must divide the batch size.

    Batch norm, the choice of hard pixels and CutMix see one part at a time, so results differ."""
    validate_every: PositiveInt = 500
    """Steps between validations; the last step is always validated."""
    augmentation: AugmentationParameters

    @model_validator(mode="after")
    def _parts_divide_the_batch(self) -> "StageParameters":
        if self.batch_size % self.gradient_accumulation_steps:
            raise ValueError(
                f"gradient_accumulation_steps ({self.gradient_accumulation_steps}) must divide batch_size ({self.batch_size})"
            )
        return self
