"""Mean Teacher (Tarvainen & Valpola, NeurIPS 2017) as a user writes it: one file, outside the project."""

import copy

import torch
from torch.nn import functional as F

from igl_dt.methods.base import Method, MethodSetup
from igl_dt.utils.parameters import Parameters, Probability, Weight


class MeanTeacherParameters(Parameters):
    decay: Probability = 0.99
    consistency_weight: Weight = 1.0


class MeanTeacher(Method):
    name = "my_mean_teacher"
    parameters_type = MeanTeacherParameters
    options: MeanTeacherParameters

    def __init__(self, setup: MethodSetup) -> None:
        super().__init__(setup)
        self.average = copy.deepcopy(setup.networks["student"]).requires_grad_(False)

    def evaluated(self):
        return {**super().evaluated(), "student_ema": self.average}

    def forward(self, batch, step):
        student = self.networks["student"]
        with torch.no_grad():
            target = self.average(batch.weak).logits.softmax(dim=1)
        known = self.supervised(student(batch.images).logits, batch.masks.long())
        consistency = F.mse_loss(student(batch.strong[0]).logits.softmax(dim=1), target)
        return {"supervised": known, "consistency": self.options.consistency_weight * consistency}

    @torch.no_grad()
    def after_step(self, step):
        student = self.networks["student"].state_dict()
        for name, average in self.average.state_dict().items():
            if average.is_floating_point():
                average.lerp_(student[name], 1 - self.options.decay)
            else:
                average.copy_(student[name])
