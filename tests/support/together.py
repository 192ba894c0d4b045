"""Trainings in several processes: what those processes import."""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import torch

from igl_dt.methods.parameters import MethodChoice
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.processes import ALONE, Group
from igl_dt.training import cost, trainer
from igl_dt.training.parameters import TrainingParameters
from igl_dt.training.trainer import TrainingData, TrainingError, create_method, train
from igl_dt.utils.files import digest
from tiny import CLASSES, NETWORKS, tiny_network

TEACHERS = ("global_teacher", "local_teacher")


def train_methods(
    names: Sequence[str], data: TrainingData, context: RunContext, steps: int = 4, group: Group = ALONE
) -> dict[str, str]:
    """Train a student by each method; give a digest of all that each leaves.

    Of multiply-adds, those of the first step alone: counting takes longer than the steps.
    """
    with patch.object(cost, "COUNTED_STEPS", 1):
        return {name: digest_of_training(name, data, context, steps, group) for name in names}


def digest_of_training(name: str, data: TrainingData, context: RunContext, steps: int = 4, group: Group = ALONE) -> str:
    """Train a student for a few steps; weights, statistics, losses, scores and multiply-adds count."""
    parameters = TrainingParameters(
        networks={"student": NETWORKS["student"]},
        method=MethodChoice(name=name),
        optimizers={"student": {"name": "adamw", "learning_rate": 0.01, "max_grad_norm": 1.0}},
        steps=steps,
        batch_size=8,
        validate_every=steps // 2,
        keep_every=2 if context.runtime.log_folder is not None else None,
        supervised_loss={"class_weights": "median_frequency"},
        augmentation={"crop_size": (24, 24), "strong_unlabeled": True, "cutmix_probability": 0.5},
    )
    torch.manual_seed(1)
    teachers = {role: tiny_network(role) for role in TEACHERS}
    method = create_method(parameters, CLASSES, 3, teachers)
    result = train(method, data, parameters, context, name, group=group)
    content = [result.history.to_csv(), str(result.best_miou)]
    for network, weights in result.best_weights.items():
        assert result.networks[network] is method.evaluated()[network]
        assert result.cost["fingerprint"] == result.networks[network].fingerprint is not None
        content.append(str(result.networks[network].compute))
        states = (weights, result.networks[network].state_dict())
        content += [digest(tensor.numpy().tobytes()) for state in states for tensor in state.values()]
    return digest("".join(content).encode())


def kill_one(flag: str, name: str, data: TrainingData, context: RunContext, steps: int, group: Group) -> str:
    """Train, but let the second process be killed once, in the step after the first half."""
    rate_factor = trainer.rate_factor

    def killed(step: int, *others: object) -> float:
        if step == steps // 2 and group.rank == 1 and not Path(flag).exists():
            Path(flag).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return rate_factor(step, *others)  # type: ignore[arg-type]

    trainer.rate_factor = killed
    return digest_of_training(name, data, context, steps, group)


def fail_in_one(flag: str, group: Group) -> None:
    """Fail in the second process, while the first one waits for it."""
    with Path(flag).open("a") as file:
        file.write("called\n")
    group.any(False)  # both have been called
    if group.rank == 1:
        raise TrainingError("the second process has a reason")
    group.any(True)


def lose_a_loader_process(flag: str, group: Group) -> str:
    """Fail once in the second process, as PyTorch does where a process of its loader was killed."""
    group.any(False)
    if group.rank == 1 and not Path(flag).exists():
        Path(flag).touch()
        raise RuntimeError("DataLoader worker (pid(s) 123) exited unexpectedly")
    group.any(False)
    return "done"


def wait_long(file: str, group: Group) -> None:
    """Write this process's number down, and do nothing for much longer than a test waits."""
    with Path(file).open("a") as numbers:
        numbers.write(f"{os.getpid()}\n")
    time.sleep(600)
