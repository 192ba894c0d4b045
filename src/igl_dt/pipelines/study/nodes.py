"""Nodes of ``study``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.figure import Figure

from igl_dt.reporting.study.comparison import markdown_table
from igl_dt.reporting.study.figures import plot_study
from igl_dt.reporting.study.report import render_study
from igl_dt.reporting.study.results import read_results

if TYPE_CHECKING:
    from igl_dt.kedro_ext.study import Plan


def gather_results(study: str | None) -> tuple["Plan", pd.DataFrame, pd.DataFrame]:
    """Gather the scores of the runs that are done, and what each took."""
    from igl_dt.kedro_ext.study import load_plan  # not above: it imports torch

    if study is None:
        raise ValueError("study: give the name of a folder in studies/, --params=study=NAME")
    plan = load_plan(Path.cwd(), study)
    return plan, *read_results(plan.project, [(cell, plan.status(cell)) for cell in plan.cells])


def draw_figures(plan: "Plan", results: pd.DataFrame) -> dict[str, Figure]:
    """Draw the figures."""
    return plot_study(results, plan.study.candidates)


def write_tables(
    plan: "Plan", results: pd.DataFrame, costs: pd.DataFrame, figures: dict[str, Callable[[], bytes]]
) -> tuple[str, str]:
    """Write the Markdown table and the page."""
    drawn = {name: load() for name, load in figures.items()}
    page = render_study(plan.name, plan.study, len(plan.cells), results, costs, drawn)
    return markdown_table(results, plan.study.candidates), page
