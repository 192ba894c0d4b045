"""Everything that conf/ may hold: one group per concern."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from igl_dt.data.parameters import DatasetParameters, FetchingParameters, SplittingParameters
from igl_dt.inference.parameters import ExportParameters, PredictionParameters, WeightsEvaluationParameters
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.reporting.parameters import ReportingParameters
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from igl_dt.training.parameters import (
    StudentLearningParameters,
    TeacherPretrainingParameters,
    TrainingParameters,
    check_log,
    check_shards,
)
from igl_dt.utils.parameters import Parameters


def _not_a_number(name: Any) -> Any:
    if isinstance(name, int | float):
        raise ValueError(f"was read as the number {name}, which may be another than was typed: begin it with a letter")
    return name


RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), BeforeValidator(_not_a_number)]


class ProjectParameters(Parameters):
    """Everything that ``conf/`` may hold: one group per concern."""

    seed: Annotated[int, Field(ge=0)]
    """Decides the split, the initial weights, the order of the images and all augmentation."""
    run: RunName
    """Name of the run: the folder of its outputs in each folder of ``data/``."""
    teachers_run: RunName | None = None
    """Run whose teachers the student learns from; null: this run's own. Only as ``--params``, like ``run``."""
    study: str | None = None
    """Study that the pipeline ``study`` gathers; only as ``--params``."""
    dataset: DatasetParameters
    splitting: SplittingParameters
    teacher_pretraining: TeacherPretrainingParameters
    student_learning: StudentLearningParameters
    evaluation: EvaluationParameters
    reporting: ReportingParameters
    weights_evaluation: WeightsEvaluationParameters
    prediction: PredictionParameters
    fetching: FetchingParameters
    export: ExportParameters
    runtime: RuntimeParameters

    def context(self, project: Path) -> RunContext:
        """Give what all parts of a run have in common; relative paths are those of the project's folder."""
        dataset = self.dataset.model_copy(update={"root": str(project / self.dataset.root)})
        return RunContext(dataset, self.evaluation, self.runtime, self.seed)

    @classmethod
    def training_groups(cls) -> list[str]:
        """Give the names of the groups that describe a training, in the order of the stages."""
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        return [name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, TrainingParameters)]


def check_training(name: str, parameters: TrainingParameters, runtime: RuntimeParameters) -> Iterator[str]:
    """Give, as one line each, what is wrong with the networks, the method, the shards and the logs of a training.

    Networks and method are built for it, weights included: a student that cannot be built must not be found out after
    hours of training its teachers.
    """
    from igl_dt.methods.registry import build_method, find_method, method_parameters
    from igl_dt.networks.io import adopt_weights
    from igl_dt.networks.registry import build_network

    yield from _problems(check_shards, parameters, runtime, name)
    yield from _problems(check_log, parameters, runtime, name)
    networks = {}

    def build(role: str, choice: NetworkChoice, key: str) -> None:
        networks[role] = build_network(choice, ("a", "b"), key)
        if choice.init_from is not None:
            adopt_weights(networks[role], choice.init_from, f"{key}.init_from")

    for role, choice in parameters.networks.items():
        yield from _problems(build, role, choice, f"{name}.networks.{role}")
    yield from (found := _problems(method_parameters, parameters.method, f"{name}.method"))
    if found:
        return
    kind = find_method(parameters.method.name)
    extra = kind.extra_networks(parameters.networks)
    for role in dict.fromkeys([*parameters.networks, *extra]):
        for problem in _problems(parameters.optimizer, role, extra.get(role)):
            yield f"{name}.{problem}"
    if networks.keys() == parameters.networks.keys():  # all could be built
        like_others = {role: networks[like] for role, like in extra.items() if like in networks}
        teachers = dict.fromkeys(kind.required_teachers, next(iter(networks.values())))
        loss, steps, key = parameters.supervised_loss, parameters.steps, f"{name}.method"
        yield from _problems(build_method, parameters.method, like_others | networks, teachers, loss, steps, key)


def _problems(check: Callable[..., object], *arguments: object) -> list[str]:
    try:
        check(*arguments)
    except ValueError as error:
        return str(error).splitlines()
    return []
