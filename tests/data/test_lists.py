"""Published lists are understood as they are, and mean an image of the manifest without a doubt, or are refused."""

import hashlib
import re
from pathlib import Path

import pandas as pd
import pytest

from igl_dt.data import lists
from igl_dt.data.datasets import DataError
from igl_dt.data.lists import Partition, hash_ids, published_partitions, read_list, recognize


def make_manifest(*rows: tuple[str, str, str | None], split: str = "train") -> pd.DataFrame:
    """Make a manifest of images (id, image, mask)."""
    return pd.DataFrame(rows, columns=["id", "image", "mask"]).assign(split=split)


def voc(*ids: str, split: str = "train") -> pd.DataFrame:
    return make_manifest(*((id_, f"JPEGImages/{id_}.jpg", f"SegmentationClass/{id_}.png") for id_ in ids), split=split)


def cityscapes(*ids: str, folders: str = "", masks: str = "labelIds") -> pd.DataFrame:
    rows = []
    for id_ in ids:
        city = id_.split("_")[0]
        image, mask = f"train/{city}/{id_}_leftImg8bit.png", f"train/{city}/{id_}_gtFine_{masks}.png"
        rows.append((folders.format(city) + id_, f"leftImg8bit/{image}", f"gtFine/{mask}"))
    return make_manifest(*rows)


PASCAL = pd.concat([voc("2007_000032", "2007_000039", "2011_003255"), voc("2007_000033", split="val")])
JENA, ULM = "jena_000078_000019", "ulm_000001_000019"


def read(folder: Path, content: str | bytes, manifest: pd.DataFrame) -> lists.IdList:
    path = folder / "list.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_list(path, manifest)


class TestFormats:
    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            ("{}", "ids"),
            ("JPEGImages/{}.jpg", "U2PL"),
            ("JPEGImages/{0}.jpg SegmentationClass/{0}.png", "UniMatch"),
            ("JPEGImages/{0}.jpg\tSegmentationClass/{0}.png", "CPS"),
        ],
    )
    def test_of_pascal(self, tmp_path: Path, line: str, kind: str) -> None:
        ids = ["2011_003255", "2007_000032"]
        found = read(tmp_path, "".join(f"{line.format(id_)}\n" for id_ in ids), PASCAL)
        assert found.ids == ids
        assert found.format == kind

    @pytest.mark.parametrize(
        ("line", "kind"),
        [
            ("{1}", "ids"),
            ("leftImg8bit/train/{0}/{1}_leftImg8bit.png", "U2PL"),
            (
                "leftImg8bit/train/{0}/{1}_leftImg8bit.png gtFine/train/{0}/{1}_gtFine_labelTrainIds.png",
                "UniMatch",
            ),
            ("/images/train/{1}.png\t/segmentation/train/{1}_gtFine.png", "CPS"),
        ],
    )
    @pytest.mark.parametrize("folders", ["", "{}/", "train/{}/"])
    @pytest.mark.parametrize("masks", ["labelIds", "labelTrainIds"])
    def test_of_cityscapes(self, tmp_path: Path, line: str, kind: str, folders: str, masks: str) -> None:
        manifest = cityscapes(JENA, ULM, folders=folders, masks=masks)
        found = read(tmp_path, line.format("jena", JENA), manifest)
        assert found.ids == [manifest["id"][0]]
        assert found.format == kind

    def test_several_in_one_list_are_all_named(self, tmp_path: Path) -> None:
        found = read(tmp_path, "2007_000032\nJPEGImages/2007_000039.jpg SegmentationClass/2007_000039.png\n", PASCAL)
        assert found.ids == ["2007_000032", "2007_000039"]
        assert found.format == "UniMatch+ids"


@pytest.mark.parametrize(
    "content",
    [
        b"2007_000032\n2007_000039\n",
        b"2007_000032\n2007_000039",
        b"2007_000032\r\n2007_000039\r\n",
        b"2007_000032\r2007_000039",
        b"\xef\xbb\xbf2007_000032\n2007_000039\n",
        b"\xef\xbb\xbf# drawn by hand\n2007_000032  # a plane\n\n  # 2011_003255\n\t2007_000039\t\n \n",
        b"JPEGImages/2007_000032.jpg \t SegmentationClass/2007_000032.png # both\n2007_000039\t#one\n",
        b"JPEGImages/2007_000032.jpg   SegmentationClass/2007_000032.png\r\n2007_000039.jpg\r\n",
    ],
)
def test_what_does_not_count(tmp_path: Path, content: bytes) -> None:
    found = read(tmp_path, content, PASCAL)
    assert found.ids == ["2007_000032", "2007_000039"]
    assert found.file_sha256 == hashlib.sha256(content).hexdigest()


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "2007_000032",
            "2007_000032.jpg",
            "2007_000032.PNG",
            "JPEGImages/2007_000032.jpg",
            "SegmentationClass/2007_000032.png",
            "VOCdevkit/VOC2012/JPEGImages/2007_000032.jpg",
            "./JPEGImages/2007_000032.jpg",
            "train/2007_000032",
        ],
    )
    def test_any_form_will_do(self, tmp_path: Path, name: str) -> None:
        assert read(tmp_path, name, PASCAL).ids == ["2007_000032"]

    NESTED = make_manifest(
        ("a/001", "images/a/rgb/001.png", "truth/a/1.png"),
        ("b/001", "images/b/rgb/001.png", "truth/b/1.png"),
        ("b/002", "images/b/rgb/002.png", None),
        ("an id", "images/an image 3.jpg", "truth/a mask 3.png"),
        ("#4", "images/4.png", None),
        ("shot.5", "images/shot.5.png", None),
        ("6", "images/6.png", None),
        ("c/6", "images/c/6.png", None),
        ("7", "images/#7 high.png", None),
    )

    @pytest.mark.parametrize(
        ("line", "id_"),
        [
            ("a/001", "a/001"),
            ("b/001.png", "b/001"),
            ("b/rgb/001.png", "b/001"),
            ("here/images/b/rgb/001.png", "b/001"),
            ("b/1.png", "b/001"),
            ("002", "b/002"),
            ("an id", "an id"),
            ("images/an image 3.jpg", "an id"),
            ("images/an image 3.jpg truth/a mask 3.png", "an id"),
            ("an image 3.jpg", "an id"),
            ("#4", "#4"),
            ("images/#7 high.png", "7"),
            ("shot.5", "shot.5"),
            ("images/shot.5.png", "shot.5"),
            ("6", "6"),
            ("c/6", "c/6"),
            ("images/6.png", "6"),
            ("images/c/6.png", "c/6"),
        ],
    )
    def test_folders_blanks_dots_and_signs(self, tmp_path: Path, line: str, id_: str) -> None:
        assert read(tmp_path, line, self.NESTED).ids == [id_]

    @pytest.mark.parametrize(
        ("line", "meant"), [("001", "a/001 or b/001"), ("rgb/001.png", "a/001 or b/001"), ("x/c/6", "6 or c/6")]
    )
    def test_a_name_of_several_is_refused(self, tmp_path: Path, line: str, meant: str) -> None:
        with pytest.raises(DataError) as raised:
            read(tmp_path, line, self.NESTED)
        assert f"names 1 images ambiguously: {line} ({meant})" in str(raised.value)

    def test_in_one_folder_names_may_differ_in_the_ending_alone(self, tmp_path: Path) -> None:
        manifest = make_manifest(("png", "1.png", None), ("jpg", "1.jpg", None))
        assert read(tmp_path, "1.jpg", manifest).ids == ["jpg"]
        with pytest.raises(DataError, match=r"1 \(png or jpg\)"):
            read(tmp_path, "1", manifest)

    @pytest.mark.parametrize(
        "line", ["000032", "x2007_000032", "2007_000032.txt", "Images/000032.jpg", "2007_000032 1"]
    )
    def test_a_part_of_a_name_is_no_name(self, tmp_path: Path, line: str) -> None:
        with pytest.raises(DataError, match="names 1 ids that are not training images: " + re.escape(line)):
            read(tmp_path, line, PASCAL)


@pytest.mark.parametrize(
    ("content", "problems"),
    [
        ("", ["the list .*list.txt is empty"]),
        ("# nothing\n\n", ["the list .*list.txt is empty"]),
        (
            "/data/JPEGImages/2007_000032.jpg\n../2007_000039.jpg\nx/../2007_000039.jpg\nC:\\x.jpg\n\\x.jpg\nx/..",
            [
                r"names 6 paths out of dataset\.root \(absolute, or with '\.\.'\): "
                r"/data/JPEGImages/2007_000032.jpg, \.\./2007_000039.jpg, x/\.\./2007_000039.jpg, C:\\x.jpg, \\x.jpg, …"
            ],
        ),
        ("JPEGImages/2007_000032.jpg\t/data/2007_000032.png", ["names 1 paths out of dataset.root"]),
        ("/images/2007_000032.png\t/segmentation/2007_000032.png", ["names 1 paths out of dataset.root"]),
        ("/images/../2007_000032.png\t/segmentation/../2007_000032.png", ["names 1 paths out of dataset.root"]),
        (
            "2007_000032.jpg 2007_000039.png\n2007_000039.jpg nowhere.png",
            [
                "names 2 images with the mask of another: 2007_000032.jpg with 2007_000039.png, "
                "2007_000039.jpg with nowhere.png"
            ],
        ),
        ("2007_000032\nJPEGImages/2007_000032.jpg", ["names 1 ids more than once: 2007_000032"]),
        ("2007_000033", [r"names 1 ids of val or test images: 2007_000033 \(val\)"]),
        (
            "\n".join(["2007_000033"] + 2 * ["2007_000032"] + [f"x{index}" for index in range(9)]),
            [
                r"list.txt names 1 ids of val or test images: 2007_000033 \(val\)",
                "list.txt names 1 ids more than once: 2007_000032",
                "list.txt names 9 ids that are not training images: x0, x1, x2, x3, x4, … and 4 more",
            ],
        ),
    ],
)
def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, content: str, problems: list[str]) -> None:
    with pytest.raises(DataError) as raised:
        read(tmp_path, content, PASCAL)
    found = str(raised.value).splitlines()
    assert len(found) == len(problems)
    assert all(re.search(problem, line) for problem, line in zip(problems, found, strict=True)), found


def test_no_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"list\.txt is not UTF-8 text"):
        read(tmp_path, "2007_000032".encode("utf-16"), PASCAL)


class TestRecognition:
    @pytest.fixture(autouse=True)
    def published(self, monkeypatch: pytest.MonkeyPatch) -> None:
        table = {("1", "2"): "first 1/8", ("2", "3"): "second 1/8", ("4",): "first 1/4"}
        partitions = {hash_ids(ids): Partition(name, name.split()[1]) for ids, name in table.items()}
        monkeypatch.setattr(lists, "published_partitions", lambda: partitions)

    @pytest.mark.parametrize(
        ("ids", "name", "others"),
        [
            (["2", "1"], "first 1/8", ["second 1/8"]),
            (["x/2", "y/3.png"], "second 1/8", ["first 1/8"]),
            (["4_leftImg8bit"], "first 1/4", []),
            (["1"], None, []),
            ([], None, []),
        ],
    )
    def test_by_the_ids_in_any_order_and_form(self, ids: list[str], name: str | None, others: list[str]) -> None:
        assert recognize(ids) == (name, others)


def test_the_published_lists_of_662_images_are_not_taken_for_one_another() -> None:
    published = published_partitions()
    share = {partition.name for partition in published.values() if partition.share == "pascal labeled 1/16"}
    assert {name.split("(")[0] for name in share} == {
        "CPS and UniMatch pascal 1/16 ",
        "U2PL pascal 1/16 ",
        "UniMatch pascal 1/16 ",
    }
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in published)
    assert len({partition.name for partition in published.values()}) == len(published)
