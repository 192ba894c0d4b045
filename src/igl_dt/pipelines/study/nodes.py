"""Nodes of ``study``."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from igl_dt.reporting.study.comparison import markdown_table
from igl_dt.reporting.study.definition import read_study
from igl_dt.reporting.study.figures import plot_study
from igl_dt.reporting.study.report import render_study
from igl_dt.reporting.study.results import read_results


def gather_results(study: str) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Gather the scores of the runs that are done, what each took, and how many runs there are."""
    from igl_dt.kedro_ext.study import load_plan  # imports torch

    plan = load_plan(Path.cwd(), study)
    results, costs = read_results(plan.project, [(cell, plan.status(cell)) for cell in plan.cells])
    return results, costs, len(plan.cells)


def draw_figures(study: str, results: pd.DataFrame) -> dict[str, Figure]:
    """Draw the figures."""
    return plot_study(results, read_study(Path("studies", study, "study.yml")).candidates)


def write_tables(
    study: str, results: pd.DataFrame, costs: pd.DataFrame, cells: int, figures: dict[str, Callable[[], bytes]]
) -> tuple[str, str]:
    """Write the Markdown table and the page."""
    definition = read_study(Path("studies", study, "study.yml"))
    drawn = {name: load() for name, load in figures.items()}
    page = render_study(study, definition, cells, results, costs, drawn)
    return markdown_table(results, definition.candidates), page
