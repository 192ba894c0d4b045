"""Every environment of a data set runs from its images to its scores, on a few drawn ones in the real layout."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image

from igl_dt.data.datasets.cityscapes import LABEL_IDS
from igl_dt.data.datasets.pascal import CLASS_NAMES

PROJECT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")  # Kedro's

STAGES = ["data_splitting", "teacher_pretraining", "student_learning", "evaluation"]

SWIN = {"name": "swin_tiny_patch4_window7_224", "pretrained": None}
SWIN["options"] = {"embed_dim": 12, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
RESNET = {"name": "resnet18", "pretrained": None}
RESNET["options"] = {"channels": [8, 8, 16, 16], "stem_type": "deep", "stem_width": 8}
SMALL_STAGE = {"steps": 2, "batch_size": 2, "validate_every": 2, "augmentation": {"crop_size": [32, 40]}}
TEACHERS = {
    "global_teacher": {"swin_unet": {"encoder": SWIN, "decoder_depth": 1}},
    "local_teacher": {"res_unet": {"encoder": RESNET, "decoder_channels": [16, 8]}},
}
VIT = {"name": "test_vit", "pretrained": None, "options": {"patch_size": 14, "img_size": 56}}
VIT_OPTIONS = {"decoder_intermediate_channels": [8, 8, 8, 8], "decoder_fusion_channels": 8}
STUDENT = {"student": {"deeplab_v3_plus": {"encoder": RESNET, "channels": 8}}}
SMALL = {
    "splitting": {"labeled_fraction": 0.5},
    "runtime": {"threads": 1, "workers": 0, "device": "cpu"},
}


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def image(height: int = 40, width: int = 56) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def ids(classes: int, height: int = 40, width: int = 56) -> np.ndarray:
    mask = RNG.integers(0, classes, (height // 8, width // 8), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    mask[0] = 255
    return mask


def draw_pascal(root: Path) -> None:
    """Images of several sizes, palettes, and SBD's masks for two of them."""
    listed = {"train": [f"2007_{i:06d}" for i in range(4)], "val": ["2008_000001", "2008_000002"]}
    listed["trainaug"] = [*listed["train"], "2009_000001", "2009_000002"]
    voc = root / "VOC2012"
    for name, members in listed.items():
        (voc / "ImageSets/Segmentation").mkdir(parents=True, exist_ok=True)
        (voc / f"ImageSets/Segmentation/{name}.txt").write_text("\n".join(members))
    for number, id_ in enumerate((*listed["trainaug"], *listed["val"])):
        size = (40, 56) if number % 2 else (48, 40)
        save(voc / f"JPEGImages/{id_}.jpg", image(*size))
        folder = "SegmentationClassAug" if id_.startswith("2009") else "SegmentationClass"
        mask = Image.fromarray(ids(21, *size), mode="P")
        mask.putpalette([byte * 7 % 256 for byte in range(768)])
        (voc / folder).mkdir(exist_ok=True)
        mask.save(voc / folder / f"{id_}.png")


def draw_cityscapes(root: Path) -> None:
    official = np.array([*LABEL_IDS.values(), 0, 4], np.uint8)
    for split, city, count in (("train", "aachen", 4), ("train", "ulm", 2), ("val", "lindau", 2)):
        for number in range(count):
            id_ = f"{city}_{number:06d}_000019"
            save(root / f"leftImg8bit/{split}/{city}/{id_}_leftImg8bit.png", image(40, 80))
            mask = official[np.minimum(ids(21, 40, 80), 20)]
            save(root / f"gtFine/{split}/{city}/{id_}_gtFine_labelIds.png", mask)


def draw_camvid(root: Path) -> None:
    for split, count in {"train": 6, "val": 2}.items():
        for number in range(count):
            Image.fromarray(image()).save(_made(root / f"{split}/images/{split}{number}.jpg"))
            save(root / f"{split}/masks/{split}{number}.png", ids(11))
    (root / "classes.txt").write_text("".join(f"class{number}\n" for number in range(11)))


def draw_folder(root: Path) -> None:
    for number in range(12):
        Image.fromarray(image()).save(_made(root / f"images/walk/{number}.jpg"))
        if number % 4:
            save(root / f"masks/walk/{number}.png", ids(3))
    (root / "classes.txt").write_text("road\ntree\npole")


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's configuration in a folder of its own."""
    root = tmp_path / "project"
    shutil.copytree(PROJECT / "conf", root / "conf", ignore=shutil.ignore_patterns("local"))
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, root)
    (root / "src").mkdir()
    monkeypatch.chdir(root)
    monkeypatch.setenv("KEDRO_DISABLE_TELEMETRY", "1")
    return root


@pytest.mark.parametrize(
    ("environment", "draw"),
    [
        ("pascal_vit", draw_pascal),
        pytest.param("cityscapes_vit", draw_cityscapes, marks=pytest.mark.slow),  # the same networks
    ],
)
def test_a_vision_transformer_learns_by_unimatch_v2_without_teachers(
    project: Path, tmp_path: Path, environment: str, draw: Callable[[Path], None]
) -> None:
    """Everything is the environment's own but the size of the network, steps and sizes; random weights."""
    draw(tmp_path / "images")
    network = {"student": {"dpt": {"encoder": VIT, "options": VIT_OPTIONS}}}
    changes = SMALL | {
        "dataset": {"root": str(tmp_path / "images")},
        "student_learning": SMALL_STAGE | {"networks": network, "reference": False},
    }
    if environment == "cityscapes_vit":
        changes["evaluation"] = {"window_size": [32, 40]}
    bootstrap_project(project)
    stages = ["data_splitting", "student_learning", "evaluation"]  # the last one reads the weights from their files
    KedroSession.create(project, env=environment, runtime_params=changes).run(pipeline_names=stages)

    reporting = project / f"data/08_reporting/{environment}"
    assert list(json.loads((reporting / "metrics.json").read_text("utf-8"))) == [
        "student",
        "student_best",
        "student_ema",
        "student_ema_best",
    ]
    student = json.loads((reporting / "networks.json").read_text("utf-8"))["student"]
    assert (student["architecture"], student["trained_by"]) == ("dpt", "unimatch_v2")
    assert student["compute"]["teachers"] == 0 < student["compute"]["total"]


@pytest.mark.parametrize(
    ("environment", "draw", "classes", "labeled"),
    [
        ("pascal", draw_pascal, CLASS_NAMES, 3),
        ("cityscapes", draw_cityscapes, tuple(LABEL_IDS), 3),
        ("camvid", draw_camvid, tuple(f"class{number}" for number in range(11)), 3),
        ("folder", draw_folder, ("road", "tree", "pole"), 4),
    ],
)
def test_runs_from_images_to_scores(
    project: Path,
    tmp_path: Path,
    environment: str,
    draw: Callable[[Path], None],
    classes: tuple[str, ...],
    labeled: int,
) -> None:
    """Everything is the environment's own but networks, steps and sizes."""
    draw(tmp_path / "images")
    changes = SMALL | {
        "teacher_pretraining": SMALL_STAGE | {"networks": TEACHERS},
        "student_learning": SMALL_STAGE | {"networks": STUDENT},
    }
    changes["dataset"] = {"root": str(tmp_path / "images")} | (
        {"image_size": [40, 56]} if environment == "folder" else {}
    )
    if environment == "cityscapes":
        changes["evaluation"] = {"window_size": [32, 40]}
    bootstrap_project(project)
    KedroSession.create(project, env=environment, runtime_params=changes).run(pipeline_names=STAGES)

    metrics = json.loads((project / f"data/08_reporting/{environment}/metrics.json").read_text("utf-8"))
    assert set(metrics) >= {"student", "global_teacher", "local_teacher", "supervised"}
    assert tuple(metrics["student"]["per_class"]) == classes
    lists = project / f"data/05_model_input/{environment}"
    assert len(pd.read_csv(lists / "labeled.csv")) == labeled
    assert {path.stem for path in (project / f"data/06_models/{environment}").glob("*.safetensors")} >= {"student"}
