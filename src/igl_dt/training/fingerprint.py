"""What decides the result of a training, as digests."""

import ast
import inspect
import json
import linecache
from collections.abc import Iterable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from igl_dt.data.datasets import MaskFormat, mask_format
from igl_dt.methods.base import Method
from igl_dt.runtime.context import RunContext
from igl_dt.training.parameters import OptimizerParameters, TrainingParameters
from igl_dt.utils.files import digest
from igl_dt.utils.imports import imported_modules


def digest_of_parameters(
    stream: str,
    parameters: TrainingParameters,
    method: Method,
    optimizers: dict[str, OptimizerParameters],
    context: RunContext,
) -> str:
    """Identify all parameters that decide a training's result and are not in its images or networks."""
    schedule = {"steps", "batch_size", "gradient_accumulation_steps", "validate_every", "augmentation"}
    decisive: dict[str, Any] = {
        "stream": stream,
        "parameters": parameters.model_dump(mode="json", include=schedule),
        "supervised_loss": method.setup.supervised_loss.model_dump(mode="json"),
        "method": [method.name, method.options.model_dump(mode="json")],
        "optimizers": {role: optimizer.model_dump(mode="json") for role, optimizer in optimizers.items()},
        "evaluation": context.evaluation.model_dump(mode="json", exclude={"boundary_width"}),  # of no validation
        "image_size": context.dataset.image_size,
        "precision": context.runtime.precision,
        "seed": context.seed,
    }
    if (masks := mask_format(context.dataset)) != MaskFormat():  # then the masks' files are not all that counts
        decisive["mask_format"] = asdict(masks)
    return digest(json.dumps(decisive, sort_keys=True).encode())


def digest_of_weights(method: Method) -> str:
    """Identify all networks of a method: how they are built, and every bit of what they start from."""
    built = {name: network.configuration for name, network in method.evaluated().items()}
    tensors = {name: value for name, value in method.state_dict().items() if hasattr(value, "dtype")}
    weights = {
        name: [str(tensor.dtype), list(tensor.shape), digest(tensor.detach().cpu().contiguous().numpy().tobytes())]
        for name, tensor in tensors.items()
    }
    return digest(json.dumps([built, weights], sort_keys=True).encode())


def digest_of_code(classes: Iterable[type], *modules: str) -> str:
    """Identify the code that a training runs: of modules and classes, and all of this package that they import.

    Comments, docstrings and layout do not count, so that editing them invalidates no unfinished training.
    """
    outside = {kind.__module__: _source(kind) for kind in classes}
    inside = imported_modules([*modules, *outside])
    sources = outside | {name: Path(str(getattr(find_spec(name), "origin", ""))).read_text("utf-8") for name in inside}
    lines = [f"{name} {_digest_of_source(source)}\n" for name, source in sorted(sources.items())]
    return digest("".join(lines).encode())


def _source(kind: type) -> str:
    """Return the source of the module that defines a class; of one in a notebook, that of its cell."""
    try:
        return Path(inspect.getfile(kind)).read_text("utf-8")
    except (OSError, TypeError):  # a cell is no file, but Python keeps its lines for tracebacks
        function: Any = vars(kind)["forward"]
        return "".join(linecache.getlines(function.__code__.co_filename))


def _digest_of_source(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return digest(ast.dump(tree).encode())


def _is_text(statement: ast.stmt) -> bool:
    """Tell a docstring, of a field too."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
