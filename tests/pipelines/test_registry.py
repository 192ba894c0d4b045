"""The pipelines by name, their inputs, and the catalog that they stand on."""

import inspect
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from kedro.pipeline import Node, Pipeline
from pydantic import BaseModel

from igl_dt.kedro_ext.parameters import ProjectParameters
from igl_dt.pipeline_registry import register_pipelines, stages
from igl_dt.pipelines.reporting import nodes
from igl_dt.runtime.context import RunContext

STAGES = ("data_splitting", "teacher_pretraining", "student_learning", "evaluation", "reporting")
OTHERS = ("prediction", "weights_evaluation", "export", "data_fetching", "study")
IN_MEMORY = {"costs", "run_context", "eval_split", "networks", "histories", "confusion"}
"""What passes from node to node and is not kept."""


@pytest.fixture(scope="module")
def pipelines() -> dict[str, Pipeline]:
    return register_pipelines()


@pytest.fixture
def persisted(configuration) -> Callable[[str], dict[str, str]]:
    """Give the path of each of the catalog's entries."""

    def paths(environment: str) -> dict[str, str]:
        entries = configuration(environment)["catalog"]
        return {
            name: entry.get("filepath") or entry["path"]
            for name, entry in entries.items()
            if not name.startswith("_") and entry["type"] != "MemoryDataset"  # templates of other entries
        }

    return paths


def data_of(pipeline: Pipeline) -> set[str]:
    return {name for name in pipeline.datasets() if not name.startswith("params:")}


def test_names_are_those_that_users_type(pipelines: dict[str, Pipeline]) -> None:
    assert pipelines.keys() == {*STAGES, "full", "__default__", *OTHERS}
    assert set(pipelines["full"].nodes) == {node for stage in STAGES for node in pipelines[stage].nodes}
    assert pipelines["__default__"].nodes == pipelines["full"].nodes
    # Hooks make the one before the run, and the other during it.
    inputs = {name for name in pipelines["full"].inputs() if not name.startswith("params:")}
    assert inputs == {"run_context", "run_manifest"}


def test_stages_come_in_the_order_in_which_they_run() -> None:
    made: set[str] = set()
    for name, stage in stages().items():
        needed = {data for data in data_of(stage) & stage.inputs() if data not in ("run_context", "run_manifest")}
        assert needed <= made, name
        made |= stage.all_outputs()
    assert tuple(stages()) == STAGES == nodes.STAGES


def test_each_node_is_tagged_and_named_after_its_stage(pipelines: dict[str, Pipeline]) -> None:
    for stage in STAGES:
        for node in pipelines[stage].nodes:
            assert node.tags == {stage}
            assert node.namespace.split(".")[0] == stage
            assert node.name.endswith("_node")
    names = [node.name for node in pipelines["full"].nodes]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_needs_only_what_is_persisted(pipelines: dict[str, Pipeline], stage: str) -> None:
    """So that it runs alone, in a process of its own."""
    assert pipelines[stage].inputs() & IN_MEMORY <= {"run_context"}


def _parameters(pipeline: Pipeline) -> list[tuple[Node, str, object]]:
    """Give each parameter input with its annotation."""
    found = []
    for node in pipeline.nodes:
        if not any(name.startswith("params:") for name in node.inputs):
            continue
        annotations = [parameter.annotation for parameter in inspect.signature(node.func).parameters.values()]
        assert len(annotations) == len(node.inputs), node.name
        found += [
            (node, name.removeprefix("params:"), annotation)
            for name, annotation in zip(node.inputs, annotations, strict=True)
            if name.startswith("params:")
        ]
    return found


def test_each_parameter_comes_as_the_object_of_its_own_concern(pipelines: dict[str, Pipeline]) -> None:
    found = _parameters(sum((pipelines[name] for name in OTHERS), pipelines["full"]))
    groups = ProjectParameters.model_fields.keys() - {"run", "teachers_run"}  # paths alone depend on them
    assert {path.split(".")[0] for _, path, _ in found} | set(RunContext._fields) == groups
    for node, path, annotation in found:
        expected: type[BaseModel] = ProjectParameters
        for part in path.split("."):
            expected = expected.model_fields[part].annotation
        assert annotation == expected, f"{node.name}: {path}"
        if path in ("seed", "study", "runtime.checked_files"):  # single values
            continue
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel), f"{node.name}: {path}"
        assert annotation.model_config["frozen"]
        assert annotation.model_config["extra"] == "forbid"


def test_kedro_has_nothing_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
        warnings.simplefilter("error")
        pipelines = register_pipelines()
        assert pipelines["full"].group_nodes_by("namespace")
    assert not caplog.records


class TestCatalog:
    def test_entries_are_what_the_pipelines_pass_on_and_keep(self, pipelines: dict, persisted) -> None:
        passed = set().union(*(data_of(pipelines[name]) for name in ("full", *OTHERS)))
        figures = {name for name in passed if name.endswith("_figure")}
        made = {"run_manifest", "{figure}_figure"}
        assert set(persisted("base")) == passed - IN_MEMORY - figures | made
        assert data_of(pipelines["full"]) >= IN_MEMORY

    def test_every_entry_has_a_file_of_its_own_in_the_runs_folder(
        self, configuration, environments: list[str], persisted
    ) -> None:
        assert {"base", "smoke"} < set(environments)
        folders: dict[str, str] = {}
        for environment in environments:
            run = configuration(environment)["globals"]["run"]
            assert run not in folders, f"{environment} and {folders[run]} would overwrite each other's results"
            folders[run] = environment
            paths = [path for path in persisted(environment).values() if not path.startswith("studies/")]
            assert len(set(paths)) == len(paths)
            for path in paths:
                layer, folder = Path(path).parts[1:3]
                assert path.startswith("data/") and layer[:2].isdigit() and folder == run, path

    def test_paths_are_those_that_others_rely_on(self, persisted) -> None:
        paths = persisted("smoke")
        for name in ("manifest", "labeled", "unlabeled", "val", "test"):
            assert paths[name] == f"data/05_model_input/smoke/{name}.csv"
        assert paths["split_summary"] == "data/05_model_input/smoke/split_summary.json"
        for name in ("global_teacher", "local_teacher", "student", "student_best"):
            assert paths[name] == f"data/06_models/smoke/{name}.safetensors"
        for name in ("history_teachers", "history_student", "history_supervised"):
            assert paths[name] == f"data/08_reporting/smoke/{name}.csv"
        assert paths["metrics"] == "data/08_reporting/smoke/metrics.json"
        assert all(
            path.startswith("data/08_reporting/smoke/") and path.endswith(".png")
            for name, path in paths.items()
            if name.endswith("_figure")
        )

    def test_every_environments_parameters_are_right(self, configuration, environments: list[str]) -> None:
        for environment in environments:
            loader: OmegaConfigLoader = configuration(environment)
            ProjectParameters.model_validate(loader["parameters"])
