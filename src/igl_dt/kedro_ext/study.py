"""Studies as Kedro runs: which cells are done, and the others run side by side, each in a process of its own.

A cell is ``kedro run --pipelines=… --params=run=…``. Runs of different names share no file that either writes, and each
holds a lock of its own, so they need neither clones nor DVC to run at once, and a cut-off cell resumes in place.
"""

import copy
import json
import math
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from pydantic import ValidationError

from igl_dt.kedro_ext.environments import load_configuration
from igl_dt.kedro_ext.parameters import ProjectParameters, check_training
from igl_dt.kedro_ext.provenance import rebuild_command
from igl_dt.reporting.study.definition import TEACHERS, Cell, Study, list_cells, read_study
from igl_dt.reporting.study.results import (
    DONE,
    FAILED,
    FAILURE,
    RECORDED,
    Tables,
    measure_run,
    own_stages,
    read_tables,
)
from igl_dt.training import IN_USE, STOPPED
from igl_dt.utils.files import atomic_write, digest
from igl_dt.utils.parameters import explain

UNFINISHED, MISSING = "unfinished", "missing"
RUNTIME = {"runtime.threads": 1, "runtime.workers": 0}
"""They apply to every cell unless its study says otherwise: several run at once."""


@dataclass(frozen=True)
class Plan:
    """A study with everything that its cells need."""

    project: Path
    name: str
    study: Study
    cells: list[Cell]
    parameters: dict[str, ProjectParameters]
    """Keyed by run."""
    recorded: Tables
    """What the study's folder says of runs that may have been made elsewhere."""

    def command(self, cell: Cell) -> list[str]:
        """Give the words of the command that makes a cell."""
        values = {"run": cell.run} | cell.parameters
        run = {"env": self.study.env, "pipeline_names": cell.pipelines, "runtime_params": values}
        return shlex.split(rebuild_command(run))

    def status(self, cell: Cell) -> str:
        """Tell whether a cell is done, recorded, failed, unfinished, or missing.

        It is done if its pipelines have finished with the parameters that the definition gives it now, each on the
        files that the one before left, and its teachers likewise. Changed code does not undo a cell: the commit of each
        is in the results. A cell that is not done here is recorded if the study's tables have scores of it with the
        digest of these parameters. It has failed if its last attempt with these parameters, or its teachers' has.
        """
        account = self._account(cell)
        stages, ready = list(account.values()), self._is_finished(cell, account)
        of_teachers = None
        for teachers in (other for other in self.cells if other.run == cell.teachers):
            stages += self._account(teachers).values()
            of_teachers = self.status(teachers)
            ready = ready and of_teachers == DONE
        if ready and _agree(stages):
            return DONE
        recorded = self._record(cell)
        if recorded == RECORDED:
            return RECORDED
        if self._has_failed(cell) or of_teachers == FAILED:
            return FAILED
        return UNFINISHED if account else recorded or MISSING

    def reporting(self, cell: Cell) -> Path:
        """Give the folder of a cell's metrics."""
        return self.project / "data/08_reporting" / cell.run

    def seconds(self, cell: Cell, status: str) -> float:
        """Give how long a cell took that is done or recorded; NaN of others."""
        if status not in (DONE, RECORDED):
            return math.nan
        if status == DONE:
            return measure_run(self.reporting(cell), self._account(cell))[0]
        return float(self.recorded.rows_of(cell.run, self.digest(cell)).costs["seconds"].sum(min_count=1))

    def digest(self, cell: Cell) -> str:
        """Give a short digest of what decides a cell's result: its parameters, and those of its teachers."""
        made = [other for other in self.cells if other.run in (cell.run, cell.teachers)]
        values = json.dumps([decisive(self.parameters[each.run], each) for each in made], sort_keys=True)
        return digest(values.encode())[:16]

    def statuses(self) -> dict[str, str]:
        """Give the status of each cell, by run."""
        return {cell.run: self.status(cell) for cell in self.cells}

    def todo(self, states: Mapping[str, str]) -> list[Cell]:
        """Give the cells that are to be run: teachers only where a student that is to be run needs them.

        ``states`` are what ``statuses`` gives.
        """
        students = [cell for cell in self.cells if cell.method != TEACHERS and states[cell.run] not in (DONE, RECORDED)]
        wanted = {cell.run for cell in students}
        wanted |= {cell.teachers for cell in students if cell.teachers and states[cell.teachers] != DONE}
        return [cell for cell in self.cells if cell.run in wanted]

    def dropped(self, states: Mapping[str, str]) -> list[str]:
        """Give the runs in the study's tables that are in them no longer once these are written again."""
        kept = {run for run, status in states.items() if status in (DONE, RECORDED, FAILED)}
        named = dict.fromkeys([*self.recorded.results["run"], *self.recorded.costs["run"]])
        return [run for run in named if run not in kept]

    def _record(self, cell: Cell) -> str | None:
        """Give the status of a cell by the study's tables; None where they do not have it with today's digest."""
        results, costs = self.recorded.rows_of(cell.run, self.digest(cell))
        if cell.method == TEACHERS:
            return RECORDED if len(costs) else None
        status = set(results["status"])
        return RECORDED if DONE in status else FAILED if FAILED in status else None

    def _has_failed(self, cell: Cell) -> bool:
        try:
            return (self.reporting(cell) / FAILURE).read_text("utf-8", errors="replace").startswith(self.digest(cell))
        except OSError:
            return False

    def _account(self, cell: Cell) -> dict[str, Any]:
        """Give how the cell's own pipelines were run; others, such as reporting, may have been since."""
        try:
            return own_stages(self.reporting(cell), cell)
        except (OSError, ValueError):
            return {}

    def _is_finished(self, cell: Cell, account: Mapping[str, Any]) -> bool:
        stages = [account.get(name) or {} for name in cell.pipelines]
        if any(stage.get("unfinished") != [] for stage in stages):
            return False
        wanted = self.parameters[cell.run]
        expected = wanted.teachers_run, decisive(wanted, cell)
        try:
            made = [ProjectParameters.model_validate(stage["parameters"]) for stage in stages]
            return all((each.teachers_run, decisive(each, cell)) == expected for each in made)
        except ValueError:  # parameters of another version
            return False


def load_plan(project: Path, name: str) -> Plan:
    """Read the study ``studies/<name>`` of a project's folder, and check the parameters of all its cells.

    Raises:
        ValueError: the definition or the parameters of a cell are wrong.
    """
    from igl_dt.methods.registry import find_method

    path = project / "studies" / name / "study.yml"
    study = read_study(path)
    study = study.model_copy(update={"parameters": RUNTIME | study.parameters})
    for method in study.methods:
        find_method(study.registered(method), f"{path}: methods")
    cells = list_cells(name, study, lambda method: bool(find_method(method).required_teachers))
    if not (project / "conf" / study.env).is_dir():
        raise ValueError(f"{path}: env: there is no {project / 'conf' / study.env}")
    given = OmegaConf.create(load_configuration(project, study.env, "parameters"))
    parameters: dict[str, ProjectParameters] = {}
    checked: dict[str, list[str]] = {}
    for cell in cells:
        merged = copy.deepcopy(given)
        for key, value in ({"run": cell.run} | cell.parameters).items():
            OmegaConf.update(merged, key, value)
        try:
            made = parameters[cell.run] = ProjectParameters.model_validate(OmegaConf.to_container(merged))
            if cell.variant not in checked:
                training = cell.pipelines[1]
                checked[cell.variant] = list(check_training(training, getattr(made, training), made.runtime))
        except ValidationError as error:
            checked[cell.variant] = list(explain(error, ProjectParameters))
        if problems := checked[cell.variant]:
            raise ValueError("\n".join(f"{path}: {cell.variant}: {problem}" for problem in problems))
        if parameters[cell.run].splitting.labeled_list is not None and len({each.fraction for each in cells}) > 1:
            raise ValueError(
                f"{path}: {cell.variant}: with splitting.labeled_list all runs have the same labelled images: give one "
                "of fractions, the list's, and a study to each other list"
            )
    return Plan(project, name, study, cells, parameters, read_tables(path.parent))


def decisive(parameters: ProjectParameters, cell: Cell) -> dict[str, Any]:
    """Give the values that decide a cell's result; those of methods and networks that are not chosen do not.

    Defaults are left out: a parameter that is new in the code, and optional, undoes no cell.
    """
    from igl_dt.methods.registry import method_parameters

    training = getattr(parameters, cell.pipelines[1])
    groups = {"seed", "dataset", "splitting", "evaluation", "runtime"}
    dumped = parameters.model_dump(mode="json", include=groups, exclude_defaults=True)
    del dumped["dataset"]["root"]
    for name in parameters.runtime.changing_no_result:
        dumped["runtime"].pop(name, None)
    chosen: dict[str, list[Any]] = {}
    for role, choice in training.networks.items():
        chosen[role] = [choice.architecture, choice.section(choice.architecture)]
        if choice.init_from is not None:
            chosen[role].append(choice.init_from)
    method = [training.method.name, method_parameters(training.method).model_dump(mode="json", exclude_defaults=True)]
    others = {"networks", "method", "reference"}
    rest = training.model_dump(mode="json", exclude=others, exclude_defaults=True)
    return dumped | {"training": rest, "networks": chosen, "method": method}


def run_cells(plan: Plan, jobs: int, say: Callable[[str], None], address: str | None = None) -> list[Cell]:
    """Run the cells that are to be run, ``jobs`` at once; gives those that failed, whose students are left out.

    Args:
        plan: of the study.
        jobs: cells at once.
        say: takes lines about what starts and ends.
        address: of a Ray cluster whose machines have the project's folder, under the same path; ``local``: one that is
            started on this machine; None: processes on this machine, without Ray.

    Raises:
        KeyboardInterrupt: by Ctrl-C; the cells under way have saved their states.
        ValueError: Ray is not installed, not at this address, or does not start.
    """
    processes = _RayTasks(plan, say, jobs, address) if address else _Processes(plan, say)
    todo = plan.todo(plan.statuses())
    waiting, failed = list(todo), set()
    running: dict[Future[bool], Cell] = {}
    with closing(processes), ThreadPoolExecutor(jobs) as pool:
        try:
            while waiting or running:
                missing = {cell.run for cell in [*waiting, *running.values()]}
                ready = [cell for cell in waiting if cell.teachers not in missing]
                for cell in ready[: jobs - len(running)]:
                    waiting.remove(cell)
                    if cell.teachers in failed:
                        say(f"{cell.run} is skipped: {cell.teachers} is not done")
                        failed.add(cell.run)
                    else:
                        running[pool.submit(processes.run, cell)] = cell
                for ended in wait(running, return_when=FIRST_COMPLETED).done:
                    cell = running.pop(ended)
                    if not ended.result():
                        failed.add(cell.run)
            return [cell for cell in todo if cell.run in failed]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise


class _Processes:
    """Cells as processes on this machine."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self._plan, self._say = plan, say
        self._running: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, cell: Cell) -> bool:
        """Run a cell unless it is done; tells whether it succeeded.

        Where another process trains it, such as one whose study was killed, this waits for that one first.
        """
        folder = self._plan.project / "data/09_recovery" / cell.run
        folder.mkdir(parents=True, exist_ok=True)
        log, failure = folder.with_name(f"{cell.run}.log"), self._plan.reporting(cell) / FAILURE
        while self._wait_for(folder / "lock"):
            if self._plan.status(cell) == DONE:
                return True
            self._say(f"{cell.run} started")
            failure.unlink(missing_ok=True)
            code = self._execute(cell, log)
            said = log.read_text("utf-8", errors="replace")
            if code == 0:
                self._say(f"{cell.run} done")
                return True
            if code == IN_USE or self._stopped:
                continue
            if code < 0 or code == STOPPED:
                how = "stopped" if code == STOPPED else f"killed by signal {-code}"
                self._say(f"{cell.run} was {how}; the same command resumes it")
            else:
                atomic_write(failure, f"{self._plan.digest(cell)}\n{said[-2000:]}".encode())
                self._say(f"{cell.run} failed, see {log.relative_to(self._plan.project)}")
            return False
        return False

    def stop(self) -> None:
        """Ask all to save their states and end, and let no other start."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.terminate()  # one that has ended ignores it

    def close(self) -> None:
        """Give back what it holds, once all have ended."""

    def _wait_for(self, lock: Path) -> bool:
        """Wait until nobody holds a run's lock; tells whether there is still something to do then."""
        while not self._stopped:
            with suppress(Timeout), FileLock(lock).acquire(timeout=1):
                return not self._stopped
        return False

    def _execute(self, cell: Cell, log: Path) -> int:
        """Run a cell's process to its end; gives its exit status, negative where a signal ended it."""
        with log.open("wb") as output, self._lock:
            if self._stopped:
                return -signal.SIGTERM
            # In a session of its own: Ctrl-C comes to this process alone, which then asks each cell to end.
            process = subprocess.Popen(
                [sys.executable, "-m", *self._plan.command(cell)], cwd=self._plan.project, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )  # fmt: skip
            self._running.append(process)
        return process.wait()


class _RayTasks(_Processes):
    """Cells as tasks of a Ray cluster, each of which runs the same process as here."""

    def __init__(self, plan: Plan, say: Callable[[str], None], jobs: int, address: str) -> None:
        super().__init__(plan, say)
        if find_spec("ray") is None:
            raise ValueError("--address needs the extra ray: pip install 'igl-dt[ray]'")
        place = urlsplit(address if "//" in address else f"//{address}")
        try:
            if place.port is not None:  # Ray itself tries for many minutes
                socket.create_connection((place.hostname, place.port), timeout=10).close()
        except (OSError, ValueError) as error:
            raise ValueError(f"--address: there is no Ray cluster at {address!r}: {error}") from error
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # else Ray reports on its use to its makers
        import ray

        runtimes = [parameters.runtime for parameters in plan.parameters.values()]
        processors = max((runtime.threads or 1) * runtime.processes for runtime in runtimes)
        local = {"num_cpus": jobs * processors, "include_dashboard": False} if address == "local" else {}
        try:
            ray.init(address, log_to_driver=False, logging_level="warning", **local)
        except Exception as error:  # Ray raises just this where its processes do not start within 30 s
            raise ValueError(f"--address={address}: {error}") from error
        self._ray = ray
        gpus = max((runtime.processes for runtime in runtimes if runtime.device == "cuda"), default=0)
        needs = {"num_cpus": processors, "num_gpus": gpus}
        self._task = ray.remote(**needs)(_make_task())
        self._tasks: list[Any] = []

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for task in self._tasks:
                self._ray.cancel(task)  # one that has ended ignores it

    def close(self) -> None:
        self._ray.shutdown()

    def _execute(self, cell: Cell, log: Path) -> int:
        with self._lock:
            if self._stopped:
                return -signal.SIGTERM
            task = self._task.remote(self._plan.command(cell), str(self._plan.project), str(log))
            self._tasks.append(task)
        try:
            return int(self._ray.get(task))
        except self._ray.exceptions.RayError as error:
            log.write_text(str(error), "utf-8")
            has_failed = isinstance(error, self._ray.exceptions.RayTaskError)  # such as: the machine has no such folder
            return 1 if has_failed else -signal.SIGTERM  # cancelled, or the machine is gone


def _make_task() -> Callable[[list[str], str, str], int]:
    """Give what a Ray worker does for a cell; a closure, as Ray ships by value: workers need not import this module."""

    def task(words: list[str], project: str, log: str) -> int:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with open(log, "wb") as output:  # noqa: PTH123
            process = subprocess.Popen(
                [sys.executable, "-m", *words], cwd=project, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True, env=environment,
            )  # fmt: skip
            try:
                while process.poll() is None:
                    time.sleep(0.5)  # Ray's cancellation does not interrupt a wait for the process
                return process.returncode
            except BaseException:
                process.terminate()
                process.wait()
                raise

    return task


def describe_plan(plan: Plan, jobs: int) -> str:
    """Give a line per method or ablation and fraction, and the hours that are left.

    A cell is expected to take as long as the median of the finished ones of its method and ablation, at any fraction;
    where there are none, of all.
    """
    finished, states = (DONE, RECORDED), plan.statuses()
    rows = pd.DataFrame(
        [
            (cell.run, cell.variant, cell.fraction, status, plan.seconds(cell, status))
            for cell in plan.cells
            for status in [states[cell.run]]
        ],
        columns=["run", "variant", "fraction", "status", "seconds"],
    )
    lines = []
    for (variant, fraction), group in rows.groupby(["variant", "fraction"], sort=False):
        counts = ", ".join(f"{number} {status}" for status, number in group["status"].value_counts(sort=False).items())
        lines.append(f"{variant:40} {fraction:8g}  {counts}")
    expected = rows.groupby("variant")["seconds"].transform("median").fillna(rows["seconds"].median())
    todo = {cell.run for cell in plan.todo(states)}
    hours = expected[rows["run"].isin(todo)].sum(skipna=False) / 3600 / jobs
    done, elsewhere = rows["status"].isin(finished).sum(), (rows["status"] == RECORDED).sum()
    counted = f"{done} of {len(rows)} runs are done" + (f" ({elsewhere} recorded elsewhere)" if elsewhere else "")
    left = "unknown until a run is done" if math.isnan(hours) else f"{hours:.1f} hours with --jobs={jobs}"
    return "\n".join([*lines, f"{counted}; left: {left}"])


def _agree(stages: list[Mapping[str, Any]]) -> bool:
    """Tell whether all stages that read or wrote a file had the same content of it."""
    digests = {(path, digest) for stage in stages for path, digest in stage.get("sha256", {}).items()}
    return len(digests) == len({path for path, _ in digests})
