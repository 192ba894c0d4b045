"""Node of ``study``."""

import logging
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from igl_dt.reporting.study.figures import plot_study
from igl_dt.reporting.study.report import render_study, tabulate, write_markdown
from igl_dt.reporting.study.results import find_other_images, find_other_lists, find_other_teachers, read_results

logger = logging.getLogger(__name__)


def gather_study(study: str | None) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Figure], str, str]:
    """Gather what a study's runs came to: scores, costs, figures, Markdown table and page."""
    from igl_dt.kedro_ext.study import load_plan  # not above: it imports torch

    if study is None:
        raise ValueError("study: give the name of a folder in studies/, --params=study=NAME")
    plan = load_plan(Path.cwd(), study)
    states = plan.statuses()
    if dropped := plan.dropped(states):
        logger.warning(
            "studies/%s: rows of %s are dropped: the study has no such run, or not with these parameters, or it is "
            "unfinished here", study, ", ".join(dropped),
        )  # fmt: skip
    cells = [(cell, states[cell.run], plan.digest(cell)) for cell in plan.cells]
    results, costs = read_results(plan.project, cells, plan.recorded)
    if other := find_other_lists(results):
        logger.warning(
            "studies/%s: %s learned from other labelled images than the study's first run with their fraction and "
            "seed: differences are not the methods' alone", study, ", ".join(other),
        )  # fmt: skip
    if other := find_other_images(results):
        logger.warning(
            "studies/%s: %s had other images or masks than the study's first run: differences are not the methods' "
            "alone. To run some again, delete their folders in data/08_reporting and their rows in the study's tables",
            study, ", ".join(other),
        )  # fmt: skip
    if other := find_other_teachers(results):
        logger.warning(
            "studies/%s: %s had teachers with other scores than the study's first run with teachers of this name, so "
            "other ones: differences are not the methods' alone", study, ", ".join(other),
        )  # fmt: skip
    candidates = plan.study.candidates
    figures, tables = plot_study(results, candidates), tabulate(results, candidates)
    page = render_study(study, len(plan.cells), results, costs, tables, figures)
    return results, costs, figures, write_markdown(tables), page
