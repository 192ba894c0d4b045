"""What a training step costs, of every method."""

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from typing import NamedTuple
from unittest.mock import patch

import torch
from torch import Tensor

import igl_dt.methods
from benchmarks import settings
from benchmarks.figures import Figure, median
from benchmarks.processes import in_own_process
from benchmarks.trainings import any_method, clock, draw_images, load_project, make_batches, prepare, sizes, time_step
from igl_dt.data.loading import Batch, TrainingBatches
from igl_dt.methods.base import Method
from igl_dt.networks.base import Encoded, NetworkOutput, SegmentationNetwork
from igl_dt.runtime.determinism import configure_torch
from igl_dt.training.cost import count_multiply_adds
from igl_dt.training.optimizer import build_optimizer
from igl_dt.training.trainer import create_method, fit
from igl_dt.utils.registry import find_classes

LIMIT = 1.03
WARMUP_STEPS = 3
STEPS = 34
METHOD_ROUNDS = 12
PORTABLE_STEPS = 30
PORTABLE_ROUNDS = 5
ENCODE, DECODE = SegmentationNetwork.encode, SegmentationNetwork.decode


class Pass(NamedTuple):
    """A forward pass that a method's step had."""

    network: SegmentationNetwork
    images: Tensor
    output: NetworkOutput
    with_gradient: bool
    in_training: bool

    def repeat(self) -> NetworkOutput:
        """Do it once more; where a method decodes perturbed copies of the features too, with plain copies."""
        self.network.train(self.in_training)
        with torch.set_grad_enabled(self.with_gradient):
            encoded = ENCODE(self.network, self.images)
            copies = len(self.output.logits) // len(self.images)
            if copies > 1:
                encoded = encoded._replace(features=[torch.cat([x] * copies) for x in encoded.features])
            return DECODE(self.network, encoded)


class Passes:
    """Records the forward passes of a step, and repeats them without anything else."""

    def __init__(self) -> None:
        self._passes: list[Pass] = []
        self._images: dict[SegmentationNetwork, Tensor] = {}

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record what networks do meanwhile."""

        def encode(network: SegmentationNetwork, images: Tensor) -> Encoded:
            self._images[network] = images
            return ENCODE(network, images)

        def decode(network: SegmentationNetwork, encoded: Encoded) -> NetworkOutput:
            output = DECODE(network, encoded)
            for tensor in output:
                if tensor.requires_grad:
                    tensor.retain_grad()
            self._passes.append(Pass(network, self._images[network], output, torch.is_grad_enabled(), network.training))
            return output

        with patch.multiple(SegmentationNetwork, encode=encode, decode=decode):
            yield

    def repeat(self, optimizers: Sequence[torch.optim.Optimizer]) -> float:
        """Do the bare step of the passes since the last one; gives its seconds."""
        passes, self._passes = self._passes, []
        used = [[x.requires_grad and x.grad is not None for x in each.output] for each in passes]
        modes = {each.network: each.network.training for each in passes}
        start = clock()
        outputs = [x for each, which in zip(passes, used, strict=True) for x in compress(each.repeat(), which)]
        torch.autograd.backward(outputs, [torch.full_like(output, 1e-6) for output in outputs])
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seconds = clock() - start
        for network, mode in modes.items():
            network.train(mode)
        return seconds


class ReadyBatches(TrainingBatches):
    """Batches that are made beforehand; between two steps of the engine, the bare step is done."""

    def prepare(self, passes: Passes, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        """Make the batches."""
        device, make = torch.device(settings.RUNTIME.device), super().__getitem__
        self.ready = [make(step).to(device) for step in range(len(self))]
        self.passes, self.optimizers = passes, optimizers
        self.engine: list[float] = []
        self.bare: list[float] = []
        self.given = 0.0

    def __getitem__(self, step: int) -> Batch:
        if step > 0:
            self.engine.append(clock() - self.given)
            self.bare.append(self.passes.repeat(self.optimizers))
        self.given = clock()
        return self.ready[step]

    def read(self, start: int, workers: int, pin_memory: bool) -> Iterator[Batch]:
        """See the base class."""
        return super().read(start, 0, pin_memory=False)


def measure_steps() -> Iterator[Figure]:
    """Time the engine's step of every method beside the bare networks' step, in turns; 1.03 times at most.

    The bare step is what nobody can do without: the forward passes that the method's step had, of the same networks on
    the same images, one backward pass from the outputs that got a gradient, and the optimisers' steps. The engine's
    step adds losses, pseudo-labels, mixing, averages of weights, schedules, seeding, records and progress. Batches are
    made beforehand: that is how the engine finds them once the loader has warmed up.

    ``--device=cuda --crop 801 801`` measures on a GPU; the networks stay those of ``benchmarks/settings.py``.
    """
    configure_torch(settings.RUNTIME)
    with tempfile.TemporaryDirectory() as folder, patch("igl_dt.training.cost.COUNTED_STEPS", 1):
        reader, splits = draw_images(folder, sizes() | {"train": 64, "val": 2, "test": 0}, fraction=0.25)
        for name in find_classes(igl_dt.methods, Method):  # type: ignore[type-abstract]
            method, passes = any_method(name), Passes()
            augmentation = method.augmentation(settings.AUGMENTATION)
            batches = make_batches(ReadyBatches, method, reader, splits, augmentation, STEPS)
            optimizers = dict.fromkeys(method.trained(), settings.OPTIMIZER)
            batches.prepare(
                passes, [build_optimizer(module, settings.OPTIMIZER) for module in method.trained().values()]
            )
            with passes.recorded():
                fit(method, batches, optimizers, settings.RUNTIME, lambda network: 0.0, name=name)
            pairs = list(zip(batches.engine, batches.bare, strict=True))[WARMUP_STEPS:]
            yield median(f"{name}: seconds", [engine for engine, _ in pairs])
            yield median(f"{name}: times the bare networks", [engine / bare for engine, bare in pairs], LIMIT)


def measure_methods() -> Iterator[Figure]:
    """Time a step of every method and count its multiply-adds, over those of supervised training; no limit.

    The methods have the same crop, batch and networks, and take turns; the training loop is left out.
    """
    configure_torch(settings.RUNTIME)
    seconds: dict[str, list[float]] = {}
    compute: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        reader, splits = draw_images(folder, sizes() | {"train": 32, "val": 2, "test": 0}, fraction=0.25)
        running = []
        for name in find_classes(igl_dt.methods, Method):  # type: ignore[type-abstract]
            method = any_method(name)
            batches = make_batches(TrainingBatches, method, reader, splits, settings.AUGMENTATION, METHOD_ROUNDS)
            optimizers = [build_optimizer(module, settings.OPTIMIZER) for module in method.trained().values()]
            running.append((name, method.train(), optimizers, [batches[step] for step in range(METHOD_ROUNDS)]))
        for step in range(METHOD_ROUNDS):
            for name, method, optimizers, ready in running:
                if step == 0:  # warms up, and is counted
                    with count_multiply_adds() as count:
                        time_step(method, ready[step], optimizers, step)
                    compute[name] = count()
                else:
                    seconds.setdefault(name, []).append(time_step(method, ready[step], optimizers, step))
    for name, times in seconds.items():
        yield median(f"{name}: seconds", times)
        ratios = [one / other for one, other in zip(times, seconds["supervised"], strict=True)]
        yield median(f"{name}: times supervised", ratios)
        yield Figure(f"{name}: multiply-adds", compute[name])
        yield Figure(f"{name}: multiply-adds times supervised", compute[name] / compute["supervised"])


def measure_portable() -> Iterator[Figure]:
    """Time the built-in teachers' step with ``runtime.portable`` over that without, in turns; no limit.

    Each measurement has a process of its own, as instruction sets are pinned per process.
    """
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(PORTABLE_ROUNDS):
            for portable, times in seconds.items():
                times.append(in_own_process(time_teachers, folder, portable))
    yield median("portable: seconds", seconds[True])
    yield median("not portable: seconds", seconds[False])
    ratios = [one / other for one, other in zip(*seconds.values(), strict=True)]
    yield median("portable, times not portable", ratios)


def time_teachers(folder: str, portable: bool) -> float:
    """Give the median seconds of a step of ``conf/base``'s teachers, batches made beforehand."""
    configure_torch(settings.RUNTIME.model_copy(update={"portable": portable}))
    parameters = load_project("base").teacher_pretraining
    method = create_method(parameters, settings.CLASS_NAMES, 0).train()
    reader, splits = draw_images(folder, {"train": 64, "val": 1, "test": 0}, fraction=0.25)
    batches, optimizers = prepare(method, parameters, reader, splits, PORTABLE_STEPS)
    ready = [batches[step] for step in range(PORTABLE_STEPS)]
    seconds = [time_step(method, batch, optimizers, step) for step, batch in enumerate(ready)]
    return statistics.median(seconds[1:])  # the first warms up
