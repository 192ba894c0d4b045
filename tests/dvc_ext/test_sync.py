"""dvc.yaml and the Kedro graph are one truth."""

import shutil
from pathlib import Path

import pytest
import yaml

from igl_dt.dvc_ext.sync import Environment, describe, differences, find_environments, render, write

PROJECT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Kedro's, on names of datasets


@pytest.fixture(scope="module")
def described() -> dict[str, dict]:
    environments = [Environment(PROJECT, path.parent.name) for path in sorted(PROJECT.glob("conf/*/globals.yml"))]
    return {environment.env: describe(environment) for environment in environments}


@pytest.fixture(scope="module")
def content(described: dict[str, dict]) -> dict:
    return described["base"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copytree(PROJECT / "conf", tmp_path / "conf", ignore=shutil.ignore_patterns("local"))
    shutil.copy(PROJECT / "dvc.yaml", tmp_path)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_the_committed_files_are_those_of_the_graph(described: dict[str, dict]) -> None:
    assert described.keys() >= {"base", "camvid", "smoke"}
    for environment in find_environments(PROJECT):
        assert differences(environment) == [], "run `kedro dvc sync`"
        text = (PROJECT / environment.path).read_text("utf-8")
        assert text == render(described[environment.env])
        assert "versioned" not in text
        assert "persist" not in text


LEARNING = {"data", "evaluation", "losses", "networks/io.py", "runtime", "training"}
TEACHERS = {"networks/architectures/swin_unet.py", "networks/architectures/res_unet.py"}
STUDENT = {"networks/architectures/deeplab_v3_plus.py"}
IGL_DT, CPS = {"methods/igl_dt.py"}, {"methods/cps.py"}


@pytest.mark.parametrize(
    ("stage", "pipeline", "used", "unused"),
    [
        ("data_splitting", "data_splitting", {"data"}, {"training", "losses", "networks/base.py", "reporting/figures"}),
        (
            "teacher_pretraining",
            "training",
            LEARNING | TEACHERS | CPS,
            {"inference", "reporting/figures"} | IGL_DT | STUDENT,
        ),
        (
            "student_learning",
            "training",
            LEARNING | TEACHERS | STUDENT | IGL_DT,
            {"inference", "reporting/figures"} | CPS,
        ),
        (
            "evaluation",
            "evaluation",
            {"data", "evaluation", "inference", "networks/io.py", "runtime"} | TEACHERS | STUDENT,
            {"training", "losses", "reporting/figures", "reporting/gallery.py"} | IGL_DT | CPS,
        ),
        (
            "reporting",
            "reporting",
            {"reporting/figures", "data"},
            {"losses", "training", "networks/base.py", "inference"},
        ),
    ],
)
def test_stages_depend_on_the_code_that_they_import(
    content: dict, stage: str, pipeline: str, used: set, unused: set
) -> None:
    found = {path.removeprefix("src/igl_dt/") for path in content["stages"][stage]["deps"]}
    assert used | {"__init__.py", "utils", f"pipelines/{pipeline}", "pipelines/__init__.py"} <= found
    assert not unused & found
    assert not [
        path for path in found if path.startswith("pipelines/") and path.split("/")[1] not in (pipeline, "__init__.py")
    ]
    for path in content["stages"][stage]["deps"]:
        assert not path.startswith("src/") or (PROJECT / path).exists()


def test_a_stage_depends_on_the_method_and_the_architectures_that_parameters_choose(project: Path) -> None:
    change(project / "conf/base/parameters_student_learning.yml", "name: igl_dt", "name: supervised")
    change(project / "conf/base/parameters_student_learning.yml", "deeplab_v3_plus\n", "res_unet\n")
    stages = describe(Environment(project, "base"))["stages"]
    found = {path.removeprefix("src/igl_dt/") for path in stages["student_learning"]["deps"]}
    assert found >= {"methods/supervised.py", *TEACHERS}
    assert not found & (STUDENT | IGL_DT | CPS)


def test_a_stage_depends_on_the_file_of_a_method_of_ones_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from igl_dt.methods.supervised import Supervised\n\nclass Mine(Supervised):\n    name = 'mine'\n"
    (project / "own_method.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(str(project))
    change(project / "conf/base/parameters_student_learning.yml", "name: igl_dt", "name: own_method:Mine")
    stages = describe(Environment(project, "base"))["stages"]
    assert "own_method.py" in stages["student_learning"]["deps"]
    assert "own_method.py" not in stages["teacher_pretraining"]["deps"]


def test_stages_depend_on_the_weights_and_lists_that_parameters_name(project: Path) -> None:
    for file in ("weights.pth", "labeled.txt"):
        (project / file).touch()
    change(
        project / "conf/base/parameters_student_learning.yml",
        "architecture: deeplab_v3_plus\n",
        "architecture: deeplab_v3_plus\n      init_from: weights.pth\n",
    )
    change(project / "conf/base/parameters_data_splitting.yml", "labeled_fraction: 0.05", "labeled_list: labeled.txt")
    stages = describe(Environment(project, "base"))["stages"]
    assert [name for name in stages if "weights.pth" in stages[name]["deps"]] == ["student_learning"]
    assert [name for name in stages if "labeled.txt" in stages[name]["deps"]] == ["data_splitting"]


def test_outputs_of_one_stage_are_dependencies_of_others(content: dict) -> None:
    stages = content["stages"]
    made = {
        out: name
        for name, stage in stages.items()
        for out in (*stage["outs"], *(path for metric in stage.get("metrics", []) for path in metric))
    }
    needs = {name: {made[path] for path in stage["deps"] if path in made} for name, stage in stages.items()}
    assert needs == {
        "data_splitting": set(),
        "teacher_pretraining": {"data_splitting"},
        "student_learning": {"data_splitting", "teacher_pretraining"},
        "evaluation": {"data_splitting", "teacher_pretraining", "student_learning"},
        "reporting": {"data_splitting", "teacher_pretraining", "student_learning", "evaluation"},
    }


def test_what_varies_is_neither_output_nor_dependency(content: dict) -> None:
    assert not [name for name in ("run_manifest.json", "report.html") if name in render(content)]
    assert "src/igl_dt/reporting/report" in content["stages"]["reporting"]["deps"]


def test_parameters_are_tracked_where_they_decide_something(content: dict) -> None:
    keys = {
        name: {key for file in stage.get("params", []) for keys in file.values() for key in keys}
        for name, stage in content["stages"].items()
    }
    assert keys["teacher_pretraining"] >= {"seed", "teacher_pretraining", "runtime.threads"}
    assert "student_learning" not in keys["teacher_pretraining"]
    assert "student_learning" in keys["student_learning"]
    assert not {"runtime", "runtime.workers", "runtime.recovery_folder"} & keys["teacher_pretraining"]
    assert keys["reporting"] == {"dataset"}  # where the images that it shows lie


def test_the_number_of_processes_is_tracked_where_it_decides_something(project: Path) -> None:
    for reduction, tracked in (("exact", False), ("fast", True)):
        (project / "conf/base/parameters_x.yml").write_text(
            f"runtime: {{processes: 2, shards: 2, reduction: {reduction}}}\n", "utf-8"
        )
        params = describe(Environment(project, "base"))["stages"]["student_learning"]["params"]
        keys = next(file for file in params if "conf/base/parameters_x.yml" in file)["conf/base/parameters_x.yml"]
        assert ("runtime.processes" in keys) is tracked


def test_neither_local_settings_nor_ad_hoc_parameters_can_leak_in(content: dict) -> None:
    for name, stage in content["stages"].items():
        assert stage["cmd"] == f"kedro run --env base --pipelines {name}"


def test_environments_share_no_output_and_track_their_own_parameters(described: dict[str, dict]) -> None:
    outs: dict[str, str] = {}
    for env, content in described.items():
        for stage in content["stages"].values():
            for out in (*stage["outs"], *(path for metric in stage.get("metrics", []) for path in metric)):
                assert out not in outs
                outs[out] = env
    camvid = described["camvid"]["stages"]
    assert camvid["data_splitting"]["always_changed"]
    assert camvid["data_splitting"]["wdir"] == "../.."
    assert {"conf/camvid/parameters.yml": ["dataset", "student_learning"]} in [
        {path: sorted(keys) for path, keys in file.items()} for file in camvid["student_learning"]["params"]
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("dvc.yaml", "    - src/igl_dt/losses\n", "", "stages.teacher_pretraining.deps lacks src/igl_dt/losses"),
        (
            "dvc.yaml",
            "    - src/igl_dt/reporting/figures\n",
            "    - src/igl_dt/reporting/figures\n    - src/igl_dt/losses\n",
            "stages.reporting.deps has src/igl_dt/losses, which the graph does not have",
        ),
        (
            "conf/base/catalog_training.yml",
            "history_student.csv",
            "history_of_student.csv",
            "stages.student_learning.outs lacks data/08_reporting/shapes/history_of_student.csv",
        ),
        (
            "dvc.yaml",
            "kedro run --env base --pipelines evaluation",
            "kedro run",
            "stages.evaluation.cmd is 'kedro run', the graph has 'kedro run --env base --pipelines evaluation'",
        ),
    ],
)
def test_says_which_edge_differs(project: Path, file: str, old: str, new: str, said: str) -> None:
    change(project / file, old, new)
    assert f"dvc.yaml: {said}" in differences(Environment(project, "base"))


def test_says_which_parameters_an_environment_has(project: Path) -> None:
    write(Environment(project, "camvid"))
    change(project / "conf/camvid/parameters.yml", "splitting:", "evaluation: {batch_size: 4}\n\nsplitting:")
    at = "stages.evaluation.params.conf/camvid/parameters.yml"
    assert f"environments/camvid/dvc.yaml: {at} lacks evaluation" in differences(Environment(project, "camvid"))


def test_a_copied_environment_concerns_dvc_only_on_demand_and_under_a_name_of_its_own(project: Path) -> None:
    write(Environment(project, "folder"))
    shutil.copytree(project / "conf/folder", project / "conf/polyps")
    polyps = Environment(project, "polyps")
    assert [environment.env for environment in find_environments(project)] == ["base", "folder"]
    with pytest.raises(ValueError, match=r"conf/polyps/globals.yml: run 'folder' is also the run of .* folder"):
        write(polyps)
    change(project / "conf/polyps/globals.yml", "folder", "polyps")
    write(polyps)
    assert differences(polyps) == []
    assert [environment.env for environment in find_environments(project)] == ["base", "folder", "polyps"]


def test_a_missing_file_is_a_difference(project: Path) -> None:
    (project / "dvc.yaml").unlink()
    assert differences(Environment(project, "base")) == ["dvc.yaml is missing"]


def test_the_file_is_yaml_without_surprises(content: dict) -> None:
    assert yaml.safe_load(render(content)) == content
