"""Definitions of studies, and the runs that they mean."""

from pathlib import Path

import pytest

from igl_dt.reporting.study.definition import Cell, list_cells, read_study

GIVEN = """\
env: smoke
parameters: {student_learning.steps: 4, teacher_pretraining.steps: 5}
fractions: [0.25, 0.5]
seeds: [0, 1]
methods:
  supervised: {}
  igl_dt: {fractions: [0.25], parameters: {student_learning.steps: 6}}
ablations:
  no_local: {method: igl_dt, seeds: [1], parameters: {student_learning.method.igl_dt.local_weight: 0}}
  short: {method: igl_dt, seeds: [1], parameters: {teacher_pretraining.steps: 2}}
"""


def cells_of(tmp_path: Path, text: str) -> dict[str, Cell]:
    path = tmp_path / "tiny/study.yml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, "utf-8")
    cells = list_cells("tiny", read_study(path), lambda method: method.startswith("igl_dt"))
    return {cell.run: cell for cell in cells}


def test_cells_go_by_seed_and_teachers_come_first_and_once(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, GIVEN)
    assert list(cells) == [
        *("tiny-supervised-0.25-0", "tiny-supervised-0.5-0", "tiny-teachers-0.25-0", "tiny-igl_dt-0.25-0"),
        *("tiny-supervised-0.25-1", "tiny-supervised-0.5-1", "tiny-teachers-0.25-1", "tiny-igl_dt-0.25-1"),
        *("tiny-igl_dt-no_local-0.25-1", "tiny-teachers-short-0.25-1", "tiny-igl_dt-short-0.25-1"),
    ]
    assert cells["tiny-igl_dt-no_local-0.25-1"].teachers == "tiny-teachers-0.25-1"
    assert cells["tiny-igl_dt-short-0.25-1"].teachers == "tiny-teachers-short-0.25-1"
    assert cells["tiny-supervised-0.25-0"].teachers is None


def test_parameters_of_study_method_and_ablation_add_up(tmp_path: Path) -> None:
    cells = cells_of(tmp_path, GIVEN)
    student = cells["tiny-igl_dt-no_local-0.25-1"]
    assert student.parameters == {
        "seed": 1,
        "splitting.labeled_fraction": 0.25,
        "student_learning.steps": 6,
        "student_learning.method.name": "igl_dt",
        "student_learning.method.igl_dt.local_weight": 0,
        "student_learning.reference": False,
        "teachers_run": "tiny-teachers-0.25-1",
    }
    assert student.pipelines == ["data_splitting", "student_learning", "evaluation"]
    teachers = cells["tiny-teachers-short-0.25-1"]
    assert teachers.parameters == {"seed": 1, "splitting.labeled_fraction": 0.25, "teacher_pretraining.steps": 2}
    assert teachers.pipelines == ["data_splitting", "teacher_pretraining"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("fractions: [0.25, 0.5]", "fractions: [0.25, 1.5]", "fractions.1"),
        ("fractions: [0.25, 0.5]", "fractions: []", "fractions"),
        ("seeds: [0, 1]\n", "seed: [0, 1]\n", "did you mean 'seeds'"),
        ("env: smoke\n", "", "env"),
        ("no_local: {method: igl_dt,", "no_local: {method: igl_d,", "ablations.no_local.method.*did you mean 'igl_dt'"),
        ("no_local: {method: igl_dt,", "no_local: {", "ablations.no_local.method must be one of the methods"),
        ("no_local:", "no-local:", "no-local"),
        ("fractions: [0.25, 0.5]", "fractions: [0.25, 0.25]", "two runs would be called tiny-supervised-0.25-0"),
        ("env: smoke", "env: [", "is not valid YAML"),
        (
            "{student_learning.steps: 6}",
            "{seed: 3}",
            "seed must not be among the parameters of igl_dt: give seeds instead",
        ),
        (
            "student_learning.method.igl_dt.local_weight: 0",
            "splitting.labeled_fraction: 0.5",
            r"splitting\.labeled_fraction must not be among the parameters of no_local: give fractions instead",
        ),
        (
            "{student_learning.steps: 4,",
            "{student_learning.method.name: cps,",
            r"student_learning\.method\.name must not be among the parameters: name a method among methods instead",
        ),
        (
            "student_learning.method.igl_dt.local_weight: 0",
            "teachers_run: mine",
            "teachers_run must not be among the parameters of no_local: runs share teachers",
        ),
    ],
)
def test_mistakes_are_named_with_their_file(tmp_path: Path, old: str, new: str, problem: str) -> None:
    assert old in GIVEN
    with pytest.raises(ValueError, match=problem) as caught:
        cells_of(tmp_path, GIVEN.replace(old, new))
    assert "tiny" in str(caught.value)


def test_an_unknown_study_brings_the_nearest(tmp_path: Path) -> None:
    cells_of(tmp_path, GIVEN)
    with pytest.raises(ValueError, match="there is no study 'tinny'; did you mean 'tiny'"):
        read_study(tmp_path / "tinny/study.yml")
