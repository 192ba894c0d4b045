"""Every method as users run it: in the smallest environment, and on real images with any number of workers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image

import igl_dt.methods
from igl_dt.methods.base import Method
from igl_dt.utils.registry import find_classes

IMAGES = Path(__file__).parents[3] / "shared/data/idd_lite"
METHODS = sorted(find_classes(igl_dt.methods, Method))
RESNET = {"name": "resnet18", "pretrained": None, "options": {"channels": [16, 16, 32, 32], "stem_type": "deep"}}
RESNET["options"] |= {"stem_width": 8}
SWIN = {"name": "swin_tiny_patch4_window7_224", "pretrained": None}
SWIN["options"] = {"embed_dim": 12, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
STAGE = {"steps": 200, "batch_size": 2, "validate_every": 200, "augmentation": {"crop_size": [64, 64]}}
SMALL = {
    "dataset": {"root": str(IMAGES)},
    "teacher_pretraining": STAGE
    | {
        "networks": {
            "global_teacher": {"swin_unet": {"encoder": SWIN, "decoder_depth": 1, "stem": "convolutional"}},
            "local_teacher": {"res_unet": {"encoder": RESNET, "decoder_channels": [16, 8]}},
        },
        "pseudo_label_probe_size": 0,
    },
    "student_learning": STAGE
    | {"networks": {"student": {"deeplab_v3_plus": {"encoder": RESNET, "channels": 16}}}, "reference": False},
}
"""Networks, crops and batches small enough to try all methods in some minutes."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning"),  # Kedro's
]
Run = Callable[..., None]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Run a pipeline in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEDRO_DISABLE_TELEMETRY", "1")

        def run(root: Path, environment: str, pipelines: list[str], workers: int = 0, **changes: Any) -> None:
            patch.chdir(root)
            bootstrap_project(root)
            changes["runtime"] = {"threads": 1, "workers": workers}
            with KedroSession.create(root, env=environment, runtime_params=changes) as session:
                session.run(pipeline_names=pipelines)

        yield run


def weights(root: Path, environment: str) -> dict[str, bytes]:
    folder = root / "data/06_models" / environment
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def smoke(make_project, run: Run) -> Path:
    root: Path = make_project("methods-in-smoke")
    run(root, "smoke", ["data_splitting", "teacher_pretraining"])
    return root


@pytest.fixture(scope="module")
def idd_lite(make_project, run: Run) -> Path:
    if not IMAGES.is_dir():
        pytest.skip(f"needs IDD Lite in {IMAGES}")
    root: Path = make_project("methods-on-idd-lite")
    run(root, "idd_lite", ["data_splitting", "teacher_pretraining"], **SMALL)
    return root


@pytest.mark.parametrize("name", METHODS)
def test_it_runs_in_smoke(smoke: Path, run: Run, name: str) -> None:
    run(smoke, "smoke", ["student_learning", "evaluation", "reporting"], student_learning={"method": {"name": name}})
    assert name in (smoke / "data/08_reporting/smoke/report.html").read_text("utf-8")


@pytest.mark.parametrize("name", METHODS)
def test_real_images_and_any_number_of_workers_give_one_result_that_predicts(
    idd_lite: Path, run: Run, name: str
) -> None:
    changes = SMALL | {"student_learning": SMALL["student_learning"] | {"method": {"name": name}}}
    results = []
    for workers in (1, 2):
        run(idd_lite, "idd_lite", ["student_learning"], workers, **changes)
        results.append(weights(idd_lite, "idd_lite"))
    assert results[0].keys() == results[1].keys()
    assert [key for key in results[0] if results[0][key] != results[1][key]] == []

    image = next((IMAGES / "leftImg8bit/val").rglob("*_image.jpg"))
    student, output = idd_lite / "data/06_models/idd_lite/student.safetensors", idd_lite / "predicted" / name
    prediction = {"weights": str(student), "images": str(image), "output": str(output)}
    run(idd_lite, "idd_lite", ["prediction"], prediction=prediction)
    (mask,) = (output / "masks").rglob("*.png")
    with Image.open(image) as opened, Image.open(mask) as predicted:
        assert predicted.size == opened.size
        found = set(np.unique(np.array(predicted)).tolist())
    assert found <= set(range(7))
    assert len(found) > 1
