"""How long users wait: for the first step of a training, and for predictions."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import torch
from PIL import Image
from torch import Tensor

from benchmarks import settings
from benchmarks.figures import Figure, median
from benchmarks.trainings import PROJECT, network
from igl_dt.data.image_io import read_image
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters
from igl_dt.inference.parameters import PredictionParameters
from igl_dt.inference.predict import predict_images
from igl_dt.networks.io import load_network, save_network
from igl_dt.runtime.determinism import configure_torch
from igl_dt.runtime.parameters import EvaluationParameters

STARTUP_ROUNDS = 5
STARTUP_SECONDS = 3.0
PREDICTED = 40
PREDICTION_ROUNDS = 3
PREDICTION_RATIO = 0.9


def measure_startup() -> Iterator[Figure]:
    """Time a command up to its first training step, beside imports of torch and timm: 3 seconds more at most.

    In the environment ``smoke``; the step itself and a validation on six small images are counted too.
    """
    imports, commands = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("conf", "src", "pyproject.toml", ".telemetry"):
            source = PROJECT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, Path(folder) / name)
        (Path(folder) / "conf/local").mkdir(exist_ok=True)
        type_command(Path(folder), "-m", "kedro", "run", "--env=smoke", "--pipelines=data_splitting")
        training = ("--env=smoke", "--pipelines=teacher_pretraining", "--params=teacher_pretraining.steps=1")
        for _ in range(STARTUP_ROUNDS):
            imports.append(type_command(Path(folder), "-c", "import torch, timm"))
            commands.append(type_command(Path(folder), "-m", "kedro", "run", *training, until="step 1/1"))
    yield median("importing torch and timm: seconds", imports)
    yield median("to the first training step: seconds", commands)
    differences = [command - importing for command, importing in zip(commands, imports, strict=True)]
    yield median("difference: seconds", differences, STARTUP_SECONDS)


def type_command(folder: Path, *arguments: str, until: str | None = None) -> float:
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


def measure_prediction() -> Iterator[Figure]:
    """Count the images a second that get a mask and an overlay, over the bare network's forward passes: 90 %.

    Reading and writing included, loading of the weights excluded; the same images, one at a time; in turns.
    """
    configure_torch(settings.RUNTIME)
    bare_seconds, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        images = make_photos(Path(folder), PREDICTED)
        save_network(network("student").eval(), f"{folder}/network.safetensors")
        bare = load_network(Path(folder, "network.safetensors"))
        samples = [_image(path) for path in sorted(images.iterdir())]
        for round_ in range(PREDICTION_ROUNDS + 1):
            start = time.perf_counter()
            with torch.inference_mode():
                for sample in samples:
                    bare(sample)
            bare_round, start = time.perf_counter() - start, time.perf_counter()
            with patch("igl_dt.inference.predict.load_network", lambda _: bare):
                predict(folder)
            if round_ > 0:  # the first warms up
                bare_seconds.append(bare_round)
                seconds.append(time.perf_counter() - start)
    yield median("images per second", [len(samples) / taken for taken in seconds])
    ratios = [one / other for one, other in zip(bare_seconds, seconds, strict=True)]
    yield median("times the bare network", ratios, PREDICTION_RATIO, at_least=True)


def predict(folder: str) -> None:
    """Predict the photos of a folder by its network."""
    parameters = PredictionParameters(
        images=f"{folder}/images", weights=f"{folder}/network.safetensors", output=f"{folder}/output", overwrite=True
    )
    predict_images(parameters, DatasetParameters(root=folder), EvaluationParameters(), settings.RUNTIME)


def make_photos(folder: Path, count: int) -> Path:
    """Make JPEGs of the usual size of drawn scenes; gives their folder."""
    options = {"train": count, "val": 1, "test": 0, "min_side": 96, "max_side": 128}
    read_manifest(DatasetParameters(source="shapes", root=f"{folder}/shapes", options=options))
    images = folder / "images"
    images.mkdir()
    for path in sorted((folder / "shapes/train/images").iterdir()):
        with Image.open(path) as small:
            small.resize(settings.IMAGE_SIZE[::-1]).save(images / path.with_suffix(".jpg").name, quality=90)
    return images


def _image(path: Path) -> Tensor:
    return torch.from_numpy(read_image(path)).permute(2, 0, 1)[None]
