"""From what is written about a run one can do it again."""

import subprocess
from pathlib import Path

import pytest

from igl_dt.files import digest
from igl_dt.provenance import find_commit, hash_files, list_versions, rebuild_command


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
                "runtime_params": {"seed": 1, "dataset": {"root": "my pictures"}, "runtime": {"portable": True}},
            },
            "kedro run --env=base '--params=seed=1,dataset.root=my pictures,runtime.portable=true'",
        ),
    ],
)
def test_the_command_is_rebuilt(run: dict, command: str) -> None:
    assert rebuild_command(run) == command


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
    assert len(found["commit"]) == 40 and found["dirty"] is False
    (tmp_path / "file").write_text("b")
    assert find_commit(tmp_path)["dirty"] is True


def test_files_are_hashed_by_their_path_in_the_project(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    hashes = hash_files(tmp_path, [tmp_path / "b", tmp_path / "folder", tmp_path / "absent"])
    assert hashes == {"b": digest(b"b"), "folder/a": digest(b"a")}


def test_versions_are_those_that_results_depend_on() -> None:
    assert {"python", "torch", "timm", "pillow", "kedro"} <= list_versions().keys()
