"""What happens around a Kedro run: what can be checked is checked first, and errors are said plainly."""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import pandas as pd
from filelock import FileLock, Timeout
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.pipeline import Node, Pipeline
from pydantic import ValidationError

from igl_dt.data.splits import check_trainable
from igl_dt.kedro_ext.environments import check_environment, find_modules_in
from igl_dt.kedro_ext.parameters import ProjectParameters, check_training
from igl_dt.kedro_ext.provenance import (
    find_commit,
    hash_files,
    list_versions,
    rebuild_command,
)
from igl_dt.runtime.memory import peak_memory, reset_peak_memory
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.runtime.portable import pin
from igl_dt.training import IN_USE, STOPPED
from igl_dt.utils.errors import is_ours
from igl_dt.utils.files import atomic_write, lock_of
from igl_dt.utils.parameters import explain

logger = logging.getLogger(__name__)

STEPS_INCREASED = (
    "%s.steps was %d and is %d: training starts from scratch, because learning rates and ramps are functions of the "
    "share of the steps that is done. To start from trained weights instead, give a new run (run=NAME) their file as "
    "networks.ROLE.init_from: it has a warm-up and a schedule of its own"
)


class CheckEnvironment:
    """Checks that there is the environment that is asked for."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Stop where there is none of this name."""
        conf = Path(context.config_loader.conf_source)
        if context.env is not None and conf.is_dir():
            check_environment(context.env, conf)


class CheckParameters:
    """Checks all parameters before any work, and gives nodes the run's context."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Stop with a list of all that is wrong with the parameters, whichever pipeline is run."""
        self._project = Path(context.project_path)
        find_modules_in(self._project)
        try:
            self._parameters = ProjectParameters.model_validate(context.config_loader["parameters"])
        except ValidationError as error:
            raise _invalid_parameters(explain(error, ProjectParameters)) from error
        if self._parameters.runtime.portable:
            pin()  # before anything imports torch

    @hook_impl
    def after_catalog_created(self, catalog: DataCatalog) -> None:
        """Add the run's context, one input of a node instead of four."""
        catalog["run_context"] = MemoryDataset(self._parameters.context(self._project), copy_mode="assign")

    @hook_impl(tryfirst=True)
    def before_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Stop where a training of the pipeline cannot work: its networks, method or teachers, or the device."""
        runtime = self._parameters.runtime
        self._trainings = {name: getattr(self._parameters, name) for name in training_inputs(pipeline)}
        if problems := [
            line for name, group in self._trainings.items() for line in check_training(name, group, runtime)
        ]:
            raise _invalid_parameters(problems)
        self._catalog = catalog
        if self._parameters.teachers_run is not None:
            self._check_teachers_run(pipeline, catalog)
        if "params:student_learning" in pipeline.inputs():
            self._check_teachers(pipeline, catalog)
        if "run_context" in pipeline.inputs():
            from igl_dt.runtime.determinism import configure_torch

            try:
                configure_torch(runtime)
            except ValueError as error:
                raise click.ClickException(str(error)) from error

    @hook_impl
    def after_node_run(self, outputs: dict[str, Any]) -> None:
        """As soon as the images are known, stop where a training of the pipeline cannot use them."""
        if "labeled" in outputs:
            self._check_teachers_labels(outputs["labeled"])
            for name, group in self._trainings.items():
                from igl_dt.methods.registry import find_method  # torch, which splitting alone does without

                dataset = self._parameters.dataset
                unlabeled = outputs["unlabeled"] if find_method(group.method.name).uses_unlabeled else None
                check_trainable(outputs["labeled"], unlabeled, dataset, group.augmentation, name)

    def _check_teachers_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        run = self._parameters.teachers_run
        if "global_teacher" in pipeline.all_outputs():
            raise click.ClickException(
                f"teachers_run: this run would overwrite the teachers of {run}; leave out teachers_run, or the "
                "pipeline teacher_pretraining"
            )
        path = _path(catalog, "global_teacher")
        if path is None or path.parent.name != run:
            raise click.ClickException(f"teachers_run: give it on the command line, --params=teachers_run={run}")
        if "labeled" not in pipeline.all_outputs() and (labeled := _path(catalog, "labeled")) and labeled.is_file():
            self._check_teachers_labels(catalog.load("labeled"))

    def _check_teachers_labels(self, labeled: pd.DataFrame) -> None:
        """Stop where another run's teachers have seen other labels: they would bring them in."""
        own, run = _path(self._catalog, "labeled"), self._parameters.teachers_run
        if run is None or own is None:
            return
        theirs = own.parents[1] / run / own.name
        if not theirs.is_file() or set(pd.read_csv(theirs, dtype=str)["sha256"]) != set(labeled["sha256"]):
            raise click.ClickException(
                f"teachers_run: by {theirs}, the teachers of {run} were not trained on this run's labelled images: "
                "give both the same seed and splitting"
            )

    def _check_teachers(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        from igl_dt.methods.registry import find_method, missing_teachers

        name = self._parameters.student_learning.method.name
        required, made = find_method(name).required_teachers, pipeline.all_outputs()
        missing = [role for role in required if role not in made and not (role in catalog and catalog.exists(role))]
        if missing:
            raise click.ClickException(missing_teachers(name, missing, "student_learning.method"))
        if not required and "params:teacher_pretraining" in pipeline.inputs():
            logger.warning(
                "the method %s learns without teachers, but this run trains them anyway; to skip them: "
                "--pipelines=data_splitting,student_learning,evaluation,reporting",
                name,
            )


class RunFromProject:
    """Makes the project's folder the current one while a pipeline runs: relative paths in parameters start there."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note where the project is."""
        self._project = Path(context.project_path)

    @hook_impl(trylast=True)
    def before_pipeline_run(self) -> None:
        """Go there, once nothing else can refuse the run."""
        self._before = Path.cwd()
        os.chdir(self._project)

    @hook_impl(trylast=True)
    def after_pipeline_run(self) -> None:
        """Go back."""
        os.chdir(self._before)

    @hook_impl(tryfirst=True)
    def on_pipeline_error(self) -> None:
        """Go back."""
        os.chdir(self._before)


class RequireSequentialRunner:
    """Refuses ways to run that results would depend on: nodes at once, in several processes, or a part of them."""

    @hook_impl(tryfirst=True)
    def after_context_created(self) -> None:
        """Stop where torchrun has started this process: each of its processes would run the whole pipeline."""
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            all_of_them = os.environ["WORLD_SIZE"]
            here = os.environ.get("LOCAL_WORLD_SIZE", all_of_them)
            given, where = f"runtime.processes={here},runtime.shards={all_of_them}", ""
            if (nodes := int(all_of_them) // int(here)) > 1:
                where = " on each machine"
                given += f",runtime.nodes={nodes},runtime.rendezvous={os.environ.get('MASTER_ADDR', 'HOST')}:29400"
            raise click.ClickException(
                "torchrun (RANK and WORLD_SIZE are set) would run the whole pipeline once per process. Trainings start "
                f"their processes themselves: leave torchrun out{where}, and add to --params: {given}. The number of "
                "shards must divide batch_size"
            )

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any]) -> None:
        """Stop where another runner than the default one is asked for, or only a part of the nodes would run."""
        if run_params.get("only_missing_outputs"):
            raise click.ClickException(
                "leave out --only-missing-outputs: what is there may come from other parameters. Without it, the same "
                "command resumes an interrupted training"
            )
        runner = str(run_params["runner"])
        if runner != "None" and "SequentialRunner" not in runner:
            raise click.ClickException(
                "leave --runner as it is, SequentialRunner: with another, several networks would be trained at once, "
                "drawing from one generator, and results would depend on timing"
            )


class LockTrainings:
    """Lets one training at a time write a run's recovery states, and removes them when it has succeeded."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note where the states are."""
        parameters = context.config_loader["parameters"]
        folder = parameters.get("runtime", {}).get("recovery_folder")
        self._folder = None if folder is None else Path(context.project_path) / folder
        self._lock: FileLock | None = None

    @hook_impl(trylast=True)  # bad input leaves no folder behind
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Stop where another training of this run is under way: both would write the same files."""
        if self._folder is None or not training_inputs(pipeline):
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.ClickException(f"runtime.recovery_folder: {self._folder}: {error.strerror}") from error
        self._lock = FileLock(self._folder / "lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout as error:
            raise InUse(
                f"another training of this run holds {self._lock.lock_file}: wait until it ends, or give this one a "
                "name of its own, --params=run=NAME"
            ) from error

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline) -> None:
        """Remove the states of what was trained, whose results are saved; those of other trainings stay."""
        if self._lock is None or self._folder is None:
            return
        trained = training_inputs(pipeline)
        for name in [*trained, "reference"] if "student_learning" in trained else trained:
            shutil.rmtree(self._folder / name, ignore_errors=True)
        self._lock.release()

    @hook_impl(tryfirst=True)  # a hook that raises keeps later ones from being called
    def on_pipeline_error(self) -> None:
        """Let others train."""
        if self._lock is not None:
            self._lock.release()


def training_inputs(pipeline: Pipeline) -> list[str]:
    """Give the names of the parameter groups that a pipeline trains with, in the order of the stages."""
    return [name for name in ProjectParameters.training_groups() if f"params:{name}" in pipeline.inputs()]


def _invalid_parameters(problems: Iterable[str]) -> click.ClickException:
    return click.ClickException("invalid parameters:\n" + "\n".join(f"  {problem}" for problem in problems))


class WriteRunManifest:
    """Records, per stage, the command, code, parameters, files and environment of its results.

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
        path = _path(catalog, "run_manifest")
        known = catalog.load("run_manifest") if path is not None and path.exists() else {}
        for name in training_inputs(pipeline):
            before = known.get(name, {}).get("parameters", {}).get(name, {}).get("steps")
            if before is not None and (steps := self._parameters[name]["steps"]) > before:
                logger.info(STEPS_INCREASED, name, before, steps)
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
        self._unsaved: dict[str, set[str]] = {}
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
        """Start the clock; leave an account of a training before it starts, in case it is killed."""
        reset_peak_memory()
        self._started[node.name] = time.monotonic()
        if "run_context" in node.inputs:
            self._record(node)["unfinished"] = sorted(self._left[_stage(node)])
            self._write()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Add the node's time to its stage's."""
        stage, record = _stage(node), self._record(node)
        self._seconds[stage] = self._seconds.get(stage, 0.0) + time.monotonic() - self._started.pop(node.name)
        record["seconds"] = round(self._seconds[stage], 1)
        record["peak_memory_mib"] = max(record["peak_memory_mib"], peak_memory())
        self._unsaved[node.name] = set(node.outputs)
        self._note_end(node)
        if "run_context" in node.inputs:  # else nothing was computed that depends on it
            record["environment"] = self._environment()

    @hook_impl
    def after_dataset_saved(self, dataset_name: str, node: Node) -> None:
        """Write the account so far."""
        self._unsaved[node.name].discard(dataset_name)
        self._note_end(node)
        if path := _path(self._catalog, dataset_name):
            self._hashes.pop(path, None)
            self._note_file(dataset_name, node)
            self._write()

    @hook_impl
    def after_pipeline_run(self) -> None:
        """Write it all, and remove what a killed run was writing."""
        self._write()
        if path := _path(self._catalog, "run_manifest"):
            with lock_of(path):  # else it might be what another process is writing
                for left in path.parent.glob(f".{path.name}.*.tmp"):
                    left.unlink(missing_ok=True)

    def _note_end(self, node: Node) -> None:
        """Note that a node has finished, once all of its outputs are saved."""
        left = self._left[_stage(node)]
        if not self._unsaved[node.name]:
            left.discard(node.name)
        self._record(node)["unfinished"] = sorted(left)

    def _record(self, node: Node) -> dict[str, Any]:
        new = self._run | {"seconds": 0.0, "peak_memory_mib": 0.0, "sha256": {}}
        return self._stages.setdefault(_stage(node), new)

    def _note_file(self, dataset_name: str, node: Node) -> None:
        path = _path(self._catalog, dataset_name)
        if path is None:
            return
        if path not in self._hashes:
            self._hashes[path] = hash_files(self._project, path)
        record = self._record(node)
        record["sha256"] = dict(sorted((record["sha256"] | self._hashes[path]).items()))

    def _write(self) -> None:
        """Bring the stages of this run up to date; the accounts of others stay."""
        path = _path(self._catalog, "run_manifest")
        if path is not None:
            with lock_of(path):  # a prediction of this run may end meanwhile
                known = self._catalog.load("run_manifest") if path.exists() else {}
                content = json.dumps(known | self._stages, indent=2, ensure_ascii=False)
                atomic_write(path, content.encode())

    def _environment(self) -> dict[str, str]:
        from igl_dt.runtime.determinism import describe_environment

        return describe_environment(RuntimeParameters.model_validate(self._parameters["runtime"]))


class SayResult:
    """Ends a run with its scores, and with the weights to take."""

    @hook_impl(trylast=True)
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Log them where the run has written a report."""
        if "report" not in pipeline.all_outputs():
            return
        miou = {name: 100 * scores["miou"] for name, scores in catalog.load("metrics").items()}
        scores = ", ".join(f"{name} {miou[name]:.1f} %" for name in ("student", "supervised") if name in miou)
        weights, advice = _path(catalog, "student"), ""
        if miou.get("supervised", 0.0) > miou["student"]:
            folder, advice = _path(catalog, "reference_networks"), " (the supervised baseline is better)"
            weights = folder and folder / "supervised.safetensors"
        report, file = (os.path.relpath(str(path)) for path in (_path(catalog, "report"), weights))
        logger.info("mIoU: %s; report: %s; weights to use%s: %s", scores, report, advice, file)


class InUse(click.ClickException):
    """Another process trains this run."""

    exit_code = IN_USE


class Stopped(click.ClickException):
    """A training that was asked to stop."""

    exit_code = STOPPED


class SayErrorsPlainly:
    """Ends a failed run with the error's message alone where it says what was wrong with the input."""

    @hook_impl
    def before_pipeline_run(self) -> None:
        """Keep Kedro from logging an error that ends the run, and is shown then; and from giving empty advice."""
        for name in ("kedro.pipeline.node", "kedro.runner.sequential_runner"):
            logging.getLogger(name).addFilter(_is_new_to_readers)

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Show an error without a traceback where it was raised with a message for the user.

        That is: by this project, or by a Kedro dataset that cannot read or write its file.
        """
        if is_ours(error) or isinstance(error, DatasetError):
            logger.debug("the run failed", exc_info=error)
            was_stopped = getattr(error, "exit_code", None) == STOPPED
            raise (Stopped if was_stopped else click.ClickException)(str(error)) from error


def _is_new_to_readers(record: logging.LogRecord) -> bool:
    """Filter out the error, and advice to repeat the run (after any error) or to start from the failed node.

    What the node reads may have to change, and the whole command repeats no finished training.
    """
    message = str(record.msg)
    return not (message.startswith(("Node %s failed with error", "No nodes ran.")) or "have not run." in message)


def _stage(node: Node) -> str:
    return (node.namespace or node.name).split(".")[0]


def _path(catalog: DataCatalog, name: str) -> Path | None:
    """Give the file or folder of a catalogued dataset; None where it has none."""
    dataset = catalog.get(name) if name in catalog else None
    for attribute in ("_filepath", "_path"):
        if path := getattr(dataset, attribute, None):
            return Path(path).absolute()
    return None
