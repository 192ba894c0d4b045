"""What kedro-viz shows of lists, predictions and weight files: small, true, and made without torch."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog
from PIL import Image

from igl_dt.data.datasets import DataError
from igl_dt.networks.io import save_network
from igl_dt.reporting.previews import (
    COLUMNS,
    ROWS,
    WIDTH,
    example_folder,
    image_list,
    network_summary,
)
from igl_dt.utils.palette import class_palette
from tiny import CLASSES, NETWORKS, tiny_network

SIZE = (40, 60)
"""Height and width of the images."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Twenty images, all of one grey, all of class 2, and the record of the run that listed them."""
    for folder, value in (("images", 100), ("masks", 2)):
        (tmp_path / "images" / folder).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(np.full(SIZE, value, np.uint8)).save(tmp_path / f"images/{folder}/{number}.png")
    record = {"data_splitting": {"parameters": {"dataset": {"source": "camvid", "root": "images"}}}}
    (tmp_path / "run_manifest.json").write_text(json.dumps(record))
    (tmp_path / "pyproject.toml").write_text('[tool.kedro]\npackage_name = "x"\n')
    return tmp_path


def rows(count: int, masks: bool = True) -> pd.DataFrame:
    numbers = [str(number) for number in range(count)]
    return pd.DataFrame(
        {
            "id": numbers,
            "image": [f"images/{number}.png" for number in numbers],
            "mask": [f"masks/{number}.png" if masks else None for number in numbers],
        }
    )


def decode(preview: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(preview))) as image:
        assert image.format == "PNG"
        return np.array(image)


def test_a_list_shows_images_beside_their_masks(project: Path) -> None:
    sheet = decode(image_list(rows(1), project / "run_manifest.json", project))
    height = WIDTH * SIZE[0] // SIZE[1]
    assert sheet.shape[1] == 2 * WIDTH + sheet.shape[1] % WIDTH
    assert (sheet[: height - 1, :WIDTH] == 100).all()
    overlay = sheet[height // 2, -WIDTH // 2]
    others = [np.abs(color - overlay.astype(int)).sum() for color in class_palette(4).astype(int)]
    assert np.argmin(others) == 2


@pytest.mark.parametrize("masks", [True, False])
def test_however_long_the_list_the_sheet_is_bounded(project: Path, masks: bool) -> None:
    shown = image_list(rows(20, masks), project / "run_manifest.json", project)
    height, width = decode(shown).shape[:2]
    assert width <= COLUMNS * (WIDTH + 10)
    assert height <= ROWS * (WIDTH + 30)
    assert decode(image_list(rows(0, masks), project / "run_manifest.json", project)).size


def test_the_catalog_finds_the_images_from_anywhere(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "lists").mkdir()
    rows(3).to_csv(project / "lists/labeled.csv", index=False)
    monkeypatch.chdir(project / "lists")
    entry = {
        "type": "igl_dt.kedro_ext.datasets.images.ImageListDataset",
        "filepath": str(project / "lists/labeled.csv"),
        "load_args": {"dtype": {"id": str}},
    }
    catalog = DataCatalog.from_config({"labeled": entry})
    assert decode(catalog.get("labeled").preview("run_manifest.json")).size


def test_without_a_record_of_the_images_it_says_what_to_do(project: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.json.*run the pipeline data_splitting"):
        image_list(rows(1), project / "nowhere.json", project)


def test_examples_are_a_row_per_image(tmp_path: Path) -> None:
    for kind in ("image", "truth", "student"):
        (tmp_path / kind).mkdir()
        for number in (1, 2, 10):
            Image.fromarray(np.full(SIZE, number, np.uint8)).save(tmp_path / kind / f"{number}.png")
    sheet = decode(example_folder(tmp_path))
    assert sheet.shape[1] == 3 * WIDTH + sheet.shape[1] % WIDTH
    height = sheet.shape[0] // 3
    assert [int(sheet[row * height + 5, 5, 0]) for row in range(3)] == [1, 2, 10]
    with pytest.raises(DataError, match="run the pipeline evaluation"):
        example_folder(tmp_path / "image")


@pytest.mark.parametrize("role", NETWORKS)
def test_a_weight_file_is_summarized_from_its_header(role: str, tmp_path: Path) -> None:
    network = tiny_network(role)
    network.fingerprint, network.trained_by = "abc", "cps"
    path = tmp_path / "network.safetensors"
    save_network(network, path)
    summary = network_summary(path)
    architecture = NETWORKS[role].architecture
    assert (summary["architecture"], summary["trained_by"], summary["fingerprint"]) == (architecture, "cps", "abc")
    assert summary["encoder"] == NETWORKS[role].section(architecture)["encoder"]["name"]
    assert summary["classes"] == list(CLASSES)
    assert summary["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert json.loads(json.dumps(summary)) == summary
