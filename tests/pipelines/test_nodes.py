"""What nodes do beside calling the library."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters, SplittingParameters
from igl_dt.data.splits import split_labels
from igl_dt.pipelines.evaluation.nodes import collect_scores, select_eval_split
from igl_dt.pipelines.reporting.nodes import draw_curves, draw_data, draw_examples
from igl_dt.reporting import figures
from igl_dt.stages import Evaluation

FINGERPRINTS = {"student": "0123abc"}


def test_the_test_images_are_measured_where_there_are_any() -> None:
    val, test = pd.DataFrame({"id": ["a"]}), pd.DataFrame({"id": ["b"]})
    assert select_eval_split(val, test) is test
    assert select_eval_split(val, test.iloc[:0]) is val


def test_scores_have_an_entry_per_network_and_those_of_images_one_per_last_weights() -> None:
    def evaluation(hits: int) -> Evaluation:
        confusion = pd.DataFrame([[hits, 0], [1, 3]], index=["a", "b"], columns=["a", "b"])
        boundary = pd.DataFrame([[1, 2, 2], [0, 0, 0]], index=["a", "b"], columns=["both", "truth", "prediction"])
        return Evaluation(
            confusion, boundary, pd.Series([hits / 10, float("nan")], index=pd.Index(["x", "y"], name="id"))
        )

    networks = {"student": 1, "student_best": 2, "swin_unet": 3, "res_unet": 4}
    evaluations = {name: evaluation(hits) for name, hits in networks.items()}
    metrics, images = collect_scores(**evaluations, references={})
    assert metrics.keys() == networks.keys()
    assert list(images) == ["id", "student", "swin_unet", "res_unet"]
    references = {"supervised": evaluation(9), "supervised_best": evaluation(8)}
    metrics, images = collect_scores(**evaluations, references=references)
    assert metrics.keys() == {*networks, *references}
    for name, hits in (networks | {"supervised": 9}).items():
        assert metrics[name]["per_class"] == {"a": pytest.approx(hits / (hits + 1)), "b": pytest.approx(3 / 4)}
        assert metrics[name]["boundary_per_class"] == {"a": pytest.approx(1 / 3), "b": None}
    assert list(images) == ["id", "student", "swin_unet", "res_unet", "supervised"]
    assert images.to_csv(index=False).splitlines()[1:] == ["x,0.1,0.3,0.4,0.9", "y,,,,"]


def test_examples_are_drawn_in_the_order_of_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict = {}
    said: list[str] = []

    def plot_examples(images: list, truths: list, predictions: dict, names: list[str], labels: list[str]) -> Figure:
        drawn.update(predictions, image=images, truth=truths)
        said.extend(labels)
        return Figure()

    monkeypatch.setattr(figures, "plot_examples", plot_examples)
    values = {f"{kind}/{number}": number for kind in ("student", "image", "truth") for number in (10, 2, 1, 11, 3)}
    loaders = {
        name: lambda value=value: Image.fromarray(np.full((2, 2), value, dtype=np.uint8))
        for name, value in values.items()
    }
    assert draw_examples(loaders, ["a"], FINGERPRINTS).get_label() == "0123abc"
    assert drawn.keys() == {"image", "truth", "student"}
    for arrays in drawn.values():
        assert [int(array[0, 0]) for array in arrays] == [1, 2, 3, 10, 11]
    assert said == ["student's best", "", "student's median", "", "student's worst"]


def test_histories_without_rows_are_not_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    for name in ("plot_losses", "plot_miou"):
        monkeypatch.setattr(figures, name, lambda histories: drawn.append(list(histories)) or Figure())
    rows = pd.DataFrame({"step": [1]})
    draw_curves(rows, rows, rows.iloc[:0], FINGERPRINTS)
    draw_curves(rows, rows, rows, FINGERPRINTS)
    assert drawn == [["teachers", "student"]] * 2 + [["teachers", "student", "supervised"]] * 2


def test_samples_are_taken_from_the_whole_of_each_list_and_are_as_training_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"train": 16, "val": 2, "test": 0, "max_side": 64}
    dataset = DatasetParameters(root=str(tmp_path / "shapes"), image_size=(32, 48), options=options)
    manifest, class_pixels, _ = read_manifest(dataset)
    splits = split_labels(manifest, class_pixels, SplittingParameters(labeled_fraction=0.5), seed=0)
    drawn: dict[str, list[figures.Sample]] = {}
    monkeypatch.setattr(figures, "plot_data", lambda *arguments: drawn.update(arguments[3]) or Figure())
    figure = draw_data(dataset, manifest, class_pixels.reset_index(), *splits[:4])

    lists = {"labeled": [1, 4, 6], "unlabeled": [0, 2, 3, 4, 6, 7], "val": [0, 1], "test": []}
    assert {use: [sample.id for sample in samples] for use, samples in drawn.items()} == {
        use: splits._asdict()[use]["id"].iloc[places].tolist() for use, places in lists.items()
    }
    assert all(sample.image.shape == (32, 48, 3) for samples in drawn.values() for sample in samples)
    assert all((sample.mask is None) == (use == "unlabeled") for use, samples in drawn.items() for sample in samples)

    path = tmp_path / "manifest.csv"
    manifest.to_csv(path, index=False, lineterminator="\n")
    assert figure.get_label() == hashlib.sha256(path.read_bytes()).hexdigest()
