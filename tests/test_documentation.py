"""The documentation is built without a warning, its examples work, and whatever it names is there."""

import importlib.util
import json
import pkgutil
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from PIL import Image
from pydantic import ValidationError
from sphinx.cmd.build import build_main

from igl_dt.cli import cli
from igl_dt.data import datasets
from igl_dt.data.datasets import DataError
from igl_dt.data.loading import Batch
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters
from igl_dt.kedro_ext.parameters import ProjectParameters
from igl_dt.networks import build_network
from igl_dt.pipeline_registry import register_pipelines
from igl_dt.utils import registry
from tiny import CLASSES, NETWORKS, RESNET

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
INVENTED = re.compile("polyps|dashcam|fixmatch|plain|pascal_r101|drive_")
"""What examples tell a reader to make."""
PLACEHOLDER = re.compile(r"[A-Z]{2,}|[<>*{…]")
KEDRO = {"run", "viz", *cli.commands}


class Code(NamedTuple):
    """What stands in code's letters: a span within a line, or one line of a block of commands."""

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
    """Leave out placeholders and what examples invent; there must be something to check."""
    unknown = (PLACEHOLDER, INVENTED)
    kept = [(code, name) for code, name in found if not any(pattern.search(name) for pattern in unknown)]
    assert kept
    return kept


def option(name: str) -> Iterator[tuple[Code, str]]:
    """Give what is said after an option, part by part."""
    for code in commands():
        for given in re.findall(rf"--{name}[= ]([^\s`]+)", code.text):
            yield from ((code, part) for part in given.split(","))


def test_it_is_built_without_a_warning(tmp_path: Path) -> None:
    assert build_main(["-q", "-W", "--keep-going", "-b", "html", f"{PROJECT}/docs", f"{tmp_path}/html"]) == 0
    built = {path.stem: path.read_text("utf-8") for path in (tmp_path / "html").glob("*.html")}
    assert built.keys() >= {page.stem for page in PAGES if page.name != "README.md"}
    for name, text in built.items():
        assert "system-message" not in text and "ERROR:" not in text, name
        assert not re.search(r'<(script|img|link)[^>]*(src|href)="(https?:)?//', text), f"{name} needs a network"
    assert "CrossPseudoSupervisionParameters" in built["api"] and "Alias for field" not in built["api"]


@pytest.mark.parametrize("page", [*PAGES, *sorted((PROJECT / "notebooks").glob("*.ipynb"))], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Of those between pages Sphinx sees the headings too; others lead to files, or out of the project."""
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


def is_parameter(path: str) -> bool:
    nested: object = None
    for part in reversed(path.split(".")):
        nested = {part: nested}
    try:
        ProjectParameters.model_validate(nested)
    except ValidationError as error:
        return not any(problem["type"] == "extra_forbidden" for problem in error.errors())
    return True


def test_parameters_are_there() -> None:
    assert is_parameter("networks.student.encoder.options.channels") and not is_parameter("networks.student.chanels")
    named = [(code, part.partition("=")[0]) for code, part in option("params") if "=" in part]
    dotted = r"((?:{})(?:\.\w+)+)(?:[=:].*)?".format("|".join(ProjectParameters.model_fields))
    named += [(code, found[1]) for code in spans() if (found := re.fullmatch(dotted, code.text))]
    for code, path in wanted(iter(named)):
        assert is_parameter(path), code


def test_files_that_dvc_is_to_change_have_those_keys() -> None:
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


def test_outputs_are_where_the_catalog_puts_them() -> None:
    kept = []
    for file in (PROJECT / "conf/base").glob("catalog*.yml"):
        entries = yaml.safe_load(file.read_text("utf-8")).values()
        kept += [entry.get("filepath") or entry["path"] for entry in entries if {"filepath", "path"} & entry.keys()]
    # Parameters and the name of the network say so.
    kept += [f"data/07_model_output/${{globals:recipe}}/{name}" for name in ("prediction", "student.onnx")]
    pattern = re.compile(r"(data/0[5-8]_\w+/)(?:<recipe>|[a-z]+)/([\w./]*)")
    checked = 0
    for code in commands():
        for layer, rest in pattern.findall(code.text):
            path = layer + "${globals:recipe}/" + rest.rstrip(".")
            assert any(entry.startswith(path.rstrip("/")) for entry in kept), code
            checked += 1
    assert checked


@pytest.mark.parametrize("name", ["own_data.md", "adding_a_dataset.md"])
def test_recipes_shown_are_right(name: str) -> None:
    shown = [content for block in blocks(name, "yaml") if "dataset" in (content := yaml.safe_load(block))]
    (recipe,) = shown
    DatasetParameters.model_validate(recipe["dataset"])


def load(source: str, folder: Path) -> ModuleType:
    """Make a module of an example."""
    path = folder / "example.py"
    path.write_text(source, "utf-8")
    spec = importlib.util.spec_from_file_location("example", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_method_shown_is_that_of_the_notebook_and_learns(tmp_path: Path) -> None:
    shown = blocks("adding_a_method.md", "python")
    cells = json.loads((PROJECT / "notebooks/02_your_own_method.ipynb").read_text("utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert shown[0].strip() in sources
    assert shown[1].strip() in "\n".join(sources)

    torch.manual_seed(0)
    network = build_network("student", NETWORKS["student"], CLASSES)
    method = load(shown[0], tmp_path).FixMatch(network, threshold=0.0).train()
    images = torch.randint(0, 256, (3, 2, 3, 32, 32), dtype=torch.uint8)
    masks, nothing = torch.zeros(2, 32, 32, dtype=torch.uint8), torch.zeros(2, 32, 32, dtype=torch.bool)
    for strong, boxes in ((None, None), (None, nothing), (images[2], None), (images[2], nothing)):
        losses = method(Batch(images[0], masks, images[1], strong, nothing, boxes), step=0)
        assert losses.keys() == {"supervised", "pseudo_label"} and all(loss > 0 for loss in losses.values())
    losses["pseudo_label"].backward()
    assert network.training and all(p.grad is not None for p in network.parameters())
    nowhere = method(Batch(images[0], masks, images[1], images[2], ~nothing), step=0)
    assert nowhere["pseudo_label"] == 0


def test_the_source_shown_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source,) = blocks("adding_a_dataset.md", "python")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/dashcam.py").write_text(source)
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path / "datasets")])
    registry._find.cache_clear()
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
    assert names == ("road", "car") and class_pixels.loc["drive_7/1", "car"] == 80
    with pytest.raises(DataError, match="drive_9"):
        read_manifest(dataset.model_copy(update={"options": {"val": ["drive_9"]}}))
    (root / "drive_7/0_mask.png").unlink()
    with pytest.raises(DataError, match="drive_7/0"):
        read_manifest(dataset)
    registry._find.cache_clear()


def test_the_network_shown_works(tmp_path: Path) -> None:
    (source,) = blocks("adding_a_network.md", "python")
    example = load(source, tmp_path)
    network = example.Plain(example.PlainParameters(encoder=RESNET, channels=4), CLASSES).eval()
    logits, features = network(torch.zeros(1, 3, 40, 50, dtype=torch.uint8))
    assert logits.shape == (1, len(CLASSES), 40, 50) and features.shape == (1, 4, 2, 2)
    assert network.feature_channels == 4 and network.size_multiple == 32


NETWORK_ROWS = {
    "student (IGL-DT)": "student",
    "teacher SwinUnet": "swin_unet",
    "teacher ResUnet": "res_unet",
    "supervised only": "supervised",
}


def percents(pattern: str, network: str, score: str) -> list[float]:
    """Give a score of each committed result, in percent."""
    results = [json.loads(path.read_text("utf-8")) for path in sorted((PROJECT / "docs/results").glob(pattern))]
    assert results
    return [100 * result[network][score] for result in results]


def mean_and_deviation(values: list[float]) -> str:
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"


@pytest.mark.parametrize("label", NETWORK_ROWS)
def test_numbers_in_tables_are_those_of_the_results(label: str) -> None:
    network = NETWORK_ROWS[label]
    built_in = percents("shapes_seed_*.json", network, "miou")
    seeds = " | ".join(f"{value:.1f}" for value in built_in)
    boundaries = mean_and_deviation(percents("shapes_seed_*.json", network, "boundary_miou"))
    readme = (PROJECT / "README.md").read_text("utf-8").replace("**", "")
    assert f"| {label} | {seeds} | {mean_and_deviation(built_in)} |\n" in readme
    results = (PROJECT / "docs/results.md").read_text("utf-8")
    assert f"| {label} | {seeds} | {mean_and_deviation(built_in)} | {boundaries} |\n" in results
    for steps in (1000, 2000):
        (miou,) = percents(f"camvid_{steps}_steps.json", network, "miou")
        (boundary,) = percents(f"camvid_{steps}_steps.json", network, "boundary_miou")
        assert f"| {label} | {4500 if 'teacher' in label else steps} | {miou:.1f} | {boundary:.1f} |\n" in results
