"""The benchmarks run, on little, and their exit code says whether a limit was kept."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import igl_dt.methods
from benchmarks import plain_unimatch
from benchmarks import run as benchmark
from igl_dt.data.parameters import AugmentationParameters
from igl_dt.data.transforms import crop_image, crop_mask, draw_window
from igl_dt.methods.base import Method
from igl_dt.utils.registry import find_classes
from tiny import NETWORKS


@pytest.mark.parametrize(("seconds", "code"), [(60, 0), (0, 1)])
def test_splitting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: int, code: int
) -> None:
    monkeypatch.setattr(benchmark, "IMAGES", 1000)
    monkeypatch.setattr(benchmark, "SPLITTING_SECONDS", seconds)
    monkeypatch.setattr(sys, "argv", ["benchmark", "splitting"])
    assert benchmark.main() == code
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [
        "by a fraction",
        "by lists, format ids",
        "by lists, format UniMatch",
        "by lists, format CPS",
    ]
    assert all("124 labelled and 866 unlabelled" in line for line in lines[1:])


@pytest.mark.parametrize(("ratio", "code"), [(0, 0), (1e9, 1)])
def test_loading(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ratio: float, code: int) -> None:
    for name, value in {"LOADING_STEPS": 1, "LOADING_ROUNDS": 1, "LOADING_RATIO": ratio}.items():
        monkeypatch.setattr(benchmark, name, value)
    monkeypatch.setattr(sys, "argv", ["benchmark", "loading"])
    assert benchmark.main() == code
    rates, verdict = capsys.readouterr().out.splitlines()
    assert rates.startswith("views per second and thread, 480×360 -> 128×128: scaling the crop alone ")
    assert verdict.startswith("ratio ")
    assert verdict.endswith(f"(limit {ratio})")


@pytest.mark.parametrize(("ratio", "code"), [(0, 0), (1e9, 1)])
def test_prediction(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ratio: float, code: int
) -> None:
    tiny = {"PREDICTED": 2, "PREDICTION_ROUNDS": 1, "IMAGE_SIZE": (40, 56), "PREDICTION_RATIO": ratio}
    for name, value in tiny.items():
        monkeypatch.setattr(benchmark, name, value)
    monkeypatch.setattr(sys, "argv", ["benchmark", "prediction"])
    assert benchmark.main() == code
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("prediction, images of 56×40: ")
    assert f"(limit {ratio}; median of 1)" in line


def test_portable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In turns and in this process, which the tests have pinned already."""
    timed = []

    def run(function: Callable[..., float], folder: str, portable: bool) -> float:
        timed.append(portable)
        seconds = function(folder, True) if len(timed) == 1 else 1.0
        assert seconds > 0
        return 3.0 if portable else 2.0

    monkeypatch.setattr(benchmark, "_run_in_own_process", run)
    monkeypatch.setattr(benchmark, "PORTABLE_STEPS", 2)
    monkeypatch.setattr(benchmark, "PORTABLE_ROUNDS", 2)
    monkeypatch.setattr(benchmark, "FIGURES", {})
    monkeypatch.setattr(sys, "argv", ["benchmark", "portable"])
    assert benchmark.main() == 0
    assert timed == [True, False, True, False]
    assert "portable 3.0000 s/step, not portable 2.0000 s/step, ratio 1.500" in capsys.readouterr().out


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
        plain = np.array(benchmark._crop_image_plainly(image, window, (64, 64))).astype(int)
        assert np.abs(ours - plain).max() <= 2
        masks = crop_mask(mask, window, (64, 64)), benchmark._crop_mask_plainly(mask, window, (64, 64))
        assert (masks[0] != masks[1]).mean() < 0.05  # where a pixel's middle lies between two


def test_without_a_subject_it_times_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "measure_steps", lambda: 7)
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    assert benchmark.main() == 7


@pytest.mark.parametrize(("limit", "code"), [(100, 0), (-100, 1)])
def test_startup(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], limit: float, code: int) -> None:
    """With commands that say how long they took: the real ones take long."""
    typed = []

    def type_command(folder: Path, *arguments: str, until: str | None = None) -> float:
        typed.append((arguments[1], until))
        assert (folder / "conf/smoke").is_dir()
        assert (folder / "src/igl_dt").is_dir()
        return 10.0 if until is None else 12.0

    monkeypatch.setattr(benchmark, "_type_command", type_command)
    monkeypatch.setattr(benchmark, "STARTUP_SECONDS", limit)
    monkeypatch.setattr(sys, "argv", ["benchmark", "startup"])
    assert benchmark.main() == code
    assert typed == [("kedro", None), *[("import torch, timm", None), ("kedro", "step 1/1")] * benchmark.STARTUP_ROUNDS]
    said = capsys.readouterr().out
    assert "importing torch and timm 10.0 s" in said
    assert "training step 12.0 s: 2.0 s more (limit " in said


def test_methods(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Every registered method takes its turn; the figures go into the file, beside those that it has."""
    monkeypatch.setattr(benchmark, "NETWORKS", NETWORKS)
    monkeypatch.setattr(benchmark, "METHOD_ROUNDS", 2)
    monkeypatch.setattr(benchmark, "BATCH_SIZE", 2)
    monkeypatch.setattr(benchmark, "CROP_SIZE", (32, 32))
    monkeypatch.setattr(benchmark, "RUNTIME", benchmark.RUNTIME.model_copy(update={"threads": 1}))
    monkeypatch.setattr(benchmark, "FIGURES", {})
    file = tmp_path / "results.json"
    file.write_text('{"steps": {}}')
    monkeypatch.setattr(sys, "argv", ["benchmark", "methods", "--json", str(file)])
    assert benchmark.main() == 0
    names = set(find_classes(igl_dt.methods, Method))
    assert {line.split(":")[0] for line in capsys.readouterr().out.splitlines()} == names >= {"supervised", "igl_dt"}
    figures = json.loads(file.read_text("utf-8"))
    assert figures["steps"] == {}
    assert figures["methods"]["supervised: times supervised"] == 1
    assert figures["methods"]["supervised: multiply-adds times supervised"] == 1
    for name in names:
        assert figures["methods"][f"{name}: seconds"] > 0
        assert figures["methods"][f"{name}: multiply-adds"] >= figures["methods"]["supervised: multiply-adds"]


def test_steps_give_a_ratio_for_each_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "NETWORKS", NETWORKS)
    monkeypatch.setattr(benchmark, "STEPS", benchmark.WARMUP_STEPS + 3)
    monkeypatch.setattr(benchmark, "CROP_SIZE", (32, 32))
    monkeypatch.setattr(benchmark, "LIMIT", 1e9)
    monkeypatch.setattr(benchmark, "RUNTIME", benchmark.RUNTIME.model_copy(update={"threads": 1}))
    assert benchmark.measure_steps() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["teacher pretraining", "student learning"]


def test_commands_are_timed_to_their_end_or_until_they_say_something(tmp_path: Path) -> None:
    code = "import time; print('first', flush=True); time.sleep(0.5); print('last')"
    whole, first = (benchmark._type_command(tmp_path, "-c", code, until=until) for until in (None, "first"))
    assert whole > 0.5
    assert first < whole
    with pytest.raises(RuntimeError, match=r"(?s)failed.*NameError"):
        benchmark._type_command(tmp_path, "-c", "nonsense")
    with pytest.raises(RuntimeError, match=r"(?s)failed.*last"):
        benchmark._type_command(tmp_path, "-c", code, until="never")


def test_plain(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"IMAGE_SIZE": (64, 64), "CROP": 32, "IMAGES": 12, "VALIDATED": 2, "STEPS": 1, "ROUNDS": 2, "BATCH_SIZE": 2}
    for name, value in (small | {"LIMIT": 0}).items():
        monkeypatch.setattr(plain_unimatch, name, value)
    monkeypatch.setattr(sys, "argv", ["benchmark", "plain"])
    assert benchmark.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if "images/s" in line and "INFO" not in line] == [
        f"{name}, {precision}" for name in plain_unimatch.METHODS for precision in ("float32", "bfloat16")
    ]


def test_plain_keeps_its_limit_in_the_faster_precision() -> None:
    ratios = {"unimatch, float32: ratio": 1.1, "unimatch, bfloat16: ratio": 1.6, "supervised, float32: ratio": 1.5}
    assert plain_unimatch.is_within_limit(ratios)
    assert not plain_unimatch.is_within_limit(ratios | {"unimatch, bfloat16: ratio": 1.4})


def test_supply(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(benchmark, "SUPPLIED", ("base",))
    monkeypatch.setattr(benchmark, "SUPPLY_STEPS", 2)
    monkeypatch.setattr(benchmark, "SUPPLY_RATIO", 1e9)
    monkeypatch.setattr(sys, "argv", ["benchmark", "supply"])
    assert benchmark.main() == 0
    lines = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines() if "by one thread" in line]
    assert lines == [f"base, {method}" for method in ("supervised", "cps", "igl_dt", "unimatch")]
