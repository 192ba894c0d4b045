"""Bad input ends a run with a message that names it and the way out, before anything is trained or written."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
import torch
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from PIL import Image

PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")  # Kedro's

Run = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's configuration in a folder of its own, with an environment ``tiny`` on images drawn here."""
    root = tmp_path / "project"
    shutil.copytree(PROJECT / "conf", root / "conf")
    for name in ("pyproject.toml", ".telemetry"):
        shutil.copy(PROJECT / name, root)
    (root / "src").mkdir()
    _draw_images(root / "images")

    parameters = yaml.safe_load((PROJECT / "conf/smoke/parameters.yml").read_text("utf-8"))
    parameters["dataset"] = {"source": "camvid", "root": "images"}
    parameters["runtime"] = {"threads": 1, "workers": 0}
    for stage in ("teacher_pretraining", "student_learning"):
        parameters[stage]["augmentation"] = {"crop_size": [24, 32]}
    (root / "conf/tiny").mkdir()
    (root / "conf/tiny/parameters.yml").write_text(yaml.safe_dump(parameters), "utf-8")
    (root / "conf/tiny/globals.yml").write_text("run: tiny\n", "utf-8")
    monkeypatch.chdir(root)
    monkeypatch.setenv("KEDRO_DISABLE_TELEMETRY", "1")
    return root


def _draw_images(root: Path) -> None:
    """Draw a folder in the manner of CamVid: 32×24, three classes, 8 images to train on and 2 to measure with."""
    rng = np.random.default_rng(0)
    for split, count in {"train": 8, "val": 2}.items():
        for kind, shape, most in (("images", (24, 32, 3), 256), ("masks", (24, 32), 3)):
            (root / split / kind).mkdir(parents=True)
            for index in range(count):
                array = rng.integers(0, most, shape, dtype=np.uint8)
                Image.fromarray(array).save(root / split / kind / f"{split}{index}.png")
    (root / "classes.txt").write_text("road\ntree\npole\n")


@pytest.fixture
def fails(project: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the project with changed parameters; give the message with which it fails before it trains."""
    trained = []
    monkeypatch.setattr("igl_dt.training.trainer.fit", lambda method, *_, **__: trained.append(method))

    def fails(parameters: dict | None = None, pipeline: str = "full") -> str:
        bootstrap_project(project)
        session = KedroSession.create(project, env="tiny", runtime_params=parameters)
        with pytest.raises(click.ClickException) as raised:
            session.run(pipeline_names=[pipeline])
        assert not trained
        models = project / "data/06_models"
        assert not models.exists() or not any(models.rglob("*"))
        return raised.value.message

    return fails


def test_nothing_is_wrong_to_begin_with(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed in another folder: paths are relative to the project all the same."""
    monkeypatch.chdir(project / "conf")
    bootstrap_project(project)
    KedroSession.create(project, env="tiny").run(pipeline_names=["data_splitting"])
    assert {path.name for path in (project / "data/05_model_input/tiny").iterdir()} >= {"manifest.csv", "labeled.csv"}


def student(section: dict) -> dict:
    return {"student_learning": {"networks": {"student": {"deeplab_v3_plus": section}}}}


class TestNetworks:
    @pytest.mark.parametrize(
        ("key", "architecture"),
        [
            ("teacher_pretraining.networks.global_teacher", "swin_unet"),
            ("teacher_pretraining.networks.local_teacher", "res_unet"),
            ("student_learning.networks.student", "deeplab_v3_plus"),
        ],
    )
    def test_an_unknown_backbone(self, fails: Run, key: str, architecture: str) -> None:
        stage, networks, role = key.split(".")
        message = fails({stage: {networks: {role: {architecture: {"encoder": {"name": "resnet19"}}}}}})
        assert f"{key}.{architecture}.encoder.name" in message
        assert "'resnet19'" in message
        assert "resnet18" in message

    def test_an_unknown_option_of_a_backbone(self, fails: Run) -> None:
        message = fails(student({"encoder": {"options": {"chanels": [8, 16, 32, 64]}}}))
        assert "student_learning.networks.student.deeplab_v3_plus.encoder" in message
        assert "chanels" in message

    @pytest.mark.parametrize(
        ("stage", "parameters", "problem"),
        [
            (
                "teacher_pretraining",
                {"method": {"cps": {"direction_weights": {"student": 0.1}}}},
                "teacher_pretraining.method: cps.direction_weights names 'student'",
            ),
            (
                "student_learning",
                {"keep_every": 2},
                "student_learning.keep_every needs runtime.log_folder: set it, or keep_every to null",
            ),
        ],
    )
    def test_what_the_method_cannot_do(self, fails: Run, stage: str, parameters: dict, problem: str) -> None:
        assert problem in fails({stage: parameters, "runtime": {"log_folder": None}})

    def test_pretrained_weights_that_are_not_there(self, fails: Run) -> None:
        message = fails(student({"encoder": {"pretrained": "no/weights.pth"}}))
        assert "student_learning.networks.student.deeplab_v3_plus.encoder.pretrained" in message
        assert "no/weights.pth" in message

    @pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
    def test_no_cuda(self, fails: Run, project: Path) -> None:
        message = fails({"runtime": {"device": "cuda"}})
        assert "runtime.device is cuda, but torch finds no CUDA device: take runtime.device=cpu or auto" in message
        assert not (project / "data").exists()


def test_code_for_this_processor_alone_where_results_are_to_be_portable(fails: Run) -> None:
    assert fails({"runtime": {"portable": True, "compile": True}}) == (
        "runtime.compile makes code for this processor alone, so its results are not portable: set "
        "runtime.portable=false, or runtime.compile=false"
    )


def test_a_stage_without_the_one_before(fails: Run) -> None:
    assert "data/05_model_input/tiny/" in fails(pipeline="teacher_pretraining")


class TestCommand:
    """The same as a user sees it."""

    @staticmethod
    def python(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=project,
            env=os.environ | {"PYTHONPATH": f"{PROJECT / 'src'}{os.pathsep}{project}"},
            capture_output=True,
            text=True,
            check=False,
        )

    @pytest.mark.parametrize(
        ("arguments", "last_line"),
        [
            (["--params=student_learning.stepps=3"], "  student_learning.stepps: unknown; did you mean 'steps'?"),
            (
                ["--pipeline=data_splitting", "--params=dataset.root=nowhere"],
                "Error: dataset.root 'nowhere' is not a folder: "
                "it must hold train/images, train/masks, val/images, val/masks and classes.txt",
            ),
        ],
    )
    def test_the_message_is_the_last_thing_printed(self, project: Path, arguments: list[str], last_line: str) -> None:
        done = self.python(project, "-m", "kedro", "run", "--env=tiny", *arguments)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == last_line
        assert "Traceback" not in done.stdout + done.stderr
        assert not (project / "data").exists()
