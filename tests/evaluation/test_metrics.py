"""The confusion matrix against slow loops, and the scores against sums by hand."""

import json

import pytest
import torch
from torch import Tensor

from igl_dt.evaluation.metrics import confusion_matrix, score, score_image


def slow_confusion(prediction: Tensor, target: Tensor, num_classes: int) -> list[list[int]]:
    counts = [[0] * num_classes for _ in range(num_classes)]
    for guess, true in zip(prediction.flatten().tolist(), target.flatten().tolist(), strict=True):
        if true != 255:
            counts[true][guess] += 1
    return counts


def random_pair(num_classes: int = 5, size: tuple[int, int, int] = (6, 9, 7)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    prediction = torch.randint(num_classes, size, generator=generator)
    target = torch.randint(num_classes, size, generator=generator)
    target[torch.rand(size, generator=generator) < 0.2] = 255
    return prediction, target


def test_counts_what_a_loop_counts() -> None:
    prediction, target = random_pair()
    confusion = confusion_matrix(prediction, target, 5)
    assert confusion.dtype == torch.int64
    assert confusion.tolist() == slow_confusion(prediction, target, 5)


@pytest.mark.parametrize("part", [1, 2, 4, 6])
def test_is_the_same_however_the_set_is_split(part: int) -> None:
    prediction, target = random_pair()
    pieces = [
        confusion_matrix(guess, true, 5) for guess, true in zip(prediction.split(part), target.split(part), strict=True)
    ]
    assert torch.equal(torch.stack(pieces).sum(dim=0), confusion_matrix(prediction, target, 5))


def test_takes_any_integer_type() -> None:
    prediction, target = random_pair()
    assert torch.equal(
        confusion_matrix(prediction.to(torch.uint8), target.to(torch.uint8), 5),
        confusion_matrix(prediction, target, 5),
    )


def test_many_classes_in_small_integers_do_not_overflow() -> None:
    prediction, target = torch.tensor([[[149]]], dtype=torch.uint8), torch.tensor([[[148]]], dtype=torch.uint8)
    assert confusion_matrix(prediction, target, 150)[148, 149] == 1


def test_nothing_to_count_gives_zeros() -> None:
    confusion = confusion_matrix(torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), 255), 3)
    assert confusion.tolist() == [[0] * 3] * 3


def test_predictions_on_ignored_pixels_may_be_anything() -> None:
    prediction, target = torch.tensor([[[99, 1]]]), torch.tensor([[[255, 1]]])
    assert confusion_matrix(prediction, target, 2).tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize(("guess", "true", "message"), [(3, 0, "prediction holds class id 3"), (0, 7, "target.* 7")])
def test_names_an_id_outside_the_classes(guess: int, true: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(torch.tensor([[[guess]]]), torch.tensor([[[true]]]), 3)


def test_names_shapes_that_differ() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 3\) and \(1, 3, 2\)"):
        confusion_matrix(torch.zeros(1, 2, 3, dtype=torch.int64), torch.zeros(1, 3, 2, dtype=torch.int64), 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_counts_the_same_with_deterministic_algorithms() -> None:
    prediction, target = random_pair()
    torch.use_deterministic_algorithms(True)
    try:
        on_cuda = confusion_matrix(prediction.cuda(), target.cuda(), 5)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(on_cuda.cpu(), confusion_matrix(prediction, target, 5))


def test_scores_by_hand() -> None:
    # truth:      sky 4 (3 right, 1 as road), road 4 (2 right, 2 as car), car 0, pole 0 (never predicted)
    confusion = torch.tensor([[3, 1, 0, 0], [0, 2, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    scores = score(confusion, ["sky", "road", "car", "pole"])
    assert scores["per_class"] == {"sky": 3 / 4, "road": 2 / 5, "car": 0.0, "pole": None}
    assert scores["miou"] == pytest.approx((3 / 4 + 2 / 5) / 4)
    assert scores["miou_present"] == pytest.approx((3 / 4 + 2 / 5) / 2)
    assert scores["pixel_accuracy"] == 5 / 8
    assert scores["mean_class_accuracy"] == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert scores["pixels"] == 8
    assert json.loads(json.dumps(scores)) == scores


def test_scores_of_nothing_are_zero() -> None:
    scores = score(torch.zeros(2, 2, dtype=torch.int64), ["a", "b"])
    assert scores == {
        "miou": 0.0,
        "miou_present": 0.0,
        "pixel_accuracy": 0.0,
        "mean_class_accuracy": 0.0,
        "per_class": {"a": None, "b": None},
        "pixels": 0,
    }


def test_a_perfect_prediction_scores_one() -> None:
    _, target = random_pair()
    scores = score(confusion_matrix(target.where(target != 255, 0), target, 5), list("abcde"))
    means = (scores["miou"], scores["miou_present"], scores["pixel_accuracy"], scores["mean_class_accuracy"])
    assert means == (1.0, 1.0, 1.0, 1.0)


def test_names_a_matrix_of_the_wrong_size() -> None:
    with pytest.raises(ValueError, match="3×3"):
        score(torch.zeros(2, 2, dtype=torch.int64), ["a", "b", "c"])


def test_an_image_s_score_is_over_the_classes_in_its_truth_or_prediction() -> None:
    confusion = torch.tensor([[3, 1, 0, 0], [0, 2, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert score_image(confusion) == pytest.approx((3 / 4 + 2 / 5 + 0) / 3)
    assert score_image(torch.zeros_like(confusion)) is None
