"""Evaluation of a set of images: one pass, whatever is asked for."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from igl_dt.data.parameters import DatasetParameters
from igl_dt.evaluation import evaluator
from igl_dt.evaluation.boundary import boundary_counts
from igl_dt.evaluation.evaluator import evaluate, evaluate_network, score_evaluation, tabulate_images
from igl_dt.evaluation.inference import predict_probabilities
from igl_dt.evaluation.metrics import confusion_matrix, score, score_image
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from pixels import PixelNetwork, images_of, sliding


@pytest.mark.parametrize("parameters", [EvaluationParameters(), sliding((4, 5))])
def test_evaluate_is_independent_of_the_grouping(parameters: EvaluationParameters) -> None:
    network = PixelNetwork()
    samples = images_of((6, 8), (6, 8), (6, 8), (8, 6), (6, 8), (5, 5), (5, 5))
    expected = torch.zeros(3, 3, dtype=torch.int64)
    for image, mask in samples:
        prediction = network.classifier(image[None].float() / 255).argmax(dim=1)
        expected += confusion_matrix(prediction, mask[None].long(), 3)
    for batch_size in (1, 2, 8):
        network.shapes.clear()
        grouped = parameters.model_copy(update={"batch_size": batch_size})
        assert torch.equal(evaluate(network, iter(samples), grouped, 3).confusion, expected)
        assert max(shape[0] for shape in network.shapes) <= batch_size
    if parameters.mode == "whole":
        assert [shape[0] for shape in network.shapes] == [3, 1, 1, 2]


def test_evaluate_leaves_ignored_pixels_out() -> None:
    image, mask = images_of((4, 4))[0]
    mask[:2] = 255
    assert evaluate(PixelNetwork(), [(image, mask)], EvaluationParameters(), 3).confusion.sum() == 8


def test_evaluate_of_no_image_is_zero() -> None:
    assert evaluate(PixelNetwork(), [], EvaluationParameters(), 3).confusion.sum() == 0


def test_evaluate_names_a_mask_of_another_size() -> None:
    (image, _), (_, mask) = images_of((4, 4), (4, 5))
    with pytest.raises(ValueError, match=r"image 1 .*\(4, 4\).*\(4, 5\)"):
        evaluate(PixelNetwork(), [*images_of((4, 4)), (image, mask)], EvaluationParameters(), 3)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_extras_come_from_the_same_pass(batch_size: int) -> None:
    network = PixelNetwork()
    samples = images_of((6, 8), (6, 8), (6, 8), (8, 6))
    samples[1][1][:] = 255
    parameters = EvaluationParameters(batch_size=batch_size, boundary_width=0.1)
    counts = evaluate(network, samples, parameters, 3, details=True)
    assert sum(shape[0] for shape in network.shapes) == len(samples)
    boundary, scores = torch.zeros(3, 3, dtype=torch.int64), []
    for image, mask in samples:
        prediction = predict_probabilities(network, image[None], parameters).argmax(dim=1)
        boundary += boundary_counts(prediction, mask[None], 3, 0.1)
        scores.append(score_image(confusion_matrix(prediction, mask[None], 3)))
    assert counts.boundary is not None
    assert torch.equal(counts.boundary, boundary)
    assert counts.image_miou == scores
    assert scores[1] is None
    plain = evaluate(network, samples, parameters, 3)
    assert torch.equal(plain.confusion, counts.confusion)
    assert plain.boundary is None
    assert plain.image_miou is None


def test_without_extras_pixels_are_counted_once_per_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def count(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
        calls.append(len(prediction))
        return confusion_matrix(prediction, target, num_classes)

    monkeypatch.setattr(evaluator, "confusion_matrix", count)
    monkeypatch.setattr(evaluator, "score_image", None)
    monkeypatch.setattr(evaluator, "boundary_counts", None)
    evaluate(PixelNetwork(), images_of(*4 * [(6, 8)]), EvaluationParameters(batch_size=4), 3)
    assert calls == [4]


def context(folder: Path) -> RunContext:
    """A run on two images of 6×8 and 8×6, whose masks the networks of these tests do not know."""
    for (image, mask), name in zip(images_of((6, 8), (8, 6)), ("b", "a"), strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{name}.png")
        Image.fromarray(mask.numpy()).save(folder / f"{name}_mask.png")
    dataset = DatasetParameters(source="camvid", root=str(folder))
    return RunContext(dataset, EvaluationParameters(), RuntimeParameters(device="cpu"), 0)


def manifest() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": ["b", "a"],
            "image": ["b.png", "a.png"],
            "mask": ["b_mask.png", "a_mask.png"],
            "height": [6, 8],
            "width": [8, 6],
        }
    )


class Elsewhere(PixelNetwork):
    """Notes where it is moved to."""

    class_names = ("sky", "road", "tree")

    def __init__(self) -> None:
        super().__init__()
        self.moves: list[str] = []

    def to(self, *args: object, **kwargs: object) -> "Elsewhere":
        self.moves.append(str(args[0]))
        return self


def test_an_evaluation_is_labelled_by_class_and_image(tmp_path: Path) -> None:
    network = Elsewhere()
    evaluation = evaluate_network(network, manifest(), context(tmp_path))  # type: ignore[arg-type]
    expected = evaluate(network, images_of((6, 8), (8, 6)), EvaluationParameters(), 3, details=True)
    assert evaluation.confusion.to_numpy().tolist() == expected.confusion.tolist()
    assert evaluation.confusion.index.tolist() == evaluation.confusion.columns.tolist() == ["sky", "road", "tree"]
    assert expected.boundary is not None
    assert evaluation.boundary.to_numpy().tolist() == expected.boundary.tolist()
    assert evaluation.image_miou.to_dict() == dict(zip("ba", expected.image_miou or [], strict=True))
    table = tabulate_images({"student": evaluation})
    assert table.columns.tolist() == ["id", "student"]
    assert table["id"].tolist() == ["b", "a"]
    assert score_evaluation(evaluation)["miou"] == score(expected.confusion, network.class_names)["miou"]


def test_networks_are_returned_to_their_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, run = Elsewhere(), context(tmp_path)
    evaluate_network(network, manifest(), run)  # type: ignore[arg-type]
    assert network.moves == ["cpu", "cpu"]
    monkeypatch.setattr(Elsewhere, "forward", None)
    with pytest.raises(TypeError):
        evaluate_network(network, manifest(), run)  # type: ignore[arg-type]
    assert network.moves == 4 * ["cpu"]
