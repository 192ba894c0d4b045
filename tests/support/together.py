"""Trainings in several processes: what those import."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from igl_dt.methods.parameters import MethodChoice
from igl_dt.runtime.context import RunContext
from igl_dt.training.parallel import Group
from igl_dt.training.parameters import TrainingParameters
from igl_dt.training.trainer import TrainingData, create_method, train
from igl_dt.utils.files import digest
from tiny import CLASSES, NETWORKS, tiny_network

TEACHERS = ("global_teacher", "local_teacher")


def train_methods(
    names: Sequence[str], data: TrainingData, context: RunContext, group: Group = Group()
) -> dict[str, str]:
    """Train a student by each method; give a digest of all that each leaves."""
    return {name: digest_of_training(name, data, context, group) for name in names}


def digest_of_training(name: str, data: TrainingData, context: RunContext, group: Group) -> str:
    """Train a student for a few steps; weights, statistics, losses and scores count."""
    section = {"confidence_threshold": 0.3} if name in ("unimatch", "fixmatch", "igl_dt") else {}
    parameters = TrainingParameters(
        networks={"student": NETWORKS["student"]},
        method=MethodChoice.model_validate({"name": name, name: section}),
        optimizers={"student": {"name": "adamw", "learning_rate": 0.01, "max_grad_norm": 1.0}},
        steps=4,
        batch_size=8,
        validate_every=2,
        augmentation={"crop_size": (24, 24), "strong_unlabeled": True, "cutmix_probability": 0.5},
    )
    torch.manual_seed(1)
    teachers = {role: tiny_network(role) for role in TEACHERS}
    method = create_method(parameters, CLASSES, 3, teachers)
    result = train(method, data, parameters, context, name, group=group)
    content = [result.history.to_csv(), str(result.best_miou)]
    for network, weights in result.best_weights.items():
        states = (weights, result.networks[network].state_dict())
        content += [digest(tensor.numpy().tobytes()) for state in states for tensor in state.values()]
    return digest("".join(content).encode())
