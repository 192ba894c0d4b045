"""What the engine costs: its step beside the bare networks' on the same tensors, in one run.

The bare step is what nobody can do without: the forward passes that the method asks for, one backward pass, and the
optimisers' steps. The engine's step adds losses, pseudo-labels, mixing, schedules, seeding, records and progress. The
two take turns step by step, so that a slow moment of the machine hits both, and the ratio is the median of the pairs'.
Batches are made beforehand: that is how the engine finds them once the loader has warmed up; what making one costs is
printed beside it.

``make bench``, or ``python -m benchmarks [SUBJECT]``; exit code 1 where a limit is not kept. Subjects:

``steps`` (the default): the above; the limit is a ratio of 1.05.

``methods``: seconds per step of every registered method, at the same crop, batch and networks, over those of supervised
training, and the multiply-adds of a step likewise; the methods take turns. No limit.

``splitting``: what it takes to split a million images, by a fraction and by lists: a minute and a GiB.

``loading``: how many views a thread makes, beside the plain way of scaling the whole image and then cropping: 1.8 times
as many.

``supply``: what two loader processes take to make a batch, over a step on it, of supervised training, CPS, IGL-DT and
UniMatch as the environments base, idd_lite and camvid define them, on drawn images of their sizes that are in memory:
1, so that no step waits. The batches are made by one thread, which nothing disturbs.

``startup``: from the command to the first training step of the environment ``smoke``, beside what importing torch and
timm takes, in turns: 3 seconds more.

``prediction``: how many images a second get a mask and an overlay from a weight file, reading and writing included and
loading the weights excluded, beside the bare network's forward passes on the same images, one at a time: 90 %.

``portable``: seconds per step of the built-in environment's teachers with ``runtime.portable`` over those without; each
measurement in a process of its own, as instruction sets are pinned per process, the two kinds in turns. No limit.

``plain``: see ``benchmarks/plain_unimatch.py``; in the faster precision, 1.5 times the images per second.

``--json FILE`` adds the figures to a file, ``benchmarks/results.json`` for those that are committed.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

import igl_dt.methods
from benchmarks.plain_unimatch import is_within_limit, measure_plain
from benchmarks.settings import BATCH_SIZE, CLASS_NAMES, CROP_SIZE, IMAGE_SIZE, NETWORKS, OPTIMIZER, RUNTIME
from igl_dt.data import loading
from igl_dt.data.image_io import read_image
from igl_dt.data.loading import Batch, ImageReader, TrainingBatches
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters, SplittingParameters
from igl_dt.data.splits import Splits, split_labels
from igl_dt.data.transforms import CropWindow
from igl_dt.inference.parameters import PredictionParameters
from igl_dt.inference.predict import predict_images
from igl_dt.kedro_ext.environments import load_configuration
from igl_dt.kedro_ext.parameters import ProjectParameters
from igl_dt.methods.base import Method
from igl_dt.methods.parameters import MethodChoice
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.io import load_network, save_network
from igl_dt.networks.registry import build_network
from igl_dt.runtime.determinism import configure_torch, seeded
from igl_dt.runtime.memory import peak_memory
from igl_dt.runtime.parameters import EvaluationParameters
from igl_dt.training.optimizer import build_optimizer
from igl_dt.training.parameters import TeacherPretrainingParameters, TrainingParameters
from igl_dt.training.trainer import create_method, fit
from igl_dt.utils.parameters import IGNORE_INDEX, Size
from igl_dt.utils.registry import find_classes

PROJECT = Path(__file__).parents[1]
LIMIT = 1.05
WARMUP_STEPS = 3
STEPS = 44
METHOD_ROUNDS = 12
FIGURES: dict[str, dict[str, float]] = {}
"""What was measured, by subject, for ``--json``."""

IMAGES = 1_000_000
CLASSES = 21
SPLITTING_SECONDS = 60
SPLITTING_MIB = 1024

LOADING_STEPS = 15
LOADING_ROUNDS = 5
LOADING_RATIO = 1.8

SUPPLIED = ("base", "idd_lite", "camvid")
SUPPLY_STEPS = 9
SUPPLY_WORKERS = 2
SUPPLY_RATIO = 1.0

STARTUP_ROUNDS = 5
STARTUP_SECONDS = 3.0
PREDICTED = 40
PREDICTION_ROUNDS = 3
PREDICTION_RATIO = 0.9

PORTABLE_STEPS = 30
PORTABLE_ROUNDS = 5


B = TypeVar("B", bound=TrainingBatches)


class ReadyBatches(TrainingBatches):
    """The batches of a stage, made beforehand; before the engine gets one, a bare step is done with the same."""

    def prepare(self, bare_step: Callable[[Batch], float]) -> float:
        """Make the batches, and take the bare step; gives the median seconds of making one, images in memory."""
        seconds = []
        self.ready = []
        for step in range(len(self)):
            start = time.perf_counter()
            self.ready.append(super().__getitem__(step))
            seconds.append(time.perf_counter() - start)
        self.bare_step = bare_step
        self.bare: list[float] = []
        self.asked: list[float] = []
        self.given: list[float] = []
        return statistics.median(seconds)

    def __getitem__(self, step: int) -> Batch:
        self.asked.append(time.perf_counter())
        self.bare.append(self.bare_step(self.ready[step]))
        self.given.append(time.perf_counter())
        return self.ready[step]

    def pairs(self) -> list[tuple[float, float]]:
        """Give the seconds of the engine's step and of the bare one, for all steps but the first ones and the last."""
        engine = [end - start for start, end in zip(self.given, self.asked[1:], strict=False)]
        return list(zip(engine, self.bare, strict=False))[WARMUP_STEPS:]

    def loader(self, start: int, workers: int, pin_memory: bool) -> DataLoader[Batch]:
        """See the base class."""
        return super().loader(start, 0, pin_memory)


def measure(name: str, method: Method, batches: ReadyBatches, forward: Callable[[Batch], Sequence[Tensor]]) -> float:
    """Time both kinds of step in turns.

    Args:
        name: printed.
        method: of the stage.
        batches: of the stage.
        forward: the bare forward passes; gives the outputs that get gradients.

    Returns:
        Seconds of the engine's step over those of the bare one before it, the median of all.
    """
    running = [build_optimizer(module, OPTIMIZER) for module in method.trained().values()]
    making = batches.prepare(lambda batch: _bare_step(forward, batch, running))
    fit(method, batches, dict.fromkeys(method.trained(), OPTIMIZER), RUNTIME, lambda network: 0.0, name=name)
    pairs = batches.pairs()
    engine, bare = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    print(
        f"{name}: engine {engine:.4f} s/step, bare networks {bare:.4f} s/step, ratio {ratio:.3f} (limit {LIMIT}; "
        f"medians of {len(pairs)}); making a batch {making:.4f} s"
    )
    note("steps", **{f"{name}: ratio": ratio, f"{name}: seconds": engine, f"{name}: seconds of a batch": making})
    return ratio


def note(subject: str, **figures: float) -> None:
    """Keep figures for ``--json``."""
    FIGURES.setdefault(subject, {}).update({name: round(figure, 4) for name, figure in figures.items()})


def _bare_step(
    forward: Callable[[Batch], Sequence[Tensor]], batch: Batch, optimizers: Sequence[torch.optim.Optimizer]
) -> float:
    start = time.perf_counter()
    outputs = forward(batch)
    torch.autograd.backward(outputs, [torch.full_like(output, 1e-6) for output in outputs])
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return time.perf_counter() - start


def main() -> int:
    """Run the benchmark that the command line names; gives the exit code."""
    subjects = {
        "steps": measure_steps,
        "methods": measure_methods,
        "splitting": measure_splitting,
        "loading": measure_loading,
        "supply": measure_supply,
        "startup": measure_startup,
        "prediction": measure_prediction,
        "portable": measure_portable,
        "plain": measure_plain_training,
    }
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("subject", nargs="?", choices=tuple(subjects), default="steps")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add the figures to this file")
    arguments = parser.parse_args()
    code = subjects[arguments.subject]()
    if arguments.json is not None:
        known = json.loads(arguments.json.read_text("utf-8")) if arguments.json.is_file() else {}
        text = json.dumps(known | FIGURES, indent=2, ensure_ascii=False)
        arguments.json.write_text(text + "\n", "utf-8")
    return code


def measure_steps() -> int:
    """Time training steps on drawn images; gives the exit code."""
    configure_torch(RUNTIME)
    with tempfile.TemporaryDirectory() as folder:
        reader, splits = _draw_images(folder, {"train": 64, "val": 2, "test": 0, "min_side": 128}, fraction=0.25)

        def batches(method: Method, strong: bool) -> ReadyBatches:
            augmentation = AugmentationParameters(crop_size=CROP_SIZE, strong_unlabeled=strong)
            return _batches(ReadyBatches, method, reader, splits, augmentation, STEPS)

        cps = _method("cps", ("global_teacher", "local_teacher"))
        ours = _method("igl_dt", ("student",))

        def pretraining(batch: Batch) -> Sequence[Tensor]:
            assert batch.weak is not None
            images = torch.cat([batch.images, batch.weak])
            with torch.no_grad():
                for network in cps.networks.values():
                    network(batch.weak)
            return [network(images).logits for network in cps.networks.values()]

        def learning(batch: Batch) -> Sequence[Tensor]:
            assert batch.weak is not None
            with torch.no_grad():
                ours.predict_teachers(torch.cat([batch.images, batch.weak]))
            output = ours.networks["student"](torch.cat([batch.images, *batch.strong]))
            return [output.logits, output.features]

        ratios = [
            measure("teacher pretraining", cps, batches(cps, strong=False), pretraining),
            measure("student learning", ours, batches(ours, strong=True), learning),
        ]
    return int(max(ratios) > LIMIT)


def measure_methods() -> int:
    """Time a training step of every registered method, the methods in turns; gives the exit code."""
    configure_torch(RUNTIME)
    seconds: dict[str, list[float]] = {}
    compute: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        reader, splits = _draw_images(folder, {"train": 32, "val": 2, "test": 0, "min_side": 128}, fraction=0.25)
        augmentation = AugmentationParameters(crop_size=CROP_SIZE, strong_unlabeled=True, cutmix_probability=0.5)
        running = []
        for name in find_classes(igl_dt.methods, Method):  # type: ignore[type-abstract]
            method = _any_method(name)
            batches = _batches(TrainingBatches, method, reader, splits, augmentation, METHOD_ROUNDS)
            optimizers = [build_optimizer(module, OPTIMIZER) for module in method.trained().values()]
            method.after_validation(0, dict.fromkeys(method.evaluated(), 0.0))  # PrevMatch takes its first snapshot
            running.append((name, method.train(), optimizers, [batches[step] for step in range(METHOD_ROUNDS)]))
        for step in range(METHOD_ROUNDS):
            for name, method, optimizers, ready in running:
                if step == 0:  # warms up, and is counted
                    with FlopCounterMode(display=False) as counter:
                        _method_step(method, ready[step], optimizers, step)
                    compute[name] = counter.get_total_flops() // 2
                else:
                    seconds.setdefault(name, []).append(_method_step(method, ready[step], optimizers, step))
    for name, times in seconds.items():
        pairs = zip(times, seconds["supervised"], strict=True)
        ratio, median = statistics.median(one / other for one, other in pairs), statistics.median(times)
        more = compute[name] / compute["supervised"]
        print(
            f"{name}: {median:.4f} s/step, {ratio:.2f} times supervised (medians of {len(times)}); "
            f"{compute[name] / 1e9:.2f} G multiply-adds, {more:.2f} times supervised"
        )
        note(
            "methods",
            **{
                f"{name}: seconds": median,
                f"{name}: times supervised": ratio,
                f"{name}: multiply-adds": compute[name],
                f"{name}: multiply-adds times supervised": more,
            },
        )
    return 0


def _any_method(name: str) -> Method:
    """Build a method on the student's network, or on two networks where it trains two."""
    try:
        return _method(name, ("student",))
    except ValueError:
        return _method(name, ("student", "local_teacher"))


def _method(name: str, roles: Sequence[str]) -> Method:
    parameters = TrainingParameters(
        networks={role: NETWORKS[role] for role in roles},
        method=MethodChoice(name=name),
        optimizers=dict.fromkeys(roles, OPTIMIZER),
        steps=STEPS,
        batch_size=BATCH_SIZE,
        augmentation=AugmentationParameters(crop_size=CROP_SIZE),
    )
    teachers = {role: _network(role) for role in ("global_teacher", "local_teacher")}
    return create_method(parameters, CLASS_NAMES, 0, teachers, "benchmark")


def _method_step(method: Method, batch: Batch, optimizers: Sequence[torch.optim.Optimizer], step: int) -> float:
    start = time.perf_counter()
    torch.stack(list(method(batch, step).values())).sum().backward()
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    method.after_step(step)
    return time.perf_counter() - start


def _draw_images(folder: str, options: dict[str, int], fraction: float, **dataset: Any) -> tuple[ImageReader, Splits]:
    parameters = DatasetParameters(source="shapes", root=f"{folder}/shapes", options=options, **dataset)
    found = read_manifest(parameters)
    splits = split_labels(found.samples, found.class_pixels, SplittingParameters(labeled_fraction=fraction), seed=0)
    return ImageReader(parameters, cache_mib=64), splits


def _batches(
    kind: type[B],
    method: Method | None,
    reader: ImageReader,
    splits: Splits,
    augmentation: AugmentationParameters,
    steps: int,
    batch_size: int = BATCH_SIZE,
) -> B:
    """Make batches as a method sees them; None: with unlabelled images."""
    unlabeled = splits.unlabeled if method is None or method.uses_unlabeled else None
    views = 1 if method is None else method.strong_views
    arguments: dict[str, Any] = {"steps": steps, "batch_size": batch_size, "seed": 0, "stream": "benchmark"}
    return kind(reader, splits.labeled, unlabeled, augmentation, **arguments, strong_views=views)


def _prepare(
    method: Method, parameters: TrainingParameters, reader: ImageReader, splits: Splits, steps: int
) -> tuple[TrainingBatches, list[torch.optim.Optimizer]]:
    """Give the batches and the optimisers of a training as an environment defines it."""
    augmentation = method.augmentation(parameters.augmentation)
    batches = _batches(TrainingBatches, method, reader, splits, augmentation, steps, parameters.batch_size)
    return batches, [build_optimizer(module, parameters.optimizer(role)) for role, module in method.trained().items()]


def measure_splitting() -> int:
    """Time the splitting of a made-up manifest, and see how much memory it takes; gives the exit code.

    The tables count as memory of the splitting, what this module imports does not: splitting needs no torch.
    """
    imports = peak_memory()
    manifest, class_pixels = _make_tables()
    print(f"{IMAGES} images, {CLASSES} classes: the tables alone {peak_memory() - imports:.0f} MiB")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, parameters in _ways_to_split(Path(folder), manifest):
            start = time.perf_counter()
            images = split_labels(manifest, class_pixels, parameters, seed=0).summary["images"]
            worst = max(worst, seconds := time.perf_counter() - start)
            print(
                f"{name}: {seconds:.1f} s (limit {SPLITTING_SECONDS}), {images['labeled']} labelled and "
                f"{images['unlabeled']} unlabelled; at most {peak_memory() - imports:.0f} MiB so far "
                f"(limit {SPLITTING_MIB})"
            )
    note("splitting", seconds=worst, mib=peak_memory() - imports)
    return int(worst > SPLITTING_SECONDS or peak_memory() - imports > SPLITTING_MIB)


def measure_loading() -> int:
    """Time the making of batches with cropping as it is done and as it is done plainly; gives the exit code.

    Both ways take the same draws of scale, crop and flip, and find decoded images in the cache.
    """
    torch.set_num_threads(1)
    ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "scaling the crop alone": nullcontext,
        "scaling whole images": partial(
            patch.multiple, loading, crop_image=_crop_image_plainly, crop_mask=_crop_mask_plainly
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory() as folder:
        options = {"train": 16, "val": 1, "test": 0, "min_side": 128}
        reader, splits = _draw_images(folder, options, fraction=0.5, image_size=IMAGE_SIZE)
        augmentation = AugmentationParameters(crop_size=CROP_SIZE)
        batches = _batches(TrainingBatches, None, reader, splits, augmentation, LOADING_STEPS)
        for round_ in range(LOADING_ROUNDS + 1):
            for name, way in ways.items():
                with way():
                    times = [_time(batches, step) for step in range(LOADING_STEPS)]
                if round_ > 0:  # the first fills the cache
                    seconds[name] += times
    rates = {name: 2 * BATCH_SIZE / statistics.median(times) for name, times in seconds.items()}
    fast, plain = rates.values()
    size = f"{IMAGE_SIZE[1]}×{IMAGE_SIZE[0]} -> {CROP_SIZE[1]}×{CROP_SIZE[0]}"
    print(f"views per second and thread, {size}: " + ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items()))
    print(f"ratio {fast / plain:.2f} (limit {LOADING_RATIO})")
    note("loading", ratio=fast / plain)
    return int(fast / plain < LOADING_RATIO)


def measure_supply() -> int:
    """Time batches and the steps on them in the environments for two cores, in turns; gives the exit code."""
    configure_torch(RUNTIME)
    worst = 0.0
    for env in SUPPLIED:
        project = ProjectParameters.model_validate(load_configuration(PROJECT, env, "parameters"))
        with tempfile.TemporaryDirectory() as folder:
            size = project.dataset.image_size
            reader, splits = _draw_images(folder, {"train": 48, "val": 1, "test": 0}, 0.25, image_size=size)
            for name in ("supervised", "cps", "igl_dt", "unimatch"):
                training = project.teacher_pretraining if name == "cps" else project.student_learning
                making, step = _time_supply(name, training, project, reader, splits)
                ratio = making / SUPPLY_WORKERS / step
                print(
                    f"{env}, {name}: a batch in {making:.4f} s by one thread, a step in {step:.4f} s, ratio with "
                    f"{SUPPLY_WORKERS} processes {ratio:.2f} (limit {SUPPLY_RATIO})"
                )
                note("supply", **{f"{env}, {name}: ratio": ratio})
                worst = max(worst, ratio)
    return int(worst > SUPPLY_RATIO)


def _time_supply(
    name: str, training: TrainingParameters, project: ProjectParameters, reader: ImageReader, splits: Splits
) -> tuple[float, float]:
    """Give the median seconds of making a batch and of a step on it."""
    choice = training.method.model_copy(update={"name": name})
    parameters = training.model_copy(update={"method": choice})
    networks = project.teacher_pretraining.networks.items()
    teachers = {role: build_network(network, CLASS_NAMES, role) for role, network in networks}
    method = create_method(parameters, CLASS_NAMES, 0, teachers, "benchmark").train()
    batches, optimizers = _prepare(method, parameters, reader, splits, SUPPLY_STEPS)
    pairs = []
    for step in range(SUPPLY_STEPS):
        start = time.perf_counter()
        batch = batches[step]
        pairs.append((time.perf_counter() - start, _method_step(method, batch, optimizers, step)))
    making, taken = zip(*pairs[1:], strict=True)  # the first warms up
    return statistics.median(making), statistics.median(taken)


def measure_startup() -> int:
    """Time commands up to their first training step, and imports alone, in turns; gives the exit code.

    The step itself and a validation on six small images are counted too.
    """
    imports, commands = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("conf", "src", "pyproject.toml", ".telemetry"):
            source = PROJECT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, Path(folder) / name)
        (Path(folder) / "conf/local").mkdir(exist_ok=True)
        _type_command(Path(folder), "-m", "kedro", "run", "--env=smoke", "--pipelines=data_splitting")
        training = ("--env=smoke", "--pipelines=teacher_pretraining", "--params=teacher_pretraining.steps=1")
        for _ in range(STARTUP_ROUNDS):
            imports.append(_type_command(Path(folder), "-c", "import torch, timm"))
            commands.append(_type_command(Path(folder), "-m", "kedro", "run", *training, until="step 1/1"))
    difference = statistics.median(commands) - statistics.median(imports)
    print(
        f"importing torch and timm {statistics.median(imports):.1f} s, from the command to the first training step "
        f"{statistics.median(commands):.1f} s: {difference:.1f} s more (limit {STARTUP_SECONDS}; medians of "
        f"{STARTUP_ROUNDS})"
    )
    note("startup", seconds=difference)
    return int(difference > STARTUP_SECONDS)


def _type_command(folder: Path, *arguments: str, until: str | None = None) -> float:
    """Run a Python command in a folder to its end; gives the seconds that it took, or until it said something."""
    start = time.perf_counter()
    said, seconds = [], None
    environment = os.environ | {"PYTHONPATH": str(folder / "src"), "KEDRO_DISABLE_TELEMETRY": "1"}
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if until is not None and until in line and seconds is None:
                seconds = time.perf_counter() - start
    if process.returncode or (until is not None and seconds is None):
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{''.join(said)}")
    return time.perf_counter() - start if seconds is None else seconds


def measure_prediction() -> int:
    """Time ``predict_images`` and bare forward passes in turns; gives the exit code."""
    configure_torch(RUNTIME)
    network = _network("student").eval()
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        options = {"train": PREDICTED, "val": 1, "test": 0, "min_side": 96, "max_side": 128}
        read_manifest(DatasetParameters(source="shapes", root=f"{folder}/shapes", options=options))
        images = Path(folder, "images")
        images.mkdir()
        for path in sorted(Path(folder, "shapes/train/images").iterdir()):
            with Image.open(path) as small:
                small.resize(IMAGE_SIZE[::-1]).save(images / path.with_suffix(".jpg").name, quality=90)
        save_network(network, f"{folder}/network.safetensors")
        samples = [_image(path) for path in sorted(images.iterdir())]
        parameters = PredictionParameters(
            images=str(images), weights=f"{folder}/network.safetensors", output=f"{folder}/output", overwrite=True
        )
        for round_ in range(PREDICTION_ROUNDS + 1):
            start = time.perf_counter()
            with torch.inference_mode():
                for sample in samples:
                    network(sample)
            bare_seconds, start = time.perf_counter() - start, time.perf_counter()
            load_network(Path(folder, "network.safetensors"))
            loading, start = time.perf_counter() - start, time.perf_counter()
            predict_images(parameters, DatasetParameters(root=folder), EvaluationParameters(), RUNTIME)
            if round_ > 0:  # the first warms up
                pairs.append((bare_seconds, time.perf_counter() - start - loading))
    bare, whole = (len(samples) / statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    ratio = statistics.median(one / other for one, other in pairs)
    print(
        f"prediction, images of {IMAGE_SIZE[1]}×{IMAGE_SIZE[0]}: {whole:.2f} a second, bare network {bare:.2f}, "
        f"ratio {ratio:.3f} (limit {PREDICTION_RATIO}; median of {len(pairs)})"
    )
    note("prediction", ratio=ratio)
    return int(ratio < PREDICTION_RATIO)


def measure_portable() -> int:
    """Time the steps of the built-in teachers with and without ``portable``, in turns; gives the exit code."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(PORTABLE_ROUNDS):
            for portable, times in seconds.items():
                times.append(_run_in_own_process(_time_teachers, folder, portable))
    ratio = statistics.median(one / other for one, other in zip(*seconds.values(), strict=True))
    pinned, free = map(statistics.median, seconds.values())
    print(
        f"teacher pretraining: portable {pinned:.4f} s/step, not portable {free:.4f} s/step, ratio {ratio:.3f} "
        f"(medians of {PORTABLE_ROUNDS} processes, {PORTABLE_STEPS} steps each)"
    )
    note("portable", ratio=ratio, **{"seconds": pinned, "seconds: not portable": free})
    return 0


def measure_plain_training() -> int:
    """Time training and validation beside the plain way; gives the exit code."""
    ratios = measure_plain()
    note("plain", **ratios)
    return int(not is_within_limit(ratios))


def _run_in_own_process(function: Callable[..., float], *arguments: Any) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _time_teachers(folder: str, portable: bool) -> float:
    """Give the median seconds of a step of ``conf/base``'s teachers, batches made beforehand."""
    configure_torch(RUNTIME.model_copy(update={"portable": portable}))
    conf = yaml.safe_load((PROJECT / "conf/base/parameters_teacher_pretraining.yml").read_text("utf-8"))
    parameters = TeacherPretrainingParameters.model_validate(conf["teacher_pretraining"])
    method = create_method(parameters, CLASS_NAMES, 0).train()
    reader, splits = _draw_images(folder, {"train": 64, "val": 1, "test": 0}, fraction=0.25)
    batches, optimizers = _prepare(method, parameters, reader, splits, PORTABLE_STEPS)
    ready = [batches[step] for step in range(PORTABLE_STEPS)]
    seconds = [_method_step(method, batch, optimizers, step) for step, batch in enumerate(ready)]
    return statistics.median(seconds[1:])  # the first warms up


def _image(path: Path) -> Tensor:
    return torch.from_numpy(read_image(path)).permute(2, 0, 1)[None]


def _time(batches: TrainingBatches, step: int) -> float:
    start = time.perf_counter()
    batches[step]
    return time.perf_counter() - start


def _crop_image_plainly(image: np.ndarray, window: CropWindow, crop_size: Size) -> Image.Image:
    return _crop_plainly(image, window, crop_size, Image.Resampling.BILINEAR, fill=(0, 0, 0))


def _crop_mask_plainly(mask: np.ndarray, window: CropWindow, crop_size: Size) -> np.ndarray:
    return np.array(_crop_plainly(mask, window, crop_size, Image.Resampling.NEAREST, fill=IGNORE_INDEX))


def _crop_plainly(
    array: np.ndarray,
    window: CropWindow,
    crop_size: Size,
    resampling: Image.Resampling,
    fill: int | tuple[int, int, int],
) -> Image.Image:
    """Scale the whole image, then crop, pad and flip it, by the same window."""
    left, top, right, bottom = window.box
    width, height = window.size
    across, down = width / (right - left), height / (bottom - top)
    scaled = Image.fromarray(array).resize((round(array.shape[1] * across), round(array.shape[0] * down)), resampling)
    x, y = round(left * across), round(top * down)
    part = scaled.crop((x, y, x + width, y + height))
    if part.size != (crop_size[1], crop_size[0]):
        canvas = Image.new(part.mode, (crop_size[1], crop_size[0]), fill)
        canvas.paste(part, window.offset)
        part = canvas
    return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if window.flip else part


def _ways_to_split(folder: Path, manifest: pd.DataFrame) -> Iterator[tuple[str, SplittingParameters]]:
    """A fraction, and each format: every eighth training image is labelled, the others are listed as unlabelled."""
    yield "by a fraction", SplittingParameters(labeled_fraction=0.125)
    formats = {
        "ids": "{0}\n",
        "UniMatch": "JPEGImages/{0}.jpg SegmentationClass/{0}.png\n",
        "CPS": "/images/train/{0}.png\t/segmentation/train/{0}_gtFine.png\n",
    }
    labeled, unlabeled = folder / "labeled.txt", folder / "unlabeled.txt"
    for name, line in formats.items():
        with labeled.open("w") as some, unlabeled.open("w") as others:
            for index, id_ in enumerate(manifest.loc[manifest["split"] == "train", "id"]):
                (others if index % 8 else some).write(line.format(id_))
        lists = SplittingParameters(labeled_list=str(labeled), unlabeled_list=str(unlabeled))
        yield f"by lists, format {name}", lists


def _make_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make up a manifest, its last hundredth for validation, and pixels of about every tenth class in each image."""
    ids = [f"{index:012d}" for index in range(IMAGES)]
    val = IMAGES // 100
    manifest = pd.DataFrame(
        {
            "id": ids,
            "split": ["train"] * (IMAGES - val) + ["val"] * val,
            "image": [f"JPEGImages/{id_}.jpg" for id_ in ids],
            "mask": [f"SegmentationClass/{id_}.png" for id_ in ids],
            "width": 500,
            "height": 375,
            "sha256": [hashlib.sha256(id_.encode()).hexdigest() for id_ in ids],
        }
    )
    rng = np.random.default_rng(0)
    pixels = np.zeros((IMAGES, CLASSES), np.int64)
    for column in pixels.T:  # one by one, so as not to count memory that only the making takes
        occurs = rng.integers(0, 10, IMAGES, dtype=np.uint8) == 0
        column[occurs] = rng.integers(1, 100_000, occurs.sum())
    names = [f"class {index}" for index in range(CLASSES)]
    return manifest, pd.DataFrame(pixels, index=pd.Index(ids, name="id"), columns=names, copy=False)


def _network(role: str) -> SegmentationNetwork:
    with seeded(0, "initial weights", role):
        return build_network(NETWORKS[role], CLASS_NAMES, role)
