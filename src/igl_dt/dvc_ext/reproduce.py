"""Making an environment's committed results once more, and comparing them bit by bit."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from igl_dt.data.datasets import find_dataset
from igl_dt.dvc_ext.sync import Environment
from igl_dt.utils.files import atomic_write

MISSING = "missing"


class ReproductionError(RuntimeError):
    """The results cannot be reproduced."""


@dataclass(frozen=True)
class Report:
    """What came out, beside what is committed."""

    outputs: dict[str, tuple[str, str]]
    """By path: the committed digest and the new one."""
    differences: dict[str, tuple[str, str]]
    """By name: those recorded and those of here, where they differ."""

    @property
    def same(self) -> bool:
        """Whether every output has the committed bits."""
        return all(committed == new for committed, new in self.outputs.values())

    def table(self) -> str:
        """Say it line by line."""
        width = max(map(len, self.outputs), default=0)
        lines = []
        for path, (committed, new) in self.outputs.items():
            if committed == MISSING:
                verdict = f"new: {new[:12]}"
            elif new == MISSING:
                verdict = f"gone: {committed[:12]} committed"
            else:
                verdict = "same" if committed == new else f"different: {committed[:12]} committed, {new[:12]} here"
            lines.append(f"{path:{width}}  {verdict}")
        different = sum(committed != new for committed, new in self.outputs.values())
        lines.append(f"{len(self.outputs) - different} of {len(self.outputs)} outputs are the same to the last bit")
        if different and self.differences:
            lines.append("what differs in the environment:")
            lines += [f"  {name}: {old} recorded, {new} here" for name, (old, new) in self.differences.items()]
        elif different:
            lines.append("the recorded environment is the same as here")
        return "\n".join(lines)


def reproduce(environment: Environment, record: bool) -> Report:
    """Run a environment as committed, in a clone of its own with an empty cache, and compare its outputs with ``dvc.lock``.

    Args:
        environment: which one. Images that no stage makes are those of the project.
        record: whether to put the new ``dvc.lock``, and the description of the environment beside it, into the project.

    Raises:
        ReproductionError: no repository, no ``dvc.lock`` in its last commit, or a stage that fails.
    """
    lock = environment.path.with_name("dvc.lock")
    with tempfile.TemporaryDirectory(prefix="reproduce-", ignore_cleanup_errors=True) as folder:
        clone = Path(folder) / "clone"
        _run(["git", "clone", "--quiet", str(environment.project), str(clone)], environment.project)
        if not record and not (clone / lock).is_file():
            raise ReproductionError(f"{lock} is not in the last commit: kedro reproduce --record makes it")
        committed = _digests(clone / lock)
        _lend_images(environment, clone)
        _run([sys.executable, "-m", "dvc", "repro", "--force", str(environment.path)], clone)
        new = _digests(clone / lock)
        described = _describe(clone, environment)
        recorded = clone / lock.with_name("dvc.environment.json")
        before = json.loads(recorded.read_text("utf-8")) if recorded.is_file() else {}
        if record:
            shutil.copyfile(clone / lock, environment.project / lock)
            content = json.dumps(described, indent=2) + "\n"
            atomic_write(environment.project / lock.with_name("dvc.environment.json"), content.encode())
    paths = sorted(committed.keys() | new.keys())
    names = dict.fromkeys([*before, *described])
    return Report(
        {path: (committed.get(path, MISSING), new.get(path, MISSING)) for path in paths},
        {
            name: (before.get(name, MISSING), described.get(name, MISSING))
            for name in names
            if before.get(name) != described.get(name)
        },
    )


def _lend_images(environment: Environment, clone: Path) -> None:
    """Let the clone see images that no stage makes, where they lie in the project."""
    dataset = environment.load("parameters")["dataset"]
    images = environment.project / dataset["root"]
    if find_dataset(dataset["source"]).draws_itself or Path(dataset["root"]).is_absolute() or not images.is_dir():
        return
    (clone / dataset["root"]).parent.mkdir(parents=True, exist_ok=True)
    (clone / dataset["root"]).symlink_to(images.resolve())


def _digests(lock: Path) -> dict[str, str]:
    """Give the digest of each output that a ``dvc.lock`` names."""
    if not lock.is_file():
        return {}
    content = yaml.safe_load(lock.read_text("utf-8"))
    return {out["path"]: out["md5"] for stage in content["stages"].values() for out in stage.get("outs", [])}


def _describe(project: Path, environment: Environment) -> dict[str, str]:
    """Give what the run manifest in a project says of the training's environment."""
    path = project / environment.load("catalog")["run_manifest"]["filepath"]
    stages: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    return dict(stages["student_learning"]["environment"])


def _run(command: list[str], folder: Path) -> None:
    """Run a command whose output the user sees, with this environment's programs first."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    # Without what points to the project that the command was typed in.
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("DVC_")}
    ran = subprocess.run(command, cwd=folder, env=kept | {"PATH": programs}, check=False)
    if ran.returncode != 0:
        raise ReproductionError(f"`{' '.join(command[:4])} …` failed in {folder}, see above")
