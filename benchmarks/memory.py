"""Memory does not grow with the number of images."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks import settings
from benchmarks.commands import make_photos, predict
from benchmarks.figures import Figure, median
from benchmarks.processes import in_own_process, train_student
from benchmarks.trainings import network
from igl_dt.networks.io import save_network
from igl_dt.runtime.memory import peak_memory

FEW, MANY = 40, 160
TRAINING_STEPS = 20
ROUNDS = 3
LIMIT = 1.05


def measure_memory() -> Iterator[Figure]:
    """Take the peak of memory with 40 images and with four times as many, of prediction and of training.

    1.05 times as much at most; images that training keeps in memory have a budget (``runtime.cache_mib``), 0 here.
    """
    for name, function in (("prediction", peak_of_prediction), ("training", peak_of_training)):
        pairs = [[in_own_process(function, count) for count in (FEW, MANY)] for _ in range(ROUNDS)]
        yield median(f"{name}, {FEW} images: MiB", [few for few, _ in pairs])
        yield median(f"{name}, {MANY} images: times that", [many / few for few, many in pairs], LIMIT)


def peak_of_prediction(count: int) -> float:
    """Give the peak in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder), count)
        save_network(network("student").eval(), f"{folder}/network.safetensors")
        predict(folder)
    return peak_memory()


def peak_of_training(count: int) -> float:
    """Give the peak in MiB."""
    train_student("supervised", settings.RUNTIME.model_copy(update={"cache_mib": 0}), count, TRAINING_STEPS)
    return peak_memory()
