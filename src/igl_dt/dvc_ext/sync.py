"""``dvc.yaml`` of each recipe, made from the Kedro graph, the catalog, the parameters and the imports.

One stage per pipeline of the main job. A stage depends on the datasets that it reads, on the keys of the parameter
files that it reads, on the catalog files and the code by which it writes, and on the locked environment.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grimp
import yaml
from kedro.config import OmegaConfigLoader
from kedro.pipeline import Pipeline

from igl_dt.data.datasets import find_dataset
from igl_dt.pipeline_registry import register_pipelines
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.settings import CONFIG_LOADER_ARGS

PACKAGE = "igl_dt"
LOCK = "requirements.lock"
HEADER = """\
# Written by `kedro dvc sync` from the Kedro graph, the catalog and the imports: change those, then run it again.
"""

Content = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """A Kedro environment with what DVC has to know of it."""

    project: Path
    env: str

    @property
    def path(self) -> Path:
        """Where its ``dvc.yaml`` lies, relative to the project: at the top for ``base``, else beside its parameters."""
        return Path("dvc.yaml") if self.env == "base" else Path("conf", self.env, "dvc.yaml")

    @property
    def folders(self) -> list[Path]:
        """Its folders of configuration, relative to the project, the decisive one last."""
        return [Path("conf", env) for env in dict.fromkeys(("base", self.env))]

    def load(self, kind: str) -> Content:
        """Give its parameters or its catalog, merged and resolved as Kedro does for ``--env``."""
        arguments: dict[str, Any] = CONFIG_LOADER_ARGS | {"default_run_env": self.env}
        loader = OmegaConfigLoader(str(self.project / "conf"), env=self.env, **arguments)
        return {key: value for key, value in loader[kind].items() if not key.startswith("_")}

    def raw(self, kind: str) -> Iterator[tuple[str, Content]]:
        """Give path and content of each of its files of a kind, as they are written."""
        for folder in self.folders:
            for path in sorted((self.project / folder).glob(f"{kind}*.yml")):
                yield path.relative_to(self.project).as_posix(), yaml.safe_load(path.read_text("utf-8")) or {}


def find_recipes(project: Path) -> list[Recipe]:
    """Give the environments that the repository has: all but a person's own, ``local``."""
    names = sorted(path.name for path in (project / "conf").iterdir() if path.is_dir() and path.name != "local")
    return [Recipe(project, name) for name in names]


def describe(recipe: Recipe) -> Content:
    """Make the content of a recipe's ``dvc.yaml``."""
    pipelines = register_pipelines()
    job = {node.name for node in pipelines["full"].nodes}
    stages = {
        name: pipeline
        for name, pipeline in pipelines.items()
        if name not in ("full", "__default__") and {node.name for node in pipeline.nodes} <= job
    }
    catalog, parameters = recipe.load("catalog"), recipe.load("parameters")
    imports = grimp.build_graph(PACKAGE, cache_dir=None)
    imports.remove_module(f"{PACKAGE}.previews")  # datasets import it to be looked at: no result depends on it
    content: Content = {
        "stages": {name: _stage(name, stages[name], recipe, catalog, parameters, imports) for name in stages}
    }
    plots = list(_plots(recipe, catalog, {name for pipeline in stages.values() for name in pipeline.all_outputs()}))
    return content | ({"plots": plots} if plots else {})


def render(content: Content) -> str:
    """Write the content as YAML."""
    return HEADER + yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)


def differences(recipe: Recipe) -> list[str]:
    """Say in which edges a recipe's ``dvc.yaml`` differs from its graph; nothing where it does not."""
    path = recipe.project / recipe.path
    if not path.is_file():
        return [f"{recipe.path} is missing"]
    found, wanted = yaml.safe_load(path.read_text("utf-8")) or {}, describe(recipe)
    return [f"{recipe.path}: {line}" for line in _compare(found, wanted, ())]


def _stage(
    name: str,
    pipeline: Pipeline,
    recipe: Recipe,
    catalog: Content,
    parameters: Content,
    imports: grimp.ImportGraph,
) -> Content:
    tracked = {dataset for dataset, entry in catalog.items() if _kind(entry) is not False}
    inputs, outputs = pipeline.inputs(), pipeline.all_outputs() & tracked
    keys = sorted(name.removeprefix("params:") for name in inputs if name.startswith("params:"))
    files = {_path(catalog[name]) for name in inputs & tracked}
    results = [_path(catalog[name]) for name in sorted(outputs) if _kind(catalog[name]) != "metrics"]
    metrics = [_path(catalog[name]) for name in sorted(outputs) if _kind(catalog[name]) == "metrics"]
    modules = {node.func.__module__ for node in pipeline.nodes}
    modules |= {
        catalog[name]["type"].rpartition(".")[0]
        for name in (inputs | outputs) & tracked
        if catalog[name]["type"].startswith(f"{PACKAGE}.")
    }
    configuration = {path for path, content in recipe.raw("catalog") if outputs & content.keys()}

    stage: Content = {"cmd": f"kedro run --env {recipe.env} --pipelines {name}"}
    if recipe.env != "base":
        stage["wdir"] = "/".join(".." for _ in recipe.path.parent.parts)
    dataset = parameters["dataset"]
    if "dataset" in keys and find_dataset(dataset["source"]).draws_itself:
        makes_it = name == "data_splitting"
        (results.append if makes_it else files.add)(dataset["root"])
    elif name == "data_splitting":
        stage["always_changed"] = True  # others' images: the manifest says whether they are the same
    stage["deps"] = sorted({LOCK, *files, *configuration, *_code(modules, imports)})
    if params := list(_params(keys, recipe)):
        stage["params"] = params
    stage["outs"] = sorted(results)
    if metrics:
        stage["metrics"] = metrics
    return stage


def _path(entry: Mapping[str, Any]) -> str:
    return str(entry["filepath"] if "filepath" in entry else entry["path"])


def _kind(entry: Mapping[str, Any]) -> Any:
    """Give what the catalog says of a dataset to DVC: ``metrics``, how it is plotted, or False: it is not versioned."""
    return (entry.get("metadata") or {}).get("dvc")


def _params(keys: Iterable[str], recipe: Recipe) -> Iterator[Content]:
    """Give, by file, those of the keys that it has."""
    decisive = [name for name in RuntimeParameters.model_fields if name not in RuntimeParameters.CHANGING_NO_RESULT]
    narrow = [f"runtime.{name}" for key in keys if key == "runtime" for name in decisive]
    indifferent = {f"runtime.{name}" for name in RuntimeParameters.CHANGING_NO_RESULT}
    wanted = sorted({*keys, *narrow} - {"runtime"} - indifferent)
    for path, content in recipe.raw("parameters"):
        if present := [key for key in wanted if _has(content, key.split("."))]:
            yield {path: present}


def _has(content: Any, key: list[str]) -> bool:
    return not key or (isinstance(content, dict) and key[0] in content and _has(content[key[0]], key[1:]))


def _code(modules: Iterable[str], imports: grimp.ImportGraph) -> set[str]:
    """Give the modules and package folders that some modules import, directly or not, and their own."""
    used = set(modules)
    for module in list(used):
        used |= imports.find_upstream_modules(module)
    paths = set()
    for module in used | {PACKAGE}:
        parts = module.split(".")[1:]
        depth = 1
        if parts[:1] == ["pipelines"]:  # each pipeline on its own
            depth = 2
            paths.add(f"src/{PACKAGE}/pipelines/__init__.py")
        folder, package = "/".join(["src", PACKAGE, *parts[:depth]]), ".".join([PACKAGE, *parts[:depth]])
        if len(parts) < depth:
            paths.add(f"{folder}/__init__.py")
        else:
            paths.add(folder if imports.find_children(package) else f"{folder}.py")
    return paths


def _plots(recipe: Recipe, catalog: Content, outputs: Iterable[str]) -> Iterator[Any]:
    """Give the plots that the catalog names, as paths from the ``dvc.yaml``."""
    up = "".join("../" for _ in recipe.path.parent.parts)
    for name in sorted(outputs):
        kind = _kind(catalog.get(name, {}))
        if kind == "image":
            yield up + _path(catalog[name])
        elif isinstance(kind, dict):
            yield {up + _path(catalog[name]): kind}


def _compare(found: Any, wanted: Any, where: tuple[str, ...]) -> Iterator[str]:
    """Say edge by edge what is too much, missing or different."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys([*wanted, *found]):
            yield from _compare(found.get(key), wanted.get(key), (*where, str(key)))
    elif isinstance(found, list) and isinstance(wanted, list) and all(isinstance(x, str) for x in found + wanted):
        at = ".".join(where)
        yield from (f"{at} lacks {item}" for item in wanted if item not in found)
        yield from (f"{at} has {item}, which the graph does not have" for item in found if item not in wanted)
    elif isinstance(found, list) and isinstance(wanted, list):
        yield from _compare(_by_name(found), _by_name(wanted), where)
    elif found != wanted:
        at = ".".join(where)
        yield f"{at} lacks {wanted!r}" if found is None else f"{at} is {found!r}, the graph has {wanted!r}"


def _by_name(items: list[Any]) -> Content:
    """Turn a list of names and of mappings from one name into one mapping."""
    return {key: value for item in items for key, value in (item if isinstance(item, dict) else {item: {}}).items()}
