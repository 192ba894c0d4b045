"""Masks for new images, from a weight file alone."""

import io
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from igl_dt.data.datasets import DataError
from igl_dt.data.datasets.base import IMAGE_SUFFIXES, UNSAFE, locate, read_lines, show, walk_images
from igl_dt.data.image_io import pillow_warnings, read_image, reading_size
from igl_dt.data.parameters import DatasetParameters
from igl_dt.evaluation.inference import predict_probabilities
from igl_dt.inference.parameters import STDIN, PredictionParameters
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.io import load_network, weight_file
from igl_dt.runtime.determinism import autocast, configure_torch
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from igl_dt.utils.files import atomic_write
from igl_dt.utils.palette import class_palette
from igl_dt.utils.progress import Progress

logger = logging.getLogger(__name__)

TABLE = "table.csv"
LIST_SUFFIX, MANIFEST_SUFFIX = ".txt", ".csv"
AHEAD = 2
"""Images that are read ahead of the network, and masks that may still wait to be written."""
JPEG_SIDE = 65500
"""The largest height and width of a JPEG file; overlays of larger images are reduced to it."""


Row = dict[str, Any]


def predict_images(
    parameters: PredictionParameters,
    dataset: DatasetParameters,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
) -> pd.DataFrame:
    """Predict the images of a folder and its subfolders, one image or a list, and write each mask as it is ready.

    Everything is written into ``parameters.output``: ``masks/<name>.png`` (palette, the values are class ids),
    ``overlays/<name>.jpg``, on request ``probabilities/<name>.npy`` (N×H×W float16), and at the end ``table.csv``.
    Images that carry an EXIF orientation are turned upright first, and so are their masks. An image that cannot be read
    is reported and skipped.

    Args:
        parameters: Images, weights, and what to write.
        dataset: folder of the images of a run's list; and at which size images are given to the network, with a
            warning where it is another than in the training.
            Masks always have the image's own size.
        evaluation: Whole images or sliding windows.
        runtime: Device and precision.

    Returns:
        The table, one row per image: ``image`` (path in the folder, or in the common folder of the listed images),
        ``width``, ``height``, ``mean_confidence`` (mean over the pixels of the largest probability),
        ``pixels.<class>``, and ``error``, empty where there was none.

    Raises:
        DataError: The images are not given or do not exist, none can be read, two would share a mask, or files exist
            already and ``overwrite`` is off.
        ValueError: The weights are not given, do not exist, or were not written by this project.
    """
    output = Path(parameters.output)
    folder, samples = _find_images(parameters.images, Path(dataset.root), output)
    weights = weight_file(parameters.weights, "prediction.weights")
    targets = {sample: Path(sample).with_suffix(".png") for sample in samples}
    if not parameters.overwrite:
        _check_nothing_exists(output, targets.values(), parameters.probabilities)

    network = load_network(weights)
    warn_of_other_sizes(network, dataset)
    device = configure_torch(runtime)
    network.to(device).to(memory_format=torch.channels_last).eval()  # the layout of the images: converted only once
    counts, palette = [f"pixels.{name}" for name in network.class_names], class_palette(network.num_classes)
    progress, rows = Progress("prediction", 0, len(samples), 1), []
    began, unreadable = time.monotonic(), 0

    def finish(sample: str, image: np.ndarray, confidence: np.ndarray, mask: np.ndarray, others: Tensor | None) -> Row:
        target = targets[sample]
        _write(output, target, image, mask, palette)
        if others is not None:
            atomic_write(output / "probabilities" / target.with_suffix(".npy"), _npy(others))
        pixels = np.bincount(mask.ravel(), minlength=len(counts)).tolist()
        row = {"image": sample, "width": image.shape[1], "height": image.shape[0], "error": ""}
        return row | {"mean_confidence": round(float(confidence.mean()), 4)} | dict(zip(counts, pixels, strict=True))

    def warn(file: Path, text: str) -> None:
        logger.warning("%s: %s", file, text)

    # Images are read and masks are written while the network processes another image.
    with pillow_warnings(warn), ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer, closing(progress):
        written: deque[Future[Row]] = deque()
        for number, (sample, image) in enumerate(_read_ahead(reader, folder, samples), start=1):
            if isinstance(image, DataError):
                logger.warning("skipped: %s", image)
                written.append(writer.submit(dict, image=sample, error=str(image)))
                unreadable += 1
                continue
            with autocast(device, runtime):
                probabilities = _predict(network, image, dataset, evaluation)
            confidence, mask = (tensor.cpu().numpy() for tensor in probabilities.max(dim=0))
            others = probabilities.cpu() if parameters.probabilities else None
            written.append(writer.submit(finish, sample, image, confidence, mask.astype(np.uint8), others))
            while len(written) > AHEAD:  # bounds the memory, and raises write errors early
                rows.append(written.popleft().result())
            progress.update(number, {})
        rows += [row.result() for row in written]
    if unreadable == len(samples):
        raise DataError(f"none of the {len(samples)} images in {folder} can be read; the first: {rows[0]['error']}")
    table = pd.DataFrame(rows, columns=["image", "width", "height", "mean_confidence", *counts, "error"])
    table = table.astype(dict.fromkeys(["width", "height", *counts], "Int64"))
    atomic_write(output / TABLE, table.to_csv(index=False, lineterminator="\n").encode())
    readable = len(samples) - unreadable
    speed = readable / (time.monotonic() - began)
    logger.info("%d masks and %s in %s, %.1f images/s, %d images skipped", readable, TABLE, output, speed, unreadable)
    return table


def _find_images(images: str | None, root: Path, output: Path) -> tuple[Path, list[str]]:
    """Give a folder, and the images' POSIX paths in it: all of a folder, or those of a list in its order.

    Masks and overlays of an earlier prediction, in an output folder within that folder, are none of them.
    """
    if images is None:
        raise DataError(
            "prediction.images is not given: it names a folder of images, an image, or a list of images (.txt), as in "
            "--params=prediction.images=PATH; - reads paths from the standard input"
        )
    path = Path(images)
    if images == STDIN:
        folder, found = _common_folder(_listed(sys.stdin.read().splitlines(), Path(), "the standard input"))
    elif path.is_dir():
        written = [(output / kind).absolute() for kind in ("masks", "overlays")]
        paths = [
            file
            for file in walk_images(path, skipped=partial(logger.warning, "skipped: %s"))
            if not any(map(file.absolute().is_relative_to, written)) and file.is_file()
        ]
        if not paths:
            raise DataError(f"prediction.images: no images in {path}: expected files in {', '.join(IMAGE_SUFFIXES)}")
        folder, found = path, sorted(file.relative_to(path).as_posix() for file in paths)
    elif not path.is_file():
        raise DataError(f"prediction.images: there is no file or folder {path}")
    elif path.suffix.lower() in IMAGE_SUFFIXES:
        folder, found = path.parent, [path.name]
    elif path.suffix.lower() == LIST_SUFFIX:
        folder, found = _common_folder(_listed(read_lines(path), path.parent, str(path)))
    elif path.suffix.lower() == MANIFEST_SUFFIX:
        try:
            table = pd.read_csv(path, dtype=str)
        except ValueError as error:
            raise DataError(f"prediction.images: {path} is no list of a run: {error}") from error
        if "image" not in table or table.empty:
            raise DataError(f"prediction.images: {path} is no list of a run: it has no column image, or no rows")
        folder, found = root, table["image"].tolist()
        for row, image in enumerate(found, start=2):
            if not isinstance(image, str):
                raise DataError(f"prediction.images: {path}, line {row}: the column image is empty")
            locate(root, image)  # masks lie at the same path in the output
    else:
        raise DataError(
            f"prediction.images: {path} is neither a folder, nor an image ({', '.join(IMAGE_SUFFIXES)}), nor a list of "
            f"images ({LIST_SUFFIX}, or a run's {MANIFEST_SUFFIX})"
        )
    if unsafe := next(filter(UNSAFE.search, found), None):
        raise DataError(f"{unsafe!r} in {folder} has a character that the table cannot hold: rename the file")
    masks: dict[Path, str] = {}
    for image in found:
        first = masks.setdefault(Path(image).with_suffix(".png"), image)
        if first != image:
            raise DataError(f"{first} and {image} in {folder} would have one mask: rename one of them")
    return folder, found


def _listed(lines: Iterable[str], folder: Path, source: str) -> list[Path]:
    """Give the paths in the lines of a list, each once; relative ones start from a folder."""
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise DataError(f"prediction.images: no paths in {source}: expected one per line")
    return list(dict.fromkeys(Path(os.path.normpath((folder / Path(line).expanduser()).absolute())) for line in lines))


def _common_folder(paths: list[Path]) -> tuple[Path, list[str]]:
    """Give the deepest folder that holds all files, and their POSIX paths in it."""
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    return folder, [path.relative_to(folder).as_posix() for path in paths]


def warn_of_other_sizes(network: SegmentationNetwork, dataset: DatasetParameters) -> None:
    """Say so where a network sees images of another size than in its training."""
    now = dataset.sizes()
    if network.sizes is None or network.sizes == now:
        return
    different = [f"dataset.{key}={_word(value)}" for key, value in network.sizes.items() if value != now[key]]
    logger.warning(
        "the network was trained on images of another size than it is given here, so it may be worse; as in its "
        "training: --params=%s",
        ",".join(different),
    )


def _word(size: Any) -> str:
    """Write a size, a number of pixels or nothing as --params takes it."""
    return "null" if size is None else "x".join(map(str, size)) if isinstance(size, list) else str(size)


def _check_nothing_exists(output: Path, targets: Iterable[Path], probabilities: bool) -> None:
    kinds = {"masks": ".png", "overlays": ".jpg"} | ({"probabilities": ".npy"} if probabilities else {})
    files = (Path(kind, target).with_suffix(suffix) for target in targets for kind, suffix in kinds.items())
    existing = [str(file) for file in files if (output / file).exists()]
    if existing:
        problem = f"{output} has {len(existing)} of these files already: {show(existing)}"
    elif (output / TABLE).exists():
        problem = f"{output / TABLE} exists already"
    else:
        return
    raise DataError(f"{problem}. Nothing was written; give another prediction.output, or prediction.overwrite=true")


def _read_ahead(
    reader: ThreadPoolExecutor, folder: Path, samples: list[str]
) -> Iterator[tuple[str, np.ndarray | DataError]]:
    """Yield each image, or the error if it cannot be read, while the reader loads the next ones."""

    def read(sample: str) -> np.ndarray | DataError:
        try:
            return read_image(folder / sample, lenient=True)
        except DataError as error:
            return error

    coming = deque((sample, reader.submit(read, sample)) for sample in samples[:AHEAD])
    for following in [*samples[AHEAD:], *[None] * min(AHEAD, len(samples))]:
        sample, image = coming.popleft()
        if following is not None:
            coming.append((following, reader.submit(read, following)))
        yield sample, image.result()


def _predict(
    network: SegmentationNetwork, image: np.ndarray, dataset: DatasetParameters, evaluation: EvaluationParameters
) -> Tensor:
    """Class probabilities, N×H×W, at the image's own size."""
    height, width = image.shape[:2]
    size = reading_size(width, height, dataset)
    if size != (height, width):
        image = np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    probabilities = predict_probabilities(network, tensor, evaluation)
    if probabilities.shape[-2:] != (height, width):
        probabilities = F.interpolate(probabilities, size=(height, width), mode="bilinear", align_corners=False)
    return probabilities[0]


def _write(output: Path, target: Path, image: np.ndarray, mask: np.ndarray, palette: np.ndarray) -> None:
    sample = Image.fromarray(mask, mode="P")
    sample.putpalette(palette.astype(np.uint8).ravel().tolist())
    overlay = Image.blend(Image.fromarray(image), sample.convert("RGB"), 0.5)
    mask_file, overlay_file = io.BytesIO(), io.BytesIO()
    sample.save(mask_file, format="PNG", compress_level=1)
    atomic_write(output / "masks" / target, mask_file.getbuffer())
    # For viewing only. Writing a PNG takes ten times as long, and competes with the network for the processor.
    overlay.thumbnail((JPEG_SIDE, JPEG_SIDE))
    overlay.save(overlay_file, format="JPEG", quality=90)
    atomic_write(output / "overlays" / target.with_suffix(".jpg"), overlay_file.getbuffer())


def _npy(probabilities: Tensor) -> memoryview:
    buffer = io.BytesIO()
    np.save(buffer, probabilities.half().numpy(), allow_pickle=False)
    return buffer.getbuffer()
