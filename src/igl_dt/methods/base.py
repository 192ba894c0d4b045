"""What the training loop asks of a method."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from igl_dt.data.loading import Batch
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.losses.supervised import supervised_loss
from igl_dt.networks.base import NetworkOutput, SegmentationNetwork
from igl_dt.utils.parameters import Parameters

GLOBAL_TEACHER, LOCAL_TEACHER = "global_teacher", "local_teacher"
"""Roles of the teachers that are trained beforehand."""


class MethodSetup(NamedTuple):
    """All that a method is built from."""

    parameters: Parameters
    """The method's own, of its ``parameters_type``."""
    networks: Mapping[str, SegmentationNetwork]
    """To be trained, by role."""
    teachers: Mapping[str, SegmentationNetwork]
    """Trained before, by role; frozen from now on."""
    supervised_loss: SupervisedLossParameters
    """The loss against the ground truth, the same for all methods that are compared."""
    steps: int
    """Optimiser steps of the training, for schedules."""


class Method(nn.Module, ABC):
    """A way to train one or more networks; its ``forward`` gives the losses of a step.

    A subclass in a module of ``igl_dt.methods`` is selected by its ``name``; one anywhere else by
    ``package.module:Class``. What a method keeps beside its networks, such as averaged weights, belongs into
    submodules, buffers, or PyTorch's ``get_extra_state`` and ``set_extra_state``: then it is saved and resumed with
    the rest.
    """

    name: ClassVar[str]
    """By which ``<training>.method.name`` selects it, and the section that holds its parameters."""
    parameters_type: ClassVar[type[Parameters]]
    required_teachers: ClassVar[tuple[str, ...]] = ()
    """Roles of the trained networks that it learns from."""
    uses_unlabeled: ClassVar[bool] = True
    """Whether it sees unlabelled images at all."""
    strong_views: ClassVar[int] = 1
    """Strong views per unlabelled image, each with CutMix boxes of its own."""

    options: Any
    """The parameters; a subclass annotates their type."""
    class_weights: Tensor | None
    """Of the loss against the ground truth, by class id; a training sets them, and they are not saved."""
    steps_per_epoch = 1
    """As ``before_training`` was told."""

    def __init__(self, setup: MethodSetup) -> None:
        """Take the networks over: those to be trained, and the teachers, which are frozen."""
        super().__init__()
        self.setup, self.options = setup, setup.parameters
        self.register_buffer("class_weights", None, persistent=False)
        self.networks = nn.ModuleDict(dict(setup.networks))
        self.averages = nn.ModuleDict()
        """Averages of the networks' weights, by name, which a subclass may add."""
        teachers = {role: setup.teachers[role] for role in self.required_teachers}
        self.teachers = nn.ModuleDict(teachers).requires_grad_(False).eval()

    @classmethod
    def extra_networks(cls, roles: Iterable[str]) -> dict[str, str]:
        """Name the networks that it trains in addition to those of its training.

        Args:
            roles: of the training.

        Returns:
            By further role, the role whose architecture and optimiser it takes if the parameters give it none.
        """
        return {}

    def augmentation(self, given: AugmentationParameters) -> AugmentationParameters:
        """Give the augmentation that the method is defined with; crops stay as the training's parameters give them."""
        return given

    def train(self, mode: bool = True) -> "Method":
        """Set the mode of all but the teachers, whose batch norms must not drift."""
        super().train(mode)
        self.teachers.eval()
        return self

    def own_state(self) -> dict[str, Any]:
        """Give the entries of ``state_dict`` that a training changes: all but those of the frozen teachers."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("teachers.")}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Put back what ``own_state`` gave.

        Raises:
            RuntimeError: entries are missing, or there are others.
        """
        own = self.own_state()
        frozen = {name: value for name, value in self.state_dict().items() if name not in own}
        self.load_state_dict({**state, **frozen})

    def trained(self) -> dict[str, nn.Module]:
        """Give the modules that are optimised, by role; each has an optimiser of its own."""
        return dict(self.networks.items())

    def evaluated(self) -> dict[str, SegmentationNetwork]:
        """Give the networks that are validated and kept, by name: those trained, and averages of them if any."""
        return dict(self.setup.networks) | dict(self.averages.items())  # type: ignore[return-value]

    def before_training(
        self, steps_per_epoch: int, validate: Callable[[SegmentationNetwork], Mapping[str, Any]]
    ) -> None:
        """Prepare for the first step, or the next one of a resumed training: nothing that it sets needs to be saved.

        Args:
            steps_per_epoch: after which every unlabelled image was seen; labelled ones, if those alone are.
            validate: gives a network's scores on the validation images: see ``igl_dt.evaluation.metrics.score``.
                Processes that train together share its work: all must call it alike.
        """
        self.steps_per_epoch = steps_per_epoch

    @abstractmethod
    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Compute the losses of one step, or of one part of it under gradient accumulation.

        Args:
            batch: on the networks' device.
            step: counted from 0.

        Returns:
            Scalars by name, already weighted: the total loss is their sum. The names may vary from step to step.
        """

    def after_step(self, step: int) -> None:
        """Do what follows the optimisers' step, such as averaging weights; called once per step."""

    def after_validation(self, step: int, scores: Mapping[str, float]) -> None:
        """Take note of a validation.

        Args:
            step: steps done.
            scores: validation mIoU, between 0 and 1, of each evaluated network.
        """

    def supervised(self, logits: Tensor, target: Tensor) -> Tensor:
        """Give the loss against the ground truth: B×N×H×W logits, B×H×W int64 target with 255 ignored; a scalar."""
        return supervised_loss(logits, target, self.setup.supervised_loss, self.class_weights)

    @torch.no_grad()
    def predict_teacher(self, role: str, images: Tensor) -> NetworkOutput:
        """Give what a frozen teacher predicts for B×3×H×W uint8 images.

        Without gradients, but not in ``inference_mode``: a loss keeps the teachers' maps for the student's backward
        pass, which torch refuses for tensors made in that mode.
        """
        output: NetworkOutput = self.teachers[role](images)
        return output

    def predict_teachers(self, images: Tensor) -> dict[str, NetworkOutput]:
        """Give what each frozen teacher predicts."""
        return {role: self.predict_teacher(role, images) for role in self.teachers}
