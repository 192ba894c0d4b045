"""DVC does what its users expect: nothing twice, everything that is concerned, and the same bits in another clone."""

import json
import resource
from pathlib import Path

import pytest
import yaml

FILE = "environments/smoke/dvc.yaml"
MIOU = "data/08_reporting/smoke/miou.json"
STAGES = ["data_splitting", "teacher_pretraining", "student_learning", "evaluation", "reporting"]


@pytest.fixture(scope="module")
def origin(make_project, type_command) -> Path:
    """A repository with the project's files as they are, and with the smoke environment on one thread."""
    root = make_project("origin")
    parameters = root / "conf/smoke/parameters.yml"
    parameters.write_text(parameters.read_text("utf-8") + "runtime: {threads: 1}\n", "utf-8")
    type_command(root, "kedro", "dvc", "sync", "--env=smoke")
    for command in ("init --quiet", "add --all", "commit --quiet --message all"):
        type_command(root, "git", *command.split())
    return root


@pytest.fixture(scope="module")
def reproduced(origin: Path, type_command) -> Path:
    """A clone in which DVC has run all, its results pushed to a folder and its lock to the origin."""
    root = origin.with_name("reproduced")
    type_command(origin, "git", "clone", "--quiet", str(origin), str(root))
    type_command(root, "dvc", "repro", FILE)
    type_command(root, "dvc", "remote", "add", "--default", "--quiet", "folder", str(origin.with_name("remote")))
    type_command(root, "dvc", "push", "--quiet", FILE)
    type_command(root, "git", "add", "--all")
    type_command(root, "git", "add", "--force", MIOU)
    type_command(root, "git", "commit", "--quiet", "--message", "results")
    type_command(origin, "git", "fetch", "--quiet", str(root), "HEAD")
    type_command(origin, "git", "reset", "--quiet", "--hard", "FETCH_HEAD")
    return root


@pytest.fixture(scope="module")
def clone(reproduced: Path, origin: Path, type_command) -> Path:
    """Another clone, which has pulled the results."""
    root = origin.with_name("clone")
    type_command(origin, "git", "clone", "--quiet", str(origin), str(root))
    type_command(root, "dvc", "pull", "--quiet", FILE)
    return root


def changed(status: str) -> dict[str, str]:
    """Give what ``dvc status`` has to say, by stage."""
    return {stage.split(":")[-1]: str(what) for stage, what in json.loads(status).items()}


def test_gives_the_bytes_of_kedro_run(reproduced: Path, full: Path, outputs) -> None:
    def results(root: Path) -> dict[str, bytes]:
        return {path: content for path, content in outputs(root).items() if "/smoke/" in path}

    once, again = results(full), results(reproduced)
    assert once.keys() == again.keys()
    assert [path for path in once if once[path] != again[path]] == []


def test_does_nothing_twice(reproduced: Path, type_command) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = type_command(reproduced, "dvc", "repro", FILE)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 10  # seconds of a core: others may keep the machine busy
    assert "Running stage" not in said
    assert "up to date" in said
    assert type_command(reproduced, "git", "status", "--porcelain") == ""


def test_touches_no_other_environment(reproduced: Path) -> None:
    assert {path.name for path in reproduced.glob("data/*/*") if not path.name.startswith(".")} == {"smoke"}
    assert not (reproduced / "dvc.lock").exists()


def test_another_clone_pulls_and_trains_nothing(reproduced: Path, clone: Path, type_command, outputs) -> None:
    said = type_command(clone, "dvc", "repro", FILE)
    assert "Running stage" not in said
    own = ("data/09_recovery/", "data/07_model_output/smoke/training/")  # what a training leaves where it runs
    made = {path: content for path, content in outputs(reproduced).items() if not path.startswith(own)}
    assert outputs(clone) == made


@pytest.mark.slow
def test_another_clone_makes_the_same_bits(reproduced: Path, clone: Path, type_command) -> None:
    before = (clone / "environments/smoke/dvc.lock").read_bytes()
    type_command(clone, "dvc", "repro", "--force", FILE)
    assert (clone / "environments/smoke/dvc.lock").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "old", "new", "stages"),
    [
        ("conf/base/parameters_student_learning.yml", "local_weight: 3.0", "local_weight: 2.0", ["student_learning"]),
        ("conf/base/parameters.yml", "seed: 0", "seed: 1", STAGES[:4]),
        ("conf/base/parameters_runtime.yml", "workers: 1", "workers: 0", []),
        ("src/igl_dt/reporting/figures/style.py", '"""', '"""Changed. ', ["reporting"]),
        ("src/igl_dt/losses/local_regional.py", '"""', '"""Changed. ', STAGES[1:3]),
    ],
    ids=["lambda", "seed", "workers", "figure", "loss"],
)
def test_a_change_concerns_what_depends_on_it(
    clone: Path, type_command, file: str, old: str, new: str, stages: list[str]
) -> None:
    path = clone / file
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    found = changed(type_command(clone, "dvc", "status", "--json", FILE))
    path.write_text(text, "utf-8")
    assert list(found) == stages


def test_metrics_parameters_and_plots_are_shown(reproduced: Path, type_command) -> None:
    header, miou = type_command(reproduced, "dvc", "metrics", "show", MIOU).splitlines()
    assert header.split()[:3] == ["Path", "global_teacher", "local_teacher"]
    assert len(header) < 150
    assert all(0 <= float(value) <= 1 for value in miou.split()[1:])
    type_command(reproduced, "dvc", "plots", "show", "--out", "plots", FILE)
    page = (reproduced / "plots/index.html").read_text("utf-8")
    assert "val_miou.student" in page
    assert page.count('{"filter": "datum[') == 3  # rows without a validation would be drawn as 0
    assert '"tooltip": [' not in page  # DVC's tooltips do not escape the dot in a name, which empties the plot
    assert len(list((reproduced / "plots/static").glob("*.png"))) == 7


def test_the_run_manifest_tells_how_to_do_it_again(reproduced: Path, type_command) -> None:
    record = json.loads((reproduced / "data/08_reporting/smoke/run_manifest.json").read_text("utf-8"))
    assert list(record) == STAGES
    lock = yaml.safe_load((reproduced / "environments/smoke/dvc.lock").read_text("utf-8"))
    assert len(lock["stages"]) == len(STAGES)
    for stage, entry in record.items():
        assert entry["command"] == f"kedro run --env=smoke --pipelines={stage}"
        assert len(entry["commit"]) == 40
        assert entry["parameters"]["seed"] == 0
        assert entry["seconds"] >= 0
        assert entry["versions"]["torch"]
        assert entry["unfinished"] == []
        assert ("environment" in entry) == (stage not in ("data_splitting", "reporting"))
    assert record["student_learning"]["environment"]["threads"] == "1"
    assert "data/06_models/smoke/student.safetensors" in record["student_learning"]["sha256"]
    page = (reproduced / "data/08_reporting/smoke/report.html").read_text("utf-8")
    assert all(entry["command"] in page for entry in record.values())
    assert "not recorded" not in page
