"""The page of a study."""

import base64
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from igl_dt.reporting.study.comparison import compare_methods, show_difference, show_score, tabulate_scores
from igl_dt.reporting.study.definition import Study
from igl_dt.reporting.study.results import FAILED, score_column

CAPTIONS = {
    "label_efficiency": "mIoU over the labelled share: mean and standard deviation over seeds; dots are single runs.",
    "differences": "Paired differences to each other method, with 95 % t-intervals over seeds.",
    "ablations": "What changes without a part of the method: paired differences, with 95 % t-intervals over seeds.",
    "classes": "IoU per class against supervised training: paired differences, with 95 % t-intervals over seeds.",
}


def render_study(
    name: str,
    study: Study,
    cells: int,
    results: pd.DataFrame,
    costs: pd.DataFrame,
    figures: Mapping[str, bytes],
) -> str:
    """Render the page of a study, self-contained and without scripts.

    Args:
        name: of the study.
        study: its definition.
        cells: number of its runs.
        results: see ``igl_dt.reporting.study.results.read_results``.
        costs: likewise.
        figures: PNG files by name.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"score": show_score, "difference": show_difference}
    return environment.get_template("study.html.jinja").render(
        name=name,
        study=study,
        cells=cells,
        done=len(costs),
        failed=int((results["status"] == FAILED).sum()) // 2,
        split="test" if score_column(results) == "test_miou" else "validation",
        scores=tabulate_scores(results),
        differences=compare_methods(results, study.candidates),
        figures={title: (_embed(png), CAPTIONS[title]) for title, png in figures.items()},
        hours=costs["seconds"].sum() / 3600,
        commits=sorted(set(costs["commit"].dropna())),
        changed=int(costs["changed"].sum()),
    )


def _embed(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
