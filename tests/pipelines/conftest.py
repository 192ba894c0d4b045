"""The project's configuration, as Kedro reads it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader

from igl_dt.settings import CONFIG_LOADER_ARGS

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def configuration() -> Callable[[str], OmegaConfigLoader]:
    """Read an environment over base."""
    return lambda environment: OmegaConfigLoader(str(CONF), env=environment, **CONFIG_LOADER_ARGS)


@pytest.fixture
def environments() -> list[str]:
    """All that can be named by ``--env``."""
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "local")
