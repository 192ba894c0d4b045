"""The data set at a glance."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from igl_dt.reporting.figures.data import Sample, plot_data
from igl_dt.utils.palette import class_palette

pytestmark = pytest.mark.filterwarnings("error")

CheckFigure = Callable[..., Figure]
CheckBytes = Callable[[Callable[[], Figure]], None]
NAMES = ["sky", "sign_symbol", "bicyclist", "building"]
GRAY = 100


def tables(counts: dict[str, int], names: list[str] = NAMES) -> tuple[pd.DataFrame, pd.DataFrame, dict]:
    """So many images of each use; ``spare``: training images in no list. Those labelled lack the third class."""
    splits = {"labeled": "train", "unlabeled": "train", "spare": "train"}
    rows = [
        {"id": f"{use}_{index}", "split": splits.get(use, use), "width": 40 + 20 * (index % 3), "height": 30}
        for use, count in counts.items()
        for index in range(count)
    ]
    manifest = pd.DataFrame(rows)
    pixels = np.tile([600] + [200] * (len(names) - 1), (len(rows), 1))
    pixels[manifest["id"].str.startswith("labeled"), 2:3] = 0
    class_pixels = pd.DataFrame(pixels, index=pd.Index(manifest["id"], name="id"), columns=names)
    lists = {use: manifest[manifest["id"].str.startswith(f"{use}_")] for use in ("labeled", "unlabeled", "val", "test")}
    return manifest, class_pixels, lists


def sample(id_: str, size: tuple[int, int] = (30, 40), masked: bool = True) -> Sample:
    image = np.full((*size, 3), GRAY, dtype=np.uint8)
    mask = np.zeros(size, dtype=np.uint8)
    mask[size[0] // 2 :] = 1
    mask[:, -size[1] // 4 :] = 255
    return Sample(id_, image, mask if masked else None)


SAMPLES = {
    "labeled": [sample("a"), sample("b", (40, 12)), sample("c", (9, 40))],
    "unlabeled": [sample(f"image{index}", masked=False) for index in range(6)],
    "val": [sample("a_rather_long_name_of_a_town_000000_000019_leftImg8bit.png"), sample("$1$ of it_")],
    "test": [],
}


def draw(counts: dict[str, int] | None = None) -> Figure:
    return plot_data(*tables(counts or {"labeled": 4, "unlabeled": 12, "val": 3, "test": 0}), SAMPLES)


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.findobj(Axes) if axes.images]


def words(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_images_are_counted_by_use(check_figure: CheckFigure) -> None:
    counts = check_figure(draw).axes[0]
    assert [label.get_text() for label in counts.get_yticklabels()] == ["Labelled", "Unlabelled", "Validation", "Test"]
    assert words(counts) == ["4", "12", "3", "0"]


def test_training_images_in_no_list_are_counted_too(check_figure: CheckFigure) -> None:
    counts = check_figure(lambda: draw({"labeled": 4, "unlabeled": 1200, "val": 3, "spare": 7})).axes[0]
    assert words(counts) == ["4", "1\N{NARROW NO-BREAK SPACE}200", "3", "0", "7"]


@pytest.mark.parametrize(
    ("count", "title"), [(1, "Sizes: all 40×30"), (6, "Sizes: 3, most often 40×30 (33 %)")], ids=["one", "several"]
)
def test_sizes_are_told(count: int, title: str, check_figure: CheckFigure) -> None:
    assert check_figure(lambda: draw({"labeled": count})).axes[1].get_title(loc="left") == title


def test_shares_are_of_the_labelled_and_of_all_training_masks(check_figure: CheckFigure) -> None:
    classes = check_figure(draw).axes[2]
    assert words(classes) == [
        *("labelled", "60.0 %", "20.0 %", "never", "20.0 %"),
        # 4 images of 1000 pixels, 12 of 1200
        *("all of train", "52.2 %", "17.4 %", "13.0 %", "17.4 %"),
    ]
    bars = [bar.get_width() for container in classes.containers for bar in container]
    np.testing.assert_allclose(bars, [60, 20, 0, 20, *(100 * np.array([96, 32, 24, 32]) / 184)])


def test_a_class_without_a_label_is_marked() -> None:
    labels = draw().axes[2].get_yticklabels()
    assert [label.get_text() for label in labels if label.get_fontweight() == "bold"] == ["bicyclist"]


def test_overlays_are_tinted_by_class_and_keep_light_and_dark(check_figure: CheckFigure) -> None:
    figure = check_figure(draw)
    shown = [np.asarray(axes.images[0].get_array()) for axes in panels(figure)]
    assert len(shown) == 2 * 3 + 6 + 2 * 2
    image, overlay = shown[:2]
    assert (image == GRAY).all()
    height, width = overlay.shape[:2]
    sky, sign_symbol = (np.rint(0.65 * color + 0.35 * GRAY) for color in class_palette(2).astype(float))
    np.testing.assert_array_equal(overlay[height // 4, width // 2], sky)
    np.testing.assert_array_equal(overlay[3 * height // 4, width // 2], sign_symbol)
    np.testing.assert_array_equal(overlay[height // 2, -2], np.full(3, round(0.65 * 225 + 0.35 * GRAY)))


def test_images_keep_their_shape() -> None:
    for axes, (_, image, _) in zip(panels(draw())[:6:2], SAMPLES["labeled"], strict=True):
        box = axes.get_window_extent()
        assert box.height / box.width == pytest.approx(image.shape[0] / image.shape[1], rel=0.02)


def test_a_row_says_whose_it_is_and_long_names_are_shortened() -> None:
    figure = draw()
    said = [text.get_text() for text in figure.subfigs[2].texts]
    assert [word for word in said if word in ("Labelled", "Unlabelled: without masks", "Validation", "Test")] == [
        *("Labelled", "Unlabelled: without masks", "Validation")
    ]
    assert "…" + SAMPLES["val"][0].id[-35:] in said
    (legend,) = figure.subfigs[2].legends
    assert [text.get_text() for text in legend.get_texts()] == ["sky", "sign_symbol", "ignored"]


def test_many_classes_with_long_names_fit(check_figure: CheckFigure) -> None:
    names = [f"a rather long name {index}" for index in range(40)]
    shown = sample("a")
    assert shown.mask is not None
    shown.mask[:] = (np.arange(shown.mask.size) % 40).reshape(shown.mask.shape)
    check_figure(lambda: plot_data(*tables({"labeled": 1}, names), {"labeled": [shown]}))


def test_without_any_sample(check_figure: CheckFigure) -> None:
    assert not panels(check_figure(lambda: plot_data(*tables({"labeled": 1}), {})))


def test_names_what_does_not_fit() -> None:
    data = tables({"labeled": 1})
    with pytest.raises(ValueError, match="labeled: a row has room for 6 panels, not for 8"):
        plot_data(*data, {"labeled": [sample("a")] * 4})
    with pytest.raises(ValueError, match=r"val, a: the mask is \(9, 9\) .* image \(30, 40\)"):
        plot_data(*data, {"val": [sample("a")._replace(mask=np.zeros((9, 9), np.uint8))]})
    with pytest.raises(ValueError, match="val, a: class id 4, but 4 class names"):
        plot_data(*data, {"val": [sample("a")._replace(mask=np.full((30, 40), 4, np.uint8))]})


def test_the_same_data_give_the_same_bytes(check_bytes: CheckBytes) -> None:
    check_bytes(draw)
