"""What single choices of the project give."""

from collections.abc import Callable, Iterator
from functools import partial
from unittest.mock import patch

import torch

from benchmarks import settings
from benchmarks.figures import Figure, median
from benchmarks.trainings import clock, network
from igl_dt.evaluation.evaluator import evaluate
from igl_dt.runtime.determinism import configure_torch
from igl_dt.runtime.parameters import EvaluationParameters

ROUNDS = 8
EVALUATED = 16


def measure_choices() -> Iterator[Figure]:
    """Time what is done without a choice over what is done with it, in turns; no limit.

    Layout and precision: forward and backward passes of each network on a batch of crops, as the step does them;
    EfficientNet-Lite0 is there for its depthwise convolutions. Evaluation: images of 360×480 one by one, as research
    code usually does it, over batches of the default size.
    """
    device = configure_torch(settings.RUNTIME)
    crops = torch.randint(0, 256, (2 * settings.BATCH_SIZE, 3, *settings.CROP_SIZE), dtype=torch.uint8, device=device)
    networks = {choice.architecture: choice for choice in settings.NETWORKS.values()}
    for name, choice in (networks | {"deeplab_v3_plus of EfficientNet-Lite0": settings.DEPTHWISE}).items():
        trained = network("student", choice).train().to(device)

        def step(bfloat16: bool = False, trained: torch.nn.Module = trained) -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                logits = trained(crops).logits
            logits.float().sum().backward()
            trained.zero_grad(set_to_none=True)

        def contiguous(step: Callable[[], None] = step) -> None:
            with patch.object(torch, "channels_last", torch.contiguous_format):
                step()

        yield median(f"{name}, contiguous: times channels-last", compare(contiguous, step))
        yield median(f"{name}, float32: times bfloat16", compare(step, partial(step, bfloat16=True)))
    yield median("evaluation, one by one: times batches", compare(*_ways_to_evaluate(device)))


def compare(without: Callable[[], object], with_it: Callable[[], object]) -> list[float]:
    """Time both in turns, after one call of each, either first every other time; gives the ratios."""
    ratios, calls = [], [without, with_it]
    for round_ in range(ROUNDS + 1):
        seconds = {}
        for call in calls:
            start = clock()
            call()
            seconds[call] = clock() - start
        if round_:
            ratios.append(seconds[without] / seconds[with_it])
        calls.reverse()
    return ratios


def _ways_to_evaluate(device: torch.device) -> tuple[Callable[[], object], Callable[[], object]]:
    trained, classes = network("student").eval().to(device), len(settings.CLASS_NAMES)
    images = torch.randint(0, 256, (EVALUATED, 3, *settings.IMAGE_SIZE), dtype=torch.uint8)
    masks = torch.randint(0, classes, (EVALUATED, *settings.IMAGE_SIZE), dtype=torch.uint8)

    def evaluated(parameters: EvaluationParameters) -> Callable[[], object]:
        return lambda: evaluate(trained, zip(images, masks, strict=True), parameters, classes)

    return evaluated(EvaluationParameters(batch_size=1)), evaluated(EvaluationParameters())
