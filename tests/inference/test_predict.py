"""Masks for new images: of any size and kind, from weights alone, and never over what is there."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from igl_dt.data.datasets import DataError
from igl_dt.evaluation.inference import predict_probabilities
from igl_dt.inference.parameters import PredictionParameters
from igl_dt.inference.predict import predict_folder
from igl_dt.networks import build_network
from igl_dt.networks.io import save_network
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from tiny import CLASSES, NETWORKS

RUNTIME = RuntimeParameters(device="cpu", threads=None)
WHOLE = EvaluationParameters()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network("student", NETWORKS["student"], CLASSES)
    path = tmp_path_factory.mktemp("weights") / "student.safetensors"
    save_network(network, path)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images of several sizes, kinds and folders."""
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, shape, mode in (
        ("a.png", (40, 56, 3), "RGB"),
        ("b.jpg", (33, 47, 3), "RGB"),
        ("gray.png", (32, 32), "L"),
        ("more/with space.png", (48, 36, 4), "RGBA"),
        ("print.jpg", (24, 40, 4), "CMYK"),
    ):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8), mode=mode).save(folder / name)
    return folder


def parameters(images: Path, weights: Path, **changes: object) -> PredictionParameters:
    values = {"images": str(images), "weights": str(weights), "output": str(images.parent / "output")}
    return PredictionParameters(**(values | changes))


def test_every_image_gets_a_mask_of_its_size_and_an_overlay(images: Path, weights: Path) -> None:
    table = predict_folder(parameters(images, weights, probabilities=True), None, WHOLE, RUNTIME)
    assert table["image"].tolist() == ["a.png", "b.jpg", "gray.png", "more/with space.png", "print.jpg"]
    assert table["error"].tolist() == [""] * 5
    output = images.parent / "output"
    for _, row in table.iterrows():
        target = Path(row.image).with_suffix(".png")
        with Image.open(output / "masks" / target) as mask:
            assert mask.mode == "P" and mask.size == (row.width, row.height)
            ids = np.asarray(mask)
        assert np.bincount(ids.ravel(), minlength=3).tolist() == [row[f"pixels.{name}"] for name in CLASSES]
        with Image.open(output / "overlays" / target.with_suffix(".jpg")) as overlay:
            assert overlay.mode == "RGB" and overlay.size == (row.width, row.height)
        probabilities = np.load(output / "probabilities" / target.with_suffix(".npy"), allow_pickle=False)
        assert probabilities.shape == (3, row.height, row.width)
        assert row.mean_confidence == pytest.approx(probabilities.astype(float).max(axis=0).mean(), abs=1e-2)


@pytest.mark.parametrize("image_size", [None, (64, 64)])
def test_the_masks_are_what_the_network_says(images: Path, weights: Path, image_size) -> None:
    from igl_dt.networks.io import load_network

    predict_folder(parameters(images, weights), image_size, WHOLE, RUNTIME)
    with Image.open(images / "a.png") as opened:
        image = opened.resize(image_size[::-1], Image.Resampling.BILINEAR) if image_size else opened.copy()
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
    expected = predict_probabilities(load_network(weights), tensor, WHOLE)
    expected = torch.nn.functional.interpolate(expected, size=(40, 56), mode="bilinear")
    with Image.open(images.parent / "output/masks/a.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), expected[0].argmax(0).numpy())


def test_a_photograph_is_turned_upright_and_so_is_what_is_written(images: Path, weights: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # its left edge belongs on top
    with Image.open(images / "a.png") as image:
        image.save(images / "lying.png", exif=exif)
        image.transpose(Image.Transpose.ROTATE_270).save(images / "upright.png")
    table = predict_folder(parameters(images, weights), None, WHOLE, RUNTIME).set_index("image")
    assert table.loc["lying.png", ["width", "height"]].tolist() == [40, 56]
    output = images.parent / "output"
    for kind, suffix in (("masks", ".png"), ("overlays", ".jpg")):
        assert (output / kind / f"lying{suffix}").read_bytes() == (output / kind / f"upright{suffix}").read_bytes()


def test_an_unreadable_image_is_reported_and_passed_over(images: Path, weights: Path, caplog) -> None:
    (images / "b.jpg").write_bytes(b"no image")
    with caplog.at_level(logging.INFO):
        table = predict_folder(parameters(images, weights), None, WHOLE, RUNTIME)
    assert "b.jpg" in table.loc[table["error"] != "", "error"].item()
    assert "passed over" in caplog.text and "images/s" in caplog.text
    assert len(list((images.parent / "output/masks").rglob("*.png"))) == 4


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_rows_are_in_order_though_reading_and_writing_go_on_beside(tmp_path: Path, weights: Path, count: int) -> None:
    (tmp_path / "images").mkdir()
    for index in range(count):
        Image.new("RGB", (16 + index, 20)).save(tmp_path / f"images/{index}.png")
    if count > 3:
        (tmp_path / "images/4.png").write_bytes(b"no image")
    table = predict_folder(parameters(tmp_path / "images", weights), None, WHOLE, RUNTIME)
    assert table["image"].tolist() == [f"{index}.png" for index in range(count)]
    assert [index for index, error in enumerate(table["error"]) if error] == ([4] if count > 3 else [])
    widths = table["width"].dropna().tolist()
    assert widths == [16 + index for index in range(count) if count <= 3 or index != 4]


def test_what_cannot_be_written_ends_it(images: Path, weights: Path) -> None:
    (images.parent / "output").mkdir()
    (images.parent / "output/overlays").write_bytes(b"a file where a folder has to be")
    with pytest.raises(OSError, match="overlays"):
        predict_folder(parameters(images, weights), None, WHOLE, RUNTIME)


def test_nothing_is_overwritten_unless_asked(images: Path, weights: Path) -> None:
    predict_folder(parameters(images, weights), None, WHOLE, RUNTIME)
    mask = images.parent / "output/masks/a.png"
    mask.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"5 of these masks already: .*prediction\.overwrite=true"):
        predict_folder(parameters(images, weights), None, WHOLE, RUNTIME)
    assert mask.read_bytes() == b"mine"
    predict_folder(parameters(images, weights, overwrite=True), None, WHOLE, RUNTIME)
    assert mask.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"images": None}, r"prediction\.images is not given.*--params=prediction\.images=PATH"),
        ({"weights": None}, r"prediction\.weights is not given"),
        ({"images": "absent"}, r"prediction\.images: absent is not a folder"),
        ({"weights": "absent"}, r"prediction\.weights: there is no file absent"),
    ],
)
def test_what_is_missing_is_named(images: Path, weights: Path, spoil: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        predict_folder(parameters(images, weights).model_copy(update=spoil), None, WHOLE, RUNTIME)


def test_two_images_for_one_mask_are_refused(images: Path, weights: Path) -> None:
    (images / "b.png").write_bytes((images / "b.jpg").read_bytes())
    with pytest.raises(DataError, match=r"b\.jpg and b\.png .* rename one"):
        predict_folder(parameters(images, weights), None, WHOLE, RUNTIME)
    assert not (images.parent / "output").exists()


def test_a_folder_without_a_readable_image_is_an_error(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"no images in .*\.png"):
        predict_folder(parameters(tmp_path / "images", weights), None, WHOLE, RUNTIME)
    (tmp_path / "images/a.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 1 images"):
        predict_folder(parameters(tmp_path / "images", weights), None, WHOLE, RUNTIME)
