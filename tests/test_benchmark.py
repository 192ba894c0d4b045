"""The benchmarks run, on little; figures, table, file and exit code."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import igl_dt.methods
from benchmarks import choices, commands, figures, images, memory, plain_unimatch, processes, settings, steps, trainings
from benchmarks import run as benchmark
from benchmarks.figures import Figure, median
from igl_dt.data.loading import TrainingBatches
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.data.transforms import crop_image, crop_mask, draw_window
from igl_dt.methods.base import Method
from igl_dt.utils.registry import find_classes
from tiny import NETWORKS

METHODS = list(find_classes(igl_dt.methods, Method))


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks, crops and batches, one thread."""
    small = (32, 32)
    monkeypatch.setattr(settings, "NETWORKS", NETWORKS)
    monkeypatch.setattr(settings, "CROP_SIZE", small)
    monkeypatch.setattr(settings, "AUGMENTATION", settings.AUGMENTATION.model_copy(update={"crop_size": small}))
    monkeypatch.setattr(settings, "BATCH_SIZE", 2)
    monkeypatch.setattr(settings, "RUNTIME", settings.RUNTIME.model_copy(update={"threads": 1}))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Call functions here that would have a process of their own; gives their arguments."""
    calls: list[tuple[Any, ...]] = []

    def call(function: Callable[..., Any], *arguments: Any) -> Any:
        calls.append(arguments)
        return function(*arguments)

    for module in (benchmark, memory, processes, steps):
        monkeypatch.setattr(module, "in_own_process", call)
    return calls


def set_all(monkeypatch: pytest.MonkeyPatch, module: Any, **values: Any) -> None:
    for name, value in values.items():
        monkeypatch.setattr(module, name, value)


def measured(subject: str) -> dict[str, Figure]:
    found = list(benchmark.SUBJECTS[subject]())
    assert len({figure.name for figure in found}) == len(found)
    assert all(figure.value > 0 or (figure.name == "MiB" and figure.value == 0) for figure in found)  # peaked before
    return {figure.name: figure for figure in found}


class TestFigures:
    def test_have_median_quartiles_and_their_ratio_to_the_limit(self) -> None:
        figure = median("seconds", [1, 2, 3, 4, 10], limit=2)
        assert (figure.value, figure.spread, figure.of_limit) == (3, (2, 4), 1.5)
        assert not figure.is_within_limit
        assert median("rate", [4], limit=2, at_least=True).of_limit == 0.5
        assert Figure("alone", 1e12).is_within_limit

    def test_are_rows_beside_the_committed_ones(self) -> None:
        figure = Figure("step", 0.5, (0.4, 0.6), limit=0.4)
        row = figure.row("steps", {"steps": {"step": {"value": 0.25}}})
        assert row.split() == ["steps", "step", "0.5", "0.4", "–", "0.6", "≤", "0.4", "1.250", "0.25"]
        assert Figure("adds", 12345678).row("methods", {}).split() == ["methods", "adds", "1.235e+07"]
        assert figure.as_json() == {"value": 0.5, "quartiles": [0.4, 0.6], "limit": 0.4, "of_limit": 1.25}
        assert Figure("adds", 12345678).as_json() == {"value": 12345678}


class TestCommand:
    @pytest.fixture(autouse=True)
    def subjects(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        of_subjects = {"good": lambda: iter([Figure("x", 1, limit=2)]), "bad": lambda: iter([Figure("y", 3, limit=2)])}
        monkeypatch.setattr(benchmark, "SUBJECTS", of_subjects)
        monkeypatch.setattr(figures, "RESULTS", tmp_path / "results.json")
        (tmp_path / "results.json").write_text('{"good": {"x": {"value": 7}, "gone": {"value": 1}}, "other": {}}')

    def test_tells_whether_limits_are_kept(self, in_this_process: list[Any]) -> None:
        assert benchmark.main(["good"]) == 0
        assert in_this_process == []
        assert benchmark.main(["bad", "good"]) == 1
        assert [subject for subject, *_ in in_this_process] == ["bad", "good"]

    def test_measures_all_and_prints_one_table(
        self, in_this_process: list[Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert benchmark.main([]) == 1
        header, good, bad = capsys.readouterr().out.splitlines()
        assert header.split() == ["subject", "figure", "median", "quartiles", "limit", "of", "limit", "committed"]
        assert good.split() == ["good", "x", "1", "≤", "2", "0.500", "7"]
        assert bad.split() == ["bad", "y", "3", "≤", "2", "1.500"]

    def test_can_measure_in_another_process(self) -> None:
        """Of ``__main__``, which is another module there, it could not."""
        assert benchmark.collect.__module__ == "benchmarks.run"
        assert processes.in_own_process(abs, -1) == 1

    def test_writes_on_demand_what_it_measured_and_leaves_the_rest(self, tmp_path: Path) -> None:
        before = (tmp_path / "results.json").read_text()
        benchmark.main(["good"])
        assert (tmp_path / "results.json").read_text() == before
        benchmark.main(["good", "--write"])
        figure = {"value": 1, "limit": 2, "of_limit": 0.5}
        written = json.loads((tmp_path / "results.json").read_text())
        assert "torch" in written["good"].pop("measured on")
        assert written == {"good": {"x": figure}, "other": {}}

    def test_names_the_subjects_there_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            benchmark.main(["goood"])
        assert "unknown subject goood; there are good, bad" in capsys.readouterr().err

    def test_measures_elsewhere_what_can_be_and_writes_it_nowhere(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for arguments in (["good", "--device=cuda"], ["--crop", "8", "9"], ["bad", "--crop", "8", "9", "--write"]):
            with pytest.raises(SystemExit):
                benchmark.main(arguments)
            assert "--device and --crop are for" in capsys.readouterr().err
        monkeypatch.setattr(benchmark, "ANYWHERE", {"good"})
        assert benchmark.main(["good", "--device=cuda", "--crop", "8", "9"]) == 0
        assert settings.RUNTIME.device == "cuda"
        assert settings.CROP_SIZE == settings.AUGMENTATION.crop_size == (8, 9)


def test_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, choices, ROUNDS=1, EVALUATED=2)
    monkeypatch.setattr(settings, "IMAGE_SIZE", (32, 48))
    networks = ("swin_unet", "res_unet", "deeplab_v3_plus", "deeplab_v3_plus of EfficientNet-Lite0")
    choices_of = ("contiguous: times channels-last", "float32: times bfloat16")
    of_networks = [f"{name}, {choice}" for name in networks for choice in choices_of]
    assert list(measured("choices")) == [*of_networks, "evaluation, one by one: times batches"]


def test_splitting(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, images, IMAGES=1000, SPLITTING_ROUNDS=1)
    formats = ["by a fraction", *(f"by lists, format {name}" for name in ("ids", "UniMatch", "CPS"))]
    assert list(measured("splitting")) == [*(f"{name}: seconds" for name in formats), "MiB"]


def test_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, images, LOADING_STEPS=1, LOADING_ROUNDS=1)
    assert measured("loading")["times the plain way"].limit == 1.8


def test_the_plain_way_of_loading_gives_the_same_views() -> None:
    """Else the two rates would not be of one thing."""
    height, width = 90, 120
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, rows + columns], axis=2).astype(np.uint8)
    mask = (rows // 30 * 4 + columns // 30).astype(np.uint8)
    augmentation = AugmentationParameters(crop_size=(64, 64))
    for seed in range(30):
        window = draw_window(width, height, augmentation, np.random.default_rng(seed))
        ours = np.array(crop_image(image, window, (64, 64))).astype(int)
        plain = np.array(images.crop_image_plainly(image, window, (64, 64))).astype(int)
        assert np.abs(ours - plain).max() <= 2
        masks = crop_mask(mask, window, (64, 64)), images.crop_mask_plainly(mask, window, (64, 64))
        assert (masks[0] != masks[1]).mean() < 0.05  # where a pixel's middle lies between two


def test_supply(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, images, SUPPLIED=("base",), SUPPLY_STEPS=2)
    names = [f"base, {method}: a batch over a step" for method in ("supervised", "cps", "igl_dt", "unimatch")]
    assert list(measured("supply")) == names


def test_steps_give_the_ratio_of_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, steps, STEPS=3, WARMUP_STEPS=0)
    found = measured("steps")
    assert list(found) == [f"{name}: {of}" for name in METHODS for of in ("seconds", "times the bare networks")]
    assert found["igl_dt: times the bare networks"].limit == 1.03


def test_images_are_large_enough_for_any_crop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert trainings.sizes() == {"min_side": 128, "max_side": 128}
    settings.choose("cpu", (361, 481))
    reader, splits = trainings.draw_images(str(tmp_path), trainings.sizes() | {"train": 8, "val": 1, "test": 0}, 0.5)
    batch = trainings.make_batches(TrainingBatches, None, reader, splits, settings.AUGMENTATION, 1)[0]
    assert batch.images.shape == (2, 3, 361, 481)


@pytest.mark.parametrize("name", ["igl_dt", "unimatch", "fixmatch"])
def test_the_bare_step_repeats_the_passes_of_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions, of networks alone, are as many multiply-adds in both."""

    def multiply_adds(function: Callable[[], Any]) -> dict[Any, int]:
        with FlopCounterMode(display=False) as counter:
            function()
        counts = counter.get_flop_counts()["Global"]
        return {kind: counts[kind] for kind in (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)}

    method, passes = trainings.any_method(name).train(), steps.Passes()
    with tempfile.TemporaryDirectory() as folder:
        reader, splits = trainings.draw_images(folder, {"train": 8, "val": 1, "test": 0, "min_side": 128}, 0.5)
        batch = trainings.make_batches(TrainingBatches, method, reader, splits, settings.AUGMENTATION, 1)[0]
    with passes.recorded():
        step = multiply_adds(lambda: trainings.time_step(method, batch, [], 0))
        assert multiply_adds(lambda: passes.repeat([])) == step
    assert all(step.values())


def test_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "METHOD_ROUNDS", 2)
    found = measured("methods")
    assert found["supervised: times supervised"].value == 1
    assert found["supervised: multiply-adds times supervised"].value == 1
    for name in METHODS:
        assert found[f"{name}: seconds"].value > 0
        assert found[f"{name}: multiply-adds"].value >= found["supervised: multiply-adds"].value


def test_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    """With commands that say how long they took: the real ones take long."""
    typed = []

    def type_command(folder: Path, *arguments: str, until: str | None = None) -> float:
        typed.append((arguments[1], until))
        assert (folder / "conf/smoke").is_dir()
        assert (folder / "src/igl_dt").is_dir()
        return 10.0 if until is None else 12.0

    monkeypatch.setattr(commands, "type_command", type_command)
    assert measured("startup")["difference: seconds"] == Figure("difference: seconds", 2.0, (2.0, 2.0), limit=3.0)
    assert typed == [("kedro", None), *[("import torch, timm", None), ("kedro", "step 1/1")] * commands.STARTUP_ROUNDS]


def test_commands_are_timed_to_their_end_or_until_they_say_something(tmp_path: Path) -> None:
    code = "import time; print('first', flush=True); time.sleep(0.5); print('last')"
    whole, first = (commands.type_command(tmp_path, "-c", code, until=until) for until in (None, "first"))
    assert whole > 0.5
    assert first < whole
    with pytest.raises(RuntimeError, match=r"(?s)failed.*NameError"):
        commands.type_command(tmp_path, "-c", "nonsense")
    with pytest.raises(RuntimeError, match=r"(?s)failed.*last"):
        commands.type_command(tmp_path, "-c", code, until="never")


def test_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, commands, PREDICTED=2, PREDICTION_ROUNDS=1)
    monkeypatch.setattr(settings, "IMAGE_SIZE", (40, 56))
    assert measured("prediction")["times the bare network"].at_least


def test_memory(monkeypatch: pytest.MonkeyPatch, in_this_process: list[Any]) -> None:
    """In one process the second peak is at least the first."""
    set_all(monkeypatch, memory, FEW=4, MANY=8, TRAINING_STEPS=1, ROUNDS=1)
    monkeypatch.setattr(settings, "IMAGE_SIZE", (40, 56))
    found = measured("memory")
    assert in_this_process == [(4,), (8,), (4,), (8,)]
    assert list(found)[1::2] == ["prediction, 8 images: times that", "training, 8 images: times that"]


def test_portable(monkeypatch: pytest.MonkeyPatch) -> None:
    """In turns and in this process, which the tests have pinned already."""
    timed = []

    def run(function: Callable[..., float], folder: str, portable: bool) -> float:
        timed.append(portable)
        seconds = function(folder, True) if len(timed) == 1 else 1.0
        assert seconds > 0
        return 3.0 if portable else 2.0

    monkeypatch.setattr(steps, "in_own_process", run)
    set_all(monkeypatch, steps, PORTABLE_STEPS=2, PORTABLE_ROUNDS=2)
    assert measured("portable")["portable, times not portable"].value == 1.5
    assert timed == [True, False, True, False]


def test_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """With seconds that are made up: the real processes have tests of their own."""

    def run(function: Callable[..., float], method: str, runtime: Any, images: int, steps: int) -> float:
        assert runtime.shards == 2
        if runtime.processes == 1:
            return function(method, runtime.model_copy(update={"threads": 1}), 8, 1)
        return 1e6

    monkeypatch.setattr(processes, "in_own_process", run)
    set_all(monkeypatch, processes, ROUNDS=1, STEPS=10)
    assert measured("processes")["two processes: seconds"].value == 1e5


def test_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "IMAGE_SIZE", (64, 64))
    set_all(monkeypatch, plain_unimatch, IMAGES=12, VALIDATED=2, STEPS=1, ROUNDS=2)
    found = measured("plain")
    for name in plain_unimatch.METHODS:
        ratios = [found[f"{name}, {kind}: times the plain way"].value for kind in ("float32", "bfloat16")]
        faster = found[f"{name}, the faster precision: times the plain way"]
        assert (faster.value, faster.limit, faster.at_least) == (max(ratios), 1.5, True)
