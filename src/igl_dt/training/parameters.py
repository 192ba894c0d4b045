"""What a training is given: steps, batches, optimisers, losses."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.parameters import MethodChoice
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.runtime.parameters import RuntimeParameters
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
    """The backbone's rate over the head's: 0.1 is usual in the literature with a pretrained one."""
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


class TrainingParameters(Parameters):
    """One training: which networks, by which method, for how long, on which batches."""

    networks: dict[str, NetworkChoice]
    """The architecture of each role that is trained."""
    method: MethodChoice
    """How they are trained."""
    optimizers: dict[str, OptimizerParameters]
    """By role."""
    supervised_loss: SupervisedLossParameters = SupervisedLossParameters()
    """The loss against the ground truth, whatever the method."""
    steps: PositiveInt
    """Optimiser steps."""
    batch_size: PositiveInt
    """Labelled images per step; as many unlabelled ones come on top."""
    gradient_accumulation_steps: PositiveInt = 1
    """Parts that a step's batch is cut into, one after the other, to save memory; must divide the batch size.

    Batch norm, the choice of hard pixels and CutMix see one part at a time, so results differ."""
    validate_every: PositiveInt = 500
    """Steps between validations; the last step is always validated."""
    keep_every: PositiveInt | None = None
    """Steps between weights that are kept in ``runtime.log_folder``, besides the last and the best ones; null: none.
    Changes no result."""
    augmentation: AugmentationParameters
    pseudo_label_probe_size: Annotated[int, Field(ge=0)] = 0
    """Unlabelled images whose pseudo-labels are compared, at each validation, with each other and with the hidden
    truth where the disk has it; 0: none. A measurement: changes no result [ours]."""

    @model_validator(mode="after")
    def _parts_divide_the_batch(self) -> "TrainingParameters":
        parts = self.gradient_accumulation_steps
        if self.batch_size % parts:
            raise ValueError(f"gradient_accumulation_steps ({parts}) must divide batch_size ({self.batch_size})")
        return self

    def optimizer(self, role: str, like: str | None = None) -> OptimizerParameters:
        """Give the optimiser of a role, its rate scaled to the batch.

        Args:
            role: in ``optimizers``.
            like: role whose optimiser it takes where it has none of its own.

        Raises:
            ValueError: there is none.
        """
        found = self.optimizers.get(role) or self.optimizers.get(like or role)
        if found is None:
            known = ", ".join(self.optimizers)
            raise ValueError(f"optimizers.{role} is missing: every trained network needs one; there are {known}")
        # As many unlabelled images come on top; a training on labelled images alone uses the same rate.
        return found.for_batch(2 * self.batch_size)


def check_shards(parameters: TrainingParameters, runtime: RuntimeParameters, key: str) -> None:
    """Check that the batches of a training can be cut into shards.

    Args:
        parameters: of the training.
        runtime: of the run.
        key: where ``parameters`` come from, for messages.

    Raises:
        ValueError: they cannot.
    """
    if (shards := runtime.shards_per_step) == 1:
        return
    size, parts = parameters.batch_size, parameters.gradient_accumulation_steps
    if parts > 1:
        raise ValueError(
            f"{key}.gradient_accumulation_steps ({parts}) must be 1 where the batch is cut into shards ({shards}): a "
            "process computes one shard after the other, which saves as much memory"
        )
    if size % shards:
        raise ValueError(
            f"{key}.batch_size ({size}) must be a multiple of the number of shards ({shards}): runtime.shards, or "
            "runtime.processes × runtime.nodes where runtime.reduction is fast"
        )
    if isinstance(parameters, StudentLearningParameters) and parameters.reference and size == shards:
        raise ValueError(
            f"{key}.batch_size ({size}) must be at least twice the number of shards ({shards}): the supervised "
            "baseline sees one shard at a time, and networks such as DeepLabV3+ have a batch norm over one value per "
            "image; or set reference to false"
        )


def check_log(parameters: TrainingParameters, runtime: RuntimeParameters, key: str) -> None:
    """Check that there is a folder for the weights that a training is to keep; see ``check_shards``."""
    if parameters.keep_every is not None and runtime.log_folder is None:
        raise ValueError(f"{key}.keep_every needs runtime.log_folder: set it, or keep_every to null")


class TeacherPretrainingParameters(TrainingParameters):
    """Stage 1: the two teachers."""

    pseudo_label_probe_size: Annotated[int, Field(ge=0)] = 32
    keep: Literal["last", "best"] = "last"
    """Which weights the student learns from: the last, or those of the best validation mIoU, per teacher [ours]."""


class StudentLearningParameters(TrainingParameters):
    """Stage 2: the student, and the supervised baseline with the same network."""

    reference: bool = True
    """Also train the student's network on the labelled images alone, for as many steps."""

    @model_validator(mode="after")
    def _reference_has_batches(self) -> "StudentLearningParameters":
        if self.reference and self.batch_size == self.gradient_accumulation_steps:
            raise ValueError(
                f"batch_size ({self.batch_size}) over gradient_accumulation_steps ({self.gradient_accumulation_steps}) "
                "must be at least 2: the supervised baseline sees batches of that size, and networks such as "
                "DeepLabV3+ have a batch norm over one value per image; or set reference to false"
            )
        return self

    def as_reference(self) -> TrainingParameters:
        """Give the training of the supervised baseline: the student's network, on labelled images alone."""
        fields = {name: getattr(self, name) for name in TrainingParameters.model_fields}
        fields |= {
            "networks": {"supervised": self.networks["student"]},
            "optimizers": {"supervised": self.optimizers["student"]},
            "method": MethodChoice(name="supervised"),
            "pseudo_label_probe_size": 0,
        }
        return TrainingParameters.model_construct(**fields)
