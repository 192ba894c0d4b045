"""The documentation builds without warnings, its examples work, and everything that it names exists."""

import ast
import copy
import importlib
import inspect
import json
import pkgutil
import re
import shlex
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from kedro.config import OmegaConfigLoader
from markdown_it import MarkdownIt
from markdown_it.token import Token
from omegaconf import OmegaConf
from PIL import Image
from pydantic import BaseModel, ValidationError
from sphinx.cmd.build import build_main

import igl_dt.data.datasets
import igl_dt.losses
import igl_dt.methods
import igl_dt.networks.architectures
from igl_dt.cli import cli
from igl_dt.data.datasets import DataError
from igl_dt.data.loading import Batch
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters
from igl_dt.kedro_ext.parameters import ProjectParameters, check_training
from igl_dt.losses.parameters import SupervisedLossParameters
from igl_dt.methods.base import Method, MethodSetup
from igl_dt.methods.registry import find_method
from igl_dt.networks.parameters import NetworkChoice
from igl_dt.networks.registry import build_network, find_architecture
from igl_dt.pipeline_registry import register_pipelines
from igl_dt.reporting.gallery import GALLERY
from igl_dt.reporting.study.comparison import fractions, tabulate_scores, values_by_variant
from igl_dt.reporting.study.results import read_tables, score_column
from igl_dt.settings import CONFIG_LOADER_ARGS
from igl_dt.training.parameters import check_shards
from igl_dt.training.trainer import create_method
from igl_dt.utils import registry
from igl_dt.utils.files import digest
from tiny import CLASSES, RESNET, tiny_network

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
INVENTED = re.compile("polyps|dashcam|my_methods|my_mean_teacher|plain|pascal_r101|drive_")
"""Names that examples ask the reader to create."""
PLACEHOLDER = re.compile(r"[A-Z]{2,}|[<>*{…]")
KEDRO = {"package", "viz", *cli.commands}


class Code(NamedTuple):
    """A code span, or one line of a block of commands."""

    page: str
    text: str


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(page.read_text("utf-8"))


def spans() -> Iterator[Code]:
    for page in PAGES:
        for token in tokens(page):
            yield from (Code(page.name, child.content) for child in token.children or () if child.type == "code_inline")


def commands() -> Iterator[Code]:
    for page in PAGES:
        for token in tokens(page):
            if token.type == "fence" and token.info in ("", "bash"):
                yield from (Code(page.name, line) for line in token.content.splitlines())
    yield from spans()


def blocks(name: str, language: str) -> list[str]:
    return [token.content for token in tokens(PROJECT / "docs" / name) if token.info == language]


def wanted(found: Iterator[tuple[Code, str]]) -> list[tuple[Code, str]]:
    """Drop placeholders and invented names; something must be left to check."""
    unknown = (PLACEHOLDER, INVENTED)
    kept = [(code, name) for code, name in found if not any(pattern.search(name) for pattern in unknown)]
    assert kept
    return kept


def option(name: str) -> Iterator[tuple[Code, str]]:
    """Yield the comma-separated values of an option."""
    for code in commands():
        for given in re.findall(rf"--{name}[= ]([^\s`]+)", code.text):
            yield from ((code, part) for part in given.split(","))


def test_it_is_built_without_a_warning(tmp_path: Path) -> None:
    assert build_main(["-q", "-W", "--keep-going", "-b", "html", f"{PROJECT}/docs", f"{tmp_path}/html"]) == 0
    built = {path.stem: path.read_text("utf-8") for path in (tmp_path / "html").glob("*.html")}
    assert built.keys() >= {page.stem for page in PAGES if page.parent == PROJECT / "docs"}
    for name, text in built.items():
        assert "system-message" not in text and "ERROR:" not in text, name
        assert not re.search(r'<(script|img|link)[^>]*(src|href)="(https?:)?//', text), f"{name} needs a network"
    assert "Alias for field" not in built["api"]
    assert "automodules" not in built["api"]
    for name in (
        "CpsParameters",
        "DeepLabV3Plus",
        "CamVid",
        *(loss for _, losses in loss_modules() for loss in losses),
    ):
        assert f">{name}</span>" in built["api"], name


def loss_modules() -> Iterator[tuple[str, list[str]]]:
    """Yield the modules of losses with their public functions."""
    for info in pkgutil.iter_modules(igl_dt.losses.__path__):
        if info.name not in ("common", "parameters"):
            module = importlib.import_module(f"igl_dt.losses.{info.name}")
            functions = inspect.getmembers(module, inspect.isfunction)
            yield info.name, [n for n, f in functions if f.__module__ == module.__name__ and not n.startswith("_")]


def test_every_loss_has_a_test_and_a_docstring() -> None:
    modules = dict(loss_modules())
    assert "global_context" in modules
    imported = {
        f"{node.module}.{alias.name}"
        for path in (PROJECT / "tests/losses").glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for name, functions in modules.items():
        for function in functions:
            assert f"igl_dt.losses.{name}.{function}" in imported, f"no test in tests/losses for {name}.{function}"
            assert getattr(importlib.import_module(f"igl_dt.losses.{name}"), function).__doc__, function


@pytest.mark.parametrize("page", [*PAGES, *sorted((PROJECT / "notebooks").glob("*.ipynb"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Sphinx checks headings in links between pages; other links must be existing files or web addresses."""
    if page.suffix == ".ipynb":
        cells = json.loads(page.read_text("utf-8"))["cells"]
        found = MarkdownIt().parse("\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown"))
    else:
        found = tokens(page)
    for child in (child for token in found for child in token.children or ()):
        target = child.attrGet("href") or child.attrGet("src")
        if target is None:
            continue
        link = urlsplit(str(target))
        assert link.scheme in ("", "https"), target
        if not link.scheme and link.path:
            assert (page.parent / link.path).is_file(), target


def test_pipelines_are_there() -> None:
    pipelines = register_pipelines()
    for code, name in wanted(option("pipelines?")):
        assert name in pipelines, code


def test_environments_are_there() -> None:
    for code, name in wanted(option("env")):
        assert (PROJECT / "conf" / name).is_dir(), code


def is_known(kind: type[BaseModel], path: list[str]) -> bool:
    """Whether a parameter object has a field at a path of nested objects."""
    nested: object = None
    for part in reversed(path):
        nested = {part: nested}
    try:
        kind.model_validate(nested or {})
    except ValidationError as error:
        return not any(problem["type"] == "extra_forbidden" for problem in error.errors())
    return True


def is_parameter(path: str) -> bool:
    parts = path.split(".")
    if not is_known(ProjectParameters, parts):
        return False
    match parts:  # sections of methods and architectures have types of their own
        case [_, "method", name, *rest] if name != "name":
            return is_known(find_method(name).parameters_type, rest)
        case [_, "networks", _, name, *rest] if name not in NetworkChoice.model_fields:
            return is_known(find_architecture(name).parameters_type, rest)
    return True


def test_parameters_are_there() -> None:
    student = "student_learning.networks.student.deeplab_v3_plus"
    assert is_parameter(f"{student}.encoder.options.channels")
    assert not is_parameter(f"{student}.chanels")
    assert not is_parameter("student_learning.method.igl_dt.local_wait")
    named = [(code, part.partition("=")[0]) for code, part in option("params") if "=" in part]
    dotted = r"((?:{})(?:\.\w+)+)(?:[=:].*)?".format("|".join(ProjectParameters.model_fields))
    named += [(code, found[1]) for code in spans() if (found := re.fullmatch(dotted, code.text))]
    for code, path in wanted(iter(named)):
        assert is_parameter(path), code


def test_keys_of_dvc_experiments_are_in_their_files() -> None:
    changed = [(code, file, key) for code in commands() for file, key in re.findall(r"-S (\S+):([\w.]+)=", code.text)]
    assert changed
    for code, file, key in changed:
        value = yaml.safe_load((PROJECT / file).read_text("utf-8"))
        for part in key.split("."):
            assert part in value, code
            value = value[part]


def test_commands_are_there() -> None:
    targets = set(re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE))
    made = [(code, found[1]) for code in commands() if (found := re.match(r"(?:\w+=\w+ )?make (\w+)", code.text))]
    assert {"run", "test", "docs"} <= {name for _, name in made}
    for code, name in wanted(iter(made)):
        assert name in targets, code
    for code in commands():
        words = shlex.split(code.text, comments=True) if code.text.startswith("kedro ") else []
        if len(words) > 1 and not words[1].startswith("-"):
            assert words[1] in KEDRO, code
            if words[1] == "dvc":
                assert words[2] in cli.commands["dvc"].commands, code  # type: ignore[attr-defined]


def test_modules_functions_and_classes_are_there() -> None:
    named = ((code, code.text) for code in spans() if re.fullmatch(r"igl_dt(\.\w+)+", code.text))
    for _, name in wanted(named):
        assert pkgutil.resolve_name(name) is not None


def test_files_are_there() -> None:
    ours = ((code, code.text) for code in spans() if re.match(r"(src|conf|docs|tests|notebooks|\.ci)/", code.text))
    for code, path in wanted((code, re.sub(r"(/\w+\.yml):.*", r"\1", path)) for code, path in ours):
        assert path == "docs/_build/html" or (PROJECT / path).exists(), code


def test_the_table_of_what_to_change_names_files_in_every_row() -> None:
    page = (PROJECT / "docs/building.md").read_text("utf-8")
    table = page.partition("## I want to change")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 10
    for row in rows:
        paths = re.findall(r"`((?:src|conf|docs|tests)/[^`]*|pyproject\.toml)`", row)
        assert paths and all((PROJECT / path).exists() for path in paths), row


def test_outputs_are_where_the_catalog_puts_them() -> None:
    run = "${runtime_params:run,${globals:run}}"
    by_parameters = ("prediction", "student.onnx", "training")
    kept = [f"data/07_model_output/{run}/{name}" for name in by_parameters]
    for file in (PROJECT / "conf/base").glob("catalog*.yml"):
        entries = yaml.safe_load(file.read_text("utf-8")).values()
        paths = [entry.get("filepath") or entry["path"] for entry in entries if {"filepath", "path"} & entry.keys()]
        kept += [path.replace("{figure}", figure) for path in paths for figure in GALLERY]
    folders = [f"{entry}/" for entry in kept if not Path(entry).suffix]
    pattern = re.compile(r"(data/0[5-8]_\w+/)(?:<run>|[a-z_]+)/([\w./]*)")
    checked = 0
    for code in commands():
        for layer, rest in pattern.findall(code.text):
            path = f"{layer}{run}/{rest.rstrip('.')}"
            in_folder = path.startswith(tuple(folders))
            assert in_folder or any(entry.startswith(path.rstrip("/")) for entry in kept), code
            checked += 1
    assert checked


def merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """Merge nested dictionaries, as ``merge_strategy: soft`` does."""
    result = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


YAML = [
    (page.name, number, content)
    for page in PAGES
    for number, block in enumerate(token.content for token in tokens(page) if token.info == "yaml")
    if "run" not in (content := yaml.safe_load(block))
]


@pytest.mark.parametrize(("page", "number", "content"), YAML, ids=lambda value: str(value) if value != {} else "")
def test_parameters_in_yaml_blocks_are_valid(
    page: str, number: int, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each block overrides ``conf/base``; networks are built, and methods found."""
    add_module(
        igl_dt.networks.architectures, "plain", blocks("adding_a_network.md", "python")[0], tmp_path, monkeypatch
    )
    (tmp_path / "my_methods.py").write_text(blocks("adding_a_method.md", "python")[0], "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    loader = OmegaConfigLoader(str(PROJECT / "conf"), env="base", **CONFIG_LOADER_ARGS)
    parameters = ProjectParameters.model_validate(merged(dict(loader["parameters"]), content))
    for name in ProjectParameters.training_groups():
        if name in content:
            assert list(check_training(name, getattr(parameters, name), parameters.runtime)) == []


def test_shards_in_commands_fit_the_batches() -> None:
    found = [block for block in blocks("scaling.md", "") if "kedro run --" in block and "runtime.shards" in block]
    assert len(found) == 3
    for block in found:
        (env,), (line,) = re.findall(r"--env=(\w+)", block), re.findall(r"--params=([^\s\"]+)", block)
        loader = OmegaConfigLoader(str(PROJECT / "conf"), env=env, **CONFIG_LOADER_ARGS)
        changes = OmegaConf.to_object(OmegaConf.from_dotlist(line.split(",")))
        parameters = ProjectParameters.model_validate(merged(dict(loader["parameters"]), changes))
        for name in parameters.training_groups():
            check_shards(getattr(parameters, name), parameters.runtime, block)


def test_each_ablation_is_a_line_of_parameters() -> None:
    """In the smallest environment: what it asks for is another training, and can be built."""
    loader = OmegaConfigLoader(str(PROJECT / "conf"), env="smoke", **CONFIG_LOADER_ARGS)
    given = dict(loader["parameters"])
    plain = ProjectParameters.model_validate(given)
    section = (PROJECT / "docs/methods.md").read_text("utf-8").partition("## Ablations of IGL-DT\n")[2]
    lines = re.findall(r"`--params=(student[^`]*|teacher[^`]*)`", section)
    assert len(lines) == len(set(lines)) > 20
    teachers: dict[str, dict[str, Any]] = {}
    for line in lines:
        changes = OmegaConf.to_object(OmegaConf.from_dotlist(line.split(",")))  # as Kedro reads --params
        parameters = ProjectParameters.model_validate(merged(given, changes))
        assert parameters != plain, line
        pretraining, learning = parameters.teacher_pretraining, parameters.student_learning
        built = teachers.get(pretraining.model_dump_json())
        if built is None:
            built = dict(create_method(pretraining, CLASSES, 0).networks.items())
            teachers[pretraining.model_dump_json()] = built
        method = create_method(learning, CLASSES, 0, built)
        for group, name in re.findall(r"(\w+)\.method\.(\w+)\.", line):
            assert (method.name if group == "student_learning" else "cps") == name, f"{line} changes nothing"


def add_module(
    package: ModuleType, name: str, source: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """Add a module to a package, as if its file were in the package's folder."""
    (folder / f"{name}.py").write_text(source, "utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    registry._find.cache_clear()
    importlib.invalidate_caches()
    full_name = f"{package.__name__}.{name}"
    sys.modules.pop(full_name, None)
    return importlib.import_module(full_name)


@pytest.fixture(autouse=True)
def _forget_examples() -> Iterator[None]:
    yield
    registry._find.cache_clear()
    for name in [name for name in sys.modules if name.rpartition(".")[2] in ("plain", "dashcam", "my_methods")]:
        del sys.modules[name]


def test_the_method_shown_is_that_of_the_notebook_and_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, training = blocks("adding_a_method.md", "python")
    cells = json.loads((PROJECT / "notebooks/02_your_own_method.ipynb").read_text("utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert source.strip() in sources
    assert training.strip() in "\n".join(sources)

    (tmp_path / "my_methods.py").write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    kind = find_method("my_methods:MeanTeacher")
    torch.manual_seed(0)
    student = tiny_network("student")
    before = copy.deepcopy(student)
    parameters = kind.parameters_type.model_validate({"decay": 0.25})
    method = kind(MethodSetup(parameters, {"student": student}, {}, SupervisedLossParameters(), 10)).train()
    assert isinstance(method, Method)
    assert method.evaluated().keys() == {"student", "student_ema"}

    images = torch.randint(0, 256, (3, 2, 3, 32, 32), dtype=torch.uint8)
    masks, nothing = torch.zeros(2, 32, 32, dtype=torch.uint8), torch.zeros(2, 32, 32, dtype=torch.bool)
    losses = method(Batch(images[0], masks, images[1], (images[2],), nothing), step=0)
    assert losses.keys() == {"supervised", "consistency"}
    assert all(loss > 0 for loss in losses.values())
    losses["consistency"].backward()
    assert all(p.grad is not None for p in student.parameters())
    assert all(p.grad is None for p in method.evaluated()["student_ema"].parameters())
    assert method(Batch(images[0], masks, images[1], (images[2],), ~nothing), step=0)["consistency"] == 0

    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    method.after_step(3)
    average = method.evaluated()["student_ema"]
    for old, new in zip(before.parameters(), average.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.75)
    method.after_step(0)  # takes the student's weights at first
    for new, current in zip(average.parameters(), student.parameters(), strict=True):
        torch.testing.assert_close(new, current)


def test_the_data_set_shown_is_found_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = blocks("adding_a_dataset.md", "python")
    add_module(igl_dt.data.datasets, "dashcam", source, tmp_path, monkeypatch)
    root = tmp_path / "drives"
    for drive, frames in (("drive_1", 3), ("drive_7", 2)):
        (root / drive).mkdir(parents=True)
        for frame in range(frames):
            shade = np.full((8, 10, 3), 40 * frame + len(drive), dtype=np.uint8)
            Image.fromarray(shade).save(root / drive / f"{frame}.jpg")
            if frame < 2:
                Image.fromarray(np.full((8, 10), frame, dtype=np.uint8)).save(root / drive / f"{frame}_mask.png")
    (root / "classes.txt").write_text("road\ncar\n")
    dataset = DatasetParameters(source="dashcam", root=str(root), options={"val": ["drive_7"]})
    images, class_pixels, names = read_manifest(dataset)
    assert dict(images["split"].value_counts()) == {"train": 3, "val": 2}
    assert images.loc[images["mask"].isna(), "id"].tolist() == ["drive_1/2"]
    assert names == ("road", "car")
    assert class_pixels.loc["drive_7/1", "car"] == 80
    with pytest.raises(DataError, match="drive_9"):
        read_manifest(dataset.model_copy(update={"options": {"val": ["drive_9"]}}))
    (root / "drive_7/0_mask.png").unlink()
    with pytest.raises(DataError, match="drive_7/0"):
        read_manifest(dataset)


def test_the_architecture_shown_is_found_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = blocks("adding_a_network.md", "python")
    add_module(igl_dt.networks.architectures, "plain", source, tmp_path, monkeypatch)
    choice = NetworkChoice.model_validate({"architecture": "plain", "plain": {"encoder": RESNET, "channels": 4}})
    network = build_network(choice, CLASSES).eval()
    logits, features = network(torch.zeros(1, 3, 40, 50, dtype=torch.uint8))
    assert logits.shape == (1, len(CLASSES), 40, 50)
    assert features.shape == (1, 4, 2, 2)
    assert network.feature_channels == 4
    assert network.size_multiple == 32


NETWORK_ROWS = {
    "student (IGL-DT)": ("student", "student"),
    "teacher SwinUnet": ("global_teacher", "swin_unet"),
    "teacher ResUnet": ("local_teacher", "res_unet"),
    "supervised only": ("supervised", "supervised"),
}
"""Rows of tables: the network's name now, and in the old results of CamVid."""


@pytest.mark.parametrize("label", NETWORK_ROWS)
def test_scores_of_the_built_in_run_are_the_committed_ones(label: str) -> None:
    scores = json.loads((PROJECT / "data/08_reporting/shapes/miou.json").read_text("utf-8"))
    readme = (PROJECT / "README.md").read_text("utf-8").replace("**", "")
    assert f"| {label} | {100 * scores[NETWORK_ROWS[label][0]]:.1f} |\n" in readme


@pytest.mark.parametrize("label", NETWORK_ROWS)
def test_old_scores_of_camvid_are_the_committed_ones(label: str) -> None:
    results = (PROJECT / "docs/results.md").read_text("utf-8")
    for steps in (1000, 2000):
        scores = json.loads((PROJECT / f"docs/results/camvid_{steps}_steps.json").read_text("utf-8"))
        miou, boundary = (100 * scores[NETWORK_ROWS[label][1]][score] for score in ("miou", "boundary_miou"))
        assert f"| {label} | {4500 if 'teacher' in label else steps} | {miou:.1f} | {boundary:.1f} |\n" in results


METHODS = {
    "supervised only": "supervised",
    "supervised only, 5760 steps": "supervised_long",
    "supervised only, 9000 steps": "supervised_equal",
    "IGL-DT": "igl_dt",
    "IGL-DT, student's 5760 steps": "igl_dt_long",
    "IGL-DT+ (ours)": "igl_dt_plus",
    "IGL-DT+ (ours), τ = 0": "igl_dt_plus_0",
    "supervised only, strong views": "supervised_strong",
    "Mean Teacher": "mean_teacher",
    "Mean Teacher, CutMix": "mean_teacher_cutmix",
    "CPS": "cps",
    "CPS, λ = 5": "cps_5",
    "CPS, λ rising": "cps_ramp",
    "FixMatch, τ = 0.95": "fixmatch",
    "FixMatch, τ = 0.8": "fixmatch_80",
    "FixMatch, τ = 0": "fixmatch_0",
    "UniMatch V1, τ = 0.95": "unimatch",
    "UniMatch V1, τ = 0": "unimatch_0",
    "UniMatch V2": "unimatch_v2",
    "UniMatch V2, EMA decay 0.98": "unimatch_v2_98",
    "AugSeg": "augseg",
    "AugSeg, EMA decay 0.98": "augseg_98",
    "PrevMatch": "prevmatch",
    "Dual Teacher": "dual_teacher",
    "MGD-style": "mgd",
    "MGD-style, IGL-DT's weights": "mgd_as_igl_dt",
}
"""Rows of the tables of studies in the README and in docs/results.md."""


def tabulate_methods(results: pd.DataFrame) -> str:
    """Give a study's table at the smallest fraction: last weights' scores with each seed, means, and compute."""
    smallest = fractions(results)[0]
    values = values_by_variant(results, smallest)
    compute = {row.variant: row.compute.mean for row in tabulate_scores(results) if row.fraction == smallest}
    assert {name for name in values if "-" not in name} <= set(METHODS.values())
    seeds = sorted(results["seed"].unique())
    columns = ["method", "compute", *(f"seed {seed}" for seed in seeds), "mean ± deviation"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for label, method in METHODS.items():
        if method in values:
            scores = values[method]
            each = " | ".join(f"{scores[seed]:.1f}" if seed in scores else "–" for seed in seeds)
            mean = f"{scores.mean():.1f} ± {scores.std():.1f}" if len(scores) >= 3 else "–"
            lines.append(f"| {label} | {compute[method] / compute['supervised']:.1f} | {each} | {mean} |")
    return "\n".join(lines) + "\n"


def test_methods_in_the_readme_have_the_scores_of_the_study() -> None:
    results = read_tables(PROJECT / "studies/idd_lite").results
    assert tabulate_methods(results) in (PROJECT / "README.md").read_text("utf-8")


def test_methods_in_the_results_have_the_scores_of_the_study_of_scenes() -> None:
    page = (PROJECT / "docs/results.md").read_text("utf-8")
    for study, steps in (("shapes", 5310), ("shapes_long", 21240)):
        table = tabulate_methods(read_tables(PROJECT / "studies" / study).results)
        assert table.replace("9000 steps", f"{steps} steps") in page


def tabulate_fractions(results: pd.DataFrame) -> str:
    """Give the README's table of methods with several fractions: means of the last weights' scores."""
    values = {fraction: values_by_variant(results, fraction) for fraction in fractions(results)}
    counts = results.groupby("fraction")["labeled_images"].first()
    lines = [f"| method | {' | '.join(f'{counts[fraction]} labelled' for fraction in values)} |"]
    lines.append("|---" * (1 + len(values)) + "|")
    for label, method in METHODS.items():
        given = [scores.get(method, pd.Series()) for scores in values.values()]
        means = [f"{scores.mean():.1f} ± {scores.std():.1f}" if len(scores) >= 3 else "–" for scores in given]
        if len(means) - means.count("–") > 1:
            lines.append(f"| {label} | {' | '.join(means)} |")
    return "\n".join(lines) + "\n"


def test_the_readme_has_the_scores_with_more_labels() -> None:
    results = read_tables(PROJECT / "studies/idd_lite").results
    assert tabulate_fractions(results) in (PROJECT / "README.md").read_text("utf-8")


def test_the_figure_in_the_readme_shows_the_results_of_the_study() -> None:
    content = (PROJECT / "studies/idd_lite/results.csv").read_bytes()
    with Image.open(PROJECT / "docs/images/idd_lite.png") as figure:
        assert figure.info["Fingerprint"] == digest(content), "copy studies/idd_lite/figures/compute.png"


WEIGHTS = {
    "": "DeepLabV3+ | ImageNet",
    "deeplab_scratch": "DeepLabV3+ | scratch",
    "deeplab_balanced": "DeepLabV3+, balanced classes | ImageNet",
    "deeplab_2000_steps": "DeepLabV3+, 2000 steps | ImageNet",
    "deeplab_2000_steps_balanced": "DeepLabV3+, 2000 steps, balanced classes | ImageNet",
    "res_unet": "ResUnet | ImageNet",
    "res_unet_scratch": "ResUnet | scratch",
    "swin_unet": "SwinUnet, pyramid stem | ImageNet",
    "swin_unet_scratch": "SwinUnet, pyramid stem | scratch",
    "swin_unet_stride8": "SwinUnet, pyramid stem from stride 8 | ImageNet",
    "swin_unet_convolutional": "SwinUnet, convolutional stem | scratch",
}
"""By the ablation's name in the studies ``weights_*``: network and initial weights."""


def tabulate_weights(results: pd.DataFrame) -> str:
    """Give the table of docs/results.md."""
    results = results[(results["weights"] == "last") & (results["status"] == "done")]
    score = score_column(results)
    results = results.dropna(axis="columns", how="all")
    classes = [column for column in results if column.startswith("iou.")]
    names = [column.removeprefix("iou.").replace("_", " ") for column in classes]
    lines = [f"| network | weights | mIoU | {' | '.join(names)} |", "|---" * (3 + len(classes)) + "|"]
    ablation = results["ablation"] if "ablation" in results else pd.Series("", results.index)
    for name, label in WEIGHTS.items():
        for _, row in results[ablation.fillna("") == name].iterrows():
            lines.append(f"| {label} | {' | '.join(f'{100 * row[column]:.1f}' for column in [score, *classes])} |")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", sorted((PROJECT / "studies").glob("weights_*/results.csv")), ids=str)
def test_table_of_initial_weights(path: Path) -> None:
    assert tabulate_weights(pd.read_csv(path)) in (PROJECT / "docs/results.md").read_text("utf-8")


def test_costs_of_methods_are_those_of_the_benchmark() -> None:
    figures = json.loads((PROJECT / "benchmarks/results.json").read_text("utf-8"))
    page = (PROJECT / "docs/methods.md").read_text("utf-8")
    for name in registry.find_classes(igl_dt.methods, Method):
        seconds = figures["methods"][f"{name}: times supervised"]["value"]
        assert re.search(rf"^\| `{name}` \|.* \| {seconds:.2f} \|$", page, re.MULTILINE), name
    ratio = figures["portable"]["portable, times not portable"]["value"]
    assert f"{ratio:.2f} times as long with `true`" in (PROJECT / "docs/reproduction.md").read_text("utf-8")
