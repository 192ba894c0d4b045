"""What a report remarks on, and that it is silent where there is nothing to say."""

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
    histories["supervised"] = pd.DataFrame({"step": []})
    assert titles(make_run(manifest={}, histories=histories)) == []


def test_a_student_behind_others(make_run: MakeRun) -> None:
    metrics = copy.deepcopy(make_run().metrics)
    metrics["supervised"]["miou"], metrics["res_unet"]["miou"] = 0.7, 0.625
    found = {remark.title: remark.text for remark in find_remarks(make_run(metrics=metrics))}
    assert found.keys() == {
        "The student is worse than without unlabelled images",
        "The student is worse than ResUnet",
    }
    assert "10.0 points" in found["The student is worse than without unlabelled images"]
    assert "2.5 points" in found["The student is worse than ResUnet"]
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
    assert "class 6 and 13 more" in found[1].text and "theirs" in found[2].text


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ({"agreement": 0.95}, ["The teachers share their errors"]),
        ({"agreement": 0.985, "accuracy": 0.9}, ["The teachers agree nearly everywhere"]),
        ({"agreement": 0.4, "accuracy": 0.55, "confident": 0.5}, ["The teachers disagree"]),
        ({"accuracy": 0.75, "confident": 0.9}, ["SwinUnet (teacher) is too sure", "ResUnet (teacher) is too sure"]),
    ],
)
def test_pseudo_labels(make_run: MakeRun, shares: dict[str, float], expected: list[str]) -> None:
    histories = make_run().histories
    for column in histories["teachers"]:
        kind = column.partition(".")[0].removeprefix("pseudo_label_")
        if column.startswith("pseudo_label_") and kind in shares:
            histories["teachers"].loc[39, column] = shares[kind]
    assert titles(make_run(histories=histories)) == expected


def test_pseudo_labels_without_a_truth(make_run: MakeRun) -> None:
    histories = make_run().histories
    columns = [column for column in histories["teachers"] if "accuracy" in column]
    teachers = histories["teachers"].drop(columns=columns)
    teachers.loc[39, "pseudo_label_agreement"] = 0.99
    assert titles(make_run(histories=histories | {"teachers": teachers})) == ["The teachers agree nearly everywhere"]


def test_a_training_that_was_not_at_its_end_or_beyond_it(make_run: MakeRun) -> None:
    histories = make_run().histories
    histories["student"]["supervised"] = [1 - step / 50 for step in range(40)]
    histories["supervised"].loc[9, "val_miou.supervised"] = 0.56
    found = find_remarks(make_run(histories=histories))
    assert [remark.title for remark in found] == [
        "Student (IGL-DT) was still learning",
        "Supervised only was better before",
    ]
    assert "6.0 points below that after step 10" in found[1].text


def test_results_of_several_runs(make_run: MakeRun) -> None:
    manifest = copy.deepcopy(make_run().manifest)
    manifest["evaluation"] |= {"commit": "d" * 40, "dirty": True, "sha256": {"data/a.csv": "other"}}
    manifest["student_learning"]["unfinished"] = ["learn_student_node"]
    manifest["reporting"]["unfinished"] = ["write_report_node"]  # while the report is written
    found = find_remarks(make_run(manifest=manifest))
    assert [remark.title for remark in found] == [
        "Stages are of different code",
        "The code was not committed",
        "Results of different runs are mixed",
        "The last run of student_learning did not end",
    ]
    assert "When evaluation ran" in found[1].text and "data/a.csv:" in found[2].text
