"""The figures of a run: what draws each, and where and how the report shows it.

A new figure takes a function in ``igl_dt.reporting.figures`` and an entry here: the pipeline makes a node of each
entry, and the report shows each.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from igl_dt.data.parameters import DatasetParameters
from igl_dt.reporting import figures
from igl_dt.reporting.figures.history import Histories
from igl_dt.reporting.networks import NetworksInfo, label, main_network
from igl_dt.reporting.scores import Metrics
from igl_dt.utils.files import digest

Section = Literal["classes", "examples", "training", "pseudo_labels", "data"]


class Entry(NamedTuple):
    """A figure of the report."""

    draw: Callable[..., Figure]
    """Its parameters are called like the data that it is drawn from; the figure's label is its fingerprint."""
    section: Section
    """Where the report shows it."""
    alt: str
    """What is on it, for readers who cannot see it."""
    caption: str


def draw_data(
    dataset: DatasetParameters,
    manifest: pd.DataFrame,
    class_pixels: pd.DataFrame,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame,
    val: pd.DataFrame,
    test: pd.DataFrame,
) -> Figure:
    """Draw the composition of the data set, and some images with their masks overlaid.

    It depends on the data alone, so it can be drawn before anything is trained. The figure's label is the sha256 of the
    manifest as a CSV file.
    """
    from igl_dt.data.loading import ImageReader  # not above: it imports torch

    reader = ImageReader(dataset)

    def read(row: Any) -> figures.Sample:
        return figures.Sample(row.id, reader.image(row.image), None if pd.isna(row.mask) else reader.mask(row.mask))

    def choose(rows: pd.DataFrame) -> pd.DataFrame:
        """Rows that fill a line of the figure, those with masks if there are any."""
        masked = rows[rows["mask"].notna()]
        return figures.spread(rows, figures.PANELS) if masked.empty else figures.spread(masked, figures.PANELS // 2)

    splits = {"labeled": labeled, "unlabeled": unlabeled, "val": val, "test": test}
    samples = {use: [read(row) for row in choose(rows).itertuples()] for use, rows in splits.items()}
    figure = figures.plot_data(manifest, class_pixels.set_index("id"), splits, samples)
    figure.set_label(digest(manifest.to_csv(index=False, lineterminator="\n").encode()))
    return figure


def draw_losses(histories: Histories, networks_info: NetworksInfo) -> Figure:
    """Draw all losses."""
    return _sign(figures.plot_losses(histories, networks_info), networks_info)


def draw_miou(histories: Histories, networks_info: NetworksInfo) -> Figure:
    """Draw the validation mIoU of all networks."""
    return _sign(figures.plot_miou(histories, networks_info), networks_info)


def draw_pseudo_labels(histories: Histories, networks_info: NetworksInfo) -> Figure:
    """Draw the quality of pseudo-labels."""
    return _sign(figures.plot_pseudo_labels(histories, networks_info), networks_info)


def draw_per_class_iou(metrics: Metrics, networks_info: NetworksInfo) -> Figure:
    """Draw the IoU per class of all networks."""
    return _sign(figures.plot_per_class(metrics, networks_info), networks_info)


def draw_confusion(confusion: pd.DataFrame, networks_info: NetworksInfo) -> Figure:
    """Draw the confusion matrix of the main network; ``truth`` is a column of the table."""
    main = main_network(networks_info)
    title = label(main, networks_info[main])
    return _sign(figures.plot_confusion(confusion.set_index("truth"), title), networks_info)


def draw_examples(examples: Mapping[str, Any], class_names: Sequence[str], networks_info: NetworksInfo) -> Figure:
    """Draw images, truth and predictions side by side, from the main network's best image to its worst.

    Args:
        examples: Under the names of ``igl_dt.inference.examples.predict_examples``, images, arrays, or functions that
            load them.
        class_names: In the order of the ids.
        networks_info: By network.
    """
    panels: dict[str, list[np.ndarray]] = {}
    for kind, number in sorted((kind, int(number)) for kind, number in (name.split("/") for name in examples)):
        panels.setdefault(kind, []).append(np.asarray(_load(examples[f"{kind}/{number}"])))
    images, truths = panels.pop("image"), panels.pop("truth")
    labels = [""] * len(images)
    if len(images) > 1:
        labels[0], labels[-1] = "best", "worst"
    if len(images) > 2 and len(images) % 2:
        labels[len(images) // 2] = "median"
    return _sign(figures.plot_examples(images, truths, panels, class_names, labels, networks_info), networks_info)


GALLERY: Mapping[str, Entry] = {
    "data": Entry(
        draw_data,
        "data",
        "How many images there are of each use and size, the classes' shares, and samples with masks",
        "Composition of the data set, and some images with their masks overlaid.",
    ),
    "per_class_iou": Entry(
        draw_per_class_iou,
        "classes",
        "IoU of every class for all networks, sorted by the gain over supervised training",
        "IoU per class of all networks.",
    ),
    "confusion": Entry(
        draw_confusion,
        "classes",
        "Confusion matrix: share of each true class's pixels by predicted class",
        "Confused classes, in percent of the true class's pixels.",
    ),
    "examples": Entry(
        draw_examples,
        "examples",
        "Images, their truth and the predictions of all networks side by side, errors marked",
        "Evaluated images, their ground truth, and the prediction of each network.",
    ),
    "miou": Entry(
        draw_miou,
        "training",
        "Curves of the validation mIoU of all networks over the training steps",
        "Validation mIoU over the steps of each training.",
    ),
    "losses": Entry(
        draw_losses,
        "training",
        "Curves of all losses over the training steps, one panel per loss",
        "Losses as weighted in the total, ramps included.",
    ),
    "pseudo_labels": Entry(
        draw_pseudo_labels,
        "pseudo_labels",
        "Curves of the share of pixels that networks label correctly, with confidence, and alike",
        "On a fixed set of unlabelled images at each validation: pixels labelled as in the hidden truth (where there "
        "is one), pixels with a high probability, and pixels that all networks label alike. No training uses it.",
    ),
}
"""By name, in the order of the report."""


def _load(item: Any) -> Any:
    """Give what Kedro hands over as an object, or as a function that loads it."""
    return item() if callable(item) else item


def _sign(figure: Figure, networks_info: NetworksInfo) -> Figure:
    """Label a figure with the main network's fingerprint, which its file will carry."""
    figure.set_label(networks_info[main_network(networks_info)].get("fingerprint") or "")
    return figure
