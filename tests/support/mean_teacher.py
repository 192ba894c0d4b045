"""A method that keeps averaged weights, a buffer and a state of its own, as one outside the project would."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from igl_dt.data.loading import Batch
from igl_dt.losses.cutmix import cutmix
from igl_dt.methods.base import Method, MethodSetup
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.utils.parameters import Parameters, Probability


class MeanTeacherParameters(Parameters):
    decay: Probability = 0.9


class MeanTeacher(Method):
    """Mean Teacher (Tarvainen & Valpola, NeurIPS 2017), whose consistency follows the scores of the validations."""

    name = "test_mean_teacher"
    parameters_type = MeanTeacherParameters
    updates: Tensor

    def __init__(self, setup: MethodSetup) -> None:
        super().__init__(setup)
        self.average = copy.deepcopy(setup.networks["student"]).requires_grad_(False)
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.scores: list[float] = []

    def evaluated(self) -> dict[str, SegmentationNetwork]:
        return super().evaluated() | {"student_ema": self.average}

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        assert batch.weak is not None
        student = self.networks["student"]
        boxes = batch.cutmix[0]
        with torch.no_grad():
            target = cutmix(self.average(batch.weak).logits, boxes).softmax(dim=1)
        weight = (1 + sum(self.scores)) * self.updates
        consistency = F.mse_loss(student(cutmix(batch.strong[0], boxes)).logits.softmax(dim=1), target)
        known = self.supervised(student(batch.images).logits, batch.masks.long())
        return {"supervised": known, "consistency": weight * consistency}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        weights = self.networks["student"].state_dict()
        for name, average in self.average.state_dict().items():
            if average.is_floating_point():
                average.lerp_(weights[name], 1 - self.options.decay)
            else:
                average.copy_(weights[name])
        self.updates += 1

    def after_validation(self, step: int, scores: Mapping[str, float]) -> None:
        self.scores.append(scores["student_ema"])

    def get_extra_state(self) -> dict[str, Any]:
        return {"scores": list(self.scores)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.scores = list(state["scores"])
