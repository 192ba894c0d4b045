"""Images beside ground truth and predictions."""

from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from igl_dt.reporting.figures.examples import plot_examples
from igl_dt.utils.palette import class_palette

pytestmark = pytest.mark.filterwarnings("error")

CheckFigure = Callable[..., Figure]
CheckBytes = Callable[[Callable[[], Figure]], None]
NAMES = ["sky", "sign_symbol", "bicyclist", "building"]
NETWORKS = ["supervised", "student", "local_teacher", "global_teacher"]
INFO = {
    "student": {"trained_by": "igl_dt"},
    "student_best": {"trained_by": "igl_dt"},
    "global_teacher": {"architecture": "swin_unet"},
    "local_teacher": {"architecture": "res_unet"},
}
Images = tuple[list[np.ndarray], list[np.ndarray], dict[str, list[np.ndarray]]]


def images_of(*sizes: tuple[int, int], networks: list[str] = NETWORKS) -> Images:
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    truths = []
    for size in sizes:
        truth = np.zeros(size, dtype=np.uint8)
        truth[size[0] // 2 :] = 1
        truth[:3, :3] = 255
        truths.append(truth)
    predictions = {network: [np.where(truth == 255, 0, truth) for truth in truths] for network in networks}
    return images, truths, predictions


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize("networks", [NETWORKS, ["student"], [], [*NETWORKS, "student_ema", "second_student", "x"]])
def test_sizes_and_shapes_of_samples_may_differ(networks: list[str], check_figure: CheckFigure) -> None:
    images, truths, predictions = images_of((60, 80), (80, 20), (40, 160), (9, 9), networks=networks)
    figure = check_figure(lambda: plot_examples(images, truths, predictions, NAMES))
    columns = 2 + len(networks) + bool(networks)
    assert len(figure.axes) == 4 * columns
    for position, axes in enumerate(figure.axes):
        box, (height, width) = axes.get_window_extent(), truths[position // columns].shape
        assert box.height / box.width == pytest.approx(height / width, rel=0.02)


def test_columns_are_in_the_order_of_the_networks() -> None:
    figure = plot_examples(*images_of((8, 8)), NAMES, networks_info=INFO)
    assert words(figure) == [
        *("Image", "Ground truth", "Student\n(igl_dt)", "Global teacher\n(swin_unet)", "Local teacher\n(res_unet)"),
        *("Supervised", "Errors of\nstudent"),
    ]


def test_scores_stand_below_the_predictions() -> None:
    images, truths, predictions = images_of((10, 10), networks=["student"])
    predictions["student"][0][0, 3:] = 2  # 7 of 91 counted pixels; sky has 41, sign_symbol 50
    figure = plot_examples(images, truths, predictions, NAMES)
    (caption,) = figure.axes[2].texts
    assert caption.get_text() == f"mIoU {100 * (34 / 41 + 1 + 0) / 3:.0f} · pixels {100 * 84 / 91:.0f} %"


def test_labels_stand_below_the_samples_and_errors_in_the_last_column() -> None:
    images, truths, predictions = images_of((10, 12), (10, 12))
    predictions["student"][1][0, 4:6] = 2
    figure = plot_examples(images, truths, predictions, NAMES, ["best", "worst"])
    assert [figure.axes[position].texts[0].get_text() for position in (0, 7)] == ["best", "worst"]
    errors = [np.asarray(figure.axes[position].images[0].get_array()) == (200, 0, 0) for position in (6, 13)]
    assert not errors[0].all(axis=2).any()
    assert np.argwhere(errors[1].all(axis=2)).tolist() == [[0, 4], [0, 5]]


def test_right_pixels_have_their_colour_wrong_ones_stripes_and_ignored_ones_neither() -> None:
    images, truths, predictions = images_of((10, 10), networks=["student"])
    predictions["student"][0][5:, 5:] = 2
    figure = plot_examples(images, truths, predictions, NAMES)
    truth, student = (np.asarray(figure.axes[column].images[0].get_array()) for column in (1, 2))
    sky, sign_symbol, bicyclist, _ = (tuple(color) for color in class_palette(4).tolist())

    def colors(panel: np.ndarray, top: float, bottom: float, left: float, right: float) -> set[tuple[int, ...]]:
        size = len(panel)
        part = panel[int(top * size) : int(bottom * size), int(left * size) : int(right * size)]
        return {tuple(color) for color in part.reshape(-1, 3).tolist()}

    for panel in (truth, student):
        assert colors(panel, 0.02, 0.48, 0.32, 0.98) == {sky}
        assert colors(panel, 0.52, 0.98, 0.02, 0.48) == {sign_symbol}
        assert colors(panel, 0.02, 0.28, 0.02, 0.28) == {(225, 225, 225)}
    assert colors(truth, 0.52, 0.98, 0.52, 0.98) == {sign_symbol}
    assert colors(student, 0.52, 0.98, 0.52, 0.98) == {bicyclist, (0, 0, 0), (255, 255, 255)}


def test_legend_names_the_classes_that_are_seen(check_figure: CheckFigure) -> None:
    images, truths, predictions = images_of((8, 8))
    predictions["student"][0][7, 7] = 3
    figure = check_figure(lambda: plot_examples(images, truths, predictions, NAMES))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "sky",
        "sign_symbol",
        "building",
        "ignored",
        "wrong",
        "error of student",
    ]


def test_legend_of_many_long_names_fits(check_figure: CheckFigure) -> None:
    images, truths, predictions = images_of((12, 12))
    truths[0][3:5] = np.arange(24).reshape(2, 12)
    names = [f"a rather long name {index}" for index in range(24)]
    check_figure(lambda: plot_examples(images, truths, predictions, names))


def test_a_sample_may_be_ignored_altogether(check_figure: CheckFigure) -> None:
    images, truths, predictions = images_of((8, 8), networks=["student"])
    truths[0][:] = 255
    figure = check_figure(lambda: plot_examples(images, truths, predictions, NAMES))
    assert figure.axes[2].texts[0].get_text() == "all ignored"


def test_names_what_does_not_fit() -> None:
    images, truths, predictions = images_of((8, 8), (6, 6))
    with pytest.raises(ValueError, match="no images"):
        plot_examples([], [], {}, NAMES)
    with pytest.raises(ValueError, match="ground truth: 1 masks for 2 images"):
        plot_examples(images, truths[:1], predictions, NAMES)
    with pytest.raises(ValueError, match="student: 1 masks for 2 images"):
        plot_examples(images, truths, predictions | {"student": truths[:1]}, NAMES)
    with pytest.raises(ValueError, match=r"student, image 0 .* \(6, 6\) .* image \(8, 8\)"):
        plot_examples(images, truths, predictions | {"student": truths[::-1]}, NAMES)
    with pytest.raises(ValueError, match=r"ground truth, image 0 .* class id 1, but 1 class names"):
        plot_examples(images, truths, predictions, NAMES[:1])


def test_the_same_images_give_the_same_bytes(check_bytes: CheckBytes) -> None:
    check_bytes(lambda: plot_examples(*images_of((12, 16), (16, 12)), NAMES))
