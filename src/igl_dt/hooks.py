"""What happens around a Kedro run: parameters are checked first, and errors are said plainly."""

import difflib
import logging
from collections.abc import Iterator
from typing import Any

import click
from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from pydantic import BaseModel, ValidationError

from igl_dt.parameters import ProjectParameters

logger = logging.getLogger(__name__)


class CheckParameters:
    """Checks all parameters before anything is run, whichever pipeline it is."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Stop with a list of all that is wrong with the parameters."""
        try:
            ProjectParameters.model_validate(context.config_loader["parameters"])
        except ValidationError as error:
            raise click.ClickException("these parameters are wrong:\n" + "\n".join(_explain(error))) from error


class SayErrorsPlainly:
    """Ends a failed run with the error's message alone where it is one of bad input, not of the code."""

    @hook_impl
    def on_pipeline_error(self, error: Exception) -> None:
        """Show input errors without a traceback."""
        if isinstance(error, ValueError | OSError) and type(error).__module__.startswith("igl_dt"):
            raise click.ClickException(str(error)) from error


def _explain(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        path = [str(part) for part in problem["loc"]]
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            known = _fields(ProjectParameters, path[:-1])
            nearest = difflib.get_close_matches(path[-1], known, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"there are {', '.join(known)}"
            yield f"  {'.'.join(path)}: unknown; {hint}"
        elif problem["type"] == "missing":
            yield f"  {'.'.join(path)}: missing"
        else:
            yield f"  {'.'.join(path)}: {message}" + (f", not {problem['input']!r}" if path else "")


def _fields(model: Any, path: list[str]) -> list[str]:
    """Name the fields of the object at a path of nested models."""
    for part in path:
        field = model.model_fields.get(part) if isinstance(model, type) and issubclass(model, BaseModel) else None
        if field is None:
            return []
        model = field.annotation
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []
