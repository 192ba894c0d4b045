"""Settings of the Kedro project."""

from igl_dt.kedro_ext.environments import LOADER_ARGUMENTS
from igl_dt.kedro_ext.hooks import (
    CheckEnvironment,
    CheckParameters,
    LockTrainings,
    RequireSequentialRunner,
    RunFromProject,
    SayErrorsPlainly,
    SayResult,
    WriteRunManifest,
)
from igl_dt.kedro_ext.tracking import LogToMlflow

HOOKS = (
    CheckEnvironment(),
    RequireSequentialRunner(),
    LockTrainings(),
    CheckParameters(),  # before the two above: the last one that is registered is called first
    RunFromProject(),
    WriteRunManifest(),
    LogToMlflow(),
    SayResult(),
    SayErrorsPlainly(),
)
# kedro-viz keeps statistics of one run only, the last, and would show them with every other run.
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-viz",)
CONFIG_LOADER_ARGS = LOADER_ARGUMENTS
