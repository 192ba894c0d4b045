"""Images, batches, methods and optimisers that the benchmarks share."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks import settings
from igl_dt.data.loading import Batch, ImageReader, TrainingBatches
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters, SplittingParameters
from igl_dt.data.splits import Splits, split_labels
from igl_dt.kedro_ext.environments import load_configuration
from igl_dt.kedro_ext.parameters import ProjectParameters
from igl_dt.methods.base import Method
from igl_dt.methods.parameters import MethodChoice
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.networks.registry import build_network
from igl_dt.runtime.determinism import seeded
from igl_dt.training.optimizer import build_optimizer
from igl_dt.training.parameters import TrainingParameters
from igl_dt.training.trainer import create_method

PROJECT = Path(__file__).parents[1]
B = TypeVar("B", bound=TrainingBatches)


def draw_images(folder: str, options: dict[str, int], fraction: float, **dataset: Any) -> tuple[ImageReader, Splits]:
    """Draw shapes into a folder, and split them."""
    parameters = DatasetParameters(source="shapes", root=f"{folder}/shapes", options=options, **dataset)
    found = read_manifest(parameters)
    splits = split_labels(found.samples, found.class_pixels, SplittingParameters(labeled_fraction=fraction), seed=0)
    return ImageReader(parameters, cache_mib=64), splits


def sizes() -> dict[str, int]:
    """Give the options of drawn images that are large enough for the crop."""
    side = max(128, -(-max(settings.CROP_SIZE) // 16) * 16)
    return {"min_side": side, "max_side": side}


def make_batches(
    kind: type[B],
    method: Method | None,
    reader: ImageReader,
    splits: Splits,
    augmentation: AugmentationParameters,
    steps: int,
    batch_size: int | None = None,
) -> B:
    """Make batches as a method sees them; None: with unlabelled images."""
    unlabeled = splits.unlabeled if method is None or method.uses_unlabeled else None
    views = 1 if method is None else method.strong_views
    size = batch_size or settings.BATCH_SIZE
    arguments: dict[str, Any] = {"steps": steps, "batch_size": size, "seed": 0, "stream": "benchmark"}
    return kind(reader, splits.labeled, unlabeled, augmentation, **arguments, strong_views=views)


def prepare(
    method: Method, parameters: TrainingParameters, reader: ImageReader, splits: Splits, steps: int
) -> tuple[TrainingBatches, list[torch.optim.Optimizer]]:
    """Give the batches and the optimisers of a training as an environment defines it."""
    augmentation = method.augmentation(parameters.augmentation)
    batches = make_batches(TrainingBatches, method, reader, splits, augmentation, steps, parameters.batch_size)
    return batches, [build_optimizer(module, parameters.optimizer(role)) for role, module in method.trained().items()]


def any_method(name: str) -> Method:
    """Build a method on the student's network, or on two networks where it trains two."""
    try:
        return build(name, ("student",))
    except ValueError:
        return build(name, ("student", "local_teacher"))


def build(name: str, roles: Sequence[str]) -> Method:
    """Build a method that trains these roles' networks."""
    teachers = {role: network(role) for role in ("global_teacher", "local_teacher")}
    parameters = training_parameters(name, roles, steps=1000)
    method = create_method(parameters, settings.CLASS_NAMES, 0, teachers, "benchmark")
    method.after_validation(0, dict.fromkeys(method.evaluated(), 0.0))  # PrevMatch takes its first snapshot
    return method


def training_parameters(
    name: str, roles: Sequence[str], steps: int, augmentation: AugmentationParameters | None = None
) -> TrainingParameters:
    """Give the parameters of a training by a method; it is validated once, at its end."""
    return TrainingParameters(
        networks={role: settings.NETWORKS[role] for role in roles},
        method=MethodChoice(name=name),
        optimizers=dict.fromkeys(roles, settings.OPTIMIZER),
        steps=steps,
        batch_size=settings.BATCH_SIZE,
        augmentation=augmentation or settings.AUGMENTATION,
        validate_every=steps,
    )


def network(role: str, choice: NetworkChoice | None = None) -> SegmentationNetwork:
    """Build a role's network, or another choice in its place."""
    with seeded(0, "initial weights", role):
        return build_network(choice or settings.NETWORKS[role], settings.CLASS_NAMES, role)


def clock() -> float:
    """Give the time in seconds, once a GPU has done all that it was given."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def time_step(method: Method, batch: Batch, optimizers: Sequence[torch.optim.Optimizer], step: int) -> float:
    """Do a training step without the loop around it; gives its seconds."""
    start = clock()
    torch.stack(list(method(batch, step).values())).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    method.after_step(step)
    return clock() - start


def load_project(env: str) -> ProjectParameters:
    """Give the parameters of an environment."""
    return ProjectParameters.model_validate(load_configuration(PROJECT, env, "parameters"))
