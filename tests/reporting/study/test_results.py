"""Tables of studies, from made-up runs and from those that are committed."""

import json
from pathlib import Path

import pandas as pd
import pytest

from igl_dt.kedro_ext.study import load_plan
from igl_dt.reporting.study.comparison import compare_ablated_classes, compare_ablations, compare_classes
from igl_dt.reporting.study.definition import Cell, read_study
from igl_dt.reporting.study.figures import plot_study
from igl_dt.reporting.study.report import render_study, tabulate, write_markdown
from igl_dt.reporting.study.results import (
    DONE,
    FAILED,
    RECORDED,
    Tables,
    find_other_images,
    find_other_lists,
    find_other_teachers,
    read_results,
    read_tables,
)

STUDIES = Path(__file__).parents[3] / "studies"
COMMITTED = sorted(STUDIES.glob("*/results.csv"))
MIOU = {"supervised": (0.40, 0.50, 0.60), "igl_dt": (0.42, 0.52, 0.65), "igl_dt-no_local": (0.41, 0.51, None)}
"""By seed; None: failed."""


def write_run(project: Path, cell: Cell, miou: float) -> None:
    reporting = project / "data/08_reporting" / cell.run
    splits = project / "data/05_model_input" / cell.run
    for folder in (reporting, splits):
        folder.mkdir(parents=True)
    scores = {
        name: {"miou": value, "per_class": {"sky": value + 0.1, "pole": None}}
        for name, value in (("student", miou), ("student_best", miou + 0.01))
    }
    others = {"student_ema": miou + 0.02, "student_ema_best": miou + 0.04}
    if cell.teachers:
        of_global = MIOU["igl_dt"][cell.seed] - 0.02
        others = {"global_teacher": of_global, "local_teacher": 0.4, "local_teacher_best": 0.5}
    scores |= {name: {"miou": value, "per_class": {}} for name, value in others.items()}
    trained = {"seconds": 60.04, "peak_memory_mib": 7, "commit": "abc", "dirty": False}
    trained["environment"] = {"device": "cpu", "kernels": "avx2"}
    compute = {"total": 10**17 + 1, "teachers": 5 * 10**16 if cell.teachers else 0}
    files = {
        reporting / "metrics.json": scores,
        reporting / "networks.json": {name: {"fingerprint": f"f-{name}", "compute": compute} for name in scores},
        reporting / "run_manifest.json": {
            "data_splitting": {
                "seconds": 1,
                "peak_memory_mib": 9,
                "sha256": {f"data/05_model_input/{cell.run}/manifest.csv": "of the manifest"},
            },
            "student_learning": trained,
            "reporting": {"seconds": 1e9, "peak_memory_mib": 1e9},  # of no concern to the study
        },
        splits / "split_summary.json": {"images": {"labeled": 8, "test": 6}, "sha256": {"labeled": "l"}},
    }
    for path, content in files.items():
        path.write_text(json.dumps(content), "utf-8")
    (reporting / "history_student.csv").write_text("step,val_miou.student\n1,\n2,0.3\n3,\n4,0.2\n", "utf-8")


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    project = tmp_path_factory.mktemp("study")
    cells = []
    for variant, scores in MIOU.items():
        method, _, ablation = variant.partition("-")
        for seed, miou in enumerate(scores):
            teachers = f"tiny-teachers-0.25-{seed}" if "igl" in method else None
            cell = Cell("tiny", method, ablation, 0.25, seed, {}, teachers)
            cells.append((cell, FAILED if miou is None else DONE, f"{seed}e5"))
            if miou is not None:
                write_run(project, cell, miou)
    cells.append((Cell("tiny", "supervised", "", 0.25, 3, {}), "unfinished", ""))
    return read_results(project, cells, read_tables(project))


def test_results_have_two_rows_per_run_and_none_of_unfinished_ones(gathered) -> None:
    results, costs = gathered
    assert len(results) == 18
    assert len(costs) == 8
    last, best = (results[results["weights"] == weights].iloc[3] for weights in ("last", "best"))
    assert last[["method", "ablation", "seed", "status", "labeled_images"]].tolist() == ["igl_dt", "", 0, "done", 8]
    assert last[["fingerprint", "teachers", "steps"]].tolist() == ["f-student", "tiny-teachers-0.25-0", 4]
    assert last[["val_miou", "test_miou", "iou.sky"]].tolist() == pytest.approx([0.2, 0.42, 0.52])
    assert best[["fingerprint", "steps"]].tolist() == ["f-student_best", 2]
    assert best[["val_miou", "test_miou", "iou.sky"]].tolist() == pytest.approx([0.3, 0.43, 0.53])
    assert results["iou.pole"].isna().all()
    assert last[["teacher.global_teacher", "teacher.local_teacher"]].tolist() == pytest.approx([0.4, 0.4])
    assert [name for name in results if "best" in name] == []
    assert pd.isna(last["other.student_ema"])
    last, best = (results[results["weights"] == weights].iloc[0] for weights in ("last", "best"))
    assert [last["other.student_ema"], best["other.student_ema"]] == pytest.approx([0.42, 0.44])
    compute = results.loc[results["weights"] == "last", ["multiply_adds", "multiply_adds_with_teachers"]]
    assert compute.iloc[0].tolist() == [10**17 + 1, 10**17 + 1]
    assert compute.iloc[3].tolist() == [10**17 + 1, 15 * 10**16 + 1]
    assert compute.iloc[-1].isna().all()  # failed
    assert results.iloc[-1][["status", "val_miou"]].tolist()[0] == "failed"
    assert costs.iloc[0].tolist() == ["tiny-supervised-0.25-0", "0e5", 61.0, 9, "abc", False, "cpu", "avx2"]


def write(tables: Tables, folder: Path) -> list[str]:
    """Write tables as the catalog does; give their text."""
    for name, table in tables._asdict().items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    return [(folder / f"{name}.csv").read_text("utf-8") for name in tables._fields]


def test_rows_of_recorded_runs_stay_as_they_are(gathered, tmp_path: Path) -> None:
    before = write(gathered, tmp_path)
    runs = gathered.results.drop_duplicates("run")
    cells = [
        (Cell("tiny", row.method, row.ablation, row.fraction, row.seed, {}), status, row.digest)
        for row in runs.itertuples()
        for status in [RECORDED if row.status == DONE else FAILED]
    ]
    nowhere = tmp_path / "another clone"
    assert write(read_results(nowhere, cells, read_tables(tmp_path)), tmp_path) == before
    assert ",1e5,8," in before[0]  # a digest is no number; nor does a failed run, without a count, turn counts into 8.0
    kept, _ = read_results(nowhere, cells[1:2], read_tables(tmp_path))
    assert kept["run"].tolist() == ["tiny-supervised-0.25-1"] * 2


def test_of_merged_tables_each_run_has_its_rows_once_and_no_other_parameters(gathered) -> None:
    failed, slower = gathered.results.assign(status=FAILED, test_miou=None), gathered.costs.assign(seconds=99.0)
    others = Tables(failed, slower), gathered, Tables(gathered.results.assign(test_miou=0.5), gathered.costs)
    tables = [*others, Tables(*(table.assign(digest="old") for table in gathered))]
    merged = Tables(*(pd.concat(each) for each in zip(*tables, strict=True)))
    kept, costs = read_results(Path("nowhere"), [(Cell("tiny", "igl_dt", "", 0.25, 0, {}), RECORDED, "0e5")], merged)
    assert kept["weights"].tolist() == ["last", "best"]
    assert set(kept["status"]) == {DONE}
    assert 0.5 not in set(kept["test_miou"])
    assert costs["digest"].tolist() == ["0e5"]


def test_tables_of_an_older_version_belong_to_no_run(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("method,seed,weights\nigl_dt,0,last\n", "utf-8")
    results = read_tables(tmp_path).results
    assert results["run"].tolist() == ["an older version"]
    assert results["multiply_adds"].isna().all()


def test_compute_that_is_not_recorded_is_a_dash_and_not_drawn(gathered) -> None:
    results = gathered.results.assign(multiply_adds_with_teachers=None)
    assert set(tabulate(results, [])[0]["compute"]) == {"–"}
    assert "compute" not in plot_study(results, [])
    without = gathered.results[gathered.results["method"] != "supervised"]
    assert set(tabulate(without, [])[0]["compute"]) == {"–"}


def test_the_table_has_scores_and_paired_differences(gathered) -> None:
    """Of 2, 2 and 5 points: mean 3, deviation √3, so the interval is 3 ± 4.303; of 1 and 1 point there is no spread."""
    table = write_markdown(tabulate(gathered[0], ["igl_dt", "igl_dt_plus"]))
    assert table.splitlines()[:5] == [
        "| method | labelled | n | mIoU, last | mIoU, best | compute | igl_dt minus it |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| supervised | 0.25 | 3 | 50.0 ± 10.0 | 51.0 ± 10.0 | 1.00 | +3.0 [−1.3, +7.3], n=3 |",
        "| igl_dt | 0.25 | 3 | 53.0 ± 11.5 | 54.0 ± 11.5 | 1.50 |  |",
        "| igl_dt-no_local | 0.25 | 2 (1 failed) | 46.0 ± 7.1 | 47.0 ± 7.1 | 1.50 | +1.0 [+1.0, +1.0], n=2 |",
    ]


def test_the_whole_method_is_compared_with_its_ablations_also_where_it_is_no_candidate(gathered) -> None:
    table = write_markdown(tabulate(gathered.results, []))
    assert [line.split(" | ")[-1] for line in table.splitlines()[2:5]] == [" |", " |", "+1.0 [+1.0, +1.0], n=2 |"]


def test_a_bar_in_a_name_ends_no_cell() -> None:
    assert write_markdown([pd.DataFrame({"a|b": ["c"]})]) == "| a\\|b |\n| --- |\n| c |\n"


def test_the_scores_of_teachers_have_a_table(gathered) -> None:
    table = write_markdown(tabulate(gathered.results, [])[1:2])
    assert table.splitlines() == [
        "| teachers | n | global_teacher, mIoU | local_teacher, mIoU |",
        "| --- | --- | --- | --- |",
        "| tiny-teachers-0.25 | 3 | 51.0 ± 11.5 | 40.0 ± 0.0 |",
    ]


def test_what_is_trained_beside_the_student_has_a_table(gathered) -> None:
    table = write_markdown(tabulate(gathered.results, [])[2:3])
    assert table.splitlines() == [
        "| method | network | labelled | n | mIoU, last | minus student |",
        "| --- | --- | --- | --- | --- | --- |",
        "| supervised | student_ema | 0.25 | 3 | 52.0 ± 10.0 | +2.0 [+2.0, +2.0], n=3 |",
    ]


def test_the_last_table_has_the_differences_by_class(gathered) -> None:
    table = write_markdown(tabulate(gathered.results, ["igl_dt"])[-1:])
    assert table.splitlines() == [
        "| IoU | igl_dt minus supervised (0.25) | igl_dt minus no_local (0.25) |",
        "| --- | --- | --- |",
        "| sky | +3.0 [−1.3, +7.3], n=3 | +1.0 [+1.0, +1.0], n=2 |",
        "| pole | – | – |",
    ]
    results = gathered.results
    elsewhere = results[(results["method"] == "supervised") | (results["ablation"] != "")].assign(fraction=0.1)
    both = pd.concat([elsewhere, results], ignore_index=True)  # the method itself has no run at this fraction
    assert write_markdown(tabulate(both, ["igl_dt"])[-1:]).splitlines() == table.splitlines()
    failed = results.assign(fraction=0.1, val_miou=None, test_miou=None, status=FAILED, **{"iou.sky": None})
    both = pd.concat([failed, results], ignore_index=True)
    assert write_markdown(tabulate(both, ["igl_dt"])[-1:]).splitlines() == table.splitlines()


@pytest.fixture
def two_fractions(gathered) -> pd.DataFrame:
    """IGL-DT at the smaller fraction alone, supervised training at both."""
    results = gathered.results
    more = results[results["method"] == "supervised"].assign(fraction=0.5)
    return pd.concat([results, more.assign(test_miou=more["test_miou"] + 0.02)], ignore_index=True)


def test_methods_are_compared_with_supervised_training_that_has_more_labels(two_fractions: pd.DataFrame) -> None:
    table = write_markdown(tabulate(two_fractions, ["igl_dt"])[1:2])
    assert table.splitlines() == [
        "| mIoU | labelled | minus supervised (0.5) |",
        "| --- | --- | --- |",
        "| supervised | 0.25 | −2.0 [−2.0, −2.0], n=3 |",
        "| igl_dt | 0.25 | +1.0 [−3.3, +5.3], n=3 |",
    ]


def test_panels_of_figures_say_of_which_fraction_their_differences_are(two_fractions: pd.DataFrame) -> None:
    def shown(results: pd.DataFrame, name: str) -> tuple[str, list[str]]:
        axes = plot_study(results, ["igl_dt"])[name].axes[0]
        return axes.get_xlabel(), [text.get_text() for text in axes.get_yticklabels()]

    assert shown(two_fractions, "classes") == ("IoU: igl_dt\nminus supervised (0.25 labelled) [points]", ["sky, n=3"])
    title = "mIoU: igl_dt\nminus …"
    assert shown(two_fractions, "differences") == (f"{title} (0.25 labelled) [points]", ["supervised, n=3"])
    at_quarter = two_fractions[two_fractions["fraction"] == 0.25]
    both = pd.concat([two_fractions, at_quarter.assign(fraction=0.1)])
    assert shown(both, "differences") == (f"{title} [points]", ["supervised (0.1), n=3", "supervised (0.25), n=3"])


def test_runs_with_other_labeled_images_are_found(gathered) -> None:
    results = gathered.results.copy()
    assert find_other_lists(results) == []
    results.loc[results["run"] == "tiny-igl_dt-0.25-1", "labeled_sha256"] = "other"
    assert find_other_lists(results) == ["tiny-igl_dt-0.25-1"]


def test_runs_with_other_images_of_the_same_names_are_found(gathered) -> None:
    results = gathered.results.copy()
    assert set(results["images_sha256"].dropna()) == {"of the manifest"}
    assert find_other_images(results) == []
    results.loc[results["run"] == "tiny-igl_dt-0.25-1", "images_sha256"] = "of another"
    assert find_other_images(results) == ["tiny-igl_dt-0.25-1"]
    results["images_sha256"] = ""  # of an older version
    assert find_other_images(results) == []


def test_runs_with_other_teachers_of_the_same_name_are_found(gathered) -> None:
    results = gathered.results.copy()
    assert find_other_teachers(results) == []
    results.loc[results["run"] == "tiny-igl_dt-no_local-0.25-1", "teacher.local_teacher"] = 0.39
    assert find_other_teachers(results) == ["tiny-igl_dt-no_local-0.25-1"]


def test_ablations_and_classes_are_compared(gathered) -> None:
    (ablation,) = compare_ablations(gathered[0])
    assert (ablation.group, ablation.other, round(ablation.difference.mean, 6)) == ("igl_dt", "no_local", 1)
    sky, pole = compare_classes(gathered[0], ["igl_dt"])
    assert (sky.other, sky.difference.n, round(sky.difference.mean, 6)) == ("sky", 3, 3)
    assert (pole.other, pole.difference.n) == ("pole", 0)
    sky, _ = compare_ablated_classes(gathered[0])
    assert (sky.group, sky.other, round(sky.difference.mean, 6)) == ("igl_dt minus no_local", "sky", 1)


@pytest.fixture
def partial(gathered) -> pd.DataFrame:
    """What is there when a study has come half way: IGL-DT has one seed, another method none of the same."""
    results = gathered.results
    kept = results[(results["method"] == "supervised") | (results["seed"] == 1)]
    alone = results[results["run"] == "tiny-supervised-0.25-2"].assign(method="fixmatch")
    failed = results[results["status"] == "failed"].assign(method="cps", ablation="")
    return pd.concat([kept, alone, failed], ignore_index=True)


def test_of_a_partly_finished_study_only_common_seeds_are_compared(partial: pd.DataFrame) -> None:
    assert write_markdown(tabulate(partial, ["igl_dt"])).splitlines()[2:7] == [
        "| supervised | 0.25 | 3 | 50.0 ± 10.0 | 51.0 ± 10.0 | 1.00 | +2.0, n=1 |",
        "| igl_dt | 0.25 | 1 | 52.0 | 53.0 | 1.50 |  |",
        "| igl_dt-no_local | 0.25 | 1 | 51.0 | 52.0 | 1.50 | +1.0, n=1 |",
        "| fixmatch | 0.25 | 1 | 60.0 | 61.0 | 1.00 | – |",
        "| cps | 0.25 | 0 (1 failed) | – | – | – | – |",
    ]


def test_figures_of_a_partly_finished_study_leave_out_what_has_no_pairs(partial: pd.DataFrame) -> None:
    figures = plot_study(partial, ["igl_dt", "cps"])
    shown = {name: [text.get_text() for text in figure.axes[0].get_yticklabels()] for name, figure in figures.items()}
    assert shown["differences"] == ["supervised, n=1"]
    assert shown["ablations"] == ["no_local, n=1"]
    assert shown["classes"] == ["sky, n=1"]
    names = figures["compute"].axes[0].get_legend_handles_labels()[1]
    assert names == ["supervised, n=3", "igl_dt, n=1", "fixmatch, n=1"]  # all of cps failed
    alone = partial[partial["method"] == "fixmatch"]
    assert list(plot_study(alone, ["igl_dt", "fixmatch"])) == ["label_efficiency", "compute"]


def test_figures_and_page_show_what_there_is(gathered) -> None:
    results, costs = gathered
    figures = plot_study(results, ["igl_dt"])
    assert list(figures) == ["label_efficiency", "compute", "differences", "ablations", "classes", "ablated_classes"]
    (axes,) = figures["compute"].axes
    handles, names = axes.get_legend_handles_labels()
    assert names == ["supervised, n=3", "igl_dt, n=3"]
    assert [handle.lines[0].get_xydata().tolist() for handle in handles] == [
        [pytest.approx([1e17, 50])],
        [pytest.approx([1.5e17, 53])],
    ]
    page = render_study("tiny", 10, results, costs, tabulate(results, ["igl_dt"]), figures)
    assert "8 of 10 runs are done, in 0.1 hours" in page
    assert "on the test\nimages" in page
    assert '<img src="figures/classes.png"' in page
    assert "+3.0 [−1.3, +7.3]" in page


def test_without_any_result_there_is_an_empty_table(tmp_path: Path) -> None:
    cells = [(Cell("tiny", "supervised", "", 0.25, 0, {}), "missing", "")]
    results, costs = read_results(tmp_path, cells, read_tables(tmp_path))
    assert plot_study(results, ["igl_dt"]) == {}
    assert "0 of 1 runs" in render_study("tiny", 1, results, costs, tabulate(results, ["igl_dt"]), [])


@pytest.mark.parametrize("path", COMMITTED, ids=[path.parent.name for path in COMMITTED])
def test_committed_tables_say_what_the_results_say(path: Path) -> None:
    study = read_study(path.with_name("study.yml"))
    table = write_markdown(tabulate(read_tables(path.parent).results, study.candidates))
    assert path.with_name("table.md").read_text("utf-8") == table, f"kedro study report {path.parent.name}"
    plan = load_plan(path.parents[2], path.parent.name)
    assert plan.dropped(plan.statuses()) == [], "rows of another definition"
