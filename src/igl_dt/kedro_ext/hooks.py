"""What happens around a Kedro run: what can be checked is checked first, and errors are said plainly."""

import json
import logging
import os
import shutil
import time
import traceback
from pathlib import Path
from typing import Any

import click
from filelock import FileLock, Timeout
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, DatasetError
from kedro.pipeline import Node, Pipeline
from pydantic import ValidationError

from igl_dt.data.splits import check_trainable
from igl_dt.kedro_ext.parameters import ProjectParameters
from igl_dt.kedro_ext.provenance import (
    find_commit,
    hash_files,
    list_versions,
    peak_memory,
    rebuild_command,
    reset_peak_memory,
)
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.runtime.portable import pin
from igl_dt.utils.files import atomic_write
from igl_dt.utils.parameters import explain

logger = logging.getLogger(__name__)

STAGES = ("teacher_pretraining", "student_learning")
"""What is trained: names of pipelines, of their parameters, and of their folders of recovery states."""


class CheckParameters:
    """Checks the parameters of all stages before the first of them, which may train for hours."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Stop with a list of all that is wrong with the parameters, whichever pipeline is run.

        Relative paths among them are taken from the project's folder, wherever the command was typed.
        """
        os.chdir(context.project_path)
        try:
            self._parameters = ProjectParameters.model_validate(context.config_loader["parameters"])
        except ValidationError as error:
            problems = "\n".join(f"  {problem}" for problem in explain(error, ProjectParameters))
            raise click.ClickException(f"these parameters are wrong:\n{problems}") from error
        if self._parameters.runtime.portable:
            pin()  # before anything imports torch

    @hook_impl
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Stop where the device is absent that the pipeline is to run on."""
        self._inputs = {name for node in pipeline.nodes for name in node.inputs}
        if self._parameters.runtime.device == "cuda" and "params:runtime" in self._inputs:
            from igl_dt.runtime.determinism import configure_torch

            try:
                configure_torch(self._parameters.runtime)
            except ValueError as error:
                raise click.ClickException(str(error)) from error

    @hook_impl
    def after_node_run(self, outputs: dict[str, Any]) -> None:
        """As soon as the images are known, stop where a stage of the pipeline cannot be trained on them."""
        if "labeled" in outputs:
            for stage in STAGES:
                if f"params:{stage}" in self._inputs:
                    augmentation = getattr(self._parameters, stage).augmentation
                    image_size = self._parameters.dataset.image_size
                    check_trainable(outputs["labeled"], outputs["unlabeled"], image_size, augmentation, stage)


class RunInTurn:
    """Keeps nodes from running at once: they would draw from one generator, and results would depend on time."""

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Stop where another runner than the default one is asked for."""
        runner = str(run_params["runner"])
        if runner != "None" and "SequentialRunner" not in runner:
            raise click.ClickException(
                "leave --runner as it is, SequentialRunner: with another, several networks would be trained at once, "
                "drawing from one generator, and results would depend on time"
            )


class KeepRecoveryStates:
    """Lets one run at a time use a recipe's folder of recovery states, and empties it when the run was a success."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Learn where the folder is."""
        folder = context.config_loader["parameters"].get("runtime", {}).get("recovery_folder")
        self._folder = None if folder is None else Path(folder)

    @hook_impl(trylast=True)  # bad input leaves no folder behind
    def before_pipeline_run(self) -> None:
        """Stop where another run of the recipe is under way: both would write the same files."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._folder / "lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise click.ClickException(
                f"another run of this recipe is under way, it holds {self._lock.lock_file}: wait for its end, or run "
                "another recipe (--env)"
            ) from error

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Remove the states of the stages that were trained: their results are saved."""
        if self._folder is None:
            return
        inputs = {name for node in pipeline.nodes for name in node.inputs}
        for stage in STAGES:
            if f"params:{stage}" in inputs:
                shutil.rmtree(self._folder / stage, ignore_errors=True)
        self._lock.release()

    @hook_impl
    def on_pipeline_error(self) -> None:
        """Let others run."""
        if self._folder is not None:
            self._lock.release()


class WriteRunManifest:
    """Writes down, per stage, by which command, code, parameters, files and surroundings its results came about.

    It does so whenever something is saved, so that a run that is killed leaves its account as well; what the report
    reads is up to date.
    """

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Learn what is run."""
        self._project = Path(context.project_path)
        self._parameters = context.config_loader["parameters"]

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Note what is known beforehand; write nothing, as the input may be bad."""
        self._catalog = catalog
        self._run = {
            "env": run_params["env"] or "base",
            "command": rebuild_command(run_params),
            **find_commit(self._project),
            "parameters": self._parameters,
            "versions": list_versions(),
        }
        self._stages: dict[str, dict[str, Any]] = {}
        self._hashes: dict[Path, dict[str, str]] = {}
        self._started: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._left: dict[str, set[str]] = {}
        for node in pipeline.nodes:
            self._left.setdefault(_stage(node), set()).add(node.name)

    @hook_impl
    def before_dataset_loaded(self, dataset_name: str, node: Node) -> None:
        """Note which files a stage reads."""
        if dataset_name == "run_manifest":
            self._write()
        else:
            self._note_file(dataset_name, node)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Look at the clock."""
        reset_peak_memory()
        self._started[node.name] = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Add the node's time to its stage's."""
        stage, record = _stage(node), self._record(node)
        self._seconds[stage] = self._seconds.get(stage, 0.0) + time.monotonic() - self._started.pop(node.name)
        self._left[stage].discard(node.name)
        record["seconds"] = round(self._seconds[stage], 1)
        record["peak_memory_mib"] = max(record["peak_memory_mib"], peak_memory())
        record["unfinished"] = sorted(self._left[stage])
        if "params:runtime" in node.inputs:  # else nothing was computed that depends on them
            record["surroundings"] = self._surroundings()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Write the account so far."""
        if path := _path(self._catalog, dataset_name):
            self._hashes.pop(path, None)
            self._note_file(dataset_name, node)
            self._write()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Write it all, and remove what a killed run was writing."""
        self._write()
        if path := _path(self._catalog, "run_manifest"):
            for left in path.parent.glob(f".{path.name}.*.tmp"):
                left.unlink(missing_ok=True)

    def _record(self, node: Node) -> dict[str, Any]:
        new = self._run | {"seconds": 0.0, "peak_memory_mib": 0.0, "sha256": {}}
        return self._stages.setdefault(_stage(node), new)

    def _note_file(self, dataset_name: str, node: Node) -> None:
        path = _path(self._catalog, dataset_name)
        if path is None:
            return
        if path not in self._hashes:
            self._hashes[path] = hash_files(self._project, [path])
        record = self._record(node)
        record["sha256"] = dict(sorted((record["sha256"] | self._hashes[path]).items()))

    def _write(self) -> None:
        """Bring the stages of this run up to date; the accounts of others stay."""
        path = _path(self._catalog, "run_manifest")
        if path is not None:
            known = self._catalog.load("run_manifest") if path.exists() else {}
            content = json.dumps(known | self._stages, indent=2, ensure_ascii=False)
            atomic_write(path, content.encode())

    def _surroundings(self) -> dict[str, str]:
        from igl_dt.runtime.determinism import surroundings

        return surroundings(RuntimeParameters.model_validate(self._parameters["runtime"]))


class SayErrorsPlainly:
    """Ends a failed run with the error's message alone where it says what was wrong with the input."""

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Show an error without a traceback where it was raised with a message for the user.

        That is: by this project, or by a Kedro dataset that cannot read or write its file.
        """
        if _is_ours(error) or isinstance(error, DatasetError):
            logger.debug("the run failed", exc_info=error)
            raise click.ClickException(str(error)) from error


def _stage(node: Node) -> str:
    return (node.namespace or node.name).split(".")[0]


def _path(catalog: DataCatalog, name: str) -> Path | None:
    """Give the file or folder of a catalogued dataset; None where it has none."""
    dataset = catalog.get(name) if name in catalog else None
    for attribute in ("_filepath", "_path"):
        if path := getattr(dataset, attribute, None):
            return Path(path).absolute()
    return None


def _is_ours(error: Exception) -> bool:
    """Tell whether an error is of a kind of this project's, or a ValueError or OSError that its code raised."""
    if type(error).__module__.startswith("igl_dt."):
        return True
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, (ValueError, OSError)) and bool(modules) and modules[-1].startswith("igl_dt.")
