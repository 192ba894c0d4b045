"""Figures and pages in files: the same bytes, and figures signed."""

import inspect
from pathlib import Path

import pytest
from kedro.io import DatasetError
from matplotlib.figure import Figure
from PIL import Image

from igl_dt.kedro_ext.datasets.figures import FigureDataset
from igl_dt.kedro_ext.datasets.report import ReportDataset


def draw(label: str) -> Figure:
    figure = Figure()
    figure.subplots().plot([1, 2])
    figure.set_label(label)
    return figure


def test_the_file_carries_the_label_and_neither_date_nor_version(tmp_path: Path) -> None:
    dataset = FigureDataset(filepath=str(tmp_path / "figure.png"))
    dataset.save(draw("0123abc"))
    with Image.open(tmp_path / "figure.png") as image:
        assert image.text == {"Fingerprint": "0123abc"}
    first = (tmp_path / "figure.png").read_bytes()
    dataset.save(draw("0123abc"))
    assert (tmp_path / "figure.png").read_bytes() == first
    assert dataset.preview()


def test_what_is_loaded_is_the_file(tmp_path: Path) -> None:
    dataset = FigureDataset(filepath=str(tmp_path / "figure.png"))
    with pytest.raises(DatasetError, match=r"figure\.png"):
        dataset.load()
    dataset.save(draw("0123abc"))
    assert dataset.load() == (tmp_path / "figure.png").read_bytes()


def test_a_page_is_saved_in_utf8_and_shown_by_kedro_viz(tmp_path: Path) -> None:
    dataset = ReportDataset(filepath=str(tmp_path / "report.html"))
    dataset.save("<p>→ ü\n</p>")
    assert (tmp_path / "report.html").read_bytes() == "<p>→ ü\n</p>".encode()
    assert dataset.preview() == dataset.load() == "<p>→ ü\n</p>"
    assert inspect.signature(dataset.preview).return_annotation.__name__ == "HTMLPreview"
