"""Masks for images that nobody has labelled, from a weight file alone."""

import ctypes
import io
import logging
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from igl_dt.data.datasets import DataError
from igl_dt.data.datasets.base import IMAGE_SUFFIXES, show
from igl_dt.data.image_io import read_image
from igl_dt.evaluation.inference import predict_probabilities
from igl_dt.inference.parameters import PredictionParameters
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.io import load_network, weight_file
from igl_dt.runtime.determinism import autocast, configure_torch
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from igl_dt.utils.files import atomic_write
from igl_dt.utils.palette import class_palette
from igl_dt.utils.parameters import Size
from igl_dt.utils.progress import Progress

logger = logging.getLogger(__name__)

AHEAD = 2
"""Images that are read before the network gets to them, and masks that are not written yet when it goes on."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of the C library's memory allocator, as its header has them."""

Row = dict[str, Any]


def predict_folder(
    parameters: PredictionParameters,
    image_size: Size | None,
    evaluation: EvaluationParameters,
    runtime: RuntimeParameters,
) -> pd.DataFrame:
    """Predict every image of a folder, also of its subfolders, and write the masks as they come.

    Into ``parameters.output``: ``masks/<name>.png`` (palette, the values are class ids), ``overlays/<name>.jpg`` and,
    where asked for, ``probabilities/<name>.npy`` (N×H×W float16). A photograph that is to be turned when it is shown is
    turned first, and what is written has its upright size. An image that cannot be read is reported and passed over.

    Args:
        parameters: which folder, which weights, and what is written.
        image_size: (height, width) that images have for the network, as in its training; null: their own. Masks have
            the images' own size in any case.
        evaluation: whole or in windows.
        runtime: device and precision.

    Returns:
        One row per image: ``image`` (path in the folder), ``width``, ``height``, ``mean_confidence`` (mean over
        the pixels of the largest probability), ``pixels.<class>``, and ``error``, empty where there was none.

    Raises:
        DataError: the folder is not given or not there, no image can be read, two images would have one mask, or
            masks are there already and ``overwrite`` is off.
        ValueError: the weights are not given, not there, or not of this project.
    """
    if parameters.images is None:
        raise DataError(
            "prediction.images is not given: it names a folder of images, as in --params=prediction.images=PATH"
        )
    folder = Path(parameters.images)
    if not folder.is_dir():
        raise DataError(f"prediction.images: {folder} is not a folder")
    weights = weight_file(parameters.weights, "prediction.weights")
    samples = _find_ids(folder)
    output = Path(parameters.output)
    targets = {sample: Path(sample).with_suffix(".png") for sample in samples}
    if not parameters.overwrite and (there := [str(t) for t in targets.values() if (output / "masks" / t).exists()]):
        raise DataError(
            f"{output / 'masks'} has {len(there)} of these masks already: {show(there)}. Nothing was written; give "
            "another prediction.output, or prediction.overwrite=true"
        )

    network = load_network(weights)
    device = configure_torch(runtime)
    _keep_memory()
    network.to(device).to(memory_format=torch.channels_last).eval()  # laid out as images are: not again at every step
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

    # Images are read and masks are written while the network is at work on another.
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer, closing(progress):
        written: deque[Future[Row]] = deque()
        for number, (sample, image) in enumerate(_read_ahead(reader, folder, samples), start=1):
            if isinstance(image, DataError):
                logger.warning("passed over: %s", image)
                written.append(writer.submit(dict, sample=sample, error=str(image)))
                unreadable += 1
                continue
            with autocast(device, runtime):
                probabilities = _predict(network, image, image_size, evaluation)
            confidence, mask = (tensor.cpu().numpy() for tensor in probabilities.max(dim=0))
            others = probabilities.cpu() if parameters.probabilities else None
            written.append(writer.submit(finish, sample, image, confidence, mask.astype(np.uint8), others))
            while len(written) > AHEAD:  # memory holds this many images, and what cannot be written is said at once
                rows.append(written.popleft().result())
            progress.update(number, {})
        rows += [row.result() for row in written]
    if unreadable == len(samples):
        raise DataError(f"none of the {len(samples)} images in {folder} can be read; the first: {rows[0]['error']}")
    logger.info(
        "%d masks in %s, %.1f images/s, %d images passed over",
        len(samples) - unreadable,
        output,
        (len(samples) - unreadable) / (time.monotonic() - began),
        unreadable,
    )
    return pd.DataFrame(rows, columns=["image", "width", "height", "mean_confidence", *counts, "error"]).astype(
        dict.fromkeys(["width", "height", *counts], "Int64")
    )


def _keep_memory() -> None:
    """Let the C library keep what is freed: having the arrays of each image mapped anew takes a tenth of the time."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):  # glibc's own
        mallopt(M_MMAP_THRESHOLD, 2**25)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _find_ids(folder: Path) -> list[str]:
    found = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    if not found:
        raise DataError(f"prediction.images: no images in {folder}: expected files in {', '.join(IMAGE_SUFFIXES)}")
    masks: dict[Path, str] = {}
    for image in found:
        first = masks.setdefault(Path(image).with_suffix(".png"), image)
        if first != image:
            raise DataError(f"{first} and {image} in {folder} would have one mask: rename one of them")
    return found


def _read_ahead(
    reader: ThreadPoolExecutor, folder: Path, samples: list[str]
) -> Iterator[tuple[str, np.ndarray | DataError]]:
    """Give each image, or what is wrong with it, while the reader is at the next ones."""

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
    network: SegmentationNetwork, image: np.ndarray, image_size: Size | None, evaluation: EvaluationParameters
) -> Tensor:
    """Give N×H×W probabilities at the image's own size."""
    height, width = image.shape[:2]
    if image_size is not None and image_size != (height, width):
        image = np.array(Image.fromarray(image).resize(image_size[::-1], Image.Resampling.BILINEAR))
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
    # To be looked at: as a PNG it takes ten times as long to write, and the network waits for the processor.
    overlay.save(overlay_file, format="JPEG", quality=90)
    atomic_write(output / "masks" / target, mask_file.getbuffer())
    atomic_write(output / "overlays" / target.with_suffix(".jpg"), overlay_file.getbuffer())


def _npy(probabilities: Tensor) -> memoryview:
    buffer = io.BytesIO()
    np.save(buffer, probabilities.half().cpu().numpy(), allow_pickle=False)
    return buffer.getbuffer()
