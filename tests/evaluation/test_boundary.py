"""Boundary IoU against a slow loop, and against sums by hand."""

import math

import numpy as np
import pytest
import torch

from igl_dt.evaluation.boundary import boundary_counts, score_boundary


def slow_boundary(mask: np.ndarray, distance: int) -> np.ndarray:
    """Pixels of a mask that do not survive ``distance`` erosions by 3×3, with nothing outside: the authors' way."""
    eroded = np.pad(mask, 1)
    for _ in range(distance):
        before = eroded.copy()
        for row in range(1, mask.shape[0] + 1):
            for column in range(1, mask.shape[1] + 1):
                eroded[row, column] = before[row - 1 : row + 2, column - 1 : column + 2].all()
    return mask & ~eroded[1:-1, 1:-1]


def slow_counts(prediction: np.ndarray, truth: np.ndarray, num_classes: int, distance: int) -> list[list[int]]:
    prediction = np.where(truth == 255, 255, prediction)
    counts = []
    for name in range(num_classes):
        of_truth, of_guess = (slow_boundary(ids == name, distance) for ids in (truth, prediction))
        counts.append([int(part.sum()) for part in (of_truth & of_guess, of_truth, of_guess)])
    return counts


@pytest.mark.parametrize(("height", "width"), [(12, 17), (23, 9), (1, 1), (5, 1), (30, 30)])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 1.0])
def test_counts_what_a_slow_loop_counts(height: int, width: int, share: float) -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 3, (2, 2, math.ceil(height / 6), math.ceil(width / 6)), dtype=np.uint8)
    prediction, truth = blocks.repeat(6, axis=2).repeat(6, axis=3)[..., :height, :width]
    truth = np.where(rng.random(truth.shape) < 0.03, 255, truth).astype(np.uint8)
    distance = max(1, round(share * math.hypot(height, width)))
    expected = sum(
        np.array(slow_counts(guess, true, 3, distance)) for guess, true in zip(prediction, truth, strict=True)
    )
    counts = boundary_counts(torch.from_numpy(prediction.copy()), torch.from_numpy(truth), 3, share)
    assert counts.dtype == torch.int64
    assert counts.tolist() == expected.tolist()


def test_a_square_that_is_one_pixel_off() -> None:
    truth = torch.zeros(1, 50, 50, dtype=torch.uint8)
    truth[0, 10:20, 10:20] = 1
    prediction = truth.roll(1, dims=2)
    counts = boundary_counts(prediction, truth, 2, 0.01)  # d = 1
    assert counts[1].tolist() == [9 + 9, 36, 36]  # upper and lower edges overlap, left and right ones do not
    scores = score_boundary(counts, ["ground", "square"])
    assert scores["boundary_per_class"]["square"] == pytest.approx(18 / 54)
    assert scores["boundary_miou"] == pytest.approx(sum(scores["boundary_per_class"].values()) / 2)


def test_what_is_ignored_counts_nowhere_and_errs_nowhere() -> None:
    truth = torch.randint(3, (2, 20, 30), generator=torch.Generator().manual_seed(0)).byte()
    prediction = truth.clone()
    truth[:, 5:9, 5:20], prediction[:, 5:9, 5:20] = 255, 1
    scores = score_boundary(boundary_counts(prediction, truth, 4, 0.02), list("abcd"))
    assert scores["boundary_per_class"] == {"a": 1.0, "b": 1.0, "c": 1.0, "d": None}
    assert scores["boundary_miou"] == 0.75
    nothing = boundary_counts(prediction, torch.full_like(truth, 255), 4, 0.02)
    assert not nothing.any()
    assert score_boundary(nothing, list("abcd"))["boundary_miou"] == 0
