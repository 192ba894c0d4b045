"""Messages that a user sees: what is wrong with the parameters, and errors without their tracebacks."""

import copy
import errno
from pathlib import Path
from types import SimpleNamespace

import click
import pandas as pd
import pytest
import torch
from kedro.config import OmegaConfigLoader
from kedro.io import DatasetError
from kedro.runner import AbstractRunner, ParallelRunner, SequentialRunner, ThreadRunner

from igl_dt.data.datasets import DataError
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters
from igl_dt.kedro_ext.hooks import CheckParameters, RunInTurn, SayErrorsPlainly
from igl_dt.pipeline_registry import register_pipelines
from igl_dt.utils.files import atomic_write

CONF = Path(__file__).parents[2] / "conf"
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Kedro's, on names of datasets


@pytest.fixture(scope="module")
def smoke() -> dict:
    return OmegaConfigLoader(
        conf_source=str(CONF), base_env="base", env="smoke", merge_strategy={"parameters": "soft"}
    )["parameters"]


@pytest.fixture
def parameters(smoke: dict) -> dict:
    return copy.deepcopy(smoke)


def check(parameters: dict) -> CheckParameters:
    hook = CheckParameters()
    context = SimpleNamespace(config_loader={"parameters": parameters}, project_path=Path.cwd())
    hook.after_context_created(context)
    return hook


def complaints(parameters: dict) -> list[str]:
    with pytest.raises(click.ClickException) as raised:
        check(parameters)
    first, *lines = raised.value.message.splitlines()
    assert first == "these parameters are wrong:"
    return [line.strip() for line in lines]


class TestParametersAreChecked:
    def test_good_ones_pass(self, parameters: dict) -> None:
        check(parameters)

    def test_an_unknown_key_brings_the_nearest(self, parameters: dict) -> None:
        parameters["student_learning"]["losses"]["locl_weight"] = 1
        parameters["networks"]["student"]["encoder"]["nam"] = "resnet18"
        parameters["sed"] = 1
        assert sorted(complaints(parameters)) == [
            "networks.student.encoder.nam: unknown; did you mean 'name'?",
            "sed: unknown; did you mean 'seed'?",
            "student_learning.losses.locl_weight: unknown; did you mean 'local_weight'?",
        ]

    def test_an_unknown_key_like_no_other_brings_all(self, parameters: dict) -> None:
        parameters["reporting"]["colour"] = "red"
        assert complaints(parameters) == ["reporting.colour: unknown. It takes: examples"]

    def test_a_missing_key(self, parameters: dict) -> None:
        del parameters["teacher_pretraining"]["augmentation"]["crop_size"]
        del parameters["seed"]
        crop_size = "teacher_pretraining.augmentation.crop_size"
        assert sorted(complaints(parameters)) == ["seed: missing", f"{crop_size}: missing"]

    def test_a_wrong_type_is_shown(self, parameters: dict) -> None:
        parameters["teacher_pretraining"]["steps"] = "many"
        (line,) = complaints(parameters)
        assert line.startswith("teacher_pretraining.steps: Input should be a valid integer")
        assert line.endswith(", not 'many'")

    def test_a_wrong_range_is_shown(self, parameters: dict) -> None:
        parameters["splitting"]["labeled_fraction"] = 2
        assert complaints(parameters) == ["splitting.labeled_fraction: Input should be less than or equal to 1, not 2"]

    def test_a_contradiction_is_told_in_words_alone(self, parameters: dict) -> None:
        parameters["student_learning"]["gradient_accumulation_steps"] = 2
        (line,) = complaints(parameters)
        assert line.startswith(
            "student_learning: batch_size (2) over gradient_accumulation_steps (2) must be at least 2"
        )
        assert line.endswith("or set reference to false")


class TestStagesAreCheckedBeforeTheFirst:
    @staticmethod
    def outputs(unlabeled: int = 3) -> dict[str, pd.DataFrame]:
        sizes = pd.DataFrame({"height": [24, 24, 24], "width": [32, 32, 32]})
        return {"labeled": sizes, "unlabeled": sizes.iloc[:unlabeled]}

    @pytest.mark.parametrize("stage", ["teacher_pretraining", "student_learning"])
    def test_crops(self, parameters: dict, stage: str) -> None:
        for name in ("teacher_pretraining", "student_learning"):
            parameters[name]["augmentation"] |= {"crop_size": [24, 32], "scale": [0.5, 1.0]}
        parameters[stage]["augmentation"]["crop_size"] = [25, 32]
        hook, pipelines = check(parameters), register_pipelines()
        hook.before_pipeline_run(pipelines["data_splitting"])
        hook.after_node_run(self.outputs())  # whose business is not training
        hook.before_pipeline_run(pipelines["full"])
        hook.after_node_run({"metrics": {}})
        with pytest.raises(DataError, match=rf"{stage}\.augmentation\.crop_size is 25×32"):
            hook.after_node_run(self.outputs())

    def test_images_are_measured_as_they_are_read(self, parameters: dict) -> None:
        parameters["dataset"]["image_size"] = [128, 128]
        hook = check(parameters)
        hook.before_pipeline_run(register_pipelines()["full"])
        hook.after_node_run(self.outputs())

    def test_unlabeled_images(self, parameters: dict) -> None:
        hook = check(parameters)
        hook.before_pipeline_run(register_pipelines()["full"])
        with pytest.raises(DataError, match="no unlabelled images"):
            hook.after_node_run(self.outputs(unlabeled=0))

    def test_the_device(self, parameters: dict, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        parameters["runtime"]["device"] = "cuda"
        hook, pipelines = check(parameters), register_pipelines()
        hook.before_pipeline_run(pipelines["data_splitting"])
        for name in ("teacher_pretraining", "student_learning", "evaluation", "full"):
            with pytest.raises(click.ClickException, match=r"runtime\.device is cuda.*runtime\.device=cpu"):
                hook.before_pipeline_run(pipelines[name])

    def test_networks_are_built_before_any_is_trained(self) -> None:
        """So an unknown backbone of the student does not show after the teachers' training."""
        names = [node.func.__name__ for node in register_pipelines()["full"].nodes]
        built = max(index for index, name in enumerate(names) if name.startswith("initialize_"))
        trained = min(index for index, name in enumerate(names) if name.startswith(("pretrain_", "learn_")))
        assert built < trained


@pytest.mark.parametrize("runner", [None, SequentialRunner(), SequentialRunner(is_async=True)])
def test_nodes_run_in_turn(runner: AbstractRunner | None) -> None:
    RunInTurn().before_pipeline_run({"runner": str(runner)})


@pytest.mark.parametrize("runner", [ThreadRunner(), ParallelRunner()])
def test_nodes_that_would_run_at_once_are_refused(runner: AbstractRunner) -> None:
    with pytest.raises(click.ClickException, match=r"leave --runner as it is, SequentialRunner"):
        RunInTurn().before_pipeline_run({"runner": str(runner)})


class TestErrorsAreSaidPlainly:
    @staticmethod
    def caught(call) -> Exception:
        with pytest.raises(Exception) as raised:
            call()
        return raised.value

    def test_the_project_s_own(self) -> None:
        error = DataError("masks/a.png is missing")
        with pytest.raises(click.ClickException, match=r"^masks/a\.png is missing$") as raised:
            SayErrorsPlainly().on_pipeline_error(error)
        assert raised.value.__cause__ is error

    def test_value_errors_that_the_project_raises(self) -> None:
        from igl_dt.networks.encoder import EncoderParameters, build_encoder

        error = self.caught(lambda: build_encoder(EncoderParameters(name="resnet19")))
        assert type(error) is ValueError
        with pytest.raises(click.ClickException, match=r"resnet19.*nearest names"):
            SayErrorsPlainly().on_pipeline_error(error)

    def test_a_full_disk(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        error = self.caught(lambda: atomic_write(tmp_path / "a.csv", b"1"))
        with pytest.raises(click.ClickException, match=r"it needs 0\.0 MiB.*a\.csv"):
            SayErrorsPlainly().on_pipeline_error(error)

    def test_files_that_kedro_cannot_read(self) -> None:
        with pytest.raises(click.ClickException, match=r"labeled\.csv"):
            SayErrorsPlainly().on_pipeline_error(DatasetError("Failed while loading labeled.csv"))

    @pytest.mark.parametrize(
        "call",
        [
            lambda: {}["key"],
            lambda: int("x"),
            lambda: AugmentationParameters(crop_size="x"),
            lambda: Path("/nowhere/at/all").read_text(),
            lambda: DatasetParameters(root="x").rot,
        ],
    )
    def test_bugs_keep_their_tracebacks(self, call) -> None:
        SayErrorsPlainly().on_pipeline_error(self.caught(call))  # raises nothing, so Kedro raises the error itself

    def test_an_error_that_was_never_raised(self) -> None:
        SayErrorsPlainly().on_pipeline_error(ValueError("from another process"))
