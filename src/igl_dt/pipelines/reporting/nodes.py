"""Nodes of ``reporting``; those of the figures are the entries of ``igl_dt.reporting.gallery``."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from igl_dt.reporting import report
from igl_dt.reporting.figures import per_class_table
from igl_dt.reporting.gallery import GALLERY
from igl_dt.reporting.networks import main_network

STAGES = ("data_splitting", "teacher_pretraining", "student_learning", "evaluation", "reporting")
"""Stages of a run; its manifest may have other pipelines too, such as a later prediction."""


def collect_results(
    history_teachers: pd.DataFrame,
    history_student: pd.DataFrame,
    history_supervised: pd.DataFrame,
    networks_info: dict[str, Any],
    confusion_matrices: dict[str, Callable[[], pd.DataFrame]],
    *costs: dict[str, Any],
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame, dict[str, dict[str, Any]]]:
    """Collect the histories of the trainings that there are, the main network's confusion matrix, and the costs."""
    histories = {
        "teacher_pretraining": history_teachers,
        "student_learning": history_student,
        "reference": history_supervised,
    }
    there = {training: history for training, history in histories.items() if len(history)}
    measured = {cost["fingerprint"]: cost for cost in costs if cost}
    return there, confusion_matrices[main_network(networks_info)](), measured


def tabulate_classes(metrics: dict[str, Any]) -> pd.DataFrame:
    """Put the IoU per class of all networks side by side, in percent."""
    return per_class_table(metrics).reset_index()


def write_report(
    metrics: dict[str, Any],
    split_summary: dict[str, Any],
    networks_info: dict[str, Any],
    histories: dict[str, pd.DataFrame],
    run_manifest: dict[str, Any],
    costs: dict[str, dict[str, Any]],
    *figures: bytes,
) -> str:
    """Write one page with all of a run; the figures are those of the gallery, in its order."""
    named = dict(zip(GALLERY, figures, strict=True))
    stages = {name: record for name, record in run_manifest.items() if name in STAGES}
    run = report.Run(metrics, split_summary, networks_info, histories, stages, named, costs)
    return report.render_report(run)
