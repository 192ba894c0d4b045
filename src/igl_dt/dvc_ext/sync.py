"""``dvc.yaml`` of an environment, made from the Kedro graph, the catalog, the parameters and the imports.

One stage per pipeline of the main job. A stage depends on the datasets that it reads, on the keys of the parameter
files that it reads, on the catalog files and the code by which it writes, and on the locked environment.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from kedro.io import CatalogConfigResolver
from kedro.pipeline import Pipeline

from igl_dt.data.datasets import find_dataset
from igl_dt.kedro_ext.environments import load_configuration
from igl_dt.pipeline_registry import stages
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.utils.imports import PACKAGE, import_graph, imported_modules

if TYPE_CHECKING:
    from igl_dt.methods.base import Method

LOCK = "requirements.lock"
SPLIT = {"kedro_ext", "methods", "networks", "networks.architectures", "pipelines", "reporting"}
"""Packages of which a stage uses some modules and not others; of others, it depends on the whole folder."""
HEADER = """\
# Written by `kedro dvc sync` from the Kedro graph, the catalog and the imports: change those, then run it again.
"""

Content = dict[str, Any]


@dataclass(frozen=True)
class Environment:
    """A Kedro environment with what DVC has to know of it."""

    project: Path
    env: str

    @property
    def path(self) -> Path:
        """Where its ``dvc.yaml`` lies, relative to the project: at the top for ``base``.

        Elsewhere it lies outside of ``conf/``: a copied folder of parameters must not name another run's outputs.
        """
        return Path("dvc.yaml") if self.env == "base" else Path("environments", self.env, "dvc.yaml")

    @property
    def folders(self) -> list[Path]:
        """Its folders of configuration, relative to the project, the decisive one last."""
        return [Path("conf", env) for env in dict.fromkeys(("base", self.env))]

    def load(self, kind: str) -> Content:
        """Give its parameters or its catalog, merged and resolved as Kedro does for ``--env``."""
        loaded = load_configuration(self.project, self.env, kind)
        content = {key: value for key, value in loaded.items() if not key.startswith("_")}
        if kind == "catalog":  # datasets that only a pattern describes
            names = {name for pipeline in stages().values() for name in pipeline.datasets()} - content.keys()
            resolver = _patterns(content)
            content |= {name: resolver.resolve_pattern(name) for name in names if resolver.match_dataset_pattern(name)}
        return content

    def raw(self, kind: str) -> Iterator[tuple[str, Content]]:
        """Give path and content of each of its files of a kind, as they are written."""
        for folder in self.folders:
            for path in sorted((self.project / folder).glob(f"{kind}*.yml")):
                yield path.relative_to(self.project).as_posix(), yaml.safe_load(path.read_text("utf-8")) or {}


def find_environments(project: Path) -> list[Environment]:
    """Give the environments that DVC runs: ``base``, and those whose ``dvc.yaml`` has been written on demand."""
    names = sorted(path.parent.name for path in (project / "environments").glob("*/dvc.yaml"))
    return [Environment(project, name) for name in ("base", *names)]


def write(environment: Environment) -> None:
    """Write an environment's ``dvc.yaml``.

    Raises:
        ValueError: another environment that DVC runs has the same run name, hence the same outputs.
    """
    run = environment.load("parameters")["run"]
    for other in find_environments(environment.project):
        if other != environment and other.load("parameters")["run"] == run:
            raise ValueError(
                f"conf/{environment.env}/globals.yml: run {run!r} is also the run of the environment {other.env} "
                f"({other.path}), so that both would write the same files; choose another name"
            )
    path = environment.project / environment.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(describe(environment)), "utf-8", newline="\n")


def describe(environment: Environment) -> Content:
    """Make the content of an environment's ``dvc.yaml``."""
    pipelines = stages()
    catalog, parameters = environment.load("catalog"), environment.load("parameters")
    content: Content = {
        "stages": {
            name: _stage(name, pipeline, environment, catalog, parameters) for name, pipeline in pipelines.items()
        }
    }
    outputs = {name for pipeline in pipelines.values() for name in pipeline.all_outputs()}
    plots = list(_plots(environment, catalog, outputs))
    return content | ({"plots": plots} if plots else {})


def _patterns(catalog: Content) -> CatalogConfigResolver:
    """Give what resolves datasets by the catalog's patterns."""
    return CatalogConfigResolver(catalog, default_runtime_patterns={"{default}": {"type": "kedro.io.MemoryDataset"}})


def render(content: Content) -> str:
    """Write the content as YAML."""
    return HEADER + yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)


def differences(environment: Environment) -> list[str]:
    """Say in which edges an environment's ``dvc.yaml`` differs from its graph; nothing where it does not."""
    path = environment.project / environment.path
    if not path.is_file():
        return [f"{environment.path} is missing"]
    found, wanted = yaml.safe_load(path.read_text("utf-8")) or {}, describe(environment)
    return [f"{environment.path}: {line}" for line in _compare(found, wanted, ())]


def _stage(
    name: str,
    pipeline: Pipeline,
    environment: Environment,
    catalog: Content,
    parameters: Content,
) -> Content:
    tracked = {name for name, entry in catalog.items() if _kind(entry) is not False and _is_stored(entry)}
    inputs, outputs = pipeline.inputs(), pipeline.all_outputs() & tracked
    keys = {name.removeprefix("params:") for name in inputs if name.startswith("params:")}
    keys |= set(RunContext._fields) if "run_context" in inputs else set()
    files = {_path(catalog[name]) for name in inputs & tracked}
    results = [_path(catalog[name]) for name in sorted(outputs) if _kind(catalog[name]) != "metrics"]
    metrics = [_path(catalog[name]) for name in sorted(outputs) if _kind(catalog[name]) == "metrics"]
    modules = {node.func.__module__ for node in pipeline.nodes}
    modules |= {
        catalog[name]["type"].rpartition(".")[0]
        for name in (inputs | outputs) & tracked
        if catalog[name]["type"].startswith(f"{PACKAGE}.")
    }
    trainings = {key: group for key, group in parameters.items() if isinstance(group, dict) and "method" in group}
    for key, group in trainings.items():
        if key in keys:
            methods = _methods(group)
            modules |= {kind.__module__ for kind in methods} | _architecture_code(group)
            files |= set(_files_outside(methods, environment.project))
            for choice in group["networks"].values():
                files |= set(_weight_files(choice.get("init_from"), choice.get(choice["architecture"])))
        if any(
            catalog[name]["type"].startswith(f"{PACKAGE}.kedro_ext.datasets.networks.") for name in inputs & tracked
        ):
            modules |= _architecture_code(group)  # weights are loaded into networks of any training
    if "splitting" in keys:
        lists = [parameters["splitting"].get(key) for key in ("labeled_list", "unlabeled_list")]
        files |= {path for path in lists if path is not None and not Path(path).is_absolute()}
    patterns = _patterns(catalog)
    entries = outputs | {patterns.match_dataset_pattern(name) for name in outputs}
    configuration = {path for path, content in environment.raw("catalog") if entries & content.keys()}

    stage: Content = {"cmd": f"kedro run --env {environment.env} --pipelines {name}"}
    if environment.env != "base":
        stage["wdir"] = "/".join(".." for _ in environment.path.parent.parts)
    dataset = parameters["dataset"]
    if "dataset" in keys and find_dataset(dataset["source"]).draws_itself:
        makes_it = name == "data_splitting"
        (results.append if makes_it else files.add)(dataset["root"])
    elif name == "data_splitting":
        stage["always_changed"] = True  # others' images: the manifest says whether they are the same
    stage["deps"] = sorted({LOCK, *files, *configuration, *_code(modules)} - {*results})
    if params := list(_params(keys, environment, RuntimeParameters.model_validate(parameters["runtime"]))):
        stage["params"] = params
    stage["outs"] = sorted(results)
    if metrics:
        stage["metrics"] = [{path: {"cache": False}} for path in metrics]  # small enough for git, and diffed there
    return stage


def _weight_files(*values: Any) -> Iterator[str]:
    """Give the files of weights among parameters of a network; DVC's paths are relative to the project."""
    for value in values:
        if isinstance(value, dict):
            yield from _weight_files(*value.values())
        elif isinstance(value, str) and value.endswith((".pth", ".safetensors")) and not Path(value).is_absolute():
            yield value


def _is_stored(entry: Mapping[str, Any]) -> bool:
    return "filepath" in entry or "path" in entry


def _path(entry: Mapping[str, Any]) -> str:
    return str(entry["filepath"] if "filepath" in entry else entry["path"])


def _kind(entry: Mapping[str, Any]) -> Any:
    """Give what the catalog says of a dataset to DVC: ``metrics``, how it is plotted, or False: it is not versioned."""
    return (entry.get("metadata") or {}).get("dvc")


def _params(keys: set[str], environment: Environment, runtime: RuntimeParameters) -> Iterator[Content]:
    """Give, by file, those of the keys that it has."""
    all_of_runtime = {f"runtime.{name}" for name in RuntimeParameters.model_fields} if "runtime" in keys else set()
    indifferent = {"runtime", *(f"runtime.{name}" for name in runtime.changing_no_result)}
    wanted = sorted((keys | all_of_runtime) - indifferent)
    for path, content in environment.raw("parameters"):
        if present := [key for key in wanted if _has(content, key.split("."))]:
            yield {path: present}


def _has(content: Any, key: list[str]) -> bool:
    return not key or (isinstance(content, dict) and key[0] in content and _has(content[key[0]], key[1:]))


def _code(modules: Iterable[str]) -> set[str]:
    """Give the modules and package folders that some modules import, directly or not, and their own."""
    paths = set()
    for module in imported_modules(modules) | {PACKAGE}:
        parts = module.split(".")
        depth = 1
        while ".".join(parts[1 : depth + 1]) in SPLIT and len(parts) > depth + 1:
            paths.add("/".join(["src", *parts[: depth + 1], "__init__.py"]))
            depth += 1
        folder, package = "/".join(["src", *parts[: depth + 1]]), ".".join(parts[: depth + 1])
        is_split = ".".join(parts[1 : depth + 1]) in SPLIT
        if len(parts) == 1 or is_split:
            paths.add(f"{folder}/__init__.py")
        else:
            paths.add(folder if import_graph().find_children(package) else f"{folder}.py")
    return paths


def _methods(training: Mapping[str, Any]) -> "list[type[Method]]":
    """Give a training's method and that of its baseline: chosen by name, so that no module imports them."""
    from igl_dt.methods.registry import find_method

    names = [training["method"]["name"], *(["supervised"] if "reference" in training else [])]
    return [find_method(name) for name in names]


def _files_outside(kinds: "Iterable[type[Method]]", project: Path) -> Iterator[str]:
    """Give the files of methods of the user's own that lie in the project; what these import is not found out."""
    for kind in kinds:
        path = Path(inspect.getfile(kind))
        if not kind.__module__.startswith(f"{PACKAGE}.") and path.is_relative_to(project):
            yield path.relative_to(project).as_posix()


def _architecture_code(training: Mapping[str, Any]) -> set[str]:
    """Give the modules of a training's architectures: chosen by name, so that no module imports them."""
    from igl_dt.networks.registry import find_architecture

    return {find_architecture(network["architecture"]).__module__ for network in training["networks"].values()}


def _plots(environment: Environment, catalog: Content, outputs: Iterable[str]) -> Iterator[Any]:
    """Give the plots that the catalog names, as paths from the ``dvc.yaml``."""
    up = "".join("../" for _ in environment.path.parent.parts)
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
