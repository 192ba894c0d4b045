"""Curves of the training."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from igl_dt.reporting.figures.history import loss_columns, plot_losses, plot_miou, plot_pseudo_labels

pytestmark = pytest.mark.filterwarnings("error")

CheckFigure = Callable[..., Figure]
CheckBytes = Callable[[Callable[[], Figure]], None]
INFO = {
    "global_teacher": {"architecture": "swin_unet", "trained_by": "cps"},
    "local_teacher": {"architecture": "res_unet", "trained_by": "cps"},
    "student": {"architecture": "deeplab_v3_plus", "trained_by": "igl_dt"},
    "supervised": {"architecture": "deeplab_v3_plus", "trained_by": "supervised"},
}


def histories(steps: int = 600, validate_every: int = 100) -> dict[str, pd.DataFrame]:
    generator = np.random.default_rng(0)
    step = np.arange(1, steps + 1)

    def falling(start: float) -> np.ndarray:
        return start * np.exp(-3 * step / steps + generator.normal(0, 0.2, steps))

    def rising(end: float) -> np.ndarray:
        return np.where((step % validate_every == 0) | (step == steps), end * np.sqrt(step / steps), np.nan)

    teachers = {"step": step}
    for network in ("global_teacher", "local_teacher"):
        teachers[f"{network}.supervised"] = falling(2)
        teachers[f"{network}.cross_pseudo"] = falling(1)
        teachers[f"learning_rate.{network}"] = falling(0.01)
        teachers[f"val_miou.{network}"] = rising(0.4)
        teachers[f"pseudo_label_accuracy.{network}"] = rising(0.7 if network == "local_teacher" else 0.85)
        teachers[f"pseudo_label_confident.{network}"] = rising(0.5 if network == "local_teacher" else 0.75)
    teachers["pseudo_label_agreement"] = rising(0.9)
    student = {
        "step": step,
        "supervised": falling(2),
        "labeled_pseudo_label": falling(4),
        "unlabeled_pseudo_label": falling(2),
        "global_context": np.where(step % 2, falling(0.5), np.nan),
        "local_regional": np.where(step % 2, np.nan, falling(0.03)),
        "discrepancy": 1.87 + generator.normal(0, 0.001, steps),
        "learning_rate.student": falling(0.01),
        "val_miou.student": rising(0.45),
    }
    supervised = {
        "step": step,
        "supervised": falling(2),
        "learning_rate.supervised": falling(0.01),
        "val_miou.supervised": rising(0.44),
    }
    return {
        "teacher_pretraining": pd.DataFrame(teachers),
        "student_learning": pd.DataFrame(student),
        "reference": pd.DataFrame(supervised),
    }


def test_losses_have_a_panel_each(check_figure: CheckFigure) -> None:
    figure = check_figure(lambda: plot_losses(histories()))
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == [
        "Supervised",
        "Cross pseudo supervision",
        "Pseudo-labels, labelled",
        "Pseudo-labels, unlabelled",
        "Global context",
        "Local regional",
        "Discrepancy",
    ]
    thick = [line for line in panels["Supervised"].get_lines() if line.get_linewidth() > 1]
    assert len(thick) == 4
    raw = panels["Global context"].get_lines()[0]
    table = histories()["student_learning"][["step", "global_context"]].dropna()
    np.testing.assert_array_equal(raw.get_xydata(), table.to_numpy())


@pytest.mark.parametrize("stage", ["teacher_pretraining", "student_learning", "reference"])
def test_a_stage_can_be_shown_alone(stage: str, check_figure: CheckFigure) -> None:
    check_figure(lambda: plot_losses({stage: histories()[stage]}))
    check_figure(lambda: plot_miou({stage: histories()[stage]}))


@pytest.mark.parametrize("steps", [1, 2])
def test_short_trainings_have_figures_too(steps: int, check_figure: CheckFigure) -> None:
    check_figure(lambda: plot_losses(histories(steps)))
    check_figure(lambda: plot_miou(histories(steps)))


def test_losses_of_other_methods_get_a_panel(check_figure: CheckFigure) -> None:
    history = pd.DataFrame({"step": [1, 2], "consistency_loss": [0.0, 0.0]})
    figure = check_figure(lambda: plot_losses({"student": history}))
    assert figure.axes[0].get_title(loc="left") == "Consistency loss"


def test_miou_is_shown_in_percent_where_it_was_measured(check_figure: CheckFigure) -> None:
    figure = check_figure(lambda: plot_miou(histories(), INFO))
    curves = [line for line in figure.axes[0].get_lines() if len(np.atleast_1d(line.get_xdata())) > 1]
    assert len(curves) == 4
    for curve in curves:
        assert np.asarray(curve.get_xdata()).tolist() == [100, 200, 300, 400, 500, 600]
    assert sorted(float(np.asarray(curve.get_ydata())[-1]) for curve in curves) == pytest.approx([40, 40, 44, 45])
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert labels == {
        "Global teacher (swin_unet)  40.0",
        "Local teacher (res_unet)  40.0",
        "Student (igl_dt)  45.0",
        "Supervised  44.0",
    }


def test_pseudo_labels_have_a_panel_per_measure(check_figure: CheckFigure) -> None:
    figure = check_figure(lambda: plot_pseudo_labels(histories()))
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert [len(axes.get_lines()) for axes in panels.values()] == [2, 2, 1]
    (agreement,) = panels["Pixels labelled alike by all"].get_lines()
    assert np.asarray(agreement.get_xdata()).tolist() == [100, 200, 300, 400, 500, 600]
    assert np.asarray(agreement.get_ydata())[-1] == pytest.approx(90)


def test_what_was_not_measured_of_pseudo_labels_has_no_panel(check_figure: CheckFigure) -> None:
    history = histories()["teacher_pretraining"]
    without_truth = history.drop(columns=[name for name in history if name.startswith("pseudo_label_accuracy")])
    assert len(check_figure(lambda: plot_pseudo_labels({"teacher_pretraining": without_truth})).axes) == 2


@pytest.mark.parametrize("given", [{}, {"student_learning": pd.DataFrame({"step": []})}])
@pytest.mark.parametrize("plot", [plot_losses, plot_miou, plot_pseudo_labels])
def test_a_figure_without_anything_to_show_says_so(
    plot: Callable[..., Figure], given: dict[str, pd.DataFrame], check_figure: CheckFigure
) -> None:
    figure = check_figure(lambda: plot(given))
    assert not figure.axes
    assert len(figure.texts) == 1


def test_any_network_has_a_curve(check_figure: CheckFigure) -> None:
    """Averaged weights beside those trained, and further networks in the same training."""
    rising = [0.1, 0.2]
    averaged = pd.DataFrame(
        {"step": [1, 2], "consistency": [2.0, 1.0], "learning_rate.student": [1.0, 0.5]}
        | {"val_miou.student": rising, "val_miou.student_ema": [0.3, 0.5]}
    )
    figure = check_figure(
        lambda: plot_miou({"student_learning": averaged}, {"student": {"trained_by": "mean_teacher"}})
    )
    labels = {text.get_text() for text in figure.axes[0].texts}
    assert labels == {"Student (mean_teacher)  20.0", "Student EMA  50.0"}
    assert loss_columns(averaged, "student_learning") == {"consistency": ("student", "consistency")}

    pair = pd.DataFrame({"step": [1, 2], "student.cross": rising, "second_student.cross": rising})
    figure = check_figure(lambda: plot_losses({"student_learning": pair}))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Student", "Second student"]


def test_many_networks_fit(check_figure: CheckFigure) -> None:
    names = [f"network_{index}" for index in range(9)]
    table = pd.DataFrame({"step": [1, 2]} | {f"val_miou.{name}": [0.1, 0.2 + 0.01 * n] for n, name in enumerate(names)})
    check_figure(lambda: plot_miou({"student_learning": table}))
    table = table.rename(columns={f"val_miou.{name}": f"{name}.loss" for name in names})
    check_figure(lambda: plot_losses({"student_learning": table}))
    table = table.rename(columns={f"{name}.loss": f"pseudo_label_confident.{name}" for name in names})
    check_figure(lambda: plot_pseudo_labels({"student_learning": table}))


def test_the_same_histories_give_the_same_bytes(check_bytes: CheckBytes) -> None:
    check_bytes(lambda: plot_pseudo_labels(histories()))
    check_bytes(lambda: plot_losses(histories()))
    check_bytes(lambda: plot_miou(histories()))
