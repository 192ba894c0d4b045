"""Several processes beside one, and functions in a process of their own."""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

from benchmarks import settings
from benchmarks.figures import Figure, median
from benchmarks.trainings import draw_images, sizes, training_parameters
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from igl_dt.training.trainer import TrainingData, create_method, train

STEPS = 20
"""Of 7, multiply-adds are counted, which slows both ways alike."""
ROUNDS = 3
T = TypeVar("T")


def in_own_process(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measure_processes() -> Iterator[Figure]:
    """Time a step of two processes with one thread each over that of one process with two threads, in turns; no limit.

    UniMatch, cut into two shards both times: the result has the same bits but for the number of threads. The start of
    the processes is not counted.
    """
    ways = {"two processes": {"processes": 2, "threads": 1}, "one process": {"processes": 1, "threads": 2}}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            runtime = settings.RUNTIME.model_copy(update={"shards": 2} | way)
            taken = in_own_process(train_student, "unimatch", runtime, 32, STEPS)
            seconds[name].append(taken / STEPS)
    for name, times in seconds.items():
        yield median(f"{name}: seconds", times)
    yield median("two, times one", [two / one for two, one in zip(*seconds.values(), strict=True)])


def train_student(method: str, runtime: RuntimeParameters, images: int, steps: int) -> float:
    """Train a student on drawn images by a method without teachers; gives the seconds."""
    parameters = training_parameters(method, ("student",), steps)
    with tempfile.TemporaryDirectory() as folder:
        options = sizes() | {"train": images, "val": 2, "test": 0}
        reader, splits = draw_images(folder, options, fraction=0.25)
        context = RunContext(reader.dataset, EvaluationParameters(), runtime, seed=0)
        data = TrainingData(splits.labeled, splits.unlabeled, splits.val)
        built = create_method(parameters, settings.CLASS_NAMES, 0)
        trained = train(built, data, parameters, context, "student_learning")
    return float(trained.cost["seconds"])
