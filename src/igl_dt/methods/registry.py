"""Which methods there are, and methods built from parameters."""

import importlib
from collections.abc import Mapping

from pydantic import ValidationError

import igl_dt.methods
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.base import Method, MethodSetup
from igl_dt.methods.parameters import MethodChoice
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.utils.parameters import Parameters, did_you_mean, explain
from igl_dt.utils.registry import find_classes


def find_method(name: str, key: str = "method.name") -> type[Method]:
    """Give the class of a method.

    Args:
        name: of a method in ``igl_dt.methods``, or ``package.module:Class``.
        key: where the name comes from, for messages.

    Raises:
        ValueError: there is none of this name; or the module cannot be imported, or has no such subclass of ``Method``.
    """
    module, is_path, class_name = name.partition(":")
    if is_path:
        try:
            kind = getattr(importlib.import_module(module), class_name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"{key}: {name!r} cannot be imported: {error}. It must be package.module:Class; modules are looked for "
                "on PYTHONPATH and in the project's folder"
            ) from error
        if not (isinstance(kind, type) and issubclass(kind, Method)):
            raise ValueError(f"{key}: {name!r} is not a subclass of igl_dt.methods.base.Method")
        lacking = [*sorted(kind.__abstractmethods__), *(x for x in ("name", "parameters_type") if not hasattr(kind, x))]
        if lacking:
            raise ValueError(f"{key}: {name!r} does not define {', '.join(lacking)}, which every method has")
        return kind
    known = _methods()
    if name not in known:
        raise ValueError(f"{key}: there is no method {name!r}{did_you_mean(name, known)}")
    return known[name]


def method_parameters(choice: MethodChoice, key: str = "method") -> Parameters:
    """Give the typed parameters of the chosen method.

    Args:
        choice: the method and the sections of parameters.
        key: where ``choice`` comes from, for messages.

    Raises:
        ValueError: there is no such method; the section of any method has an unknown key or a wrong value; or a section
            is of no method.
    """
    chosen = find_method(choice.name, f"{key}.name")
    known = _methods() | {chosen.name: chosen}
    problems = []
    for name in choice.model_extra or {}:
        if name not in known:
            problems.append(f"{key}.{name}: there is no method {name!r}{did_you_mean(name, known)}")
            continue
        try:
            known[name].parameters_type.model_validate(choice.section(name))
        except ValidationError as error:
            problems += [f"{key}.{name}.{problem}" for problem in explain(error, known[name].parameters_type)]
    if problems:
        raise ValueError("\n".join(problems))
    return chosen.parameters_type.model_validate(choice.section(chosen.name))


def build_method(
    choice: MethodChoice,
    networks: Mapping[str, SegmentationNetwork],
    teachers: Mapping[str, SegmentationNetwork],
    supervised_loss: SupervisedLossParameters,
    steps: int,
    key: str = "method",
) -> Method:
    """Build the chosen method on networks.

    Args:
        choice: the method and its parameters.
        networks: to be trained, by role.
        teachers: trained before, by role; those that the method does not need are left aside.
        supervised_loss: the loss against the ground truth.
        steps: of the training.
        key: where ``choice`` comes from, for messages.

    Raises:
        ValueError: as ``method_parameters``; a teacher that the method needs is missing; or the method refuses what it
            is given.
    """
    kind = find_method(choice.name, f"{key}.name")
    if missing := [role for role in kind.required_teachers if role not in teachers]:
        raise ValueError(missing_teachers(choice.name, missing, key))
    setup = MethodSetup(method_parameters(choice, key), networks, teachers, supervised_loss, steps)
    try:
        return kind(setup)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def missing_teachers(name: str, missing: list[str], key: str = "method") -> str:
    """Say which teachers a method lacks, and which pipeline makes them."""
    return (
        f"{key}.name: {name} learns from {' and '.join(missing)}, of which there are no weights yet: run "
        "kedro run --pipelines=teacher_pretraining first, or the pipeline full"
    )


def _methods() -> dict[str, type[Method]]:
    return find_classes(igl_dt.methods, Method)  # type: ignore[type-abstract]
