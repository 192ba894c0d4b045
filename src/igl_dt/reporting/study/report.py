"""The table and the page of a study."""

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from igl_dt.reporting.networks import BASELINE
from igl_dt.reporting.study.comparison import (
    compare_ablated_classes,
    compare_classes,
    compare_fractions,
    fractions,
    show_difference,
    show_score,
    tabulate_scores,
    values_by_variant,
)
from igl_dt.reporting.study.results import OTHER, TEACHER, score_column
from igl_dt.reporting.study.statistics import paired_difference, summarize

INTERVALS = (
    "Lines are 95 % t-intervals over seeds, not corrected for multiple comparisons: blue above 0, orange below it, "
    "grey with a hollow dot where they include it. A dot without a line is a single pair."
)
CAPTIONS = {
    "label_efficiency": "mIoU over the labelled share: mean and standard deviation over seeds; dots are single runs.",
    "compute": "mIoU over multiply-adds of training, teachers’ included: mean and standard deviation over seeds; dots "
    "are single runs.",
    "differences": f"Paired differences to each other method. {INTERVALS}",
    "ablations": "The whole method minus each of its ablations: positive where the whole method is better. "
    f"{INTERVALS}",
    "classes": f"IoU per class minus that of supervised training. {INTERVALS}",
    "ablated_classes": f"IoU per class: the whole method minus each of its ablations. {INTERVALS}",
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
in points, paired by seed, with 95 % t-intervals that are not corrected for multiple comparisons. Compute is in
multiply-adds, the training of teachers included, over that of supervised training.</p>
{tables}
{figures}</body></html>
"""


def tabulate(results: pd.DataFrame, candidates: Sequence[str]) -> list[pd.DataFrame]:
    """Give the tables of a study as text: of methods, fractions, other networks and classes; those there are."""
    tables = [
        _tabulate_methods(results, candidates),
        _tabulate_fractions(results),
        _tabulate_teachers(results),
        _tabulate_others(results),
        _tabulate_classes(results, candidates),
    ]
    return [table for table in tables if len(table)]


def _tabulate_methods(results: pd.DataFrame, candidates: Sequence[str]) -> pd.DataFrame:
    """Give scores and differences, a row per variant and fraction."""
    ablated = results["method"][results["ablation"].fillna("") != ""]
    there = [name for name in dict.fromkeys([*candidates, *ablated]) if name in set(results["method"])]
    scored = tabulate_scores(results)
    baselines = {row.fraction: row.compute.mean for row in scored if row.variant == BASELINE}
    rows = []
    for row in scored:
        method, _, ablation = row.variant.partition("-")
        values = values_by_variant(results, row.fraction)
        shown = dict.fromkeys((f"{name} minus it" for name in there), "")
        for name in there:
            own, other = ablation and method == name, not ablation and method != name and name in candidates
            if name in values and (own or other):
                shown[f"{name} minus it"] = show_difference(paired_difference(values[name], values[row.variant]))
        count = f"{row.last.n}" + (f" ({row.failed} failed)" if row.failed else "")
        scores = {"mIoU, last": show_score(row.last), "mIoU, best": show_score(row.best)}
        relative = row.compute.mean / baselines.get(row.fraction, math.nan)
        compute = "–" if math.isnan(relative) else f"{relative:.2f}"
        named = {"method": row.variant, "labelled": f"{row.fraction:g}", "n": count}
        rows.append(named | scores | {"compute": compute} | shown)
    return pd.DataFrame(rows)


def _tabulate_fractions(results: pd.DataFrame) -> pd.DataFrame:
    """Give differences to supervised training with more labels, a row per method and fraction."""
    rows: dict[tuple[str, float], dict[str, str]] = {}
    for each in compare_fractions(results):
        if each.difference.n:
            named = {"mIoU": each.group, "labelled": f"{each.fraction:g}"}
            shown = rows.setdefault((each.group, each.fraction), named)
            shown[f"minus {each.other}"] = show_difference(each.difference)
    return pd.DataFrame(rows.values()).fillna("")


def _tabulate_teachers(results: pd.DataFrame) -> pd.DataFrame:
    """Give the scores of teachers, a row per run but for its seed."""
    roles = [column for column in results.columns if column.startswith(TEACHER)]
    if not roles:
        return pd.DataFrame()
    scored = results[results["weights"] == "last"].dropna(subset=roles, how="all").drop_duplicates("teachers")
    runs = scored["teachers"].str.rpartition("-")[0]
    rows = [
        {"teachers": run, "n": f"{len(group)}"}
        | {f"{role.removeprefix(TEACHER)}, mIoU": show_score(summarize(100 * group[role])) for role in roles}
        for run, group in scored.groupby(runs, sort=False)
    ]
    return pd.DataFrame(rows)


def _tabulate_others(results: pd.DataFrame) -> pd.DataFrame:
    """Give the scores of what methods train beside the student, such as an average of its weights."""
    rows = []
    for fraction in fractions(results):
        students = values_by_variant(results, fraction)
        for column in [name for name in map(str, results) if name.startswith(OTHER)]:
            for variant, values in values_by_variant(results, fraction, column=column).items():
                if values.notna().any():
                    named = {"method": variant, "network": column.removeprefix(OTHER), "labelled": f"{fraction:g}"}
                    difference = show_difference(paired_difference(values, students[variant]))
                    shown = {"mIoU, last": show_score(summarize(values)), "minus student": difference}
                    rows.append(named | {"n": f"{values.notna().sum()}"} | shown)
    return pd.DataFrame(rows)


def _tabulate_classes(results: pd.DataFrame, candidates: Sequence[str]) -> pd.DataFrame:
    """Give differences in IoU, a row per class: of candidates to supervised training, of methods to their ablations."""
    rows: dict[str, dict[str, str]] = {}
    for each in [*compare_classes(results, candidates), *compare_ablated_classes(results)]:
        shown = rows.setdefault(each.other, {"IoU": each.other})
        shown[f"{each.group} ({each.fraction:g})"] = show_difference(each.difference)
    return pd.DataFrame(rows.values())


def write_markdown(tables: Iterable[pd.DataFrame]) -> str:
    """Write tables of text in Markdown."""
    written = []
    for table in tables:
        lines: Iterable[Iterable[str]] = [table.columns, ["---"] * len(table.columns), *table.to_numpy().tolist()]
        escaped = ([cell.replace("|", r"\|") for cell in line] for line in lines)
        written.append("".join(f"| {' | '.join(line)} |\n" for line in escaped))
    return "\n".join(written)


def render_study(
    name: str,
    cells: int,
    results: pd.DataFrame,
    costs: pd.DataFrame,
    tables: Iterable[pd.DataFrame],
    figures: Iterable[str],
) -> str:
    """Render the page of a study, with tables of text and the figures that lie beside it."""
    shown = [f'<p><img src="figures/{each}.png" alt="">{CAPTIONS[each]}</p>\n' for each in figures]
    split = "test" if score_column(results) == "test_miou" else "validation"
    hours, rows = costs["seconds"].sum() / 3600, [table.to_html(index=False, border=0) for table in tables]
    return PAGE.format(
        name=name,
        done=len(costs),
        cells=cells,
        hours=hours,
        split=split,
        tables="\n".join(rows),
        figures="".join(shown),
    )
