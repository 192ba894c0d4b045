"""What decides the result of a training, as digests."""

import ast
import inspect
import json
import linecache
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import igl_dt
from igl_dt.data.datasets import MaskFormat, mask_format
from igl_dt.methods.base import Method
from igl_dt.runtime.context import RunContext
from igl_dt.training.parameters import OptimizerParameters, TrainingParameters
from igl_dt.utils.files import digest
from igl_dt.utils.imports import imported_modules

_LIBRARIES = {*sys.stdlib_module_names, "torch"}
"""Top-level packages of base classes whose version, not whose code, is part of the fingerprint."""


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
        "evaluation": context.evaluation.model_dump(
            mode="json", exclude={"boundary_width"}
        ),  # validations do not use it
        "image_size": context.dataset.sizes(),
        "precision": context.runtime.precision,
        "seed": context.seed,
    }
    if context.runtime.compile:
        decisive["compile"] = True
    if (shards := context.runtime.shards_per_step) > 1:
        decisive["shards"] = [shards, context.runtime.reduction]
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

    Comments, docstrings and layout do not count, so that editing them invalidates no unfinished training. Of a class
    outside the package, its module and those of its base classes count, and what these import of the package.
    """
    own = {
        base.__module__: _source(base)
        for kind in classes
        for base in kind.__mro__
        if base.__module__.partition(".")[0] not in _LIBRARIES
    }
    named = {name for source in own.values() for name in _named_in_imports(source)}
    inside = imported_modules([*modules, *own, *named])
    sources = own | {name: _read(Path(str(getattr(find_spec(name), "origin", "")))) for name in inside}
    lines = [f"{name} {_digest_of_source(source)}\n" for name, source in sorted(sources.items())]
    return digest("".join(lines).encode())


def _source(kind: type) -> str:
    """Return the source of the module that defines a class; of a class in a notebook, that of its cell."""
    try:
        return _read(Path(inspect.getfile(kind)))
    except (OSError, TypeError):  # a cell is no file, but Python keeps its lines for tracebacks
        codes = (getattr(member, "__code__", None) for member in vars(kind).values())
        return "".join(linecache.getlines(next((code.co_filename for code in codes if code), "")))


def _read(file: Path) -> str:
    imported = sources_of_package().get(file)
    return file.read_text("utf-8") if imported is None else imported


@cache
def sources_of_package() -> dict[Path, str]:
    """Read all modules of this package: once, since what was imported runs on, even if its file is edited."""
    return {file: file.read_text("utf-8") for file in Path(str(igl_dt.__file__)).parent.rglob("*.py")}


sources_of_package()  # with the code that is imported now


@cache  # a run's trainings share most of their code
def _digest_of_source(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return digest(ast.dump(tree).encode())


def _named_in_imports(source: str) -> Iterator[str]:
    """Give what may be the names of the modules that a module imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_text(statement: ast.stmt) -> bool:
    """Tell whether a statement is a docstring, including a field's."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
