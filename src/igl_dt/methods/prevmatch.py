"""PrevMatch (Shin et al., 2024): UniMatch V1, and labels by networks from earlier in the training.

    L = (L_sup + L_uni + λ(t) · L_prev) / (2 + λ(t)),  λ rises from 0 to 1 at mid-training and falls to 0 again

L_uni are UniMatch's losses of the unlabelled views, L_prev the same against labels of a random ensemble: one to three
of the snapshots that were taken at each new best validation score, their logits averaged with weights from
Dirichlet(1). Without a snapshot, it is UniMatch. On Cityscapes PrevMatch weights by mean confidence instead of a
threshold; that is not implemented.
"""

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from igl_dt.data.loading import Batch
from igl_dt.losses.common import full_precision
from igl_dt.losses.pseudo_label import pseudo_labels
from igl_dt.methods.base import MethodSetup
from igl_dt.methods.ema import frozen_copy
from igl_dt.methods.fixmatch import label_partners
from igl_dt.methods.unimatch import UniMatch, UniMatchParameters, view_losses
from igl_dt.utils.parameters import Probability


class PrevMatchParameters(UniMatchParameters):
    """UniMatch's, and the snapshots [paper: PrevMatch on VOC]."""

    previous_threshold: Probability = 0.9
    """τ of the ensemble's labels."""
    snapshots: PositiveInt = 8
    """Kept at most; a new one then replaces the oldest."""
    ensemble: PositiveInt = 3
    """Most snapshots that label a batch."""


class PrevMatch(UniMatch):
    """PrevMatch."""

    name = "prevmatch"
    parameters_type = PrevMatchParameters
    options: PrevMatchParameters

    def __init__(self, setup: MethodSetup) -> None:
        """Build it, with room for all snapshots."""
        super().__init__(setup)
        self.snapshots = nn.ModuleList(frozen_copy(self.network) for _ in range(self.options.snapshots))
        self.taken, self.best = 0, -1.0

    def forward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Give the weighted losses; see ``Method.forward``."""
        if not self.taken:
            return super().forward(batch, step)
        assert batch.weak is not None
        assert batch.padding is not None
        options, half = self.options, self.setup.steps / 2
        weight = min(step / half, 2 - step / half)
        partners = label_partners(self.network, batch.weak, options.confidence_threshold, batch.padding)
        previous = pseudo_labels(self.ensemble_logits(batch.weak), options.previous_threshold, batch.padding)
        predicted = self.predict(batch)
        labels = pseudo_labels(predicted.weak, options.confidence_threshold, batch.padding)
        terms = {"supervised": self.supervised(predicted.labeled, batch.masks.long())}
        terms |= view_losses(batch, predicted, labels, partners, options)
        guided = view_losses(batch, predicted, previous, previous.roll(1, dims=0), options)
        terms |= {f"previous_{name}": weight * term for name, term in guided.items()}
        return {name: term / (2 + weight) for name, term in terms.items()}

    @torch.no_grad()
    def ensemble_logits(self, images: Tensor) -> Tensor:
        """Give the weighted mean of the logits of a few random snapshots: B×N×H×W."""
        count = int(torch.randint(1, self.options.ensemble + 1, ()))
        members = torch.randperm(min(self.taken, len(self.snapshots)))[:count].tolist()
        weights = torch.distributions.Dirichlet(torch.ones(len(members))).sample().tolist()
        logits = [
            weight * full_precision(self.snapshots[member].eval()(images).logits)
            for member, weight in zip(members, weights, strict=True)
        ]
        return torch.stack(logits).sum(dim=0)

    def after_validation(self, step: int, scores: Mapping[str, float]) -> None:
        """Take a snapshot of the network if it is better than ever."""
        if scores[self.role] > self.best:
            self.best = scores[self.role]
            self.snapshots[self.taken % len(self.snapshots)].load_state_dict(self.network.state_dict())
            self.taken += 1

    def get_extra_state(self) -> dict[str, Any]:
        """Give what is saved beside the tensors."""
        return {"taken": self.taken, "best": self.best}

    def set_extra_state(self, state: Mapping[str, Any]) -> None:
        """Take back what ``get_extra_state`` gave."""
        self.taken, self.best = state["taken"], state["best"]
