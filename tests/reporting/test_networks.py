"""Names, colours and the order of networks."""

import pytest

from igl_dt.reporting.networks import is_teacher, label, label_all, last_weights, main_network, method_name, styles

SWIN = {"architecture": "swin_unet", "trained_by": "igl_dt"}


@pytest.mark.parametrize(
    ("name", "info", "expected"),
    [
        ("student", SWIN, "Student (igl_dt)"),
        ("student", {"trained_by": None}, "Student"),
        ("student_best", SWIN, "Student (igl_dt), best validation"),
        ("student_ema", SWIN, "Student EMA (igl_dt)"),
        ("global_teacher", SWIN, "Global teacher (swin_unet)"),
        ("supervised", SWIN, "Supervised"),
        ("supervised_best", None, "Supervised, best validation"),
        ("second_student", None, "Second student"),
        ("xUnit", None, "XUnit"),
    ],
)
def test_names_are_readable(name: str, info: dict | None, expected: str) -> None:
    assert label(name, info) == expected


def test_best_weights_go_by_the_info_of_their_role() -> None:
    assert label_all(["student_best"], {"student": SWIN}) == {"student_best": "Student (igl_dt), best validation"}


def test_a_network_looks_the_same_whichever_are_shown() -> None:
    info = dict.fromkeys(("student", "student_ema", "student_ema_best", "second_student"), SWIN)
    everything = styles(info, info)
    assert styles(["second_student"], info)["second_student"] == everything["second_student"]
    assert everything["student_ema"].color == everything["student_ema_best"].color
    assert len({look.color for look in everything.values()}) == 3
    many = styles([f"network_{index}" for index in range(40)], {}).values()
    assert len({(look.color, look.marker) for look in many}) == 40


def test_a_run_is_about_its_student_or_else_what_it_trained() -> None:
    assert main_network(["global_teacher", "student_best", "student"]) == "student"
    assert main_network(["global_teacher", "supervised_best", "supervised"]) == "supervised"
    assert main_network(["global_teacher"]) == "global_teacher"
    with pytest.raises(ValueError, match="run the pipeline evaluation"):
        main_network([])
    assert method_name({"global_teacher": {"trained_by": "cps"}, "student": SWIN}) == "igl_dt"
    assert method_name({}) is None


def test_best_weights_are_left_out_beside_the_last() -> None:
    assert last_weights(["a", "a_best", "b_best"]) == ["a", "b_best"]
    assert is_teacher("second_teacher_best")
    assert not is_teacher("student")
