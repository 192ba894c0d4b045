"""Studies as Kedro runs: which cells are done, and the others run side by side, each in a process of its own.

A cell is ``kedro run --pipelines=… --params=run=…``. Runs of different names share no file that either writes, and each
holds a lock of its own, so they need neither clones nor DVC to run at once, and a cut-off cell resumes in place.
"""

import json
import math
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from filelock import FileLock, Timeout
from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf
from pydantic import BaseModel, ValidationError

from igl_dt.kedro_ext.hooks import IN_USE
from igl_dt.kedro_ext.parameters import ProjectParameters, check_training
from igl_dt.kedro_ext.provenance import rebuild_command
from igl_dt.reporting.study.definition import Cell, Study, list_cells, read_study
from igl_dt.reporting.study.results import DONE, FAILED, FAILURE
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.utils.files import atomic_write
from igl_dt.utils.parameters import explain

UNFINISHED, MISSING = "unfinished", "missing"
RUNTIME = {"runtime.threads": 1, "runtime.workers": 0}
"""Of every cell, unless its study says otherwise: several run at once."""


@dataclass(frozen=True)
class Plan:
    """A study with everything that its cells need."""

    project: Path
    name: str
    study: Study
    cells: list[Cell]
    parameters: dict[str, ProjectParameters]
    """By run."""

    @property
    def folder(self) -> Path:
        """Where definition and results lie."""
        return self.project / "studies" / self.name

    def command(self, cell: Cell) -> list[str]:
        """Give the words of the command that makes a cell."""
        values = {"run": cell.run} | cell.parameters
        run = {"env": self.study.env, "pipeline_names": cell.pipelines, "runtime_params": values}
        return shlex.split(rebuild_command(run))

    def status(self, cell: Cell) -> str:
        """Tell whether a cell is done, failed, unfinished, or missing.

        It is done if its pipelines have finished with the parameters that the definition gives it now, each on the
        files that the one before left, and its teachers likewise. Changed code does not undo a cell: the commit of each
        is in the results.
        """
        account = self._account(cell.run)
        teachers = next((other for other in self.cells if other.run == cell.teachers), None)
        others = self._account(teachers.run) if teachers else {}
        ready = teachers is None or self.status(teachers) == DONE
        if ready and self._is_finished(cell, account) and _agree([*others.values(), *account.values()]):
            return DONE
        if (self.reporting(cell) / FAILURE).is_file():
            return FAILED
        return UNFINISHED if account else MISSING

    def reporting(self, cell: Cell) -> Path:
        """Give the folder of a cell's metrics."""
        return self.project / "data/08_reporting" / cell.run

    def seconds(self, cell: Cell) -> float:
        """Give how long the computation of a finished cell took."""
        return float(sum(stage["seconds"] for stage in self._account(cell.run).values()))

    def _account(self, run: str) -> dict[str, Any]:
        try:
            text = (self.project / "data/08_reporting" / run / "run_manifest.json").read_text("utf-8")
            return dict(json.loads(text))
        except (OSError, ValueError):
            return {}

    def _is_finished(self, cell: Cell, account: Mapping[str, Any]) -> bool:
        stages = [account.get(name) for name in cell.pipelines]
        if not all(stage is not None and stage.get("unfinished") == [] for stage in stages):
            return False
        wanted = decisive(self.parameters[cell.run], cell)
        try:
            return all(
                decisive(ProjectParameters.model_validate(stage["parameters"]), cell) == wanted
                for stage in stages
                if stage
            )
        except ValueError:  # parameters of another version
            return False


def load_plan(project: Path, name: str) -> Plan:
    """Read a study and check the parameters of all its cells.

    Args:
        project: the Kedro project's folder.
        name: of a folder in ``studies/``.

    Raises:
        ValueError: the definition or the parameters of a cell are wrong.
    """
    from igl_dt.methods.registry import find_method

    path = project / "studies" / name / "study.yml"
    study = read_study(path)
    study = study.model_copy(update={"parameters": RUNTIME | study.parameters})
    for method in study.methods:
        find_method(method, f"{path}: methods")
    cells = list_cells(name, study, lambda method: bool(find_method(method).required_teachers))
    given = _parameters_of(project, study.env)
    parameters, checked = {}, set()
    for cell in cells:
        merged = OmegaConf.merge(given, OmegaConf.create(_nested({"run": cell.run} | cell.parameters)))
        try:
            parameters[cell.run] = ProjectParameters.model_validate(OmegaConf.to_container(merged))
        except ValidationError as error:
            problems = list(explain(error, ProjectParameters))
            raise ValueError("\n".join(f"{path}: {cell.variant}: {problem}" for problem in problems)) from error
        if cell.variant not in checked:
            checked.add(cell.variant)
            if problems := list(check_training(cell.pipelines[1], getattr(parameters[cell.run], cell.pipelines[1]))):
                raise ValueError("\n".join(f"{path}: {cell.variant}: {problem}" for problem in problems))
    return Plan(project, name, study, cells, parameters)


def decisive(parameters: ProjectParameters, cell: Cell) -> dict[str, Any]:
    """Give the values that decide a cell's result; those of methods and networks that are not chosen do not."""
    from igl_dt.methods.registry import method_parameters

    training = getattr(parameters, cell.pipelines[1])
    values = {name: getattr(parameters, name) for name in ("seed", "dataset", "splitting", "evaluation", "runtime")}
    dumped = {
        name: value.model_dump(mode="json") if isinstance(value, BaseModel) else value for name, value in values.items()
    }
    del dumped["dataset"]["root"]
    for name in RuntimeParameters.CHANGING_NO_RESULT:
        del dumped["runtime"][name]
    chosen = {
        role: [choice.architecture, choice.section(choice.architecture)] for role, choice in training.networks.items()
    }
    method = [training.method.name, method_parameters(training.method).model_dump(mode="json")]
    rest = training.model_dump(mode="json", exclude={"networks", "method", "reference"})
    return dumped | {"training": rest, "networks": chosen, "method": method}


Launch = Callable[[Plan, Cell], bool]
"""Runs a cell, unless it is done; tells whether it succeeded."""


def run_cells(plan: Plan, jobs: int, processes: "Processes", launch: Launch | None = None) -> list[Cell]:
    """Run the cells that are not done; gives those that failed, whose students are left out.

    Args:
        plan: the study.
        jobs: cells at once.
        processes: what runs them on this machine, and stops them.
        launch: what runs them instead; None: ``processes.run``.

    Raises:
        KeyboardInterrupt: by Ctrl-C or SIGTERM; the cells under way have saved their states.
    """
    todo = [cell for cell in plan.cells if plan.status(cell) != DONE]
    results: dict[str, Future[bool]] = {}
    with ThreadPoolExecutor(jobs) as pool, _sigterm_as_ctrl_c():
        try:
            for cell in todo:  # in their order: a student's teachers are under way or done before it waits for them
                teachers = results.get(cell.teachers or "")
                results[cell.run] = pool.submit(
                    _run_after, teachers, launch or processes.run, plan, cell, processes.say
                )
            return [cell for cell in todo if not results[cell.run].result()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise


def _run_after(
    teachers: Future[bool] | None, launch: Launch, plan: Plan, cell: Cell, say: Callable[[str], None]
) -> bool:
    if teachers is not None and not teachers.result():
        say(f"{cell.run} is skipped: its teachers failed")
        return False
    try:
        return launch(plan, cell)
    except Exception as error:  # whatever it is, the other cells do not depend on it
        say(f"{cell.run} failed: {error}")
        return False


class Processes:
    """Cells as processes on this machine.

    Args:
        say: takes lines about what starts and ends.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, plan: Plan, cell: Cell) -> bool:
        """Run a cell, unless it is done; tells whether it succeeded.

        Where another process trains it, such as one whose study was killed, this waits for that one first.
        """
        folder = plan.project / "data/09_recovery" / cell.run
        folder.mkdir(parents=True, exist_ok=True)
        log, failure = folder.with_name(f"{cell.run}.log"), plan.reporting(cell) / FAILURE
        while self._wait_for(folder / "lock"):
            if plan.status(cell) == DONE:
                return True
            self.say(f"{cell.run} started")
            code, said = self._execute([sys.executable, "-m", *plan.command(cell)], plan.project, log)
            if code == 0:
                failure.unlink(missing_ok=True)
                self.say(f"{cell.run} done")
                return True
            if code > 0 and IN_USE not in said and not self._stopped:
                atomic_write(failure, said[-2000:].encode())
                self.say(f"{cell.run} failed, see {log.relative_to(plan.project)}")
                return False
            if code < 0 and not self._stopped:
                self.say(f"{cell.run} was killed by signal {-code}; the same command resumes it")
                return False
        return False

    def stop(self) -> None:
        """Ask all to save their states and end, and let no other start."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()

    def _wait_for(self, lock: Path) -> bool:
        """Wait until nobody holds a run's lock; tells whether there is still something to do then."""
        while not self._stopped:
            try:
                with FileLock(lock).acquire(timeout=1):
                    return not self._stopped
            except Timeout:
                continue
        return False

    def _execute(self, command: list[str], project: Path, log: Path) -> tuple[int, str]:
        with log.open("w", encoding="utf-8") as output:
            with self._lock:
                if self._stopped:
                    return -signal.SIGTERM, ""
                # In a session of its own: Ctrl-C comes to this process alone, which then asks each cell to end.
                process = subprocess.Popen(
                    command, cwd=project, env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
                self._running.add(process)
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        return code, log.read_text("utf-8", errors="replace")


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def describe_plan(plan: Plan, jobs: int) -> str:
    """Give a line per method or ablation and fraction: how many cells are done, and the hours that the others need.

    A cell is expected to take as long as the finished ones of its method and ablation, at any fraction; where there are
    none, as long as the mean of all.
    """
    status = {cell.run: plan.status(cell) for cell in plan.cells}
    taken: dict[str, list[float]] = {}
    for cell in plan.cells:
        if status[cell.run] == DONE:
            taken.setdefault(cell.variant, []).append(plan.seconds(cell))
    all_taken = [seconds for values in taken.values() for seconds in values]
    groups: dict[tuple[str, float], list[Cell]] = {}
    for cell in plan.cells:
        groups.setdefault((cell.variant, cell.fraction), []).append(cell)
    lines, left = [f"{'':40} fraction   done  hours left"], 0.0
    for (variant, fraction), cells in groups.items():
        known = taken.get(variant, all_taken)
        counts = Counter(status[cell.run] for cell in cells)
        needed = (len(cells) - counts[DONE]) * median(known) / 3600 if known else math.nan
        left += needed
        notes = ", ".join(f"{counts[kind]} {kind}" for kind in (FAILED, UNFINISHED) if counts[kind])
        shown = f"{needed:10.1f}" if known else f"{'?':>10}"
        lines.append(f"{variant:40} {fraction:8g} {counts[DONE]:3}/{len(cells):<3} {shown}  {notes}".rstrip())
    counts = Counter(status.values())
    hours = "unknown until a cell is done" if math.isnan(left) else f"{left / jobs:.1f} hours with --jobs={jobs}"
    lines.append(f"{counts[DONE]} of {len(plan.cells)} runs are done; left: {hours}")
    return "\n".join(lines)


def _agree(stages: list[Mapping[str, Any]]) -> bool:
    """Tell whether all stages that read or wrote a file had the same content of it."""
    digests: dict[str, str] = {}
    return all(
        digests.setdefault(path, digest) == digest
        for stage in stages
        for path, digest in stage.get("sha256", {}).items()
    )


def _parameters_of(project: Path, env: str) -> Any:
    from igl_dt.settings import CONFIG_LOADER_ARGS

    if not (project / "conf" / env).is_dir():
        raise ValueError(f"there is no environment {env!r} in {project / 'conf'}")
    arguments: dict[str, Any] = CONFIG_LOADER_ARGS | {"default_run_env": env}
    return OmegaConf.create(OmegaConfigLoader(str(project / "conf"), env=env, **arguments)["parameters"])


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in values.items():
        *parents, last = path.split(".")
        at = nested
        for part in parents:
            at = at.setdefault(part, {})
        at[last] = value
    return nested
