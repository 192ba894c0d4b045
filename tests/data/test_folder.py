"""Any folder of images and masks is listed as its options say, or it is said what does not fit."""

import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import yaml
from kedro.config import OmegaConfigLoader
from PIL import Image

from igl_dt.data.datasets import DataError, Listing, MaskFormat, mask_format
from igl_dt.data.datasets.folder import Folder
from igl_dt.data.loading import ImageReader
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters
from igl_dt.kedro_ext.parameters import ProjectParameters


def list_samples(root: Path, options: Mapping[str, object]) -> Listing:
    return Folder(root, options).list_samples()


PROJECT = Path(__file__).parents[2]
NAMES = ["background", "polyp"]
FRACTIONS = {"val": 0.25, "test": 0.25}
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make files of these names, several where braces say so: ``a{0,1}.png``."""

    def make(*names: str) -> Path:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        for name in names:
            before, _, rest = name.partition("{")
            parts, _, after = rest.partition("}")
            for part in parts.split(","):
                path = root / f"{before}{part}{after}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        return root

    return make


def options(**others: object) -> dict[str, object]:
    """Give the options of a folder with everything in its place."""
    given = {"images": "images", "masks": "masks", "class_names": NAMES, "fractions": FRACTIONS} | others
    return {key: value for key, value in given.items() if value is not None}


def found(root: Path, **others: object) -> dict[str, tuple[str, str | None]]:
    return {sample.id: (sample.image, sample.mask) for sample in list_samples(root, options(**others)).samples}


def splits(listing: Listing) -> dict[str, list[str]]:
    given: dict[str, list[str]] = {}
    for image in listing.samples:
        given.setdefault(image.split, []).append(image.id)
    return given


class TestPairs:
    @pytest.mark.parametrize(
        ("names", "where", "ids"),
        [
            (["images/{1,2,3,4}.JPG", "masks/{1,2,3,4}.png"], {}, ["1", "2", "3", "4"]),
            (["images/{1,2}/a.jpg", "masks/{1,2}/a.png"], {}, ["1/a", "2/a"]),
            (["images/{a,b.c}.tif", "masks/{a,b.c}.gif"], {"images": "./images/"}, ["a", "b.c"]),
            (["{a,b}.png", "{a,b}_mask.png"], {"images": "{id}.png", "masks": "{id}_mask.png"}, ["a", "b"]),
            (["{a,b}.jpg", "{a,b}.png"], {"images": "*.jpg", "masks": "*.png"}, ["a", "b"]),
            (["{a,b}.JPG", "{a}.PNG", "{b}.png"], {"images": "*.jpg", "masks": "*.png"}, ["a", "b"]),
            (["x/{a,b}.jpg", "masks/x/{a,b}.png"], {"images": "."}, ["x/a", "x/b"]),
            (
                ["ann/images/{1,2}.png", "bob/images/{1,2}.png", "ann/masks/{1,2}.png", "bob/masks/{1,2}.png"],
                {"images": "{id}/images/{id}.png", "masks": "{id}/masks/{id}.png"},
                ["ann/1", "ann/2", "bob/1", "bob/2"],
            ),
            (["images/x/{1,2}.jpg", "masks/x/{1,2}_l.png"], {"masks": "masks/{id}_l.png"}, ["x/1", "x/2"]),
            (["images/x/y/{1}.jpg", "images/{2}.jpg", "masks/{1,2}.png"], {"images": "images/**/*.jpg"}, ["1", "2"]),
            (["images/{1,2}_v3.jpg", "masks/{1,2}.png"], {"images": "images/{id}_v?.jpg"}, ["1", "2"]),
            (["im [1]/{(a),b+}.jpg", "masks/{(a),b+}.png"], {"images": "im [1]/*"}, ["(a)", "b+"]),
        ],
    )
    def test_belong_together_where_their_ids_are_the_same(
        self, make: Make, names: list[str], where: dict[str, str], ids: list[str]
    ) -> None:
        root = make(*names)
        images = found(root, fractions={"val": 0.5}, **where)
        assert sorted(images) == ids
        for id_, (image, mask) in images.items():
            assert (root / image).is_file()
            assert (root / str(mask)).is_file()
            assert image != mask
            assert id_.rpartition("/")[2] in image
            assert id_.rpartition("/")[2] in str(mask)

    def test_paths_are_relative_to_the_root(self, make: Make) -> None:
        assert found(make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png"))["3"] == ("images/3.jpg", "masks/3.png")

    def test_what_is_no_image_or_hidden_is_passed_over(self, make: Make) -> None:
        root = make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png", "images/{Thumbs.db,notes.txt,._1.jpg,.cache/5.jpg}")
        assert sorted(found(root)) == ["1", "2", "3", "4"]

    def test_an_image_without_mask_is_unlabeled(self, make: Make) -> None:
        images = list_samples(make("images/{1,2,3,4,5}.jpg", "masks/{1,2,3,4}.png"), options()).samples
        assert [(image.id, image.split) for image in images if image.mask is None] == [("5", "train")]

    def test_further_unlabeled_images(self, make: Make) -> None:
        root = make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png", "more/x/{1,9}.jpg")
        listing = list_samples(root, options(unlabeled="more"))
        assert {p.id: (p.split, p.image) for p in listing.samples if p.mask is None} == {
            "unlabeled/x/1": ("train", "more/x/1.jpg"),
            "unlabeled/x/9": ("train", "more/x/9.jpg"),
        }

    def test_a_file_counts_once(self, make: Make) -> None:
        root = make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png", "{a,b}.jpg")
        assert {id_: paths for id_, paths in found(root, unlabeled=".").items() if paths[1] is None} == {
            "unlabeled/a": ("a.jpg", None),
            "unlabeled/b": ("b.jpg", None),
        }


class TestSplits:
    def test_by_folders(self, make: Make) -> None:
        root = make("training/in/{1,2}.jpg", "training/out/{1}.png", "validation/in/{1}.jpg", "validation/out/{1}.png")
        given = options(
            images="{split}/in",
            masks="{split}/out",
            fractions=None,
            folders={"train": "training", "val": "validation"},
        )
        assert splits(list_samples(root, given)) == {"train": ["train/1", "train/2"], "val": ["val/1"]}

    @pytest.mark.parametrize(("train", "expected"), [("1\n2\n", ["1", "2"]), (None, ["1", "2", "5"])])
    def test_by_lists(self, make: Make, train: str | None, expected: list[str]) -> None:
        root = make("images/{1,2,3,4,5}.jpg", "masks/{1,2,3,4}.png")
        for name, text in (("train", train), ("val", "\ufeff3\r\n"), ("test", " 4")):
            if text is not None:
                (root / f"{name}.txt").write_text(text, "utf-8")
        lists = {"train": train and "train.txt", "val": str(root / "val.txt"), "test": "test.txt"}
        assert splits(list_samples(root, options(fractions=None, lists=lists))) == {
            "train": expected,
            "val": ["3"],
            "test": ["4"],
        }

    def draw(self, root: Path, **others: object) -> dict[str, list[str]]:
        return splits(list_samples(root, options(**others)))

    def test_by_fractions(self, make: Make) -> None:
        many = ",".join(f"{index:02d}" for index in range(40))
        root = make(f"images/{{{many},x,y}}.jpg", f"masks/{{{many}}}.png")
        drawn = self.draw(root)
        assert {split: len(ids) for split, ids in drawn.items()} == {"train": 22, "val": 10, "test": 10}
        assert {"x", "y"} <= set(drawn["train"])
        assert drawn == self.draw(root) == self.draw(root, seed=0)
        assert drawn["val"] != self.draw(root, seed=1)["val"]
        assert "test" not in self.draw(root, fractions={"val": 0.1})

    def test_groups_stay_on_one_side(self, make: Make) -> None:
        frames = ",".join(f"v{video}_{frame}" for video in range(8) for frame in range(5))
        root = make(f"images/{{{frames}}}.jpg", f"masks/{{{frames}}}.png")
        drawn = self.draw(root, group="^(v[0-9])_")
        sides = {split: {id_[:2] for id_ in ids} for split, ids in drawn.items()}
        assert Counter(video for videos in sides.values() for video in videos) == Counter(f"v{i}" for i in range(8))
        assert {split: len(videos) for split, videos in sides.items()} == {"train": 4, "val": 2, "test": 2}

    def test_unlabeled_images_of_a_group_that_is_measured_with_are_left_out(self, make: Make, caplog) -> None:
        caplog.set_level(logging.INFO)
        root = make("images/v{0_0,0_1,1_0,1_1,2_0,2_1}.jpg", "masks/v{0_0,1_0,2_0}.png", "more/v{0_7,1_7,2_7,3_7}.jpg")
        for seed in range(4):
            drawn = self.draw(root, unlabeled="more", fractions={"val": 0.3}, group="(v[0-9])_", seed=seed)
            (video,) = {id_[:2] for id_ in drawn["val"]}
            assert drawn["val"] == [f"{video}_0"]
            assert not any(video in id_ for id_ in drawn["train"])
            assert len(drawn["train"]) == 4 + 3
        assert "2 unlabelled images are left out, as val or test has their group: " in caplog.text


MASKS: list[tuple[dict[str, object], MaskFormat]] = [
    ({}, MaskFormat()),
    ({"ignore_id": 7}, MaskFormat(ids=((7, 255), (0, 0), (1, 1)))),
    ({"ids": {"background": 0, "polyp": 255}}, MaskFormat(ids=((255, 1), (0, 0)))),
    (
        {"ids": {"background": [0, 4], "polyp": [9], "ignored": 3}},
        MaskFormat(ids=((255, 255), (0, 0), (4, 0), (9, 1), (3, 255))),
    ),
    ({"rest": "background", "ignore_id": 255}, MaskFormat(ids=((255, 255), (0, 0), (1, 1)), rest=0)),
    ({"rest": "polyp", "ids": {"background": 0, "polyp": 255}}, MaskFormat(ids=((255, 1), (0, 0)), rest=1)),
    ({"ids": {"background": 5, "polyp": 1}, "rest": "ignored"}, MaskFormat(ids=((255, 255), (5, 0), (1, 1)), rest=255)),
    (
        {"colors": {"polyp": [255, 0, 0], "background": [[0, 0, 0], [9, 9, 9]], "ignored": [1, 2, 3]}},
        MaskFormat(colors=(((255, 0, 0), 1), ((0, 0, 0), 0), ((9, 9, 9), 0), ((1, 2, 3), 255))),
    ),
]


@pytest.mark.parametrize(("given", "expected"), MASKS)
def test_options_say_what_masks_hold(make: Make, given: dict[str, object], expected: MaskFormat) -> None:
    root = make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png")
    read = mask_format(DatasetParameters(source="folder", root=str(root), options=options(**given)))
    for name in ("rest", "colors"):
        assert getattr(read, name) == getattr(expected, name)
    assert dict(read.ids or ()) == dict(expected.ids or ())
    assert (read.ids is None) == (expected.ids is None)


@pytest.mark.parametrize("colored", [False, True])
def test_masks_are_checked_and_read_alike(make: Make, colored: bool) -> None:
    root = make("images/{1,2,3,4}.png", "masks/{1,2,3,4}.png")
    truth = np.uint8([[0, 1, 1], [1, 255, 0]])
    for index in range(1, 5):
        Image.new("RGB", (3, 2)).save(root / f"images/{index}.png")
        mask = np.uint8([[9, 9, 9], [200, 0, 0]])[truth % 2] if colored else np.uint8([0, 200])[truth % 2]
        mask[1, 1] = 77
        Image.fromarray(mask).save(root / f"masks/{index}.png")
    table = {"background": [9, 9, 9], "polyp": [200, 0, 0], "ignored": [77] * 3}
    given = options(colors=table) if colored else options(ids={"background": 0, "polyp": 200}, rest="ignored")
    dataset = DatasetParameters(source="folder", root=str(root), options=given)
    manifest = read_manifest(dataset)
    assert manifest.class_names == ("background", "polyp")
    assert manifest.class_pixels.loc["1"].tolist() == [2, 3]
    np.testing.assert_array_equal(ImageReader(dataset).mask(manifest.samples["mask"][0]), truth)


@pytest.mark.parametrize(
    "table", [{"ids": {"a": 7, "b": [1, 3], "ignored": 0}}, {"colors": {"a": [0] * 3, "b": [1] * 3}}]
)
def test_without_class_names_a_table_names_the_classes(make: Make, table: dict[str, dict[str, object]]) -> None:
    root = make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png")
    (root / "classes.txt").write_text("other\nnames\n")
    given = {key: value for key, value in (options() | table).items() if key != "class_names"}
    assert list_samples(root, given).class_names == ("a", "b")
    assert Folder(root, given).mask_format() == Folder(root, given | {"class_names": ["a", "b"]}).mask_format()


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"imags": "x"}, ["imags: unknown; did you mean 'images'?"]),
        ({"fractions": {"vall": 0.1, "val": 0.1}}, ["fractions.vall: unknown; did you mean 'val'?"]),
        ({"size": 3, 7: 3}, ["size: unknown; there are images, masks, unlabeled, class_names"]),
        ({"images": None}, ["images: missing"]),
        ({"class_names": None, "rest": "polyp"}, ["class_names is missing: rest needs it"]),
        ({"class_names": None, "ignore_id": 7}, ["class_names is missing: ignore_id needs it"]),
        ({"images": "../images"}, ["images must be a folder or pattern in dataset.root, not '../images'"]),
        ({"masks": "/masks"}, ["masks must be a folder or pattern in dataset.root, not '/masks'"]),
        ({"unlabeled": ""}, ["unlabeled must be a folder or pattern"]),
        ({"images": "images/{name}.png"}, ["images has {name}: only {id} and {split} are known"]),
        ({"images": "{split}/images"}, ["images has {split}", "only with folders"]),
        ({"folders": {"train": "a", "val": "b"}}, ["exactly one of folders, lists and fractions"]),
        ({"fractions": None}, ["exactly one of folders, lists and fractions"]),
        ({"fractions": None, "folders": {"train": "a", "val": "b"}}, ["images must contain {split}", "'images'"]),
        ({"fractions": 0.2}, ["fractions: ", "not 0.2"]),
        ({"fractions": {"val": -0.1}}, ["fractions.val: Input should be greater than 0, not -0.1"]),
        ({"fractions": {"val": 0.5, "test": 0.5}}, ["leave nothing to train on", "less than 1"]),
        ({"fractions": {"test": 0.5}}, ["fractions.val: missing"]),
        ({"seed": -1}, ["seed: ", "not -1"]),
        ({"group": "("}, ["group is not a regular expression"]),
        ({"group": "v[0-9]"}, ["group must have one group in parentheses, such as (patient[0-9]+), not 0"]),
        ({"class_names": ["polyp"]}, ["class_names has 1 classes", "the background included"]),
        ({"class_names": ["a", "b", "a"]}, ["class_names names a class twice: a"]),
        ({"class_names": ["id", "b"]}, ["class_names names a class 'id'"]),
        ({"class_names": ["a", "truth"]}, ["class_names names a class 'truth'"]),
        ({"class_names": ["a", "ignored"]}, ["class_names contains an empty name or 'ignored'"]),
        ({"class_names": [True, "b"]}, ["class_names.0: Input should be a valid string, not True"]),
        ({"ids": {"background": 0}}, ["ids has no entry for polyp: every class needs one"]),
        ({"ids": {"background": 0, "polyp": []}}, ["ids has no entry for polyp"]),
        (
            {"ids": {"background": 0, "polyp": 1, "polip": 2}},
            ["ids has the unknown class 'polip'; did you mean 'polyp'?"],
        ),
        ({"ids": {"background": 0, "polyp": [1, 0]}}, ["ids has 0 more than once"]),
        ({"ids": {"background": -1, "polyp": 1}}, ["ids.background.0: ", "not -1"]),
        ({"ignore_id": 1}, ["ignore_id is 1, the id of 'polyp'"]),
        ({"ignore_id": -1}, ["ignore_id: ", "not -1"]),
        ({"colors": {"background": [0, 0], "polyp": [1, 1, 1]}}, ["colors.background.0"]),
        ({"colors": {"background": [0, 0, 256], "polyp": [1, 1, 1]}}, ["colors.background.0.2: ", "not 256"]),
        ({"colors": {"background": [1, 1, 1], "polyp": [1, 1, 1]}}, ["colors has (1, 1, 1) more than once"]),
        (
            {"colors": {"background": [0, 0, 0], "polyp": [1, 1, 1]}, "ignore_id": 3},
            ["colors excludes ids and ignore_id"],
        ),
        ({"rest": "nothing"}, ["rest is 'nothing'; there are background, polyp, ignored"]),
        ({"rest": "polyp"}, ["rest is 'polyp', but", "whether 255 is of this class or ignored: give ignore_id"]),
    ],
)
def test_wrong_options_are_named(make: Make, given: dict[str, object], named: list[str]) -> None:
    changed = {key: value for key, value in (options() | given).items() if value is not None}
    root = make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png")
    with pytest.raises(DataError) as raised:
        list_samples(root, changed)
    assert str(raised.value).startswith("dataset.options of the source folder: ")
    for part in named:
        assert part in str(raised.value)


def spoil(root: Path, how: str) -> None:
    match how:
        case "no root":
            shutil.rmtree(root)
        case "no images":
            shutil.rmtree(root / "images")
        case "empty images":
            for path in (root / "images").iterdir():
                path.unlink()
        case "no images among the files":
            for path in (root / "images").iterdir():
                path.rename(path.with_suffix(".dcm"))
        case "no masks":
            shutil.rmtree(root / "masks")
        case "one image":
            for path in [*root.glob("*/[234].*")]:
                path.unlink()
        case "other endings":
            (root / "images/1.png").touch()
        case "mask without image":
            (root / "masks/9.png").touch()
        case "other case":
            (root / "images/a.jpg").touch()
            (root / "masks/A.png").touch()
        case "linked folder":
            (root.parent / "elsewhere").mkdir()
            (root / "images/more").symlink_to(root.parent / "elsewhere")
        case "linked in a circle":
            (root / "images/more").symlink_to(root / "images")
        case "linked out":
            (root / "images").rename(root.parent / "outside")
            (root / "images").symlink_to(root.parent / "outside")


@pytest.mark.parametrize(
    ("how", "given", "named"),
    [
        ("no root", {}, ["dataset.root", "{root}", "is not a folder"]),
        ("no images", {}, ["{root}/images is not a folder: dataset.options.images is 'images'"]),
        ("empty images", {}, ["no images in {root}/images for dataset.options.images", "ending in .png, .jpg"]),
        ("no images among the files", {}, ["no images in {root}/images"]),
        ("no masks", {}, ["{root}/masks is not a folder: dataset.options.masks is 'masks'"]),
        (
            "nothing",
            {"masks": "masks/*_l.png"},
            ["no images in {root}/masks for dataset.options.masks, 'masks/*_l.png'"],
        ),
        ("nothing", {"unlabeled": "images"}, ["dataset.options.unlabeled", "4 such files are used already"]),
        ("nothing", {"images": "masks"}, ["dataset.options.images, 'masks'", "4 such files are used already"]),
        ("nothing", {"images": "images/*/*.jpg"}, ["no images in {root}/images for dataset.options.images"]),
        ("one image", {}, ["fractions of 1 images with masks give no val image", "label more images"]),
        ("nothing", {"fractions": {"val": 0.1}}, ["fractions of 4 images with masks give no val image"]),
        ("nothing", {"group": "()[0-9]"}, ["group '()[0-9]' does not match the id '1'"]),
        ("nothing", {"group": "(x)"}, ["group '(x)' does not match the id '1': every image needs a group"]),
        (
            "nothing",
            {"images": "{id}mages/*.jpg"},
            [
                "3 ids of dataset.options.images have two files",
                "'i' (images/1.jpg and images/2.jpg)",
                "remove one",
            ],
        ),
        ("other endings", {}, ["have two files in", "in {root}: '1' (images/1.jpg and images/1.png); remove one"]),
        ("mask without image", {}, ["1 masks in {root} have no image: masks/9.png", "ids such as '1'"]),
        ("other case", {}, ["have no image: masks/A.png", "is 'A', and there is an image 'a': rename"]),
        (
            "nothing",
            {"masks": "{id}asks/*.png"},
            [
                "ids of dataset.options.masks have two files",
                "'m' (",
                "write {{id}} for the part of the path in which they differ",
            ],
        ),
        ("nothing", {"masks": "{id}.png"}, ["have no image", "is 'masks/1'", "ids such as '1'", "{{id}}_label"]),
        ("linked folder", {}, ["{root}/images/more leads out of dataset.root, {root} (to "]),
        ("linked in a circle", {}, ["{root}/images/more is a link to ", "remove it"]),
        ("linked out", {}, ["{root}/images leads out of dataset.root, {root}"]),
    ],
)
def test_says_what_is_wrong_and_where(make: Make, how: str, given: dict[str, object], named: list[str]) -> None:
    root = make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png")
    spoil(root, how)
    with pytest.raises(DataError) as raised:
        list_samples(root, options(**given))
    for part in named:
        assert part.format(root=root) in str(raised.value)


@pytest.mark.parametrize(
    ("lists", "named"),
    [
        ({"val": "9"}, ["val.txt names 1 ids that are not images of dataset.options.images: 9"]),
        ({"val": "3.jpg"}, ["val.txt", "3.jpg; did you mean '3'? Ids must match exactly"]),
        ({"val": "images/3.jpg"}, ["val.txt", "did you mean '3'?"]),
        ({"val": "A1"}, ["val.txt", "did you mean 'a1'?"]),
        ({"val": "3\n3"}, ["val.txt names 1 ids more than once: 3"]),
        ({"val": "\n"}, ["val.txt is empty"]),
        ({"val": None}, ["val.txt is missing"]),
        ({"val": "3", "test": "3"}, ["1 ids are in two of dataset.options.lists: 3 (of val and test)"]),
        ({"val": "3\na1"}, ["1 val or test images have no mask, which evaluation needs: a1 (val)"]),
    ],
)
def test_wrong_lists_are_named(make: Make, lists: dict[str, str | None], named: list[str]) -> None:
    root = make("images/{1,2,3,4,a1}.jpg", "masks/{1,2,3,4}.png")
    for name, text in lists.items():
        if text is not None:
            (root / f"{name}.txt").write_text(text)
    given = options(fractions=None, lists={name: f"{name}.txt" for name in lists})
    with pytest.raises(DataError) as raised:
        read_manifest(DatasetParameters(source="folder", root=str(root), options=given))
    for part in named:
        assert part in str(raised.value)


def test_classes_may_be_named_in_a_file(make: Make) -> None:
    root = make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png")
    (root / "classes.txt").write_text("background\r\npolyp\r\n")
    listing = list_samples(root, options(class_names=None))
    assert listing.class_names == ("background", "polyp")
    for text, named in ((None, "is missing: it must name the classes"), ("polyp", "has 1 classes"), ("", "is empty")):
        if text is None:
            (root / "classes.txt").unlink()
        else:
            (root / "classes.txt").write_text(text)
        with pytest.raises(DataError, match=rf"{root}/classes\.txt {named}"):
            list_samples(root, options(class_names=None))


def test_folders_are_linked_within_the_root(make: Make) -> None:
    root = make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png", "visit2/{a,b}.jpg")
    (root / "images/more").symlink_to(root / "visit2")
    assert {image.id for image in list_samples(root, options()).samples} == {*"1234", "more/a", "more/b"}


def test_a_group_on_two_sides_of_a_list_is_named(make: Make) -> None:
    root = make("images/v{0_0,0_1,1_0}.jpg", "masks/v{0_0,0_1,1_0}.png", "val.txt")
    (root / "val.txt").write_text("v0_1")
    with pytest.raises(DataError, match=r"1 groups of .*\.group .* 'v0' \(in train, and in val as 'v0_1'\)"):
        list_samples(root, options(fractions=None, lists={"val": "val.txt"}, group="(v[0-9])"))


def test_one_folder_for_two_splits_is_found_out(make: Make) -> None:
    given = options(images="{split}", masks="m/{split}", fractions=None, folders={"train": "a", "val": "a"})
    dataset = DatasetParameters(source="folder", root=str(make("a/{1,2}.jpg", "m/a/{1,2}.png")), options=given)
    with pytest.raises(DataError, match=r"2 files are listed twice .* a/1\.jpg as 'train/1' and again as 'val/1', a/2"):
        read_manifest(dataset)


def test_a_folder_that_may_not_be_listed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    root = make("images/{1,2,3,4}.jpg", "masks/{1,2,3,4}.png")
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=f"{root}/masks cannot be listed: Permission denied"):
        list_samples(root, options())


def test_the_example_of_the_documentation_works(tmp_path: Path) -> None:
    files = dict(
        re.findall(r"`(conf/polyps/\w+\.yml)`.*?```yaml\n(.*?)```", (PROJECT / "docs/own_data.md").read_text(), re.S)
    )
    shutil.copytree(PROJECT / "conf/base", tmp_path / "conf/base")
    (tmp_path / "conf/polyps").mkdir()
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    loader = OmegaConfigLoader(
        conf_source=str(tmp_path / "conf"), base_env="base", env="polyps", merge_strategy={"parameters": "soft"}
    )
    assert yaml.safe_load(files["conf/polyps/globals.yml"]) == {"run": "polyps"}
    dataset = ProjectParameters.model_validate(loader["parameters"]).dataset
    root = tmp_path / dataset.root
    for kind, color, ending, count in (("images", (200, 90, 80), "jpg", 40), ("masks", 255, "png", 30)):
        (root / kind).mkdir(parents=True)
        for index in range(count):
            mode = "RGB" if kind == "images" else "L"
            Image.new(mode, (40, 30), color).save(root / kind / f"{index:04d}.{ending}")
    manifest = read_manifest(dataset.model_copy(update={"root": str(root)}))
    assert manifest.samples["split"].value_counts().to_dict() == {"train": 32, "val": 4, "test": 4}
    assert manifest.class_pixels["polyp"].eq(1200).all()
