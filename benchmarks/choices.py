"""What single choices of the project give."""

import tempfile
from collections.abc import Callable, Iterator
from unittest.mock import patch

import torch
from torch import Tensor

from benchmarks import settings
from benchmarks.figures import Figure, median
from benchmarks.trainings import any_method, clock, draw_images, make_batches, network, time_step
from igl_dt.data.loading import TrainingBatches
from igl_dt.evaluation.evaluator import evaluate
from igl_dt.runtime.determinism import configure_torch
from igl_dt.runtime.parameters import EvaluationParameters
from igl_dt.training.optimizer import build_optimizer

ROUNDS = 8
EVALUATED = 16


def measure_choices() -> Iterator[Figure]:
    """Time what is done without a choice over what is done with it, in turns; no limit.

    Layout: forward and backward passes of each network on a batch of crops. Evaluation: images of 360×480 one by one,
    as research code usually does it, over batches of the default size. CutMix partners: UniMatch's step with one more
    prediction, of other images to paste, as in the published code, over the step with partners from the same batch.
    """
    device = configure_torch(settings.RUNTIME)
    crops = torch.randint(0, 256, (2 * settings.BATCH_SIZE, 3, *settings.CROP_SIZE), dtype=torch.uint8, device=device)
    for role, choice in settings.NETWORKS.items():
        trained = network(role).train().to(device)

        def step(trained: torch.nn.Module = trained) -> None:
            trained(crops).logits.sum().backward()

        def contiguous(step: Callable[[], None] = step) -> None:
            with patch.object(torch, "channels_last", torch.contiguous_format):
                step()

        yield median(f"{choice.architecture}, contiguous: times channels-last", compare(contiguous, step))
    yield median("evaluation, one by one: times batches", compare(*_ways_to_evaluate(device)))
    with tempfile.TemporaryDirectory() as folder:
        yield median("UniMatch, other images to paste: times without", compare(*_ways_to_paste(folder, device)))


def compare(without: Callable[[], object], with_it: Callable[[], object]) -> list[float]:
    """Time both in turns, after one call of each; gives the ratios."""
    ratios = []
    for round_ in range(ROUNDS + 1):
        times = []
        for call in (without, with_it):
            start = clock()
            call()
            times.append(clock() - start)
        if round_:
            ratios.append(times[0] / times[1])
    return ratios


def _ways_to_evaluate(device: torch.device) -> tuple[Callable[[], object], Callable[[], object]]:
    trained, classes = network("student").eval().to(device), len(settings.CLASS_NAMES)
    images = torch.randint(0, 256, (EVALUATED, 3, *settings.IMAGE_SIZE), dtype=torch.uint8)
    masks = torch.randint(0, classes, (EVALUATED, *settings.IMAGE_SIZE), dtype=torch.uint8)

    def evaluated(parameters: EvaluationParameters) -> Callable[[], object]:
        return lambda: evaluate(trained, zip(images, masks, strict=True), parameters, classes)

    return evaluated(EvaluationParameters(batch_size=1)), evaluated(EvaluationParameters())


def _ways_to_paste(folder: str, device: torch.device) -> tuple[Callable[[], object], Callable[[], object]]:
    reader, splits = draw_images(folder, {"train": 32, "val": 2, "test": 0, "min_side": 128}, fraction=0.25)
    method = any_method("unimatch").train().to(device)
    batch = make_batches(TrainingBatches, method, reader, splits, settings.AUGMENTATION, 1)[0].to(device)
    optimizers = [build_optimizer(module, settings.OPTIMIZER) for module in method.trained().values()]

    def plain() -> None:
        time_step(method, batch, optimizers, 0)

    def with_other_images() -> None:
        with torch.no_grad():
            weak: Tensor | None = batch.weak
            method.networks["student"].eval()(weak)
        method.train()
        plain()

    return with_other_images, plain
