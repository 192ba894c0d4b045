"""What a report remarks on, and that it is silent about a run without problems."""

import copy
from collections.abc import Callable

import pandas as pd
import pytest

from igl_dt.reporting.report import Run, find_remarks

MakeRun = Callable[..., Run]


def titles(run: Run) -> list[str]:
    return [remark.title for remark in find_remarks(run)]


def test_a_good_run_has_none(make_run: MakeRun) -> None:
    assert titles(make_run()) == []


def test_a_run_of_which_nothing_is_recorded_has_none(make_run: MakeRun) -> None:
    histories = {name: history.iloc[:0] for name, history in make_run().histories.items()}
    histories["reference"] = pd.DataFrame({"step": []})
    assert titles(make_run(run_manifest={}, histories=histories)) == []


def test_a_student_behind_others(make_run: MakeRun) -> None:
    metrics = copy.deepcopy(make_run().metrics)
    metrics["supervised"]["miou"], metrics["local_teacher"]["miou"] = 0.7, 0.625
    found = {remark.title: remark.text for remark in find_remarks(make_run(metrics=metrics))}
    assert found.keys() == {
        "The student is worse than without unlabelled images",
        "The student is worse than the local teacher",
    }
    assert "10.0 points" in found["The student is worse than without unlabelled images"]
    assert "2.5 points" in found["The student is worse than the local teacher"]
    metrics["student"]["per_class"] |= {"road": 0.0, "<b>": 0}
    (remark,) = (remark for remark in find_remarks(make_run(metrics=metrics)) if "does not find" in remark.title)
    assert "<b> and road" in remark.text


def test_classes_without_labels_lists_that_differ_and_no_test_images(make_run: MakeRun) -> None:
    summary = copy.deepcopy(make_run().split_summary)
    summary["classes_without_labels"] = [f"class {index}" for index in range(20)]
    summary["lists"]["labeled"]["not_comparable_with"] = ["theirs"]
    summary["images"]["test"] = 0
    found = find_remarks(make_run(split_summary=summary))
    assert [remark.title for remark in found] == [
        "Scores are not of test images",
        "Classes without a label",
        "The labeled list is not the only one of its size",
    ]
    assert "class 6 and 13 more" in found[1].text
    assert "theirs" in found[2].text


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"agreement": 0.95}, ["The teachers share their errors"]),
        ({"agreement": 0.985, "accuracy": 0.9}, ["The teachers agree nearly everywhere"]),
        ({"agreement": 0.4, "accuracy": 0.55, "confident": 0.5}, ["The teachers disagree"]),
        (
            {"accuracy": 0.75, "confident": 0.9},
            ["Global teacher (swin_unet) is overconfident", "Local teacher (res_unet) is overconfident"],
        ),
    ],
)
def test_pseudo_labels(make_run: MakeRun, shares: dict[str, float], expected: list[str]) -> None:
    histories = make_run().histories
    for column in histories["teacher_pretraining"]:
        kind = column.partition(".")[0].removeprefix("pseudo_label_")
        if column.startswith("pseudo_label_") and kind in shares:
            histories["teacher_pretraining"].loc[39, column] = shares[kind]
    assert titles(make_run(histories=histories)) == expected


def test_pseudo_labels_without_a_truth(make_run: MakeRun) -> None:
    histories = make_run().histories
    columns = [column for column in histories["teacher_pretraining"] if "accuracy" in column]
    teachers = histories["teacher_pretraining"].drop(columns=columns)
    teachers.loc[39, "pseudo_label_agreement"] = 0.99
    assert titles(make_run(histories=histories | {"teacher_pretraining": teachers})) == [
        "The teachers agree nearly everywhere"
    ]


def test_a_training_that_was_not_at_its_end_or_beyond_it(make_run: MakeRun) -> None:
    histories = make_run().histories
    histories["student_learning"]["supervised"] = [1 - step / 50 for step in range(40)]
    histories["reference"].loc[9, "val_miou.supervised"] = 0.56
    found = find_remarks(make_run(histories=histories))
    assert [remark.title for remark in found] == [
        "Student (igl_dt) was still learning",
        "Supervised was better before",
    ]
    assert "6.0 points below that after step 10" in found[1].text


def test_results_of_several_runs(make_run: MakeRun) -> None:
    manifest = copy.deepcopy(make_run().run_manifest)
    manifest["evaluation"] |= {"commit": "d" * 40, "dirty": True, "sha256": {"data/a.csv": "other"}}
    manifest["student_learning"]["unfinished"] = ["train_node"]
    manifest["reporting"]["unfinished"] = ["write_report_node"]  # while the report is written
    found = find_remarks(make_run(run_manifest=manifest))
    assert [remark.title for remark in found] == [
        "Stages ran with different code",
        "The code was not committed",
        "Results of different runs are mixed",
        "The last run of student_learning did not finish",
    ]
    assert "evaluation ran with uncommitted changes" in found[1].text
    assert "data/a.csv:" in found[2].text


def test_networks_of_any_name(make_run: MakeRun) -> None:
    """A method without teachers that brings a network of its own."""
    base = make_run()
    metrics = {"student": base.metrics["student"], "student_ema": copy.deepcopy(base.metrics["student"])}
    metrics["student_ema"]["miou"] += 0.05
    histories = {"student_learning": base.histories["student_learning"]}
    run = make_run(metrics=metrics, histories=histories, networks_info={"student": {"trained_by": "mean_teacher"}})
    assert titles(run) == ["The student is worse than the student ema"]
