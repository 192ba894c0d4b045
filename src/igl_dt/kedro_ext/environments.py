"""Kedro environments: folders of configuration."""

import sys
from pathlib import Path
from typing import Any

import click
from kedro.config import OmegaConfigLoader

from igl_dt.utils.parameters import did_you_mean

LOADER_ARGUMENTS: dict[str, Any] = {
    "base_env": "base",
    "default_run_env": "local",
    # An environment says only what differs, also inside a group of parameters.
    "merge_strategy": {"parameters": "soft"},
}


def load_configuration(project: Path, env: str, kind: str) -> dict[str, Any]:
    """Give the parameters or the catalog of an environment, merged and resolved as Kedro does for ``--env``.

    Nobody's own ``conf/local`` is part of it.
    """
    loader = OmegaConfigLoader(str(project / "conf"), env=env, **(LOADER_ARGUMENTS | {"default_run_env": env}))
    return dict(loader[kind])


def find_modules_in(project: Path) -> None:
    """Let Python find modules in the project's folder: a method of the user's own may lie there."""
    if str(project) not in sys.path:
        sys.path.append(str(project))


def check_environment(env: str, conf: Path) -> None:
    """Stop where the configuration has no environment of this name.

    Raises:
        click.ClickException: it says which is nearest.
    """
    if not (conf / env).is_dir():
        known = sorted(path.name for path in conf.iterdir() if path.is_dir())
        raise click.ClickException(f"--env: there is no environment {env!r} in {conf}{did_you_mean(env, known)}")
