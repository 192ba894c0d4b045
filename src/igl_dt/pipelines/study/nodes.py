"""Node of ``study``."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from igl_dt.reporting.study.figures import plot_study
from igl_dt.reporting.study.report import render_study, tabulate, write_markdown
from igl_dt.reporting.study.results import read_results


def gather_study(study: str | None) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Figure], str, str]:
    """Gather what a study's runs came to: scores, costs, figures, Markdown table and page."""
    from igl_dt.kedro_ext.study import load_plan  # not above: it imports torch

    if study is None:
        raise ValueError("study: give the name of a folder in studies/, --params=study=NAME")
    plan = load_plan(Path.cwd(), study)
    results, costs = read_results(plan.project, [(cell, plan.status(cell)) for cell in plan.cells])
    figures, table = plot_study(results, plan.study.candidates), tabulate(results, plan.study.candidates)
    page = render_study(study, len(plan.cells), results, costs, table, figures)
    return results, costs, figures, write_markdown(table), page
