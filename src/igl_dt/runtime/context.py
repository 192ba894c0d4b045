"""What all parts of a run have in common."""

from typing import NamedTuple

from igl_dt.data.parameters import DatasetParameters
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters


class RunContext(NamedTuple):
    """Built once per run and handed on as one."""

    dataset: DatasetParameters
    evaluation: EvaluationParameters
    runtime: RuntimeParameters
    seed: int
