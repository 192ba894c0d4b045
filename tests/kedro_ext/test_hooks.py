"""What hooks check before a run, what they change while it runs, and how errors are shown."""

import copy
import errno
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, call

import click
import pandas as pd
import pytest
import torch
from kedro.config import OmegaConfigLoader
from kedro.framework.hooks.manager import _create_hook_manager
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.runner import AbstractRunner, ParallelRunner, SequentialRunner, ThreadRunner
from kedro_datasets.json import JSONDataset

from igl_dt.data.datasets import DataError
from igl_dt.data.parameters import AugmentationParameters, DatasetParameters
from igl_dt.kedro_ext.datasets.networks import NetworkDataset, NetworkFolderDataset
from igl_dt.kedro_ext.datasets.report import ReportDataset
from igl_dt.kedro_ext.hooks import (
    CheckEnvironment,
    CheckParameters,
    LockTrainings,
    RequireSequentialRunner,
    RunFromProject,
    SayErrorsPlainly,
    SayResult,
    WriteRunManifest,
)
from igl_dt.kedro_ext.tracking import LogToMlflow
from igl_dt.pipeline_registry import register_pipelines
from igl_dt.runtime.context import RunContext
from igl_dt.settings import CONFIG_LOADER_ARGS, HOOKS
from igl_dt.utils.files import atomic_write

PROJECT = Path(__file__).parents[2]
CONF = PROJECT / "conf"
TRAININGS = ("teacher_pretraining", "student_learning")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Kedro's, on names of datasets


def load(**runtime_params: Any) -> OmegaConfigLoader:
    """Read the environment ``smoke`` as Kedro does."""
    return OmegaConfigLoader(str(CONF), env="smoke", runtime_params=runtime_params, **CONFIG_LOADER_ARGS)


@pytest.fixture(scope="module")
def smoke() -> dict:
    return load()["parameters"]


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    return register_pipelines()


@pytest.fixture
def parameters(smoke: dict) -> dict:
    return copy.deepcopy(smoke)


def context(parameters: dict, project: Path | None = None) -> Any:
    return SimpleNamespace(config_loader={"parameters": parameters}, project_path=project or Path.cwd())


def check(parameters: dict) -> CheckParameters:
    hook = CheckParameters()
    hook.after_context_created(context(parameters))
    return hook


def begin(hook: CheckParameters, pipeline: Pipeline, **data: Any) -> None:
    """Begin a run whose catalog has some data."""
    hook.before_pipeline_run(pipeline, DataCatalog({name: MemoryDataset(value) for name, value in data.items()}))


def complaints(call: Callable[[], object]) -> list[str]:
    with pytest.raises(click.ClickException) as raised:
        call()
    first, *lines = raised.value.message.splitlines()
    assert first == "invalid parameters:"
    return [line.strip() for line in lines]


class TestParametersAreChecked:
    def test_good_ones_pass(self, parameters: dict) -> None:
        check(parameters)

    def test_an_unknown_key_brings_the_nearest(self, parameters: dict) -> None:
        parameters["student_learning"]["augmentation"]["crop_sise"] = 1
        parameters["runtime"]["thread"] = 1
        parameters["sed"] = 1
        assert sorted(complaints(lambda: check(parameters))) == [
            "runtime.thread: unknown; did you mean 'threads'?",
            "sed: unknown; did you mean 'seed'?",
            "student_learning.augmentation.crop_sise: unknown; did you mean 'crop_size'?",
        ]

    def test_an_unknown_key_like_no_other_brings_all(self, parameters: dict) -> None:
        parameters["reporting"]["colour"] = "red"
        assert complaints(lambda: check(parameters)) == ["reporting.colour: unknown; there are examples"]

    def test_a_missing_key(self, parameters: dict) -> None:
        del parameters["teacher_pretraining"]["augmentation"]["crop_size"]
        del parameters["seed"]
        crop_size = "teacher_pretraining.augmentation.crop_size"
        assert sorted(complaints(lambda: check(parameters))) == ["seed: missing", f"{crop_size}: missing"]

    def test_a_wrong_type_is_shown(self, parameters: dict) -> None:
        parameters["teacher_pretraining"]["steps"] = "many"
        (line,) = complaints(lambda: check(parameters))
        assert line.startswith("teacher_pretraining.steps: Input should be a valid integer")
        assert line.endswith(", not 'many'")

    def test_a_wrong_range_is_shown(self, parameters: dict) -> None:
        parameters["splitting"]["labeled_fraction"] = 2
        said = "splitting.labeled_fraction: Input should be less than or equal to 1, not 2"
        assert complaints(lambda: check(parameters)) == [said]

    def test_a_contradiction_is_told_in_words_alone(self, parameters: dict) -> None:
        parameters["student_learning"]["gradient_accumulation_steps"] = 2
        (line,) = complaints(lambda: check(parameters))
        assert line.startswith(
            "student_learning: batch_size (2) over gradient_accumulation_steps (2) must be at least 2"
        )
        assert line.endswith("or set reference to false")


class TestTrainingsAreCheckedBeforeTheFirst:
    @staticmethod
    def outputs(unlabeled: int = 3) -> dict[str, pd.DataFrame]:
        sizes = pd.DataFrame({"height": [24, 24, 24], "width": [32, 32, 32]})
        return {"labeled": sizes, "unlabeled": sizes.iloc[:unlabeled]}

    @pytest.mark.parametrize("training", TRAININGS)
    def test_crops(self, parameters: dict, pipelines: dict[str, Pipeline], training: str) -> None:
        for name in TRAININGS:
            parameters[name]["augmentation"] |= {"crop_size": [24, 32], "scale": [0.5, 1.0]}
        parameters[training]["augmentation"]["crop_size"] = [25, 32]
        hook = check(parameters)
        begin(hook, pipelines["data_splitting"])
        hook.after_node_run(self.outputs())  # trains nothing
        begin(hook, pipelines["full"])
        hook.after_node_run({"metrics": {}})
        with pytest.raises(DataError, match=rf"{training}\.augmentation\.crop_size is 25×32"):
            hook.after_node_run(self.outputs())

    def test_images_are_measured_as_they_are_read(self, parameters: dict, pipelines: dict[str, Pipeline]) -> None:
        parameters["dataset"]["image_size"] = [128, 128]
        hook = check(parameters)
        begin(hook, pipelines["full"])
        hook.after_node_run(self.outputs())

    def test_unlabeled_images(self, parameters: dict, pipelines: dict[str, Pipeline]) -> None:
        hook = check(parameters)
        begin(hook, pipelines["full"])
        with pytest.raises(DataError, match="no unlabelled images"):
            hook.after_node_run(self.outputs(unlabeled=0))
        parameters["student_learning"]["method"]["name"] = "supervised"
        parameters["student_learning"]["augmentation"] |= {"crop_size": [24, 32], "scale": [0.5, 1.0]}
        hook = check(parameters)
        begin(hook, pipelines["student_learning"])
        hook.after_node_run(self.outputs(unlabeled=0))

    def test_the_device(
        self, parameters: dict, pipelines: dict[str, Pipeline], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        parameters["runtime"]["device"] = "cuda"
        hook, teachers = check(parameters), dict.fromkeys(("global_teacher", "local_teacher"), "a network")
        begin(hook, pipelines["data_splitting"])
        for name in (*TRAININGS, "evaluation", "weights_evaluation", "full"):
            with pytest.raises(click.ClickException, match=r"runtime\.device is cuda.*runtime\.device=cpu"):
                begin(hook, pipelines[name], **teachers)

    @pytest.mark.parametrize("training", TRAININGS)
    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (
                lambda group: next(iter(group["networks"].values())).update(architecture="res_unett"),
                "networks.{role}.architecture: there is no architecture 'res_unett'; did you mean 'res_unet'?",
            ),
            (
                lambda group: next(iter(group["networks"].values()))[group["of"]]["encoder"].update(nam="resnet18"),
                "networks.{role}.{architecture}.encoder.nam: unknown; did you mean 'name'?",
            ),
            (
                lambda group: group["method"].update(name="igl_td"),
                "method.name: there is no method 'igl_td'; did you mean 'igl_dt'?",
            ),
            (
                lambda group: group["method"].update(cps={"cps_wieght": 1}),
                "method.cps.cps_wieght: unknown; did you mean 'cps_weight'?",
            ),
            (
                lambda group: group["optimizers"].clear(),
                "optimizers.{role} is missing: every trained network needs one",
            ),
        ],
        ids=["architecture", "of a network", "method", "of a method", "optimiser"],
    )
    def test_networks_and_methods(
        self,
        parameters: dict,
        pipelines: dict[str, Pipeline],
        training: str,
        change: Callable[[dict], None],
        said: str,
    ) -> None:
        group = parameters[training]
        role, network = next(iter(group["networks"].items()))
        group["of"] = architecture = network["architecture"]
        change(group)
        del group["of"]
        hook = check(parameters)
        begin(hook, pipelines["data_splitting"])  # trains nothing
        lines = complaints(lambda: begin(hook, pipelines["full"]))
        start = f"{training}.{said.format(role=role, architecture=architecture)}"
        assert any(line.startswith(start) for line in lines), lines

    def test_all_problems_are_listed_at_once(self, parameters: dict, pipelines: dict[str, Pipeline]) -> None:
        for name in TRAININGS:
            parameters[name]["method"]["name"] = "x"
        lines = complaints(lambda: begin(check(parameters), pipelines["full"]))
        assert {line.split(":")[0] for line in lines} == {f"{name}.method.name" for name in TRAININGS}


def test_an_unknown_environment_brings_the_nearest() -> None:
    hook = CheckEnvironment()
    for env in (None, "smoke"):
        hook.after_context_created(SimpleNamespace(config_loader=load(), env=env))
    with pytest.raises(click.ClickException, match=r"no environment 'smok' in .*conf; did you mean 'smoke'\?"):
        hook.after_context_created(SimpleNamespace(config_loader=load(), env="smok"))


class TestTeachers:
    def test_missing_ones_are_named_with_the_pipeline_that_makes_them(
        self, parameters: dict, pipelines: dict[str, Pipeline]
    ) -> None:
        hook = check(parameters)
        begin(hook, pipelines["full"])
        with pytest.raises(click.ClickException) as raised:
            begin(hook, pipelines["student_learning"], global_teacher="a network")
        assert "igl_dt learns from local_teacher," in raised.value.message
        assert "kedro run --pipelines=teacher_pretraining" in raised.value.message

    def test_those_that_are_there_will_do(self, parameters: dict, pipelines: dict[str, Pipeline]) -> None:
        begin(check(parameters), pipelines["student_learning"], global_teacher="network", local_teacher="network")

    def test_a_method_without_teachers_needs_none_and_full_warns_that_it_trains_them(
        self, parameters: dict, pipelines: dict[str, Pipeline], caplog: pytest.LogCaptureFixture
    ) -> None:
        parameters["student_learning"]["method"]["name"] = "supervised"
        parameters["student_learning"]["augmentation"] |= {"crop_size": [24, 32], "scale": [0.5, 1.0]}
        hook = check(parameters)
        begin(hook, pipelines["student_learning"])
        begin(hook, pipelines["teacher_pretraining"])
        assert not caplog.records
        begin(hook, pipelines["full"])
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "method supervised learns without teachers" in record.getMessage()
        assert "--pipelines=data_splitting,student_learning,evaluation,reporting" in record.getMessage()


def test_nodes_get_one_context_in_which_relative_paths_are_the_projects(parameters: dict, tmp_path: Path) -> None:
    contexts = []
    for root in ("images", "/elsewhere/images"):
        parameters["dataset"]["root"] = root
        hook, catalog = CheckParameters(), DataCatalog()
        hook.after_context_created(context(parameters, tmp_path))
        hook.after_catalog_created(catalog)
        contexts.append(catalog.load("run_context"))
        assert catalog.load("run_context") is contexts[-1]  # not copied
    assert all(isinstance(found, RunContext) for found in contexts)
    assert [found.dataset.root for found in contexts] == [str(tmp_path / "images"), "/elsewhere/images"]
    assert contexts[0].seed == parameters["seed"]
    assert contexts[0].runtime.threads == parameters["runtime"]["threads"]


class TestRunName:
    @pytest.mark.parametrize("name", ["../x", "a/b", "", None, ".", "..", "-x", "a b", "a\n", "ü"])
    def test_bad_names_are_refused(self, name: str | None) -> None:
        (line,) = complaints(lambda: check(load(run=name)["parameters"]))
        assert line.startswith("run: ")

    @pytest.mark.parametrize("name", [1.1, 8])
    def test_numbers_are_refused(self, name: float) -> None:
        """``run=1.10`` is read as 1.1 and ``run=010`` as 8, which may be the names of other runs."""
        (line,) = complaints(lambda: check(load(run=name)["parameters"]))
        assert line.startswith(f"run: was read as the number {name}")

    @pytest.mark.parametrize("name", ["a", "study-1.seed_0"])
    def test_outputs_lie_below_it(self, name: str) -> None:
        loader = load(run=name)
        check(loader["parameters"])
        paths = [
            entry.get("filepath") or entry["path"]
            for key, entry in loader["catalog"].items()
            if not key.startswith(("_", "study_")) and ("filepath" in entry or "path" in entry)
        ]
        runtime = loader["parameters"]["runtime"]
        paths += [loader["parameters"]["prediction"]["output"], loader["parameters"]["export"]["folder"] + "/x"]
        paths.append(f"{runtime['recovery_folder']}/x")
        assert len(paths) > 30
        assert {Path(path).parts[2] for path in paths} == {name}
        # What was found out about the images is of use to every run.
        assert (
            Path(runtime["checked_files"]).parts[2] == loader["parameters"]["dataset"]["root"].split("/")[-1] == "smoke"
        )

    def test_without_one_it_is_the_environments(self, smoke: dict) -> None:
        assert smoke["run"] == "smoke"


class TestLock:
    @staticmethod
    def hook(project: Path, folder: str | None = "recovery/a") -> LockTrainings:
        hook = LockTrainings()
        hook.after_context_created(context({"runtime": {"recovery_folder": folder}}, project))
        return hook

    def test_one_training_of_a_run_at_a_time(self, tmp_path: Path, pipelines: dict[str, Pipeline]) -> None:
        first = self.hook(tmp_path)
        first.before_pipeline_run(pipelines["teacher_pretraining"])
        for name in (*TRAININGS, "full"):
            with pytest.raises(click.ClickException, match=r"recovery/a/lock.*--params=run=NAME"):
                self.hook(tmp_path).before_pipeline_run(pipelines[name])
        first.after_pipeline_run(pipelines["teacher_pretraining"])
        self.hook(tmp_path).before_pipeline_run(pipelines["full"])

    def test_states_of_other_trainings_stay(self, tmp_path: Path, pipelines: dict[str, Pipeline]) -> None:
        hook = self.hook(tmp_path)
        hook.before_pipeline_run(pipelines["student_learning"])
        for name in (*TRAININGS, "reference"):
            (tmp_path / "recovery/a" / name).mkdir()
        hook.after_pipeline_run(pipelines["student_learning"])
        assert sorted(path.name for path in (tmp_path / "recovery/a").iterdir()) == ["lock", "teacher_pretraining"]

    def test_another_run_is_not_locked_out(self, tmp_path: Path, pipelines: dict[str, Pipeline]) -> None:
        first, second = self.hook(tmp_path), self.hook(tmp_path, "recovery/b")
        first.before_pipeline_run(pipelines["full"])
        second.before_pipeline_run(pipelines["full"])
        second.after_pipeline_run(pipelines["full"])
        with pytest.raises(click.ClickException):
            self.hook(tmp_path).before_pipeline_run(pipelines["full"])

    def test_what_trains_nothing_runs_meanwhile_and_leaves_the_states(
        self, tmp_path: Path, pipelines: dict[str, Pipeline]
    ) -> None:
        first = self.hook(tmp_path)
        first.before_pipeline_run(pipelines["full"])
        state = tmp_path / "recovery/a/student_learning/state.pt"
        state.parent.mkdir()
        state.touch()
        names = pipelines.keys() - {*TRAININGS, "full", "__default__"}
        assert names >= {"data_splitting", "evaluation", "reporting", "prediction", "export", "weights_evaluation"}
        for name in names:
            other = self.hook(tmp_path)
            other.before_pipeline_run(pipelines[name])
            other.after_pipeline_run(pipelines[name])
            other.on_pipeline_error()
        assert state.exists()
        with pytest.raises(click.ClickException):
            self.hook(tmp_path).before_pipeline_run(pipelines["full"])
        first.after_pipeline_run(pipelines["full"])
        assert not state.parent.exists()

    def test_an_error_releases_the_lock_and_leaves_the_states(
        self, tmp_path: Path, pipelines: dict[str, Pipeline]
    ) -> None:
        first = self.hook(tmp_path)
        first.before_pipeline_run(pipelines["full"])
        states = tmp_path / "recovery/a/student_learning"
        states.mkdir()
        first.on_pipeline_error()
        assert states.is_dir()
        self.hook(tmp_path).before_pipeline_run(pipelines["full"])

    def test_without_a_folder_there_is_nothing_to_lock(self, tmp_path: Path, pipelines: dict[str, Pipeline]) -> None:
        for _ in range(2):
            self.hook(tmp_path, None).before_pipeline_run(pipelines["full"])
        assert not list(tmp_path.iterdir())


class TestWorkingDirectory:
    @pytest.mark.parametrize("end", ["after_pipeline_run", "on_pipeline_error"])
    def test_is_the_projects_while_a_pipeline_runs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
    ) -> None:
        before, project = tmp_path / "elsewhere", tmp_path / "project"
        before.mkdir()
        project.mkdir()
        monkeypatch.chdir(before)
        hook = RunFromProject()
        hook.after_context_created(context({}, project))
        assert Path.cwd() == before  # a notebook or kedro-viz stays where it is
        hook.before_pipeline_run()
        assert Path.cwd() == project
        getattr(hook, end)()
        assert Path.cwd() == before

    def test_a_context_alone_leaves_it_as_it_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        bootstrap_project(PROJECT)
        loaded = KedroSession.create(PROJECT, env="smoke").load_context()
        assert isinstance(loaded.catalog.load("run_context"), RunContext)
        assert Path.cwd() == tmp_path


def test_a_plain_error_ends_a_run_for_every_hook(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pipelines: dict[str, Pipeline]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "project").mkdir()
    kinds, manager = (LockTrainings, RunFromProject, SayErrorsPlainly), _create_hook_manager()
    for hook in HOOKS:  # in their order
        if isinstance(hook, kinds):
            manager.register(hook)
    found = context({"runtime": {"recovery_folder": "recovery"}}, tmp_path / "project")
    manager.hook.after_context_created(context=found)
    manager.hook.before_pipeline_run(run_params={}, pipeline=pipelines["full"], catalog=DataCatalog())
    assert Path.cwd() != tmp_path
    with pytest.raises(click.ClickException, match="no such mask"):
        manager.hook.on_pipeline_error(error=DataError("no such mask"), run_params={}, pipeline=None, catalog=None)
    assert Path.cwd() == tmp_path
    TestLock.hook(tmp_path / "project", "recovery").before_pipeline_run(pipelines["full"])


def test_torchrun_is_refused_with_the_command_that_does_it(monkeypatch) -> None:
    RequireSequentialRunner().after_context_created()
    for name, value in {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "first"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(click.ClickException, match=r"--params: runtime\.processes=4,runtime\.shards=4\. The"):
        RequireSequentialRunner().after_context_created()
    monkeypatch.setenv("WORLD_SIZE", "8")
    several = "runtime.processes=4,runtime.shards=8,runtime.nodes=2,runtime.rendezvous=first:29400"
    with pytest.raises(click.ClickException, match=rf"each machine, and add to --params: {re.escape(several)}\. The"):
        RequireSequentialRunner().after_context_created()


@pytest.mark.parametrize("runner", [None, SequentialRunner(), SequentialRunner(is_async=True)])
def test_nodes_run_in_turn(runner: AbstractRunner | None) -> None:
    RequireSequentialRunner().before_pipeline_run({"runner": str(runner)})


def test_a_part_of_the_nodes_is_not_run_on_older_files() -> None:
    with pytest.raises(click.ClickException, match=r"leave out --only-missing-outputs"):
        RequireSequentialRunner().before_pipeline_run({"runner": "None", "only_missing_outputs": True})


@pytest.mark.parametrize("runner", [ThreadRunner(), ParallelRunner()])
def test_nodes_that_would_run_at_once_are_refused(runner: AbstractRunner) -> None:
    with pytest.raises(click.ClickException, match=r"leave --runner as it is, SequentialRunner"):
        RequireSequentialRunner().before_pipeline_run({"runner": str(runner)})


class TestErrorsAreSaidPlainly:
    @staticmethod
    def caught(call) -> Exception:
        with pytest.raises(Exception) as raised:  # noqa: PT011 (whatever it is)
            call()
        return raised.value

    def test_the_project_s_own(self) -> None:
        error = DataError("masks/a.png is missing")
        with pytest.raises(click.ClickException, match=r"^masks/a\.png is missing$") as raised:
            SayErrorsPlainly().on_pipeline_error(error)
        assert raised.value.__cause__ is error

    def test_value_errors_that_the_project_raises(self) -> None:
        from igl_dt.networks.encoder import build_encoder
        from igl_dt.networks.parameters import EncoderParameters

        error = self.caught(lambda: build_encoder(EncoderParameters(name="resnet19")))
        assert type(error) is ValueError
        with pytest.raises(click.ClickException, match=r"resnet19.*nearest names"):
            SayErrorsPlainly().on_pipeline_error(error)

    def test_kedro_does_not_log_them_as_well(self, caplog: pytest.LogCaptureFixture) -> None:
        def fails() -> None:
            raise DataError("masks/a.png is missing")

        SayErrorsPlainly().before_pipeline_run()
        first = Node(lambda: 1, inputs=None, outputs="y", name="first_node")
        for pipeline in (Pipeline([]), Pipeline([first])):
            pipeline += Pipeline([Node(fails, inputs=None, outputs="x", name="second_node")])
            with pytest.raises(DataError):
                SequentialRunner().run(pipeline, DataCatalog())
        assert "second_node" in caplog.text
        assert "masks/a.png" not in caplog.text
        assert "No nodes ran" not in caplog.text
        assert "--from-nodes" not in caplog.text

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


class TestWhatARunSays:
    @pytest.mark.parametrize(
        ("supervised", "said"),
        [(0.5, "weights to use: student.safetensors"), (0.7, "better): reference/supervised.safetensors")],
    )
    def test_the_last_line_names_the_better_weights(
        self, pipelines: dict[str, Pipeline], monkeypatch, tmp_path, caplog, supervised: float, said: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        caplog.set_level(logging.INFO)
        catalog = DataCatalog(
            {"metrics": MemoryDataset({"student": {"miou": 0.6}, "supervised": {"miou": supervised}})}
        )
        catalog["student"] = NetworkDataset(str(tmp_path / "student.safetensors"))
        catalog["reference_networks"] = NetworkFolderDataset(str(tmp_path / "reference"))
        catalog["report"] = ReportDataset(filepath=str(tmp_path / "report.html"))
        SayResult().after_pipeline_run(pipelines["evaluation"], catalog)
        assert not caplog.records
        SayResult().after_pipeline_run(pipelines["full"], catalog)
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith(f"mIoU: student 60.0 %, supervised {100 * supervised:.1f} %; report: report.html; ")
        assert line.endswith(said)

    def test_a_node_has_finished_once_all_it_gives_is_saved(self, parameters: dict, tmp_path: Path) -> None:
        node = Node(lambda: (1, 2), inputs=None, outputs=["a", "b"], name="train_node", namespace="training")
        names = ["run_manifest", *node.outputs]
        catalog = DataCatalog({name: JSONDataset(filepath=str(tmp_path / f"{name}.json")) for name in names})
        hook = WriteRunManifest()
        hook.after_context_created(context(parameters, tmp_path))
        hook.before_pipeline_run({"env": "smoke"}, Pipeline([node]), catalog)
        hook.before_node_run(node)
        hook.after_node_run(node)
        for output, unfinished in zip(node.outputs, ([node.name], []), strict=True):
            catalog.save(output, 1)
            hook.after_dataset_saved(output, node)
            assert catalog.load("run_manifest")["training"]["unfinished"] == unfinished

    def test_more_steps_than_before_start_from_scratch(
        self, parameters: dict, pipelines: dict[str, Pipeline], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        manifest = JSONDataset(filepath=str(tmp_path / "run_manifest.json"))
        manifest.save({name: {"parameters": copy.deepcopy(parameters)} for name in TRAININGS})
        parameters["student_learning"]["steps"] += 10
        hook = WriteRunManifest()
        hook.after_context_created(context(parameters, tmp_path))
        hook.before_pipeline_run({"env": "smoke"}, pipelines["full"], DataCatalog({"run_manifest": manifest}))
        (line,) = [record.getMessage() for record in caplog.records if "steps was" in record.getMessage()]
        assert line.startswith("student_learning.steps was 8 and is 18: training starts from scratch")
        assert "networks.ROLE.init_from" in line


def test_a_run_is_logged_to_mlflow(
    parameters: dict,
    pipelines: dict[str, Pipeline],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A stand-in takes the calls: the package is large."""
    mlflow = MagicMock()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.chdir(tmp_path)
    parameters["runtime"]["mlflow"] = "sqlite:///mlruns/mlflow.db"
    history = pd.DataFrame({"step": [1, 2], "supervised": [2.0, 1.0], "val_miou.student": [None, 0.5]})
    catalog = DataCatalog(
        {
            "metrics": MemoryDataset({"student": {"miou": 0.5, "per_class": {"a": 0.5}}}),
            "networks_info": MemoryDataset({"student": {"fingerprint": "0123"}}),
            "report": MemoryDataset("<html>"),
            "history_teachers": MemoryDataset(pd.DataFrame({"step": []})),
            "history_student": MemoryDataset(history),
            "history_supervised": MemoryDataset(pd.DataFrame({"step": []})),
        }
    )
    hook = LogToMlflow()
    hook.after_context_created(context(parameters, tmp_path))
    for name in ("prediction", "full"):
        assert not mlflow.set_tracking_uri.called
        hook.before_pipeline_run(pipelines[name])
        hook.after_pipeline_run(pipelines[name], catalog)
    assert (tmp_path / "mlruns").is_dir()
    mlflow.set_tracking_uri.assert_called_once_with("sqlite:///mlruns/mlflow.db")
    mlflow.start_run.assert_called_once_with(run_name="smoke")
    (logged,), _ = mlflow.log_params.call_args
    assert logged["student_learning.method.name"] == "igl_dt"
    mlflow.set_tag.assert_called_once_with("fingerprint.student", "0123")
    assert mlflow.log_metrics.call_args_list == [
        call({"student.miou": 0.5}),
        call({"history_student.supervised": 2.0}, step=1),
        call({"history_student.supervised": 1.0, "history_student.val_miou.student": 0.5}, step=2),
    ]
    mlflow.log_text.assert_called_once_with("<html>", "report.html")
    mlflow.start_run.side_effect = ConnectionError("the server is gone")
    hook.after_pipeline_run(pipelines["full"], catalog)
    assert "was not logged to sqlite:///mlruns/mlflow.db: the server is gone" in caplog.text
