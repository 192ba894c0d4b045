"""Making an environment's committed results once more, and comparing them bit by bit."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from safetensors import SafetensorError
from safetensors.numpy import load_file

from igl_dt.data.datasets import find_dataset
from igl_dt.dvc_ext.sync import Environment, write
from igl_dt.pipeline_registry import stages as pipeline_stages
from igl_dt.utils.files import atomic_write

MISSING = "missing"


class ReproductionError(RuntimeError):
    """The results cannot be reproduced."""


@dataclass(frozen=True)
class Report:
    """What came out, beside what is committed."""

    outputs: dict[str, tuple[str, str]]
    """By path, in the order of the stages: the committed digest and the new one."""
    differences: dict[str, tuple[str, str]]
    """Of the environment, by name: what is recorded and what is here, where they differ."""
    stages: dict[str, str] = field(default_factory=dict)
    """By path: the stage that makes it."""
    details: dict[str, str] = field(default_factory=dict)
    """By path: the first value that differs, where both files could be read."""

    @property
    def same(self) -> bool:
        """Whether every output has the committed bits."""
        return all(committed == new for committed, new in self.outputs.values())

    def table(self) -> str:
        """Give a line per output and, where one differs, the first stage that differs and the possible reasons."""
        width = max(map(len, self.outputs), default=0)
        lines = []
        for path, (committed, new) in self.outputs.items():
            if committed == MISSING:
                verdict = f"not committed: {new[:12]} here"
            elif new == MISSING:
                verdict = f"missing: {committed[:12]} committed"
            else:
                same = committed == new
                verdict = "identical" if same else f"different: {committed[:12]} committed, {new[:12]} here"
            lines.append(f"{path:{width}}  {verdict}")
        changed = [path for path, (committed, new) in self.outputs.items() if committed != new]
        lines.append(f"{len(self.outputs) - len(changed)} of {len(self.outputs)} outputs are identical to the last bit")
        if not changed:
            return "\n".join(lines)
        if stage := self.stages.get(changed[0]):
            lines.append(f"the first stage whose output differs: {stage}")
            changed = [path for path in changed if self.stages.get(path) == stage]
        lines += [f"  {path}: {self.details[path]}" for path in changed if path in self.details]
        if self.differences:
            lines.append("what differs in the environment:")
            lines += [f"  {name}: {old} recorded, {new} here" for name, (old, new) in self.differences.items()]
        else:
            lines.append("the recorded environment is the same as here")
        return "\n".join(lines)


def reproduce(environment: Environment, record: bool) -> Report:
    """Run an environment as committed, in a clone with an empty cache, and compare its outputs with ``dvc.lock``.

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
        committed = _outputs(clone / lock)
        _link_images(environment, clone)
        if not (clone / environment.path).is_file():  # base's is committed; another's is written on demand
            write(Environment(clone, environment.env))
        _run([sys.executable, "-m", "dvc", "repro", "--force", str(environment.path)], clone)
        new = _outputs(clone / lock)
        details = _first_differences(committed, new, _caches(environment.project), environment.project, clone)
        described = _describe(clone, environment)
        recorded = clone / lock.with_name("dvc.environment.json")
        before = json.loads(recorded.read_text("utf-8")) if recorded.is_file() else {}
        if record:
            for path in [environment.path, lock, *map(Path, _uncached(clone / environment.path))]:
                (environment.project / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(clone / path, environment.project / path)
            content = json.dumps(described, indent=2) + "\n"
            atomic_write(environment.project / lock.with_name("dvc.environment.json"), content.encode())
    paths = list(dict.fromkeys([*new, *committed]))
    names = dict.fromkeys([*before, *described])
    return Report(
        {path: (_digest(committed, path), _digest(new, path)) for path in paths},
        {
            name: (before.get(name, MISSING), described.get(name, MISSING))
            for name in names
            if before.get(name) != described.get(name)
        },
        {path: (new.get(path) or committed[path]).stage for path in paths},
        details,
    )


def first_difference(committed: Path, new: Path) -> str | None:
    """Say where two files of one kind first differ: a tensor, a row and column, or a key; None where nobody can tell.

    Args:
        committed: .safetensors, .csv or .json; of another kind, nothing is compared.
        new: of the same kind, whatever its name.
    """
    try:
        if new.suffix == ".safetensors":
            return _first_tensor(committed, new)
        if new.suffix == ".csv":
            return _first_cell(committed, new)
        if new.suffix == ".json":
            return _first_key(json.loads(committed.read_text("utf-8")), json.loads(new.read_text("utf-8")), "")
    except (OSError, TypeError, ValueError, SafetensorError):
        return None
    return None


def _first_tensor(committed: Path, new: Path) -> str | None:
    old, here = (load_file(path) for path in (committed, new))
    for name in dict.fromkeys([*old, *here]):
        if name not in old or name not in here:
            return f"tensor {name} is only {'committed' if name in old else 'here'}"
        one, other = old[name], here[name]
        if one.shape != other.shape or one.dtype != other.dtype:
            return f"tensor {name} is {one.dtype} {one.shape} committed, {other.dtype} {other.shape} here"
        if one.tobytes() != other.tobytes():
            apart = np.abs(one.astype(float) - other.astype(float)).max()
            return f"the first tensor that differs is {name}: {(one != other).mean():.1%} of it, by at most {apart:.2g}"
    return "all tensors are identical: only the header differs"


def _first_cell(committed: Path, new: Path) -> str | None:
    old, here = (pd.read_csv(path, dtype=str, keep_default_na=False) for path in (committed, new))
    if list(old) != list(here):
        return f"columns {', '.join(map(str, old))} committed, {', '.join(map(str, here))} here"
    for row in range(min(len(old), len(here))):
        for column in old:
            one, other = old[column].iloc[row], here[column].iloc[row]
            if one != other:
                return f"row {row + 1}, column {column}: {one} committed, {other} here"
    return None if len(old) == len(here) else f"{len(old)} rows committed, {len(here)} here"


def _first_key(old: Any, here: Any, where: str) -> str | None:
    if isinstance(old, dict) and isinstance(here, dict):
        for key in dict.fromkeys([*old, *here]):
            at = f"{where}.{key}" if where else str(key)
            if found := _first_key(old.get(key, MISSING), here.get(key, MISSING), at):
                return found
        return None
    return None if old == here else f"{where}: {old} committed, {here} here"


class _Output(NamedTuple):
    md5: str
    stage: str


def _digest(outputs: Mapping[str, _Output], path: str) -> str:
    return outputs[path].md5 if path in outputs else MISSING


def _caches(project: Path) -> list[Path]:
    """Give the folder of DVC's local cache."""
    said = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], cwd=project, capture_output=True, text=True, check=False
    )
    return [Path(said.stdout.strip())] if said.returncode == 0 and said.stdout.strip() else []


def _first_differences(
    committed: Mapping[str, _Output], new: Mapping[str, _Output], caches: list[Path], project: Path, clone: Path
) -> dict[str, str]:
    """Say by path where an output first differs, as far as its committed content lies on this machine."""
    details = {}
    for path in committed.keys() & new.keys():
        if (md5 := committed[path].md5) == new[path].md5:
            continue
        places = [cache / "files/md5" / md5[:2] / md5[2:] for cache in caches]
        if (here := project / path).is_file() and hashlib.md5(
            here.read_bytes(), usedforsecurity=False
        ).hexdigest() == md5:
            places.append(here)
        found = next((place for place in places if place.is_file()), None)
        if found is not None and (detail := first_difference(found, clone / path)):
            details[path] = detail
    return details


def _link_images(environment: Environment, clone: Path) -> None:
    """Let the clone see images that no stage makes, where they lie in the project."""
    dataset = environment.load("parameters")["dataset"]
    images = environment.project / dataset["root"]
    if find_dataset(dataset["source"]).draws_itself or Path(dataset["root"]).is_absolute() or not images.is_dir():
        return
    (clone / dataset["root"]).parent.mkdir(parents=True, exist_ok=True)
    (clone / dataset["root"]).symlink_to(images.resolve())


def _outputs(lock: Path) -> dict[str, _Output]:
    """Give the outputs that a ``dvc.lock`` names, by path, in the order of the stages."""
    if not lock.is_file():
        return {}
    stages = yaml.safe_load(lock.read_text("utf-8"))["stages"]
    order = [name for name in pipeline_stages() if name in stages]
    return {out["path"]: _Output(out["md5"], name) for name in order for out in stages[name].get("outs", [])}


def _uncached(file: Path) -> list[str]:
    """Give the outputs of a ``dvc.yaml`` that git keeps instead of DVC."""
    stages = yaml.safe_load(file.read_text("utf-8"))["stages"]
    return [path for stage in stages.values() for metric in stage.get("metrics", []) for path in metric]


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
