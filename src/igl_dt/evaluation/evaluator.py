"""Evaluation of a network on a set of images: one pass for validation, final scores and any weight file."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from igl_dt.data.image_io import reading_size
from igl_dt.data.loading import ImageReader, by_size
from igl_dt.evaluation.boundary import boundary_counts, score_boundary
from igl_dt.evaluation.inference import predict_classes
from igl_dt.evaluation.metrics import confusion_matrix, score, score_image
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.determinism import autocast, configure_torch
from igl_dt.runtime.parameters import EvaluationParameters
from igl_dt.runtime.processes import ALONE, Group, launch
from igl_dt.utils.files import digest


class Counts(NamedTuple):
    """Pixel counts of a set of images, on the network's device; what was not asked for is None."""

    confusion: Tensor
    """N×N int64: rows are the truth, columns the prediction."""
    boundary: Tensor | None = None
    """N×3 int64: see :func:`igl_dt.evaluation.boundary.boundary_counts`."""
    image_miou: list[float | None] | None = None
    """Mean IoU of each image: see :func:`igl_dt.evaluation.metrics.score_image`."""


class Evaluation(NamedTuple):
    """Counts of a network on a set of images, labelled by class and image id."""

    confusion: pd.DataFrame
    """Pixels: rows are the truth, columns the prediction, both named by class."""
    boundary: pd.DataFrame
    """Boundary pixels of each class (rows) in ``both``, the ``truth`` and the ``prediction``."""
    image_miou: pd.Series
    """Mean IoU by image id, over the classes in the image's truth or prediction; NaN where every pixel is ignored."""


def evaluate(
    network: nn.Module,
    samples: Iterable[tuple[Tensor, Tensor]],
    parameters: EvaluationParameters,
    num_classes: int,
    *,
    details: bool = False,
) -> Counts:
    """Predict each image once and count its pixels.

    Autocast is up to the caller.

    Args:
        network: See :func:`igl_dt.evaluation.inference.predict_probabilities`.
        samples: Pairs of an image (3×H×W uint8) and its mask (H×W, integer class ids, 255 = ignore). Consecutive pairs
            of one size are predicted as a batch.
        parameters: How an image is predicted, and how many at once.
        num_classes: N.
        details: Whether to count pixels near class boundaries and score each image on its own, too.

    Raises:
        ValueError: A mask does not have the size of its image, or holds an id outside 0 .. N - 1 other than 255.
    """
    device = next(network.parameters()).device
    confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64, device=device)
    near_boundary = torch.zeros(num_classes, 3, dtype=torch.int64, device=device) if details else None
    image_miou: list[float | None] | None = [] if details else None
    for images, masks in _batches(samples, parameters.batch_size):
        prediction, masks = predict_classes(network, images, parameters), masks.to(device)
        if image_miou is None:
            confusion += confusion_matrix(prediction, masks, num_classes)
        else:
            pairs = zip(prediction.split(1), masks.split(1), strict=True)
            each = torch.stack([confusion_matrix(*pair, num_classes) for pair in pairs])
            confusion += each.sum(dim=0)
            image_miou += map(score_image, each.cpu())
        if near_boundary is not None:
            near_boundary += boundary_counts(prediction, masks, num_classes, parameters.boundary_width)
    return Counts(confusion, near_boundary, image_miou)


def evaluate_rows(
    network: SegmentationNetwork,
    rows: pd.DataFrame,
    reader: ImageReader,
    context: RunContext,
    group: Group = ALONE,
    *,
    details: bool = False,
) -> Counts:
    """Evaluate a network on images of the data set; each process of a group predicts some of the batches.

    Args:
        network: See :func:`evaluate`, also for autocast.
        rows: Rows of the manifest; all have masks.
        reader: Of their files.
        context: Data set and evaluation.
        group: Processes, all of which call this alike.
        details: See :func:`evaluate`.

    Returns:
        The counts of all images, in each process, the same whatever the number of processes; ``image_miou`` in the
        order of ``by_size(rows)``.
    """
    counts = [
        evaluate(network, reader.pairs(part), context.evaluation, len(network.class_names), details=details)
        for part in [rows.iloc[:0], *group.share(split_into_batches(rows, context))]  # some may have no batch at all
    ]
    confusion, near_boundary, image_miou = zip(*counts, strict=True)
    return Counts(
        group.sum_counts(torch.stack(confusion).sum(dim=0)),
        group.sum_counts(torch.stack(near_boundary).sum(dim=0)) if details else None,
        list(chain.from_iterable(group.gather(image_miou[1:]))) if details else None,
    )


def evaluate_networks(
    networks: Mapping[str, SegmentationNetwork], rows: pd.DataFrame, context: RunContext, group: Group = ALONE
) -> dict[str, Evaluation]:
    """Evaluate networks on the same images, in as many processes as ``context.runtime`` says.

    Raises:
        ValueError, DataError: See :func:`evaluate_network`.
        ProcessesError: See :func:`igl_dt.runtime.processes.launch`.
    """
    if context.runtime.world_size > group.size:
        fingerprints = [str(network.fingerprint) for network in networks.values()]
        what = (*networks, *fingerprints, rows.to_csv(), context.evaluation.model_dump_json())
        name = f"evaluation-{digest(' '.join(what).encode())}"  # so that machines that differ do not meet
        return launch(evaluate_networks, (networks, rows, context), context.runtime, name)
    return {name: evaluate_network(network, rows, context, group) for name, network in networks.items()}


def evaluate_network(
    network: SegmentationNetwork, rows: pd.DataFrame, context: RunContext, group: Group = ALONE
) -> Evaluation:
    """Evaluate a network, with all extras, on the run's device; the network is returned to its own device.

    Args:
        network: To be evaluated; predicts the data set's classes.
        rows: Rows of the manifest; all have masks.
        context: Data set, evaluation, device and precision.
        group: Processes, all of which call this alike.

    Raises:
        ValueError: CUDA is requested and not available; see also :func:`evaluate`.
        DataError: An image or mask cannot be read.
    """
    names = list(network.class_names)
    reader, device = ImageReader(context.dataset), configure_torch(context.runtime)
    with moved(network, device), autocast(device, context.runtime):
        counts = evaluate_rows(network, rows, reader, context, group, details=True)
    assert counts.boundary is not None
    return Evaluation(
        pd.DataFrame(counts.confusion.cpu().numpy(), index=pd.Index(names, name="truth"), columns=names),
        pd.DataFrame(counts.boundary.cpu().numpy(), index=names, columns=["both", "truth", "prediction"]),
        pd.Series(counts.image_miou, index=by_size(rows)["id"], dtype=float).loc[rows["id"]],
    )


def score_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Scores of the whole set, ready for JSON: those of ``score`` and of ``score_boundary``.

    A further score over the whole set is added here; reports show whatever numbers they find.
    """
    confusion, boundary = (torch.from_numpy(table.to_numpy(copy=True)) for table in evaluation[:2])
    names = list(evaluation.confusion.columns)
    return {**score(confusion, names), **score_boundary(boundary, names)}


def tabulate_images(evaluations: Mapping[str, Evaluation]) -> pd.DataFrame:
    """Tabulate the mean IoU of each image: ``id``, and one column per network."""
    return pd.DataFrame({name: evaluation.image_miou for name, evaluation in evaluations.items()}).reset_index()


@contextmanager
def moved(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Move a network to a device, and back to where it was on exit, also after an error."""
    before = next(network.parameters()).device
    network.to(device)
    try:
        yield
    finally:
        network.to(before)


def split_into_batches(rows: pd.DataFrame, context: RunContext) -> list[pd.DataFrame]:
    """Give the rows of each batch that :func:`evaluate` makes of ``ImageReader.pairs(rows)``, in their order.

    Args:
        rows: Rows of the manifest.
        context: Data set and evaluation.
    """
    rows = by_size(rows)
    sizes = [reading_size(*size, context.dataset) for size in zip(rows["width"], rows["height"], strict=True)]
    starts: list[int] = []
    for index, size in enumerate(sizes):
        if not starts or index - starts[-1] == context.evaluation.batch_size or size != sizes[starts[-1]]:
            starts.append(index)
    return [rows.iloc[start:end] for start, end in zip(starts, [*starts[1:], len(rows)], strict=False)]


def _batches(samples: Iterable[tuple[Tensor, Tensor]], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Stack consecutive images of one size."""
    images: list[Tensor] = []
    masks: list[Tensor] = []
    for position, (image, mask) in enumerate(samples):
        if image.shape[-2:] != mask.shape:
            raise ValueError(
                f"image {position} (counted from 0) is {tuple(image.shape[-2:])} (height, width) and its mask"
                f" {tuple(mask.shape)}; a mask must have the size of its image"
            )
        if images and (len(images) == batch_size or image.shape != images[0].shape):
            yield torch.stack(images), torch.stack(masks)
            images, masks = [], []
        images.append(image)
        masks.append(mask)
    if images:
        yield torch.stack(images), torch.stack(masks)
