"""Kedro environments: folders of configuration."""

from pathlib import Path

import click

from igl_dt.utils.parameters import did_you_mean


def check_environment(env: str, conf: Path) -> None:
    """Stop where the configuration has no environment of this name.

    Raises:
        click.ClickException: it says which is nearest.
    """
    if not (conf / env).is_dir():
        known = sorted(path.name for path in conf.iterdir() if path.is_dir())
        raise click.ClickException(f"--env: there is no environment {env!r} in {conf}{did_you_mean(env, known)}")
