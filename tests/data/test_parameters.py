"""What the data are given: out of range or contradictory values are refused where they are said."""

import pytest
from pydantic import BaseModel

from igl_dt.data.parameters import AugmentationParameters, DatasetParameters, SplittingParameters, StrongAugmentation
from problems import problem

AUGMENTATION = {"crop_size": (8, 8)}


@pytest.mark.parametrize(
    ("kind", "values", "where"),
    [
        (SplittingParameters, {"labeled_fraction": 0.0}, "labeled_fraction"),
        (SplittingParameters, {"labeled_fraction": 1.01}, "labeled_fraction"),
        (DatasetParameters, {"root": "x", "image_size": (0, 5)}, "image_size.0"),
        (AugmentationParameters, {"crop_size": (8,)}, "crop_size.1"),
        (AugmentationParameters, {"crop_size": (8, 8.5)}, "crop_size.1"),
        (AugmentationParameters, AUGMENTATION | {"scale": (0, 1)}, "scale.0"),
        (AugmentationParameters, AUGMENTATION | {"flip_probability": 1.1}, "flip_probability"),
        (AugmentationParameters, AUGMENTATION | {"cutmix_ratio": 0}, "cutmix_ratio"),
        (StrongAugmentation, {"hue": 0.6}, "hue"),
    ],
)
def test_out_of_range(kind: type[BaseModel], values: dict[str, object], where: str) -> None:
    assert problem(kind, **values)[0] == where


@pytest.mark.parametrize("name", ["scale", "cutmix_area"])
def test_ranges_begin_with_the_lower_bound(name: str) -> None:
    where, message = problem(AugmentationParameters, **AUGMENTATION, **{name: (0.9, 0.5)})
    assert where == name
    assert "lower bound comes first, not [0.9, 0.5]" in message
    AugmentationParameters(**AUGMENTATION, **{name: (0.5, 0.5)})
    assert problem(StrongAugmentation, blur_sigma=(2, 1))[0] == "blur_sigma"


def test_labels_come_from_a_fraction_or_from_a_list() -> None:
    _, message = problem(SplittingParameters)
    assert "give splitting.labeled_fraction or splitting.labeled_list" in message


def test_an_unlabeled_list_needs_a_labeled_one() -> None:
    _, message = problem(SplittingParameters, labeled_fraction=0.5, unlabeled_list="list.txt")
    assert "splitting.unlabeled_list requires splitting.labeled_list" in message
    SplittingParameters(labeled_list="list.txt", unlabeled_list="list.txt")
