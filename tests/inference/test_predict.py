"""Masks for new images: of any size and kind, from weights alone, and never over what is there."""

import io
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from encoding import truncated_exif, turned_with_broken_exif
from igl_dt.data.datasets import DataError
from igl_dt.data.image_io import read_image
from igl_dt.data.parameters import DatasetParameters
from igl_dt.evaluation.inference import predict_probabilities
from igl_dt.inference.parameters import ExportParameters, PredictionParameters, WeightsEvaluationParameters
from igl_dt.inference.predict import _write, predict_images
from igl_dt.networks.io import save_network
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from tiny import CLASSES, tiny_network

RUNTIME = RuntimeParameters(device="cpu", threads=None)
WHOLE = EvaluationParameters()
AS_IT_IS = DatasetParameters(root="unused")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = tiny_network("student")
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


def parameters(images: Path, weights: Path, /, **changes: object) -> PredictionParameters:
    values = {"images": str(images), "weights": str(weights), "output": str(images.parent / "output")}
    return PredictionParameters(**(values | changes))


def test_every_image_gets_a_mask_of_its_size_and_an_overlay(images: Path, weights: Path) -> None:
    table = predict_images(parameters(images, weights, probabilities=True), AS_IT_IS, WHOLE, RUNTIME)
    assert table["image"].tolist() == ["a.png", "b.jpg", "gray.png", "more/with space.png", "print.jpg"]
    assert table["error"].tolist() == [""] * 5
    output = images.parent / "output"
    for _, row in table.iterrows():
        target = Path(row.image).with_suffix(".png")
        with Image.open(output / "masks" / target) as mask:
            assert mask.mode == "P"
            assert mask.size == (row.width, row.height)
            ids = np.asarray(mask)
        assert np.bincount(ids.ravel(), minlength=3).tolist() == [row[f"pixels.{name}"] for name in CLASSES]
        with Image.open(output / "overlays" / target.with_suffix(".jpg")) as overlay:
            assert overlay.mode == "RGB"
            assert overlay.size == (row.width, row.height)
        probabilities = np.load(output / "probabilities" / target.with_suffix(".npy"), allow_pickle=False)
        assert probabilities.shape == (3, row.height, row.width)
        assert row.mean_confidence == pytest.approx(probabilities.astype(float).max(axis=0).mean(), abs=1e-2)


@pytest.mark.parametrize(
    ("given", "size"), [({}, None), ({"image_size": (64, 64)}, (64, 64)), ({"short_side": 60}, (60, 84))]
)
def test_the_masks_are_what_the_network_says(images: Path, weights: Path, given: dict, size) -> None:
    from igl_dt.networks.io import load_network

    dataset = DatasetParameters(root="unused", **given)
    predict_images(parameters(images, weights), dataset, WHOLE, RUNTIME)
    with Image.open(images / "a.png") as opened:
        image = opened.resize(size[::-1], Image.Resampling.BILINEAR) if size else opened.copy()
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
    table = predict_images(parameters(images, weights), AS_IT_IS, WHOLE, RUNTIME).set_index("image")
    assert table.loc["lying.png", ["width", "height"]].tolist() == [40, 56]
    output = images.parent / "output"
    for kind, suffix in (("masks", ".png"), ("overlays", ".jpg")):
        assert (output / kind / f"lying{suffix}").read_bytes() == (output / kind / f"upright{suffix}").read_bytes()


@pytest.mark.parametrize(
    "content", [b"no image", turned_with_broken_exif(np.zeros((32, 40, 3), np.uint8), "JPEG")], ids=["text", "EXIF"]
)
def test_an_unreadable_image_is_reported_and_skipped(images: Path, weights: Path, caplog, content: bytes) -> None:
    (images / "b.jpg").write_bytes(content)
    with caplog.at_level(logging.INFO):
        table = predict_images(parameters(images, weights), AS_IT_IS, WHOLE, RUNTIME)
    assert "b.jpg" in table.loc[table["error"] != "", "error"].item()
    assert "b.jpg" in table["image"].tolist()
    assert "skipped" in caplog.text
    assert "images/s" in caplog.text
    assert len(list((images.parent / "output/masks").rglob("*.png"))) == 4


def test_what_was_written_into_the_folder_of_the_images_is_no_image(images: Path, weights: Path) -> None:
    given = parameters(images, weights, output=str(images / "out"), overwrite=True)
    first = predict_images(given, AS_IT_IS, WHOLE, RUNTIME)
    assert predict_images(given, AS_IT_IS, WHOLE, RUNTIME)["image"].tolist() == first["image"].tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_rows_are_in_order_though_reading_and_writing_go_on_beside(tmp_path: Path, weights: Path, count: int) -> None:
    (tmp_path / "images").mkdir()
    for index in range(count):
        Image.new("RGB", (16 + index, 20)).save(tmp_path / f"images/{index}.png")
    if count > 3:
        (tmp_path / "images/4.png").write_bytes(b"no image")
    table = predict_images(parameters(tmp_path / "images", weights), AS_IT_IS, WHOLE, RUNTIME)
    assert table["image"].tolist() == [f"{index}.png" for index in range(count)]
    assert [index for index, error in enumerate(table["error"]) if error] == ([4] if count > 3 else [])
    widths = table["width"].dropna().tolist()
    assert widths == [16 + index for index in range(count) if count <= 3 or index != 4]


def test_what_cannot_be_written_ends_it(images: Path, weights: Path) -> None:
    (images.parent / "output").mkdir()
    (images.parent / "output/overlays").write_bytes(b"a file where a folder has to be")
    with pytest.raises(OSError, match="overlays"):
        predict_images(parameters(images, weights), AS_IT_IS, WHOLE, RUNTIME)


def test_nothing_is_overwritten_unless_asked(images: Path, weights: Path) -> None:
    predict_images(parameters(images, weights), AS_IT_IS, WHOLE, RUNTIME)
    mask = images.parent / "output/masks/a.png"
    mask.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"10 of these files already: .*prediction\.overwrite=true"):
        predict_images(parameters(images, weights), AS_IT_IS, WHOLE, RUNTIME)
    assert mask.read_bytes() == b"mine"
    predict_images(parameters(images, weights, overwrite=True), AS_IT_IS, WHOLE, RUNTIME)
    assert mask.read_bytes() != b"mine"


@pytest.mark.parametrize("kind", ["overlays/a.jpg", "probabilities/a.npy"])
def test_what_comes_with_the_masks_is_not_overwritten_either(images: Path, weights: Path, kind: str) -> None:
    file = images.parent / "output" / kind
    file.parent.mkdir(parents=True)
    file.write_bytes(b"mine")
    with pytest.raises(DataError, match=f"1 of these files already: {kind}"):
        predict_images(parameters(images, weights, probabilities=True), AS_IT_IS, WHOLE, RUNTIME)
    assert file.read_bytes() == b"mine"
    assert not (images.parent / "output/masks").exists()


def test_the_table_lies_in_the_output_folder_and_is_not_overwritten_either(images: Path, weights: Path) -> None:
    table = predict_images(parameters(images / "a.png", weights), AS_IT_IS, WHOLE, RUNTIME)
    written = images.parent / "images/output/table.csv"
    assert written.read_text("utf-8") == table.to_csv(index=False)
    with pytest.raises(DataError, match=r"table\.csv exists already\. .*prediction\.overwrite=true"):
        predict_images(parameters(images / "b.jpg", weights), AS_IT_IS, WHOLE, RUNTIME)
    assert written.read_text("utf-8") == table.to_csv(index=False)
    assert not (written.parent / "masks/b.png").exists()


def test_links_are_followed_and_hidden_files_are_no_images(
    images: Path, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (images / "more").rename(tmp_path / "elsewhere")
    (images / "more").symlink_to(tmp_path / "elsewhere")
    (images / "._a.png").write_bytes(b"of another system")
    (images / ".thumbnails").mkdir()
    (images / ".thumbnails/a.png").write_bytes((images / "a.png").read_bytes())
    (images / "back").symlink_to(images)
    table = predict_images(parameters(images, weights), AS_IT_IS, WHOLE, RUNTIME)
    assert table["image"].tolist() == ["a.png", "b.jpg", "gray.png", "more/with space.png", "print.jpg"]
    assert f"skipped: {images / 'back'} is a link to {images}, a folder that contains it" in caplog.text


def test_a_name_that_the_table_cannot_hold_is_refused(images: Path, weights: Path) -> None:
    (images / "gray.png").rename(images / "caf\udce9.png")
    with pytest.raises(DataError, match="has a character that the table cannot hold: rename the file"):
        predict_images(parameters(images, weights), AS_IT_IS, WHOLE, RUNTIME)
    assert not (images.parent / "output").exists()


def test_an_image_longer_than_a_jpeg_file_gets_a_mask_and_a_smaller_overlay(tmp_path: Path) -> None:
    image, palette = np.zeros((8, 66000, 3), np.uint8), np.zeros((256, 3), np.uint8)
    _write(tmp_path, Path("long.png"), image, image[..., 0], palette)
    with Image.open(tmp_path / "masks/long.png") as mask, Image.open(tmp_path / "overlays/long.jpg") as overlay:
        assert mask.size == (66000, 8)
        assert overlay.size == (65500, 8)


def test_a_single_image_can_be_predicted(images: Path, weights: Path) -> None:
    table = predict_images(parameters(images / "more/with space.png", weights), AS_IT_IS, WHOLE, RUNTIME)
    assert table["image"].tolist() == ["with space.png"]
    assert (images / "more/output/masks/with space.png").is_file()


def test_a_list_of_images_can_be_predicted(
    images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (images / "more/list.txt").write_text(f"../b.jpg\n\n{images / 'a.png'}\n~/images/more/with space.png \n../b.jpg\n")
    table = predict_images(parameters(images, weights, images="~/images/more/list.txt"), AS_IT_IS, WHOLE, RUNTIME)
    assert table["image"].tolist() == ["b.jpg", "a.png", "more/with space.png"]
    assert (tmp_path / "output/masks/more/with space.png").is_file()


def test_a_list_may_begin_with_a_byte_order_mark(images: Path, weights: Path) -> None:
    (images / "list.txt").write_text("b.jpg\na.png\n", "utf-8-sig")
    table = predict_images(parameters(images / "list.txt", weights), AS_IT_IS, WHOLE, RUNTIME)
    assert table["image"].tolist() == ["b.jpg", "a.png"]
    (images / "list.txt").write_text("b.jpg\n", "utf-16")
    with pytest.raises(DataError, match=r"list\.txt is not UTF-8"):
        predict_images(parameters(images / "list.txt", weights), AS_IT_IS, WHOLE, RUNTIME)


def test_paths_can_come_from_the_standard_input(images: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(images)
    monkeypatch.setattr("sys.stdin", io.StringIO("more/with space.png\nabsent.png\n"))
    # what Kedro makes of --params=prediction.images=-
    table = predict_images(parameters(images, weights, images=[None]), AS_IT_IS, WHOLE, RUNTIME)
    assert table["image"].tolist() == ["more/with space.png", "absent.png"]
    assert "absent.png is missing" in table["error"][1]
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    with pytest.raises(DataError, match="no paths in the standard input"):
        predict_images(parameters(images, weights, images="-", overwrite=True), AS_IT_IS, WHOLE, RUNTIME)


def test_a_leading_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    given = PredictionParameters(images="~/images", weights="~/w.safetensors", output="~")
    assert (given.images, given.weights, given.output) == ("/home/me/images", "/home/me/w.safetensors", "/home/me")
    assert DatasetParameters(root="~/photos").root == "/home/me/photos"
    assert WeightsEvaluationParameters(weights="~/w").weights == "/home/me/w"
    assert ExportParameters(folder="~/f", output="a~b").model_dump()["output"] == "a~b"


def test_a_warning_of_pillow_is_one_line_with_the_image(images: Path, weights: Path, caplog, capsys) -> None:
    (images / "odd.png").write_bytes(truncated_exif(np.zeros((32, 40, 3), np.uint8), "PNG"))
    with pytest.warns(UserWarning, match="."):
        read_image(images / "odd.png")
    with caplog.at_level(logging.WARNING):
        predict_images(parameters(images, weights), AS_IT_IS, WHOLE, RUNTIME)
    messages = [record.getMessage() for record in caplog.records]
    assert messages
    assert all(message.startswith(f"{images / 'odd.png'}: ") and "\n" not in message for message in messages)
    assert capsys.readouterr().err.count("Warning") == 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"images": None}, r"prediction\.images is not given.*--params=prediction\.images=PATH"),
        ({"weights": None}, r"prediction\.weights is not given"),
        ({"images": "absent"}, r"prediction\.images: there is no file or folder absent"),
        ({"weights": "absent"}, r"prediction\.weights: there is no file absent"),
    ],
)
def test_what_is_missing_is_named(images: Path, weights: Path, spoil: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        predict_images(parameters(images, weights).model_copy(update=spoil), AS_IT_IS, WHOLE, RUNTIME)


def test_two_images_for_one_mask_are_refused(images: Path, weights: Path) -> None:
    (images / "b.png").write_bytes((images / "b.jpg").read_bytes())
    with pytest.raises(DataError, match=r"b\.jpg and b\.png .* rename one"):
        predict_images(parameters(images, weights), AS_IT_IS, WHOLE, RUNTIME)
    assert not (images.parent / "output").exists()


def test_a_folder_without_a_readable_image_is_an_error(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match=r"no images in .*\.png"):
        predict_images(parameters(tmp_path / "images", weights), AS_IT_IS, WHOLE, RUNTIME)
    (tmp_path / "images/a.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the 1 images"):
        predict_images(parameters(tmp_path / "images", weights), AS_IT_IS, WHOLE, RUNTIME)


def test_another_size_than_in_the_training_is_said(images: Path, tmp_path: Path, caplog) -> None:
    network = tiny_network("student")
    network.sizes = {"image_size": [32, 48], "short_side": None, "long_side": None}
    save_network(network, tmp_path / "student.safetensors")
    given = parameters(images / "a.png", tmp_path / "student.safetensors", overwrite=True)
    for side, said in ((None, []), (40, ["--params=dataset.image_size=32x48,dataset.long_side=null"])):
        dataset = DatasetParameters(root="unused", image_size=None if side else "32x48", long_side=side)
        with caplog.at_level(logging.WARNING):
            predict_images(given, dataset, WHOLE, RUNTIME)
        assert [record.getMessage().split()[-1] for record in caplog.records] == said


def test_the_list_of_a_run_names_images_of_the_data_set(images: Path, weights: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "test.csv"
    manifest.write_text("id,split,image,mask\n1,test,more/with space.png,\n2,test,b.jpg,\n")
    dataset = DatasetParameters(root=str(images))
    table = predict_images(parameters(manifest, weights), dataset, WHOLE, RUNTIME)
    assert table["image"].tolist() == ["more/with space.png", "b.jpg"]
    assert (tmp_path / "output/masks/more/with space.png").is_file()
    for content in ("id,split\n1,test\n", "id,split,image,mask\n"):
        manifest.write_text(content)
        with pytest.raises(DataError, match=r"test\.csv is no list of a run"):
            predict_images(parameters(manifest, weights), dataset, WHOLE, RUNTIME)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("{images}/a.png", "leads out of dataset.root"),
        ("../images/a.png", "leads out"),
        ("", "line 3: .*image is empty"),
    ],
)
def test_a_list_of_a_run_names_nothing_outside_the_data_set(
    images: Path, weights: Path, tmp_path: Path, image: str, said: str
) -> None:
    """Its masks and overlays would lie outside of the output, beside or over the images."""
    before = {path: path.read_bytes() for path in images.rglob("*.*")}
    manifest = tmp_path / "test.csv"
    manifest.write_text(f"id,image\n1,b.jpg\n2,{image.format(images=images)}\n")
    with pytest.raises(DataError, match=said):
        predict_images(parameters(manifest, weights), DatasetParameters(root=str(images)), WHOLE, RUNTIME)
    assert {path: path.read_bytes() for path in images.rglob("*.*")} == before
