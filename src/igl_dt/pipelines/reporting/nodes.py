"""Nodes of ``reporting``."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from igl_dt.data.parameters import DatasetParameters
from igl_dt.reporting import figures, report
from igl_dt.utils.files import digest

if TYPE_CHECKING:
    from igl_dt.data.loading import ImageReader


def draw_data(
    dataset: DatasetParameters,
    manifest: pd.DataFrame,
    class_pixels: pd.DataFrame,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame,
    val: pd.DataFrame,
    test: pd.DataFrame,
) -> Figure:
    """Draw what there is of what, and some images with their masks laid over.

    Needs the data alone, so that it can be drawn and looked at before anything is trained. The figure's label is the
    sha256 of the manifest's file.
    """
    from igl_dt.data.loading import ImageReader  # not above: it imports torch

    splits = {"labeled": labeled, "unlabeled": unlabeled, "val": val, "test": test}
    reader = ImageReader(dataset)
    samples = {name: [_read_sample(reader, row) for row in _choose_samples(rows)] for name, rows in splits.items()}
    figure = figures.plot_data(manifest, class_pixels.set_index("id"), splits, samples)
    figure.set_label(digest(manifest.to_csv(index=False, lineterminator="\n").encode()))
    return figure


def _choose_samples(rows: pd.DataFrame) -> list[Any]:
    """Take a figure's row of images, those with masks if there are any, evenly from the whole list."""
    masked = rows[rows["mask"].notna()]
    rows, count = (rows, figures.PANELS) if masked.empty else (masked, figures.PANELS // 2)
    return list(figures.spread(rows, count).itertuples())


def _read_sample(reader: "ImageReader", row: Any) -> figures.Sample:
    return figures.Sample(row.id, reader.image(row.image), None if pd.isna(row.mask) else reader.mask(row.mask))


def tabulate_classes(metrics: dict[str, Any]) -> pd.DataFrame:
    """Put the IoU per class of all networks side by side, in percent."""
    return figures.per_class_table(metrics).reset_index()


def draw_curves(
    teachers: pd.DataFrame, student: pd.DataFrame, supervised: pd.DataFrame, fingerprints: dict[str, str]
) -> tuple[Figure, Figure, Figure]:
    """Draw the losses, the validation mIoU and the pseudo-labels' quality over the steps."""
    histories = {"teachers": teachers, "student": student, "supervised": supervised}
    histories = {name: history for name, history in histories.items() if len(history)}
    losses, miou, pseudo_labels = (
        _sign(figure, fingerprints)
        for figure in (
            figures.plot_losses(histories),
            figures.plot_miou(histories),
            figures.plot_pseudo_labels(teachers),
        )
    )
    return losses, miou, pseudo_labels


def draw_scores(
    metrics: dict[str, Any], confusion: pd.DataFrame, fingerprints: dict[str, str]
) -> tuple[Figure, Figure]:
    """Draw the IoU per class of all networks, and what the student takes for what."""
    per_class = figures.plot_per_class(metrics)
    what_for_what = figures.plot_confusion(confusion.set_index("truth"), "Student (IGL-DT)")
    return _sign(per_class, fingerprints), _sign(what_for_what, fingerprints)


def draw_examples(
    examples: dict[str, Callable[[], Image.Image]], class_names: list[str], fingerprints: dict[str, str]
) -> Figure:
    """Draw images, truth and predictions side by side, errors marked, like Fig. 4 of the paper.

    The images come from the student's best to its worst.
    """
    masks: dict[str, list[np.ndarray]] = {}
    for kind, number in sorted((kind, int(number)) for kind, number in (name.split("/") for name in examples)):
        masks.setdefault(kind, []).append(np.asarray(examples[f"{kind}/{number}"]()))
    images, truths = masks.pop("image"), masks.pop("truth")
    labels = [""] * len(images)
    if len(images) > 1:
        labels[0], labels[-1] = "student's best", "student's worst"
    if len(images) > 2 and len(images) % 2:
        labels[len(images) // 2] = "student's median"
    return _sign(figures.plot_examples(images, truths, masks, class_names, labels), fingerprints)


def write_report(
    metrics: dict[str, Any],
    split_summary: dict[str, Any],
    fingerprints: dict[str, str],
    teachers: pd.DataFrame,
    student: pd.DataFrame,
    supervised: pd.DataFrame,
    run_manifest: dict[str, Any],
    data: bytes,
    examples: bytes,
    losses: bytes,
    miou: bytes,
    pseudo_labels: bytes,
    confusion: bytes,
) -> str:
    """Write one page that holds all that a reader wants to know of a run."""
    return report.render_report(
        report.Run(
            metrics,
            split_summary,
            fingerprints,
            {"teachers": teachers, "student": student, "supervised": supervised},
            run_manifest,
            {
                "data": data,
                "examples": examples,
                "losses": losses,
                "miou": miou,
                "pseudo_labels": pseudo_labels,
                "confusion": confusion,
            },
        )
    )


def _sign(figure: Figure, fingerprints: dict[str, str]) -> Figure:
    """Label a figure with what the student came from, which the file will carry."""
    figure.set_label(fingerprints["student"])
    return figure
