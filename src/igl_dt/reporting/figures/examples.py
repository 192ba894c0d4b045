"""Images with their ground truth and the predictions of the networks, like Fig. 4 of the paper."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from igl_dt.reporting.figures.style import DPI, WIDTH, class_handles, legend_rows, new_figure
from igl_dt.reporting.networks import NetworksInfo, label, label_all, main_network
from igl_dt.utils.palette import id_colors
from igl_dt.utils.parameters import IGNORE_INDEX

# Inches.
_MARGIN = 0.06
_GAP = 0.07
_HEADER = 0.42
_CAPTION = 0.26
_LEGEND_ROW = 0.21
_TALLEST = 1.3  # a panel's height over its column's width, at most

_BLACK, _WHITE, _PERIOD = 3, 5, 11
"""Stripes on wrong pixels: black up to here, white up to here, then the class's colour, and so on."""

_ERROR = "#c80000"
"""Colour of wrong pixels in the column of errors."""


def plot_examples(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Mapping[str, Sequence[np.ndarray]],
    class_names: Sequence[str],
    labels: Sequence[str] = (),
    networks_info: NetworksInfo | None = None,
) -> Figure:
    """One row per image: the image, its ground truth, every network's prediction, and the main network's errors.

    In predictions wrong pixels are striped and ignored ones light grey. Below each prediction stand the mIoU over the
    classes in this image's ground truth or prediction, and the share of correct pixels. The last column shows the main
    network's wrong pixels alone, in one colour on the faded image.

    Args:
        images: H×W×3 uint8 RGB; sizes may differ.
        truths: H×W uint8 class ids of each image; 255 = ignore.
        predictions: H×W uint8 class ids of each image, by network; shown in the order of ``networks_info``.
        class_names: In the order of the ids.
        labels: Text below each image; none: nothing.
        networks_info: By network.

    Raises:
        ValueError: Numbers or sizes of images differ, or a class id has no name.
    """
    networks_info = networks_info or {}
    networks = [network for network in dict.fromkeys([*networks_info, *predictions]) if network in predictions]
    main = main_network(networks) if networks else None
    _check(images, truths, predictions, len(class_names))
    titles = [text.replace(" (", "\n(") for text in label_all(networks, networks_info).values()]
    titles = ["Image", "Ground truth", *titles]
    role = "" if main is None else label(main).lower()
    titles += [] if main is None else [f"Errors of\n{role}"]

    column_width = (WIDTH - 2 * _MARGIN - _GAP * (len(titles) - 1)) / len(titles)
    longest = max(len(line) for title in titles for line in title.split("\n"))
    caption_size = min(7.5, 72 * column_width / (0.5 * len("mIoU 100 · pixels 100 %")))
    size = min(10, 72 * column_width / (0.62 * longest))  # a letter is at most so wide on average
    heights = [column_width * min(image.shape[0] / image.shape[1], _TALLEST) for image in images]
    shown = [*truths, *(mask for network in networks for mask in predictions[network])]
    handles = class_handles(shown, class_names)
    if networks:
        handles.append(Patch(facecolor="white", edgecolor="black", linewidth=0.5, hatch="//////", label="wrong"))
        handles.append(Patch(facecolor=_ERROR, edgecolor="#222222", linewidth=0.5, label=f"error of {role}"))
    lines = legend_rows(handles)
    legend_height = _LEGEND_ROW * lines + 0.1
    height = _HEADER + sum(heights) + _CAPTION * len(images) + legend_height

    with new_figure(height, layout=None) as figure:
        for column, title in enumerate(titles):
            x = _MARGIN + column * (column_width + _GAP) + column_width / 2
            y = height - _HEADER + 0.06
            figure.text(
                x / WIDTH, y / height, title, horizontalalignment="center", verticalalignment="bottom", fontsize=size
            )
        top = height - _HEADER
        for row, (image, truth) in enumerate(zip(images, truths, strict=True)):
            width = heights[row] * image.shape[1] / image.shape[0]
            pixels = round(heights[row] * DPI), round(width * DPI)
            panels = [image, _paint(truth, truth, pixels, len(class_names))]
            panels += [_paint(predictions[network][row], truth, pixels, len(class_names)) for network in networks]
            if main is not None:
                panels.append(_mark_errors(image, predictions[main][row], truth))
            captions = [labels[row] if labels else "", ""]
            captions += [_caption(predictions[network][row], truth) for network in networks]
            for column, panel in enumerate(panels):
                left = _MARGIN + column * (column_width + _GAP) + (column_width - width) / 2
                axes = figure.add_axes(
                    (left / WIDTH, (top - heights[row]) / height, width / WIDTH, heights[row] / height)
                )
                _show(axes, panel, smooth=column == 0)
                if column < len(captions) and captions[column]:
                    axes.annotate(
                        captions[column], (0.5, 0), (0, -2), xycoords="axes fraction", textcoords="offset points",
                        horizontalalignment="center", verticalalignment="top", fontsize=caption_size,
                    )  # fmt: skip
            top -= heights[row] + _CAPTION
        figure.legend(
            handles=handles, loc="lower center", ncols=math.ceil(len(handles) / lines), borderaxespad=0.2,
            handlelength=1.6, columnspacing=1.5,
        )  # fmt: skip
    return figure


def _check(
    images: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    predictions: Mapping[str, Sequence[np.ndarray]],
    num_classes: int,
) -> None:
    if not images:
        raise ValueError("no images to show")
    for name, masks in {"ground truth": truths, **predictions}.items():
        if len(masks) != len(images):
            raise ValueError(f"{name}: {len(masks)} masks for {len(images)} images")
        for position, (image, truth, mask) in enumerate(zip(images, truths, masks, strict=True)):
            if mask.shape != image.shape[:2]:
                raise ValueError(
                    f"{name}, image {position} (counted from 0): the mask is {mask.shape} (height, width) and the"
                    f" image {image.shape[:2]}"
                )
            if (mask[truth != IGNORE_INDEX] >= num_classes).any():
                raise ValueError(
                    f"{name}, image {position} (counted from 0): class id {mask[truth != IGNORE_INDEX].max()}, but"
                    f" {num_classes} class names have ids 0 to {num_classes - 1}"
                )


def _paint(ids: np.ndarray, truth: np.ndarray, pixels: tuple[int, int], num_classes: int) -> np.ndarray:
    """Colours of a mask at the size (height, width) in which the figure shows it, wrong pixels striped."""
    rows, columns = (
        (np.arange(size) * length // size)[:, None] if axis == 0 else np.arange(size) * length // size
        for axis, (size, length) in enumerate(zip(pixels, ids.shape, strict=True))
    )
    ids, truth = ids[rows, columns], truth[rows, columns]
    painted = id_colors(num_classes)[np.where(truth == IGNORE_INDEX, IGNORE_INDEX, ids)]
    wrong = (ids != truth) & (truth != IGNORE_INDEX)
    phase = np.add.outer(np.arange(pixels[0]), np.arange(pixels[1])) % _PERIOD
    painted[wrong & (phase < _WHITE)] = 255
    painted[wrong & (phase < _BLACK)] = 0
    return painted


def _mark_errors(image: np.ndarray, prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The image in pale grey, wrong pixels in one strong colour."""
    gray = 255 - (255 - image.mean(axis=2, keepdims=True)) / 3
    marked = np.repeat(gray, 3, axis=2).astype(np.uint8)
    marked[(prediction != truth) & (truth != IGNORE_INDEX)] = np.array(to_rgb(_ERROR)) * 255
    return marked


def _show(axes: Axes, panel: np.ndarray, smooth: bool) -> None:
    axes.imshow(panel, aspect="auto", interpolation="antialiased" if smooth else "nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _caption(prediction: np.ndarray, truth: np.ndarray) -> str:
    counted = truth != IGNORE_INDEX
    prediction, truth = prediction[counted], truth[counted]
    if not len(truth):
        return "all ignored"
    ious = [
        np.sum((prediction == name) & (truth == name)) / np.sum((prediction == name) | (truth == name))
        for name in np.union1d(truth, prediction)
    ]
    return f"mIoU {100 * np.mean(ious):.0f} · pixels {100 * np.mean(prediction == truth):.0f} %"
