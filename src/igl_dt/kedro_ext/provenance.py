"""Where results come from: what is written beside the metrics of a run, and is no output of it."""

import importlib.metadata
import json
import platform
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from igl_dt.utils.files import digest
from igl_dt.utils.parameters import flatten

PACKAGES = (
    *("torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "pandas", "pillow", "matplotlib"),
    *("kedro", "dvc"),
)


def find_commit(project: Path) -> dict[str, Any]:
    """Give the git commit of a folder and whether files differ from it; both None outside a repository.

    Results, studies, and a user's own environment, a new folder in ``conf/``, are no difference: parameters are
    recorded anyway.
    """
    commit = _git(project, "rev-parse", "HEAD")
    results = (":(exclude)data", ":(exclude)environments", ":(exclude)studies", ":(exclude)dvc.lock")
    status = _git(project, "status", "--porcelain", "--", ".", *results)
    changed = [line for line in (status or "").splitlines() if not line.startswith("?? conf/")]
    return {"commit": commit and commit.strip(), "dirty": None if status is None else bool(changed)}


def list_versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that results depend on."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def hash_files(project: Path, path: Path) -> dict[str, str]:
    """Give the sha256 of a file, or of each file of a folder, by its path in the project."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return {_relative(file, project): digest(file.read_bytes()) for file in files if file.is_file()}


def rebuild_command(run: Mapping[str, Any]) -> str:
    """Give the command line that does again what Kedro's ``run_params`` describe."""
    words = ["kedro", "run", f"--env={run['env'] or 'base'}"]
    for option, key in (
        ("pipelines", "pipeline_names"),
        ("tags", "tags"),
        ("nodes", "node_names"),
        ("from-nodes", "from_nodes"),
        ("to-nodes", "to_nodes"),
        ("from-inputs", "from_inputs"),
        ("to-outputs", "to_outputs"),
        ("namespaces", "namespaces"),
    ):
        if values := run.get(key):
            words.append(f"--{option}={','.join(values)}")
    if parameters := run.get("runtime_params"):
        words.append("--params=" + ",".join(f"{key}={_word(value)}" for key, value in flatten(parameters)))
    return shlex.join(words)


def _word(value: Any) -> str:
    """Write a value as the YAML that ``--params`` takes, without commas, which separate parameters."""
    if isinstance(value, list) and value:
        return "\n".join("- " + _word(item).replace("\n", "\n  ") for item in value)
    if isinstance(value, str) and not _is_read_as_it_is(value):
        return json.dumps(value, ensure_ascii=False).replace(",", r"\x2c")
    return value if isinstance(value, str) else json.dumps(value)


def _is_read_as_it_is(value: str) -> bool:
    try:
        return "," not in value and OmegaConf.to_container(OmegaConf.from_dotlist([f"x={value}"])) == {"x": value}
    except (OmegaConfBaseException, yaml.YAMLError):
        return False


def _git(project: Path, *arguments: str) -> str | None:
    try:
        ran = subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return ran.stdout if ran.returncode == 0 else None


def _relative(path: Path, project: Path) -> str:
    return (path.relative_to(project) if path.is_relative_to(project) else path).as_posix()
