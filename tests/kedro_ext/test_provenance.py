"""From what is written about a run one can do it again."""

import shlex
import subprocess
from pathlib import Path

import click
import pytest
from kedro.framework.cli.utils import _split_params

from igl_dt.kedro_ext.provenance import (
    find_commit,
    hash_files,
    list_versions,
    rebuild_command,
)
from igl_dt.utils.files import digest


@pytest.mark.parametrize(
    ("run", "command"),
    [
        ({"env": None}, "kedro run --env=base"),
        ({"env": "smoke", "pipeline_names": ["full"]}, "kedro run --env=smoke --pipelines=full"),
        (
            {"env": "camvid", "pipeline_names": ["a", "b"], "tags": (), "node_names": ("x",)},
            "kedro run --env=camvid --pipelines=a,b --nodes=x",
        ),
        (
            {
                "env": "base",
                "runtime_params": {"seed": 1, "dataset": {"root": "my images"}, "runtime": {"portable": True}},
            },
            "kedro run --env=base '--params=seed=1,dataset.root=my images,runtime.portable=true'",
        ),
    ],
)
def test_the_command_is_rebuilt(run: dict, command: str) -> None:
    assert rebuild_command(run) == command


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            1,
            1e-05,
            0.1,
            "",
            "text",
            "my images",
            "1",
            "1e5",
            "null",
            "true",
            "~",
            "a,b",
            " a",
            "[",
            "{x",
        ),
        *("a: b", "# x", "'", '"', "a=b", "${y}", "ü\n", "C:\\x", [], [64, 64], ["a,b", None, [1, [2, "3"]]], {}),
    ],
)
def test_the_rebuilt_command_is_read_as_what_it_was(value: object) -> None:
    parameters = {"seed": 1, "dataset": {"root": value, "image_size": None}, "last": value}
    *_, option = shlex.split(rebuild_command({"env": "smoke", "runtime_params": parameters}))
    command = click.Command("run", params=[click.Option(["--params"])])
    read = _split_params(click.Context(command), command.params[0], option.removeprefix("--params="))
    assert read == parameters


def test_commit_and_whether_files_differ_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert find_commit(tmp_path) == {"commit": None, "dirty": None}
    (tmp_path / "file").write_text("a")
    for command in ("init --quiet", "add file", "commit --quiet --message a"):
        subprocess.run(["git", *command.split()], cwd=tmp_path, check=True)
    found = find_commit(tmp_path)
    assert len(found["commit"]) == 40
    assert found["dirty"] is False
    (tmp_path / "conf/base").mkdir(parents=True)
    (tmp_path / "conf/base/parameters.yml").touch()
    subprocess.run(["git", "add", "conf"], cwd=tmp_path, check=True)
    subprocess.run(["git", "commit", "--quiet", "--message", "b"], cwd=tmp_path, check=True)
    (tmp_path / "conf/own").mkdir()
    (tmp_path / "conf/own/parameters.yml").touch()
    assert find_commit(tmp_path)["dirty"] is False
    (tmp_path / "method.py").touch()
    assert find_commit(tmp_path)["dirty"] is True
    (tmp_path / "method.py").unlink()
    (tmp_path / "file").write_text("b")
    assert find_commit(tmp_path)["dirty"] is True


def test_files_are_hashed_by_their_path_in_the_project(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a").write_bytes(b"a")
    assert hash_files(tmp_path, tmp_path / "folder") == {"folder/a": digest(b"a")}
    assert hash_files(tmp_path, tmp_path / "folder/a") == {"folder/a": digest(b"a")}
    assert hash_files(tmp_path, tmp_path / "absent") == {}


def test_versions_are_those_that_results_depend_on() -> None:
    assert {"python", "torch", "timm", "pillow", "kedro"} <= list_versions().keys()


def test_an_environment_that_is_a_link_is_no_change_of_the_code(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes((Path(__file__).parents[2] / ".gitignore").read_bytes())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".venv").symlink_to("elsewhere")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "check-ignore", ".venv"], cwd=tmp_path, check=True)
