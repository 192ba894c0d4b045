"""Figures in files: the same bytes, and signed."""

from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from igl_dt.catalog.figures import FigureDataset


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
