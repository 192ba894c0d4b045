"""Nodes of ``reporting``."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from igl_dt import figures


def tabulate_classes(metrics: dict[str, Any]) -> pd.DataFrame:
    """Put the IoU per class of all networks side by side, in percent."""
    return figures.per_class_table(metrics).reset_index()


def draw_curves(
    teachers: pd.DataFrame, student: pd.DataFrame, supervised: pd.DataFrame, fingerprints: dict[str, str]
) -> tuple[Figure, Figure]:
    """Draw the losses and the validation mIoU over the steps."""
    histories = {"teachers": teachers, "student": student, "supervised": supervised}
    histories = {name: history for name, history in histories.items() if len(history)}
    return _sign(figures.plot_losses(histories), fingerprints), _sign(figures.plot_miou(histories), fingerprints)


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
    """Draw pictures, truth and predictions side by side, errors marked, like Fig. 4 of the paper."""
    masks: dict[str, list[np.ndarray]] = {}
    for kind, number in sorted((kind, int(number)) for kind, number in (name.split("/") for name in examples)):
        masks.setdefault(kind, []).append(np.asarray(examples[f"{kind}/{number}"]()))
    return _sign(figures.plot_examples(masks.pop("image"), masks.pop("truth"), masks, class_names), fingerprints)


def _sign(figure: Figure, fingerprints: dict[str, str]) -> Figure:
    """Label a figure with what the student came from, which the file will carry."""
    figure.set_label(fingerprints["student"])
    return figure
