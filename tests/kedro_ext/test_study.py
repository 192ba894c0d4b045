"""Which runs of a study are done, and how the others are run."""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, call

import pytest

from igl_dt.kedro_ext.study import Plan, decisive, describe_plan, load_plan, run_cells
from igl_dt.pipelines.study.nodes import gather_study
from igl_dt.reporting.study.results import measure_run
from igl_dt.training import STOPPED

STUDY = """\
env: smoke
fractions: [0.25]
seeds: [0]
methods:
  supervised: {}
  igl_dt: {}
"""
SUPERVISED, TEACHERS, IGL_DT = "tiny-supervised-0.25-0", "tiny-teachers-0.25-0", "tiny-igl_dt-0.25-0"
DOUBLE = """\
import os, sys
run = sys.argv[1]
if "supervised" in run:
    os.kill(os.getpid(), 9)
print("no such image")
sys.exit("teachers" in run)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(Path(__file__).parents[2] / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    (tmp_path / "conf/local").mkdir()
    define(tmp_path, STUDY)
    return tmp_path


@pytest.fixture
def plan(project: Path) -> Plan:
    return load_plan(project, "tiny")


def define(project: Path, text: str) -> None:
    path = project / "studies/tiny/study.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def finish(plan: Plan, *runs: str, **changes: Any) -> None:
    """Write what runs leave when they have ended."""
    for cell in plan.cells:
        if cell.run in runs:
            parameters = plan.parameters[cell.run].model_dump(mode="json")
            account = {"unfinished": [], "parameters": parameters, "sha256": {"teacher": "a"}}
            account |= {"seconds": 1200.0, "peak_memory_mib": 0.0}
            path = plan.reporting(cell) / "run_manifest.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(dict.fromkeys(cell.pipelines, account | changes)), "utf-8")


def test_a_run_is_done_with_its_teachers_and_the_same_parameters(plan: Plan, project: Path) -> None:
    assert plan.statuses() == {SUPERVISED: "missing", TEACHERS: "missing", IGL_DT: "missing"}
    finish(plan, IGL_DT)
    assert plan.statuses()[IGL_DT] == "unfinished"
    finish(plan, SUPERVISED, TEACHERS)
    assert set(plan.statuses().values()) == {"done"}
    path = project / "data/08_reporting" / SUPERVISED / "run_manifest.json"
    stages = json.loads(path.read_text())
    path.write_text(json.dumps(stages | {"reporting": {"sha256": {"teacher": "c"}, "seconds": 1e9}}))
    assert set(plan.statuses().values()) == {"done"}, "whatever pipelines other than its own have read of it"
    assert plan.seconds(plan.cells[0], "done") == 2 * 1200 + 1200
    finish(plan, TEACHERS, sha256={"teacher": "b"})  # trained again
    assert plan.statuses() == {SUPERVISED: "done", TEACHERS: "done", IGL_DT: "unfinished"}
    finish(plan, TEACHERS, unfinished=["train_teachers"])
    assert plan.statuses() == {SUPERVISED: "done", TEACHERS: "unfinished", IGL_DT: "unfinished"}
    finish(plan, TEACHERS)
    define(
        project, STUDY.replace("igl_dt: {}", "igl_dt: {parameters: {student_learning.method.igl_dt.local_weight: 0}}")
    )
    assert load_plan(project, "tiny").statuses() == {SUPERVISED: "done", TEACHERS: "done", IGL_DT: "unfinished"}
    define(project, STUDY + "parameters: {runtime.workers: 1, student_learning.method.igl_dt.local_weight: 0}")
    assert load_plan(project, "tiny").statuses()[SUPERVISED] == "done"  # neither changes its result


def test_a_student_of_other_teachers_is_not_done(plan: Plan, project: Path) -> None:
    finish(plan, SUPERVISED, TEACHERS, IGL_DT)
    define(project, STUDY.replace("igl_dt: {}", "igl_dt: {parameters: {teacher_pretraining.steps: 3}}"))
    other, own = load_plan(project, "tiny"), "tiny-teachers-igl_dt-0.25-0"
    finish(other, own)
    assert other.statuses() == {SUPERVISED: "done", own: "done", IGL_DT: "unfinished"}


def record(plan: Plan, *runs: str, status: str = "done") -> None:
    """Write into the study's tables what another clone has of runs."""
    cells = [cell for cell in plan.cells if cell.run in runs]
    rows = [f"{cell.run},{plan.digest(cell)}" for cell in cells]
    students = [
        f"{cell.method},,{cell.fraction},0,{weights},{status},{row}"
        for cell, row in zip(cells, rows, strict=True)
        for weights in ("last", "best")
        if cell.run != TEACHERS
    ]
    folder = plan.project / "studies/tiny"
    header = "method,ablation,fraction,seed,weights,status,run,digest"
    (folder / "results.csv").write_text("\n".join([header, *students]), "utf-8")
    (folder / "costs.csv").write_text("\n".join(["run,digest,seconds", *(f"{row},7200" for row in rows)]), "utf-8")


def test_a_run_that_another_clone_has_recorded_is_not_run_here(plan: Plan, project: Path) -> None:
    record(plan, SUPERVISED, TEACHERS)
    here = load_plan(project, "tiny")
    assert here.statuses() == {SUPERVISED: "recorded", TEACHERS: "recorded", IGL_DT: "missing"}
    assert [cell.run for cell in here.todo(here.statuses())] == [TEACHERS, IGL_DT]  # the student needs the weights
    assert describe_plan(here, 1).endswith("2 of 3 runs are done (2 recorded elsewhere); left: 4.0 hours with --jobs=1")
    record(plan, IGL_DT)
    again = load_plan(project, "tiny")
    assert [cell.run for cell in again.todo(again.statuses())] == [SUPERVISED]  # no teachers
    record(plan, SUPERVISED, IGL_DT, status="failed")
    here = load_plan(project, "tiny")
    assert here.statuses()[IGL_DT] == "failed"
    assert len(here.todo(here.statuses())) == 3
    finish(plan, TEACHERS, unfinished=["train_teachers"])
    record(plan, SUPERVISED, TEACHERS, IGL_DT)
    here = load_plan(project, "tiny")
    assert here.statuses() == {SUPERVISED: "recorded", TEACHERS: "recorded", IGL_DT: "recorded"}
    said: list[str] = []
    assert run_cells(here, 1, said.append) == []
    assert said == []
    assert here.dropped(here.statuses()) == []


def test_a_recorded_run_counts_only_with_the_parameters_of_the_definition(
    plan: Plan, project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record(plan, SUPERVISED, TEACHERS, IGL_DT)
    define(project, STUDY + "parameters: {teacher_pretraining.steps: 3}")
    here = load_plan(project, "tiny")
    assert here.statuses() == {SUPERVISED: "recorded", TEACHERS: "missing", IGL_DT: "missing"}
    assert here.dropped(here.statuses()) == [IGL_DT, TEACHERS]
    monkeypatch.chdir(project)
    results, costs, *_ = gather_study("tiny")
    assert (results["run"].tolist(), costs["run"].tolist()) == ([SUPERVISED] * 2, [SUPERVISED])
    assert f"studies/tiny: rows of {IGL_DT}, {TEACHERS} are dropped" in caplog.text
    define(project, STUDY.replace("  igl_dt: {}\n", "") + "parameters: {runtime.workers: 1, dataset.root: elsewhere}")
    here = load_plan(project, "tiny")
    assert here.statuses() == {SUPERVISED: "recorded"}  # neither changes its result
    assert set(here.dropped(here.statuses())) == {TEACHERS, IGL_DT}


def test_a_failure_counts_only_with_the_parameters_of_the_definition_and_undoes_no_recorded_run(
    plan: Plan, project: Path
) -> None:
    supervised = plan.cells[0]
    plan.reporting(supervised).mkdir(parents=True)
    (plan.reporting(supervised) / "failed.txt").write_text(f"{plan.digest(supervised)}\nno such image", "utf-8")
    assert plan.statuses()[SUPERVISED] == "failed"
    define(project, STUDY + "parameters: {student_learning.steps: 3}")
    assert load_plan(project, "tiny").statuses()[SUPERVISED] == "missing"
    define(project, STUDY)
    record(plan, SUPERVISED)
    here = load_plan(project, "tiny")
    assert here.statuses()[SUPERVISED] == "recorded"
    assert here.dropped(here.statuses()) == []


def test_a_method_may_be_there_twice_under_a_name_of_its_own(project: Path) -> None:
    longer = "supervised_long: {method: supervised, parameters: {student_learning.steps: 99}}"
    define(project, STUDY.replace("supervised: {}", f"supervised: {{}}\n  {longer}"))
    plan = load_plan(project, "tiny")
    run = "tiny-supervised_long-0.25-0"
    assert [cell.run for cell in plan.cells] == [SUPERVISED, run, TEACHERS, IGL_DT]
    learning = plan.parameters[run].student_learning
    assert (learning.method.name, learning.steps) == ("supervised", 99)
    define(project, STUDY.replace("supervised: {}", "longer: {method: supervisd}"))
    with pytest.raises(ValueError, match="did you mean 'supervised'"):
        load_plan(project, "tiny")
    define(project, STUDY.replace("supervised: {}", "teachers: {method: supervised}"))
    with pytest.raises(ValueError, match=r"methods\.teachers: .*choose another"):
        load_plan(project, "tiny")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ("splitting: {labeled_fraction: 0.5}", r"splitting\.labeled_fraction must not be among the parameters: give"),
        ("splitting.labeled_list: a.csv", r"supervised: with splitting\.labeled_list all runs have the same"),
    ],
)
def test_labels_other_than_those_of_the_fraction_are_refused(project: Path, parameters: str, message: str) -> None:
    text = STUDY.replace("fractions: [0.25]", "fractions: [0.25, 0.125]")
    assert text != STUDY
    define(project, f"{text}parameters: {{{parameters}}}")
    with pytest.raises(ValueError, match=message):
        load_plan(project, "tiny")


def test_a_method_and_an_ablation_of_one_name_do_not_share_teachers(project: Path) -> None:
    longer = "parameters: {teacher_pretraining.steps: 99}"
    small = f"  small: {{method: igl_dt, {longer[:-3]}3}}}}\n"
    define(project, f"{STUDY}{small}ablations:\n  small: {{method: igl_dt, {longer}}}\n")
    with pytest.raises(ValueError, match="study tiny: small is a method and an ablation: give one another name"):
        load_plan(project, "tiny")


def test_what_an_older_version_left_is_not_done(plan: Plan) -> None:
    parameters = plan.parameters[SUPERVISED].model_dump(mode="json")
    parameters["student_learning"]["method"]["cps"] = {"an_option_of_old": 1}
    finish(plan, SUPERVISED, parameters=parameters)
    assert plan.statuses()[SUPERVISED] == "unfinished"


def test_initial_weights_decide_a_result(plan: Plan, project: Path) -> None:
    before = plan.digest(plan.cells[0])
    changed = plan.parameters[SUPERVISED].model_copy(deep=True)
    changed.student_learning.networks["student"] = changed.student_learning.networks["student"].model_copy(
        update={"init_from": "weights.safetensors"}
    )
    plan.parameters[SUPERVISED] = changed
    assert plan.digest(plan.cells[0]) != before


def test_a_run_that_was_stopped_has_not_failed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = plan.reporting(plan.cells[0]) / "failed.txt"
    failure.parent.mkdir(parents=True)
    failure.write_text(f"{plan.digest(plan.cells[0])}\nof an earlier attempt", "utf-8")
    (plan.project / "double.py").write_text(f"raise SystemExit({STOPPED})", "utf-8")
    monkeypatch.setattr(Plan, "command", lambda self, cell: ["double", cell.run])
    said: list[str] = []
    run_cells(plan, 1, said.append)
    assert f"{SUPERVISED} was stopped; the same command resumes it" in said
    assert set(plan.statuses().values()) == {"missing"}


def test_time_and_memory_are_those_of_a_resumed_training_as_a_whole(plan: Plan) -> None:
    finish(plan, TEACHERS, peak_memory_mib=100.0)  # two stages of 20 minutes
    reporting = plan.reporting(plan.cells[1])
    stages = json.loads((reporting / "run_manifest.json").read_text("utf-8"))
    assert measure_run(reporting, stages) == (2400.0, 100.0)
    cost = reporting / "cost_teachers.json"
    cost.write_text('{"seconds": 2000.0, "peak_memory_mib": 150.0}', "utf-8")
    assert measure_run(reporting, stages) == (3200.0, 150.0)


def test_a_digest_does_not_hang_on_defaults_that_nobody_gave(plan: Plan) -> None:
    """Else a new optional parameter would undo all that is recorded."""
    found = decisive(plan.parameters[SUPERVISED], plan.cells[0])
    assert "short_side" not in found["dataset"]
    assert found["method"] == ["supervised", {}]


def test_the_number_of_processes_decides_a_result_with_the_fast_reduction_alone(project: Path) -> None:
    for parameters, decides in (("", False), ("runtime.reduction: fast, ", True)):
        define(project, STUDY + f"parameters: {{{parameters}runtime.shards: 2, runtime.processes: 2}}")
        plan = load_plan(project, "tiny")
        assert ("processes" in decisive(plan.parameters[SUPERVISED], plan.cells[0])["runtime"]) is decides


def test_the_plan_expects_what_other_runs_took(plan: Plan) -> None:
    assert describe_plan(plan, 1).endswith("0 of 3 runs are done; left: unknown until a run is done")
    finish(plan, SUPERVISED)  # three stages of 20 minutes
    said = describe_plan(plan, 2).splitlines()
    assert re.fullmatch(r"supervised +0\.25  1 done", said[0])
    assert said[-1] == "1 of 3 runs are done; left: 1.0 hours with --jobs=2"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("env: smoke", "env: smokey", "env: there is no .*smokey"),
        ("supervised: {}", "supervisd: {}", "did you mean 'supervised'"),
        ("igl_dt: {}", "igl_dt: {parameters: {student_learning.stops: 1}}", "study.yml: igl_dt: .*stops"),
        (
            "igl_dt: {}",
            "igl_dt: {parameters: {student_learning.method.igl_dt.local_wait: 1}}",
            "igl_dt: student_learning.method.igl_dt.local_wait",
        ),
    ],
)
def test_wrong_parameters_are_found_before_anything_runs(project: Path, old: str, new: str, problem: str) -> None:
    define(project, STUDY.replace(old, new))
    with pytest.raises(ValueError, match=problem):
        load_plan(project, "tiny")


def test_a_student_that_waits_for_its_teachers_keeps_no_other_from_running(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    define(project, STUDY.replace("  supervised: {}\n  igl_dt: {}\n", "  igl_dt: {}\n  supervised: {}\n"))
    double = "import pathlib, sys, time\nteachers = 'teachers' in sys.argv[1]\nother = pathlib.Path('supervised')\n"
    double += "if 'supervised' in sys.argv[1]: other.touch()\n"
    double += "while teachers and not other.exists(): time.sleep(0.01)\n"
    (project / "double.py").write_text(double, "utf-8")
    monkeypatch.setattr(Plan, "command", lambda self, cell: ["double", cell.run])
    assert run_cells(load_plan(project, "tiny"), 2, print) == []


def test_a_run_that_another_process_begins_to_train_is_tried_again(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock was free a moment before."""
    code = "import pathlib, sys\nflag = pathlib.Path(sys.argv[1])\nsys.exit(0 if flag.exists() else flag.touch() or 75)"
    (plan.project / "double.py").write_text(code, "utf-8")
    monkeypatch.setattr(Plan, "command", lambda self, cell: ["double", cell.run])
    said: list[str] = []
    assert run_cells(plan, 1, said.append) == []
    runs = [cell.run for cell in plan.cells]
    assert said == [f"{run} {what}" for run in runs for what in ("started", "started", "done")]


@pytest.mark.parametrize("address", [None, "local"])
def test_a_failed_run_ends_no_other_and_students_need_their_teachers(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    if address:
        pytest.importorskip("ray")
    (plan.project / "double.py").write_text(DOUBLE, "utf-8")
    monkeypatch.setattr(Plan, "command", lambda self, cell: ["double", cell.run])
    said: list[str] = []
    assert [cell.run for cell in run_cells(plan, 2, said.append, address)] == [SUPERVISED, TEACHERS, IGL_DT]
    assert sorted(said) == [
        f"{IGL_DT} is skipped: {TEACHERS} is not done",
        f"{SUPERVISED} started",
        f"{SUPERVISED} was killed by signal 9; the same command resumes it",
        f"{TEACHERS} failed, see data/09_recovery/{TEACHERS}.log",
        f"{TEACHERS} started",
    ]
    assert plan.statuses() == {SUPERVISED: "missing", TEACHERS: "failed", IGL_DT: "failed"}
    failure = (plan.reporting(plan.cells[1]) / "failed.txt").read_text("utf-8")
    assert failure == f"{plan.digest(plan.cells[1])}\nno such image\n"
    finish(plan, SUPERVISED, TEACHERS)
    said.clear()
    assert run_cells(plan, 1, said.append, address) == []
    assert said == [f"{IGL_DT} started", f"{IGL_DT} done"]


def test_without_ray_an_address_says_what_to_install(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igl_dt.kedro_ext.study.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=re.escape("--address needs the extra ray: pip install 'igl-dt[ray]'")):
        run_cells(plan, 1, print, "local")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:port"])
def test_an_address_without_a_cluster_is_said(plan: Plan, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr("igl_dt.kedro_ext.study.find_spec", lambda name: "there")
    with pytest.raises(ValueError, match=re.escape(f"--address: there is no Ray cluster at '{address}'")):
        run_cells(plan, 1, print, address)


def test_a_task_takes_the_processors_and_gpus_of_all_its_processes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = "runtime.device: cuda, runtime.processes: 2, runtime.shards: 2, runtime.threads: 3"
    define(project, STUDY.replace("env: smoke\n", f"env: smoke\nparameters: {{{runtime}}}\n"))
    ray = MagicMock()
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("igl_dt.kedro_ext.study.find_spec", lambda name: "there")
    plan = load_plan(project, "tiny")
    monkeypatch.setattr(Plan, "todo", lambda *_: [])
    assert run_cells(plan, 5, print, "local") == []
    assert ray.remote.call_args == call(num_cpus=6, num_gpus=2)
    assert ray.init.call_args.kwargs["num_cpus"] == 30


def test_a_cluster_that_does_not_start_is_said(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = MagicMock()
    ray.init.side_effect = Exception("The current node timed out during startup.")
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr("igl_dt.kedro_ext.study.find_spec", lambda name: "there")
    with pytest.raises(ValueError, match="--address=local: The current node timed out during startup"):
        run_cells(plan, 1, print, "local")
