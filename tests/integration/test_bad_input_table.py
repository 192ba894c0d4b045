"""One table of bad input: each case ends with an error that names it and the way out, and nothing half-written.

What a run does before it trains is done here in Kedro's own order, without its session, so that a case takes
milliseconds. ``test_bad_input.py`` has the same for whole runs, and for networks.
"""

import copy
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner
from PIL import Image

from encoding import encode, png, turned
from igl_dt.data.datasets import DataError
from igl_dt.kedro_ext.hooks import CheckParameters
from igl_dt.kedro_ext.parameters import ProjectParameters
from igl_dt.pipeline_registry import register_pipelines
from igl_dt.settings import CONFIG_LOADER_ARGS

PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")  # Kedro's

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
MASK = RNG.integers(0, 3, (24, 32), dtype=np.uint8)
FRAMES = [Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)]

Spoil = Callable[[dict[str, Any]], None]
"""Changes the project in the working directory, or its parameters."""


@pytest.fixture(scope="module")
def configuration() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Parameters and catalog of the environment ``smoke``, on images of which each case has its own copy."""
    arguments: dict[str, Any] = CONFIG_LOADER_ARGS | {"default_run_env": "smoke"}
    loader = OmegaConfigLoader(str(PROJECT / "conf"), env="smoke", **arguments)
    parameters = loader["parameters"]
    parameters["dataset"] = {"source": "camvid", "root": "images"}
    for stage in ("teacher_pretraining", "student_learning"):
        parameters[stage]["augmentation"] = {"crop_size": [24, 32]}
    return parameters, loader["catalog"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight images to train on and two to measure with, 32×24, of three classes."""
    root = tmp_path_factory.mktemp("drawn")
    for split, count in {"train": 8, "val": 2}.items():
        for kind, array in (("images", PIXELS), ("masks", MASK)):
            (root / split / kind).mkdir(parents=True)
            for index in range(count):
                (root / split / kind / f"{split}{index}.png").write_bytes(encode(array))
    (root / "classes.txt").write_text("road\ntree\npole\n")
    return root


@pytest.fixture
def parameters(configuration, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A project of its own, in the working directory, and its parameters."""
    shutil.copytree(drawn, tmp_path / "images")
    monkeypatch.chdir(tmp_path)
    return copy.deepcopy(configuration[0])


@pytest.fixture
def prepare(configuration, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], DataCatalog]:
    """Do what a run does before it trains, with its hooks; give the catalog with what was written."""

    # Networks are the same in all cases, and building them takes the longest.
    monkeypatch.setattr("igl_dt.networks.registry.build_network", lambda *_: None)

    def prepare(parameters: dict[str, Any]) -> DataCatalog:
        check, hooks, pipelines = CheckParameters(), _create_hook_manager(), register_pipelines()
        check.after_context_created(SimpleNamespace(project_path=Path.cwd(), config_loader={"parameters": parameters}))
        check.before_pipeline_run(pipelines["full"], DataCatalog())
        hooks.register(check)
        typed = ProjectParameters.model_validate(parameters)
        catalog = DataCatalog.from_config({name: e for name, e in configuration[1].items() if name[0] != "_"})
        for name in ("dataset", "splitting", "seed"):
            catalog[f"params:{name}"] = getattr(typed, name)
        catalog["params:runtime.checked_files"] = typed.runtime.checked_files
        SequentialRunner().run(pipelines["data_splitting"], catalog, hooks)
        return catalog

    return prepare


def written() -> set[str]:
    """Name the files of the project's results."""
    return {path.relative_to("data").as_posix() for path in Path("data").rglob("*") if path.is_file()}


# What can be wrong ----------------------------------------------------------------------------------------------------


def file(path: str, content: bytes | str) -> Spoil:
    """Have a file hold something."""

    def spoil(_: dict[str, Any]) -> None:
        target = Path("images") / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)

    return spoil


def cut(path: str, kind: str) -> Spoil:
    """Have an image lack its last third."""
    content = encode(PIXELS if "images" in path else MASK, kind)
    return file(path, content[: len(content) * 2 // 3])


def gone(path: str) -> Spoil:
    """Remove a file or folder."""

    def spoil(_: dict[str, Any]) -> None:
        target = Path("images") / path
        shutil.rmtree(target) if target.is_dir() else target.unlink()

    return spoil


def pair(name: str, split: str = "train") -> Spoil:
    """Add an image with its mask."""
    return several(file(f"{split}/images/{name}.png", encode(PIXELS)), file(f"{split}/masks/{name}.png", encode(MASK)))


def moved_and_linked(path: str, to: str) -> Spoil:
    """Put a link in the place of a file or folder."""

    def spoil(_: dict[str, Any]) -> None:
        source = Path("images") / path
        source.rename(to)
        source.symlink_to(Path(to).absolute())

    return spoil


def link(path: str, to: str) -> Spoil:
    """Put a link to something else in a file's place."""

    def spoil(_: dict[str, Any]) -> None:
        source = Path("images") / path
        source.unlink()
        source.symlink_to(to)

    return spoil


def folder(path: str) -> Spoil:
    """Put a folder in a file's place."""

    def spoil(_: dict[str, Any]) -> None:
        (Path("images") / path).unlink(missing_ok=True)
        (Path("images") / path).mkdir(parents=True)

    return spoil


def value(key: str, what: Any) -> Spoil:
    """Set a parameter."""

    def spoil(parameters: dict[str, Any]) -> None:
        *groups, last = key.split(".")
        for group in groups:
            parameters = parameters.setdefault(group, {})
        parameters[last] = what

    return spoil


def no_value(key: str) -> Spoil:
    """Leave a parameter out."""

    def spoil(parameters: dict[str, Any]) -> None:
        *groups, last = key.split(".")
        for group in groups:
            parameters = parameters[group]
        del parameters[last]

    return spoil


def lists(**contents: bytes | str) -> Spoil:
    """Split by lists; blanks stand for the ends of lines."""

    def spoil(parameters: dict[str, Any]) -> None:
        parameters["splitting"] = {f"{name}_list": f"{name}.txt" for name in contents}
        for name, content in contents.items():
            text = content.replace(" ", "\n").encode() if isinstance(content, str) else content
            Path(f"{name}.txt").write_bytes(text)

    return spoil


def several(*spoils: Spoil) -> Spoil:
    """Do one thing after the other."""

    def spoil(parameters: dict[str, Any]) -> None:
        for one in spoils:
            one(parameters)

    return spoil


IMAGE, BAD_MASK = "train/images/train4.png", "train/masks/train2.png"
STAGE = "teacher_pretraining"
FOLDER = {
    "images": "train/images",
    "masks": "train/masks",
    "class_names": ["road", "tree", "pole"],
    "fractions": {"val": 0.25},
}


def folder_source(**options: Any) -> Spoil:
    """Take the training images by the source ``folder``."""
    return value("dataset", {"source": "folder", "root": "images", "options": FOLDER | options})


IMAGES: dict[str, tuple[Spoil, list[str]]] = {
    "an empty image": (file(IMAGE, b""), [f"images/{IMAGE} is empty (0 bytes): copy it again, or remove it"]),
    "an empty mask": (file(BAD_MASK, b""), [f"images/{BAD_MASK} is empty (0 bytes)"]),
    "text": (file(IMAGE, "no image"), [f"images/{IMAGE} cannot be read as an image: its format is unknown"]),
    "broken": (file(IMAGE, encode(PIXELS)[:8] + bytes(500)), [f"images/{IMAGE} cannot be read as an image"]),
    "bits that fell over": (
        file(IMAGE, encode(PIXELS)[:200] + bytes(200) + encode(PIXELS)[400:]),
        [f"images/{IMAGE} cannot be read as an image"],
    ),
    "a truncated PNG": (cut(IMAGE, "PNG"), [f"images/{IMAGE} cannot be read as an image", "truncated"]),
    "a truncated JPEG": (cut(IMAGE, "JPEG"), [f"images/{IMAGE} cannot be read as an image", "truncated"]),
    "a truncated mask": (cut(BAD_MASK, "PNG"), [f"images/{BAD_MASK} cannot be read as an image"]),
    "a decompression bomb": (
        file(IMAGE, png(20_000, 20_000, 8, 0, b"\0")),
        [f"images/{IMAGE} is too large", "Cut it into tiles"],
    ),
    "CMYK": (
        file(IMAGE, encode(Image.new("CMYK", (32, 24)), "JPEG")),
        [f"images/{IMAGE} has mode CMYK: save it as RGB or grayscale"],
    ),
    "Lab": (file(IMAGE, encode(Image.new("LAB", (32, 24)), "TIFF")), ["has mode LAB: save it as RGB"]),
    "32 bits": (file(IMAGE, encode(MASK.astype(np.int32), "TIFF")), ["has mode I: save it as RGB"]),
    "floats": (file(IMAGE, encode(MASK.astype(np.float32), "TIFF")), ["has mode F: save it as RGB"]),
    "a turned photograph": (
        file(IMAGE, turned(PIXELS, 6, "JPEG")),
        [f"images/{IMAGE} has an EXIF orientation", "rotate the pixels", "the mask matches"],
    ),
    "a turned mask": (file(BAD_MASK, turned(MASK, 3, "PNG")), [f"images/{BAD_MASK} has an EXIF orientation"]),
    **{
        f"several images in one {kind}": (
            file(IMAGE, encode(FRAMES[0], kind, save_all=True, append_images=FRAMES[1:])),
            [f"images/{IMAGE} is animated or has several pages, 2 in all: save one of them"],
        )
        for kind in ("GIF", "PNG", "WEBP", "TIFF")
    },
    "a mask of another size": (
        file(BAD_MASK, encode(MASK[:12, :16])),
        [f"images/{BAD_MASK} is 16×12 and its image 32×24 (width×height)"],
    ),
    "a mask that lies across": (file(BAD_MASK, encode(MASK.T.copy())), ["is 24×32 and its image 32×24"]),
    "an id out of range": (
        file(BAD_MASK, encode(MASK + 9)),
        [f"images/{BAD_MASK} has the ids [9, 10, 11]: they must be 0 to 2, or 255 for ignored pixels"],
    ),
    "an id just below what is ignored": (file(BAD_MASK, encode(MASK | 254)), ["has the ids [254]"]),
    "a mask in colours": (
        file(BAD_MASK, encode(PIXELS)),
        [f"images/{BAD_MASK} has mode RGB: a mask must be a grayscale or palette image of class ids", "colors"],
    ),
    "a transparent mask": (file(BAD_MASK, encode(Image.new("RGBA", (32, 24)))), ["has mode RGBA: a mask must be"]),
    "a mask of 16 bits": (file(BAD_MASK, encode(MASK.astype(np.uint16))), ["has 16 bits per pixel: that needs"]),
    "a mask saved with losses": (
        several(gone(BAD_MASK), file("train/masks/train2.jpg", encode(MASK * 100, "JPEG"))),
        [
            "images/train/masks/train2.jpg is a JPEG file, whose lossy compression changes the ids",
            "export the mask again",
        ],
    ),
    "masks of 0 and 255 for two classes": (
        several(
            file("classes.txt", "ground\nroad"),
            *(file(f"train/masks/train{i}.png", encode(np.where(MASK > 1, 255, 0).astype(np.uint8))) for i in range(8)),
            *(file(f"val/masks/val{i}.png", encode(np.where(MASK > 1, 255, 0).astype(np.uint8))) for i in range(2)),
        ),
        [
            "so that 'road' never occurs",
            "dataset.options of the source folder:",
            "  ids: {ground: 0, road: 255}",
            "  dataset.options.ids.ground=0,dataset.options.ids.road=255",
        ],
    ),
    "a val image without mask": (
        gone("val/masks/val1.png"),
        ["1 val or test images have no mask, which evaluation needs: val1 (val)"],
    ),
    "a link out of the root": (
        moved_and_linked(IMAGE, "outside.png"),
        [f"images/{IMAGE} leads out of dataset.root, images (to ", "copy it into that folder"],
    ),
    "a mask linked out of the root": (
        moved_and_linked(BAD_MASK, "outside.png"),
        [f"images/{BAD_MASK} leads out of dataset.root"],
    ),
    "a folder linked out of the root": (
        moved_and_linked("val/masks", "outside"),
        ["2 of 10 images", "images/val/masks/val0.png leads out of dataset.root"],
    ),
    "a link to nowhere": (link(IMAGE, "nowhere.png"), [f"images/{IMAGE} is missing"]),
    "a link to itself": (link(IMAGE, "train4.png"), [f"images/{IMAGE} cannot be read: Too many levels"]),
    "a folder called like an image": (folder(IMAGE), [f"images/{IMAGE} is missing"]),
    "a name with a line break": (
        pair("two\nlines"),
        [r"names have a character that tables and lists cannot hold (rename the files): 'two\nlines'"],
    ),
    "a name with a tab": (pair("tab\tstop"), [r"rename the files): 'tab\tstop'"]),
    "a name that is no UTF-8": (pair(os.fsdecode(b"\xff")), [r"(rename the files): '\udcff'"]),
    "a name that begins with a blank": (pair(" blank"), ["ids begin or end with a space", "rename", "' blank'"]),
    "ids that differ by case": (
        pair("TRAIN4"),
        ["1 ids differ only in case", "(rename one): 'TRAIN4' and 'train4'"],
    ),
    "ids that differ by coding": (
        several(pair("e\u0301"), pair("\u00e9")),
        ["1 ids differ only in case or in the encoding of accents", "rename one"],
    ),
    "ids that differ by the file's ending": (
        file("train/images/train4.jpg", encode(PIXELS, "JPEG")),
        ["1 ids have two files in images/train/images: train4.jpg and train4.png; remove one"],
    ),
    "an id in two splits": (
        pair("train4", "val"),
        ["1 ids occur twice (ids must be unique): 'train4' in train and again in val"],
    ),
    "no folder": (
        value("dataset.root", "nowhere"),
        ["dataset.root 'nowhere' is not a folder: it must hold train/images"],
    ),
    "a file for a folder": (value("dataset.root", "images/classes.txt"), ["classes.txt' is not a folder"]),
    "an empty folder": (
        several(folder("empty"), value("dataset.root", "images/empty")),
        ["no images in images/empty/train/images: expected files ending in .png"],
    ),
    "no images to measure with": (gone("val"), ["no images in images/val/images"]),
    "no classes": (gone("classes.txt"), ["images/classes.txt is missing: it must name the classes, one per line"]),
    "an empty list of classes": (file("classes.txt", "\n"), ["images/classes.txt is empty"]),
    "a class twice": (file("classes.txt", "road\ntree\nroad"), ["images/classes.txt names a class twice: road"]),
    "a class called id": (file("classes.txt", "road\nid\npole"), ["names a class 'id'", "choose another name"]),
    "classes in UTF-16": (file("classes.txt", "road\ntree".encode("utf-16")), ["is not UTF-8 text", "save it as"]),
    "a listed image that is not there": (
        file("train.txt", "train1\ntrain9"),
        ["images/train.txt names 1 ids that are not images in images/train/images: train9"],
    ),
    "another's folder for the built-in scenes": (
        value("dataset", {"source": "shapes", "root": "images"}),
        ["holds files that the source shapes did not draw"],
    ),
    "a mask without an image": (
        several(gone(IMAGE), folder_source()),
        ["1 masks in images have no image: train/masks/train4.png", "rename or remove"],
    ),
    "colours without a name": (
        several(
            file(BAD_MASK, encode(PIXELS)),
            folder_source(colors={"road": [0, 0, 0], "tree": [1, 1, 1], "pole": [2, 2, 2]}),
        ),
        [f"images/{BAD_MASK} has ", " colours that belong to no class", "dataset.options.rest"],
    ),
    "a pattern that finds nothing": (
        folder_source(masks="train/masks/*_label.png"),
        ["no images in images/train/masks for dataset.options.masks, 'train/masks/*_label.png'"],
    ),
    "a link in a circle": (
        several(
            folder("train/images/more"),
            lambda _: (Path("images/train/images/more") / "again").symlink_to(Path("images/train").absolute()),
            folder_source(images="train"),
        ),
        ["images/train/images/more/again is a link to ", "remove it"],
    ),
}

LISTS: dict[str, tuple[Spoil, list[str]]] = {
    "no such list": (
        value("splitting", {"labeled_list": "no/list.txt"}),
        ["the list no/list.txt is missing"],
    ),
    "a folder for a list": (value("splitting", {"labeled_list": "images"}), ["the list images is missing"]),
    "an empty list": (lists(labeled=""), ["the list labeled.txt is empty"]),
    "a list of comments": (lists(labeled=b"# train1\n\n#\n"), ["the list labeled.txt is empty"]),
    "a list in UTF-16": (lists(labeled="train1".encode("utf-16")), ["labeled.txt is not UTF-8 text", "save it"]),
    "an unknown id": (
        lists(labeled="train1 train01"),
        ["labeled.txt names 1 ids that are not training images: train01"],
    ),
    "many unknown ids": (
        lists(labeled=" ".join(f"x{i}" for i in range(30))),
        ["labeled.txt names 30 ids", "x0, x1, x2, x3, x4, … and 25 more"],
    ),
    "an id twice": (lists(labeled="train1 train2 train1"), ["labeled.txt names 1 ids more than once: train1"]),
    "an id twice in two forms": (
        lists(labeled="train1 train/images/train1.png"),
        ["labeled.txt names 1 ids more than once: train1"],
    ),
    "a val image to train on": (
        lists(labeled="train1 val0"),
        ["labeled.txt names 1 ids of val or test images: val0 (val)"],
    ),
    "an image in both lists": (
        lists(labeled="train1 train2", unlabeled="train3 train2"),
        ["1 ids are in both labeled.txt and unlabeled.txt: train2"],
    ),
    "an absolute path": (
        lists(labeled="train1 /images/train/images/train2.png"),
        ["labeled.txt names 1 paths out of dataset.root (absolute, or with '..'): /images/train/images/train2.png"],
    ),
    "a path that leads out": (
        lists(labeled="../images/train/images/train2.png"),
        ["labeled.txt names 1 paths out of dataset.root (absolute, or with '..'): ../images"],
    ),
    "a Windows path": (lists(labeled=rb"C:\train\train2.png"), ["paths out of dataset.root", r"C:\train\train2.png"]),
    "another's mask": (
        lists(labeled=b"train/images/train1.png train/masks/train2.png"),
        ["1 images with the mask of another: train/images/train1.png with train/masks/train2.png"],
    ),
    "a name of several images": (
        several(
            *(file(f"{kind}/{where}/1.png", encode(a)) for kind, a in (("i", PIXELS), ("m", MASK)) for where in "abcd"),
            folder_source(images="i", masks="m"),
            lists(labeled="1"),
        ),
        ["labeled.txt names 1 images ambiguously: 1 ("],
    ),
    "masks of nothing": (
        several(*(file(f"train/masks/train{i}.png", encode(np.full_like(MASK, 255))) for i in range(8))),
        ["no labelled pixel: in the masks of all 2 labelled images, every pixel is ignored (255)"],
    ),
    "a labelled image without mask": (
        several(gone("train/masks/train6.png"), lists(labeled="train6 train7")),
        ["1 labelled images have no mask: train6"],
    ),
    "everything at once": (
        lists(labeled="train1 train1 x val0 ../y"),
        ["1 ids more than once: train1", "not training images: x", "val0 (val)", "paths out of dataset.root", "../y"],
    ),
    "one image": (
        several(*(gone(f"train/{kind}/train{i}.png") for kind in ("images", "masks") for i in range(1, 8))),
        ["splitting.labeled_fraction 0.25 of 1 training images with a mask gives no labelled image"],
    ),
    "no masks at all": (
        several(*(gone(f"train/masks/train{i}.png") for i in range(8))),
        ["of 0 training images with a mask gives no labelled image: masks are needed in train"],
    ),
    "a fraction too small": (
        value("splitting.labeled_fraction", 0.01),
        ["splitting.labeled_fraction 0.01 of 8 training images", "at least 0.12"],
    ),
    "nothing left unlabelled": (
        value("splitting.labeled_fraction", 1.0),
        ["there are no unlabelled images", "splitting.labeled_fraction below 1"],
    ),
    "a list of all": (
        lists(labeled=" ".join(f"train{i}" for i in range(8))),
        ["there are no unlabelled images", "shorten splitting.labeled_list"],
    ),
    "a crop too large": (
        value(f"{STAGE}.augmentation.crop_size", [64, 49]),
        [
            f"{STAGE}.augmentation.crop_size is 64×49 (height×width)",
            "at most 24×32, scaled by at most 2.0: give at most 48×64",
        ],
    ),
    "a crop too large for the student": (
        value("student_learning.augmentation", {"crop_size": [48, 65], "scale": [1, 2]}),
        ["student_learning.augmentation.crop_size is 48×65"],
    ),
    "a crop too large for the reading size": (
        value("dataset.image_size", [10, 15]),
        [f"{STAGE}.augmentation.crop_size is 24×32", "give at most 20×30"],
    ),
}

PARAMETERS: dict[str, tuple[Spoil, list[str]]] = {
    "an unknown key": (
        value("student_learning.stepps", 3),
        ["student_learning.stepps: unknown; did you mean 'steps'?"],
    ),
    "an unknown group": (value("splittings", {}), ["splittings: unknown; did you mean 'splitting'?"]),
    "an unknown key like no other": (value("reporting.qqq", 1), ["reporting.qqq: unknown; there are examples"]),
    "an unknown loss": (
        value("student_learning.method.igl_dt.global_wait", 1),
        ["student_learning.method.igl_dt.global_wait: unknown; did you mean 'global_weight'?"],
    ),
    "a missing key": (no_value(f"{STAGE}.steps"), [f"{STAGE}.steps: missing"]),
    "no root": (value("dataset.root", None), ["dataset.root: Input should be a valid string"]),
    "a word for a number": (value(f"{STAGE}.batch_size", "four"), [f"{STAGE}.batch_size: ", "integer", "'four'"]),
    "a broken number": (value(f"{STAGE}.steps", 10.5), [f"{STAGE}.steps: Input should be a valid integer", "10.5"]),
    "a list for a number": (value(f"{STAGE}.steps", [8]), [f"{STAGE}.steps: Input should be a valid integer"]),
    "a number for a list": (value(f"{STAGE}.augmentation.crop_size", 64), [f"{STAGE}.augmentation.crop_size: "]),
    "a number for a group": (value("runtime", 3), ["runtime: "]),
    "NaN": (
        value(f"{STAGE}.optimizers.local_teacher.learning_rate", float("nan")),
        [f"{STAGE}.optimizers.local_teacher.learning_rate: ", "finite"],
    ),
    "NaN in a weight": (
        value("student_learning.method.igl_dt.global_weight", float("nan")),
        ["student_learning.method.igl_dt.global_weight: Input should be a finite number"],
    ),
    "infinity": (value("student_learning.method.igl_dt.local_weight", float("inf")), ["local_weight: ", "finite"]),
    "a negative weight": (
        value("student_learning.method.igl_dt.local_weight", -1.0),
        ["student_learning.method.igl_dt.local_weight: Input should be greater than or equal to 0, not -1.0"],
    ),
    "no steps": (value(f"{STAGE}.steps", 0), [f"{STAGE}.steps: Input should be greater than 0, not 0"]),
    "negative steps": (value("student_learning.steps", -8), ["student_learning.steps: ", "greater than 0, not -8"]),
    "no batch": (value(f"{STAGE}.batch_size", 0), [f"{STAGE}.batch_size: Input should be greater than 0"]),
    "a negative crop": (
        value(f"{STAGE}.augmentation.crop_size", [-24, 32]),
        [f"{STAGE}.augmentation.crop_size.0: Input should be greater than 0, not -24"],
    ),
    "a negative reading size": (value("dataset.image_size", [24, -1]), ["dataset.image_size.1: ", "not -1"]),
    "a size of three numbers": (value("dataset.image_size", [24, 32, 3]), ["dataset.image_size: "]),
    "two reading sizes": (
        value("dataset", {"source": "camvid", "root": "images", "image_size": "24x32", "short_side": 24}),
        ["dataset.image_size and dataset.short_side exclude each other"],
    ),
    "a negative seed": (value("seed", -1), ["seed: Input should be greater than or equal to 0, not -1"]),
    "a fraction above one": (
        value("splitting.labeled_fraction", 1.5),
        ["splitting.labeled_fraction: Input should be less than or equal to 1, not 1.5"],
    ),
    "a fraction of nothing": (value("splitting.labeled_fraction", 0), ["labeled_fraction: ", "greater than 0, not 0"]),
    "a fraction that is NaN": (value("splitting.labeled_fraction", float("nan")), ["splitting.labeled_fraction: "]),
    "no way to split": (
        value("splitting", {}),
        ["splitting: give splitting.labeled_fraction or splitting.labeled_list"],
    ),
    "an unlabelled list alone": (
        value("splitting", {"labeled_fraction": 0.5, "unlabeled_list": "a.txt"}),
        ["splitting.unlabeled_list requires splitting.labeled_list"],
    ),
    "scales the wrong way round": (
        value(f"{STAGE}.augmentation.scale", [2.0, 0.5]),
        [f"{STAGE}.augmentation.scale: the lower bound comes first, not [2.0, 0.5]"],
    ),
    "a scale of nothing": (value(f"{STAGE}.augmentation.scale", [0, 1]), ["scale.0: ", "greater than 0"]),
    "a probability above one": (value(f"{STAGE}.augmentation.flip_probability", 2), ["flip_probability: ", "not 2"]),
    "parts that do not divide": (
        value(f"{STAGE}.gradient_accumulation_steps", 3),
        [f"{STAGE}: gradient_accumulation_steps (3) must divide batch_size (2)"],
    ),
    "a batch of one": (
        value("student_learning.batch_size", 1),
        [
            "student_learning: batch_size (1) over gradient_accumulation_steps (1) must be at least 2",
            "or set reference to false",
        ],
    ),
    "a window without size": (
        value("evaluation.mode", "sliding_window"),
        ["evaluation.window_size is needed when evaluation.mode is sliding_window"],
    ),
    "windows that do not move": (value("evaluation.window_overlap", 1), ["evaluation.window_overlap: ", "less than 1"]),
    "an unknown mode": (value("evaluation.mode", "hole"), ["evaluation.mode: Input should be 'whole' or 'sliding_"]),
    "an unknown precision": (
        value("runtime.precision", "float16"),
        ["runtime.precision: ", "not 'float16'"],
    ),
    "no threads": (value("runtime.threads", 0), ["runtime.threads: Input should be greater than 0, not 0"]),
    "workers below none": (value("runtime.workers", -1), ["runtime.workers: ", "greater than or equal to 0, not -1"]),
    "an archive that unpacks elsewhere": (
        value(
            "fetching.archives",
            [{"file": "a.zip", "page": "https://example.org/", "member": "a", "target": "../../elsewhere"}],
        ),
        ["fetching.archives.0.target: must be a relative path without '..', not '../../elsewhere'"],
    ),
    "all of them": (
        several(value("seed", -1), value("student_learning.stepps", 3), value("runtime.threads", 0)),
        ["seed: ", "student_learning.stepps: ", "runtime.threads: "],
    ),
}

OPTIONS: dict[str, tuple[Spoil, list[str]]] = {
    "an unknown source": (
        value("dataset.source", "camvit"),
        ["unknown dataset.source 'camvit'; did you mean 'camvid'?", "did you mean 'camvid'?"],
    ),
    "an option that a source does not take": (
        value("dataset.options", {"max_side": 64}),
        ["dataset.options of the source camvid: max_side: unknown"],
    ),
    "an option with a wrong letter": (
        folder_source(mask="train/masks"),
        ["dataset.options of the source folder: mask: unknown; did you mean 'masks'?"],
    ),
    "a pattern out of the root": (folder_source(images="../x"), ["images must be a folder or pattern in dataset.root"]),
    "no split": (folder_source(fractions=None), ["give exactly one of folders, lists and fractions"]),
    "an unknown training list": (
        value("dataset", {"source": "pascal", "root": "images", "options": {"training_list": "trainval"}}),
        ["dataset.options of the source pascal: training_list: Input should be 'train' or 'trainaug', not 'trainval'"],
    ),
    "one data set for another": (
        value("dataset", {"source": "cityscapes", "root": "images"}),
        ["no images in images/leftImg8bit/train", "dataset.root is the folder that holds leftImg8bit and gtFine"],
    ),
    "VOC without its lists": (
        value("dataset", {"source": "pascal", "root": "images"}),
        ["images/ImageSets/Segmentation/train.txt is missing"],
    ),
}


CHECKED = "09_recovery/smoke/checked_files.json"
MANIFEST = {f"05_model_input/smoke/{name}" for name in ("manifest.csv", "class_pixels.csv", "class_names.json")}


def test_nothing_is_wrong_to_begin_with(parameters: dict[str, Any], prepare) -> None:
    prepare(parameters)
    parts = {f"05_model_input/smoke/{part}.csv" for part in ("labeled", "unlabeled", "val", "test")}
    assert written() == MANIFEST | parts | {CHECKED, "05_model_input/smoke/split_summary.json"}


@pytest.mark.parametrize(
    ("kind", "may_be_written", "spoil", "named"),
    [
        pytest.param(kind, may_be_written, *case, id=f"{title}: {name}")
        for title, kind, may_be_written, table in (
            ("parameters", click.ClickException, set(), PARAMETERS),
            ("options", DataError, set(), OPTIONS),
            ("images", DataError, {CHECKED}, IMAGES),
            ("lists", DataError, {CHECKED, *MANIFEST}, LISTS),  # the images are right, and stay so
        )
        for name, case in table.items()
    ],
)
def test_ends_with_what_is_wrong(
    kind: type[Exception], may_be_written: set[str], spoil: Spoil, named: list[str], parameters: dict[str, Any], prepare
) -> None:
    spoil(parameters)
    began = time.process_time()
    with pytest.raises(kind) as raised:
        prepare(parameters)
    assert time.process_time() - began < 2
    for part in named:
        assert part in str(raised.value)
    assert written() <= may_be_written


def test_a_file_that_may_not_be_read(parameters: dict[str, Any], prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system refuses nothing to who runs tests as root."""
    plain = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "train4.png":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"images/train/images/train4\.png cannot be read: Permission denied"):
        prepare(parameters)
    assert written() <= {CHECKED}


FINE: dict[str, tuple[Spoil, list[str]]] = {
    "a mask in which all is ignored": (
        several(file(BAD_MASK, encode(np.full_like(MASK, 255))), lists(labeled="train1 train2")),
        ["1 labelled images have no labelled pixel: train2"],
    ),
    "a class in no labelled image": (
        file("classes.txt", "road\ntree\npole\nsign"),
        ["1 of 4 classes occur in no labelled image, so they cannot be learned: sign"],
    ),
    "fewer images than a batch": (value(f"{STAGE}.batch_size", 16), []),
    "odd names": (several(*map(pair, ("two words", "it's", '"quoted", twice', "#7", "Größe 5 – 日本語", "NA"))), []),
    "other images": (
        several(
            file("train/images/train1.png", encode(MASK)),
            file("train/images/train2.png", encode(MASK.astype(np.uint16) * 9999)),
            file("train/images/train3.png", encode(Image.new("RGBA", (32, 24), (1, 2, 3, 4)))),
            file("train/images/train4.png", encode(Image.fromarray(PIXELS).quantize(8))),
        ),
        [],
    ),
    "links within the root": (
        several(file("elsewhere/a.png", encode(PIXELS)), link(IMAGE, str(Path("..", "..", "elsewhere", "a.png")))),
        [],
    ),
    "a list as some editors leave it": (
        lists(labeled=b"\xef\xbb\xbf# ours\r\ntrain1.png\ttrain1.png\r\n\r\n  train2  # two\r\ntrain3"),
        [],
    ),
    "a fraction that gives one": (value("splitting.labeled_fraction", 0.125), []),
}


@pytest.mark.parametrize(("change", "warnings"), [pytest.param(*case, id=name) for name, case in FINE.items()])
def test_what_is_not_wrong(
    change: Spoil, warnings: list[str], parameters: dict[str, Any], prepare, caplog: pytest.LogCaptureFixture
) -> None:
    change(parameters)
    catalog = prepare(parameters)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    said = [line for line in said if "look like a training image" not in line]  # these tiny images do
    assert said == warnings
    assert len(catalog.load("labeled")) >= 1
    assert len(catalog.load("unlabeled")) >= 1
    assert catalog.load("split_summary")["classes_without_labels"] == (["sign"] if "sign" in "".join(said) else [])
