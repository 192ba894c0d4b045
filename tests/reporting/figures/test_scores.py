"""Table, dot plot and confusion matrix."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from igl_dt.reporting.figures.scores import per_class_table, plot_confusion, plot_per_class

pytestmark = pytest.mark.filterwarnings("error")

CheckFigure = Callable[..., Figure]
CheckBytes = Callable[[Callable[[], Figure]], None]
CAMVID = [
    *("sky", "building", "pole", "road", "pavement", "tree", "sign_symbol", "fence", "car", "pedestrian"),
    "bicyclist",
]


def scores(*ious: float | None, names: list[str] | None = None) -> dict[str, Any]:
    names = names or ["sky", "sign_symbol", "car"]
    known = [iou or 0.0 for iou in ious]
    return {
        "miou": sum(known) / len(known),
        "miou_present": 0.5,
        "pixel_accuracy": 0.912345,
        "mean_class_accuracy": 0.6,
        "per_class": dict(zip(names, ious, strict=True)),
        "pixels": 1000,
    }


def metrics() -> dict[str, dict[str, Any]]:
    return {
        "student": scores(0.9, 0.25, None),
        "student_best": scores(0.91, 0.26, None),
        "supervised": scores(0.8, 0.30005, None),
        "global_teacher": scores(0.5, 0.2, 0.0),
        "local_teacher": scores(0.6, 0.1, None),
    }


def camvid_metrics() -> dict[str, dict[str, Any]]:
    generator = np.random.default_rng(0)
    return {
        network: scores(*generator.uniform(0, 1, 11).tolist(), names=CAMVID)
        for network in ("student", "global_teacher", "local_teacher", "supervised")
    }


def test_table_holds_percent_with_two_digits() -> None:
    table = per_class_table(metrics())
    assert list(table.columns) == list(metrics())
    assert table.index.name == "class"
    assert list(table.index) == [
        *("sky", "sign_symbol", "car"),
        *("mIoU", "Pixel accuracy", "Mean class accuracy", "mIoU of classes present"),
    ]
    assert table.loc["sky", "student"] == 90
    assert table.loc["sign_symbol", "supervised"] == 30.0  # 30.005 has no exact float; two digits all the same
    assert table.isna().loc["car"].to_dict() == {network: network != "global_teacher" for network in table.columns}
    assert table.loc["car", "global_teacher"] == 0
    assert table.loc["mIoU", "student"] == 38.33
    assert table.loc["Pixel accuracy", "local_teacher"] == 91.23


def test_table_has_the_means_that_there_are() -> None:
    table = per_class_table({"student": {"miou": 0.5, "per_class": {"sky": 0.5}}})
    assert list(table.index) == ["sky", "mIoU"]


def test_classes_must_be_the_same() -> None:
    differing = metrics() | {"local_teacher": scores(0.6, 0.1, names=["sky", "car"])}
    for function in (per_class_table, plot_per_class):
        with pytest.raises(ValueError, match=r"student and local_teacher .* sign_symbol in one only"):
            function(differing)
    with pytest.raises(ValueError, match="no networks"):
        per_class_table({})


def test_dots_are_sorted_by_the_gain(check_figure: CheckFigure) -> None:
    figure = check_figure(lambda: plot_per_class(metrics()))
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mIoU", "sky", "sign_symbol", "car"]
    assert [text.get_text() for text in axes.texts] == ["gain", "+1.7", "+10.0", "−5.0"]
    student = next(line for line in axes.get_lines() if line.get_label() == "Student")
    np.testing.assert_allclose(np.asarray(student.get_xdata(), dtype=float), [115 / 3, 90, 25, np.nan])


def test_a_class_that_no_network_has_is_said_to_be_missing(check_figure: CheckFigure) -> None:
    missing = {network: scores(0.5, 0.4, None) for network in ("student", "supervised")}
    figure = check_figure(lambda: plot_per_class(missing))
    assert "not in this set" in [text.get_text() for text in figure.axes[0].texts]


def test_without_supervised_sorted_by_iou(check_figure: CheckFigure) -> None:
    figure = check_figure(lambda: plot_per_class({"student": scores(0.1, 0.3, 0.2)}))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["mIoU", "sign_symbol", "car", "sky"]


def test_no_gain_is_plus_zero() -> None:
    level = {"student": scores(0.5, 0.4, 0.3), "supervised": scores(0.5, 0.4, 0.3001)}
    assert [text.get_text() for text in plot_per_class(level).axes[0].texts] == ["gain", "+0.0", "+0.0", "+0.0", "+0.0"]


def test_dots_fit_many_long_names(check_figure: CheckFigure) -> None:
    check_figure(lambda: plot_per_class(camvid_metrics()))


def test_any_network_has_dots_but_best_weights_beside_the_last(check_figure: CheckFigure) -> None:
    given = {name: scores(0.1, 0.2, 0.3) for name in ("student", "student_best", "student_ema", "some_network_best")}
    figure = check_figure(lambda: plot_per_class(given, {"student": {"trained_by": "mean_teacher"}}))
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Student (mean_teacher)", "Student EMA", "Some network, best validation"]
    check_figure(lambda: plot_per_class({"global_teacher": scores(0.1, 0.2, 0.3)}))


def test_a_new_score_has_a_row() -> None:
    table = per_class_table({"student": scores(0.1, 0.2, 0.3) | {"new_score": 0.5, "seconds": 30.0, "of_classes": {}}})
    assert table.loc["New score", "student"] == 50
    assert len(table) == 3 + 5


def test_confusion_is_normalised_per_true_class(check_figure: CheckFigure) -> None:
    confusion = pd.DataFrame([[30, 10, 0], [0, 0, 0], [1, 0, 999]], index=list("abc"), columns=list("abc"))
    figure = check_figure(lambda: plot_confusion(confusion, "Student"), tilted=True)
    axes = figure.axes[0]
    assert axes.get_title() == "Student"
    shares = axes.images[0].get_array()
    assert shares is not None
    expected = np.array([[75, 25, 0], [-1, -1, -1], [0.1, 0, 99.9]])
    np.testing.assert_allclose(np.ma.filled(shares, -1).astype(float), expected)
    assert [text.get_text() for text in axes.texts] == ["75", "25", "100", "not in this set"]


@pytest.mark.parametrize("num_classes", [2, 11, 21, 60])
def test_confusion_fits_any_number_of_classes(num_classes: int, check_figure: CheckFigure) -> None:
    names = [f"sign_symbol_{index}" for index in range(num_classes)]
    counts = np.random.default_rng(0).integers(0, 1000, (num_classes, num_classes))
    check_figure(lambda: plot_confusion(pd.DataFrame(counts, names, names), "Student"), tilted=True)


def test_confusion_must_be_square() -> None:
    with pytest.raises(ValueError, match="must be the same"):
        plot_confusion(pd.DataFrame([[1, 2]], index=["a"], columns=["a", "b"]), "Student")


def test_the_same_scores_give_the_same_bytes(check_bytes: CheckBytes) -> None:
    check_bytes(lambda: plot_per_class(metrics()))
    check_bytes(lambda: plot_confusion(pd.DataFrame([[3, 1], [0, 2]]), "Student"))
