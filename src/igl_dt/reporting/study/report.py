"""The table and the page of a study."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from igl_dt.reporting.study.comparison import (
    BASELINE,
    show_difference,
    show_score,
    tabulate_scores,
    values_by_variant,
)
from igl_dt.reporting.study.results import score_column
from igl_dt.reporting.study.statistics import paired_difference

CAPTIONS = {
    "label_efficiency": "mIoU over the labelled share: mean and standard deviation over seeds; dots are single runs.",
    "compute": "mIoU over multiply-adds of training, teachers’ included: mean and standard deviation over seeds.",
    "differences": "Paired differences to each other method, with 95 % t-intervals over seeds.",
    "ablations": "What changes without a part of the method: paired differences, with 95 % t-intervals over seeds.",
    "classes": "IoU per class against supervised training: paired differences, with 95 % t-intervals over seeds.",
}
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>Study {name}</title>
<style>
body {{ max-width: 60rem; margin: 0 auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .2rem .8rem .2rem 0; text-align: left; }}
img {{ width: 100%; }}
</style></head>
<body><h1>Study {name}</h1>
<p>{done} of {cells} runs are done, in {hours:.1f} hours of computation. Scores are mIoU in percent on the {split}
images: mean ± standard deviation over n seeds, of the last weights and of those of the best validation. Differences are
in points, paired by seed, with 95 % t-intervals that are not corrected for their number. Compute is in multiply-adds,
the training of teachers included, over that of supervised training.</p>
{table}
{figures}</body></html>
"""


def tabulate(results: pd.DataFrame, candidates: Sequence[str]) -> pd.DataFrame:
    """Give scores and differences as text, a row per variant and fraction."""
    there = [name for name in candidates if name in set(results["method"])]
    scored = tabulate_scores(results)
    baselines = {row.fraction: row.compute.mean for row in scored if row.variant == BASELINE}
    rows = []
    for row in scored:
        method, _, ablation = row.variant.partition("-")
        values = values_by_variant(results, row.fraction)
        shown = dict.fromkeys((f"{name} minus it" for name in there), "")
        for name in there:
            if name in values and (method != name) != bool(ablation):  # other methods, and ablations of its own
                shown[f"{name} minus it"] = show_difference(paired_difference(values[name], values[row.variant]))
        count = f"{row.last.n}" + (f" ({row.failed} failed)" if row.failed else "")
        scores = {"mIoU, last": show_score(row.last), "mIoU, best": show_score(row.best)}
        relative = row.compute.mean / baselines.get(row.fraction, math.nan)
        compute = "–" if math.isnan(relative) else f"{relative:.2f}"
        named = {"method": row.variant, "labelled": f"{row.fraction:g}", "n": count}
        rows.append(named | scores | {"compute": compute} | shown)
    return pd.DataFrame(rows)


def write_markdown(table: pd.DataFrame) -> str:
    """Write a table of text in Markdown."""
    lines: Iterable[Iterable[str]] = [table.columns, ["---"] * len(table.columns), *table.to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def render_study(
    name: str, cells: int, results: pd.DataFrame, costs: pd.DataFrame, table: pd.DataFrame, figures: Iterable[str]
) -> str:
    """Render the page of a study, with its table and the figures that lie beside it."""
    shown = [f'<p><img src="figures/{each}.png" alt="">{CAPTIONS[each]}</p>\n' for each in figures]
    split = "test" if score_column(results) == "test_miou" else "validation"
    hours, rows = costs["seconds"].sum() / 3600, table.to_html(index=False, border=0)
    return PAGE.format(
        name=name, done=len(costs), cells=cells, hours=hours, split=split, table=rows, figures="".join(shown)
    )
