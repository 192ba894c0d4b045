"""What ``kedro reproduce`` says about what came out."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from igl_dt.dvc_ext.reproduce import Report, _first_differences, _outputs, first_difference


def test_identical_outputs() -> None:
    report = Report({"a.csv": ("1" * 32, "1" * 32)}, {"torch": ("1", "2")})
    assert report.same
    assert report.table().splitlines() == ["a.csv  identical", "1 of 1 outputs are identical to the last bit"]


def test_the_first_stage_that_differs_where_and_what_may_be_the_reason() -> None:
    report = Report(
        {
            "a.csv": ("3" * 32, "3" * 32),
            "weights": ("1" * 32, "2" * 32),
            "new": ("missing", "4" * 32),
            "old": ("5" * 32, "missing"),
        },
        {"kernels": ("AVX512", "AVX2")},
        {"a.csv": "data_splitting", "weights": "teacher_pretraining", "new": "evaluation", "old": "evaluation"},
        {"weights": "the first tensor that differs is a", "new": "not shown"},
    )
    assert not report.same
    assert report.table().splitlines() == [
        "a.csv    identical",
        "weights  different: 111111111111 committed, 222222222222 here",
        "new      not committed: 444444444444 here",
        "old      missing: 555555555555 committed",
        "1 of 4 outputs are identical to the last bit",
        "the first stage whose output differs: teacher_pretraining",
        "  weights: the first tensor that differs is a",
        "what differs in the environment:",
        "  kernels: AVX512 recorded, AVX2 here",
    ]


def test_an_environment_that_is_no_reason() -> None:
    assert Report({"a": ("1", "2")}, {}).table().endswith("the recorded environment is the same as here")


@pytest.mark.parametrize(
    ("name", "committed", "new", "said"),
    [
        ("a.csv", "id,x\na,1\nb,2\n", "id,x\na,1\nb,3\n", "row 2, column x: 2 committed, 3 here"),
        ("a.csv", "id,x\na,1\n", "id,x\na,1\nb,3\n", "1 rows committed, 2 here"),
        ("a.csv", "id,x\n", "id,y\n", "columns id, x committed, id, y here"),
        ("a.json", '{"s": {"miou": 1, "k": 2}}', '{"s": {"miou": 1, "k": 3}}', "s.k: 2 committed, 3 here"),
        ("a.json", '{"s": 1}', '{"s": 1, "t": 2}', "t: missing committed, 2 here"),
        ("a.json", "{", "{}", None),
        ("a.png", "a", "b", None),
    ],
)
def test_where_files_first_differ(tmp_path: Path, name: str, committed: str, new: str, said: str | None) -> None:
    old, here = tmp_path / "0123", tmp_path / name
    old.write_text(committed)
    here.write_text(new)
    assert first_difference(old, here) == said


def test_which_tensor_differs_first(tmp_path: Path) -> None:
    old, here = tmp_path / "0123", tmp_path / "a.safetensors"
    tensors = {"a": np.zeros(4, np.float32), "b": np.zeros(4, np.float32)}
    save_file(tensors, old)
    save_file(tensors | {"b": np.array([0, 0.5, 0, 0], np.float32)}, here)
    assert first_difference(old, here) == "the first tensor that differs is b: 25.0% of it, by at most 0.5"
    save_file(tensors, here, metadata={"fingerprint": "x"})
    assert first_difference(old, here) == "all tensors are identical: only the header differs"
    save_file({"a": tensors["a"]}, here)
    assert first_difference(old, here) == "tensor b is only committed"


@pytest.mark.parametrize("place", ["cache", "project", None])
def test_committed_content_is_found_in_the_cache_or_in_the_project(tmp_path: Path, place: str | None) -> None:
    content = json.dumps({"miou": 1}).encode()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    cache, project, clone = (tmp_path / name for name in ("cache", "project", "clone"))
    for folder in (project, clone):
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({"miou": 2}))
    found = {"cache": cache / "files/md5" / md5[:2] / md5[2:], "project": project / "metrics.json"}.get(place or "")
    if found is not None:
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_bytes(content)
    locks = []
    for name, value in (("old.lock", md5), ("new.lock", "1" * 32)):
        outs = [{"path": "metrics.json", "md5": value}]
        (tmp_path / name).write_text(yaml.safe_dump({"stages": {"evaluation": {"outs": outs}}}))
        locks.append(_outputs(tmp_path / name))
    details = _first_differences(*locks, [cache], project, clone)
    assert details == ({} if place is None else {"metrics.json": "miou: 1 committed, 2 here"})


def test_outputs_come_in_the_order_of_the_stages(tmp_path: Path) -> None:
    stages = {
        "evaluation": {"outs": [{"path": "a", "md5": "1"}]},
        "data_splitting": {"outs": [{"path": "b", "md5": "2"}]},
    }
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))
    assert list(_outputs(tmp_path / "dvc.lock")) == ["b", "a"]
    assert _outputs(tmp_path / "none") == {}
