"""Colours that people can tell apart, with and without a colour vision deficiency."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from igl_dt.reporting.networks import styles
from igl_dt.utils.palette import IGNORED, class_palette

# Machado et al. 2009, severity 1, on linear RGB.
DEFICIENCIES = {
    "none": np.eye(3),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
}


def oklab(rgb: np.ndarray, deficiency: str) -> np.ndarray:
    """Perceptual colour space in which black and white are 100 apart; ``rgb`` between 0 and 1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ DEFICIENCIES[deficiency].T, 0, 1)
    to_cones = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    to_lab = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
    return 100 * np.cbrt(linear @ to_cones.T) @ to_lab.T


def smallest_distance(rgb: np.ndarray, deficiency: str) -> float:
    lab = oklab(rgb, deficiency)
    return min(float(np.linalg.norm(one - other)) for one, other in itertools.combinations(lab, 2))


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize(("num_classes", "distance"), [(9, 9), (11, 8), (21, 6)])
def test_classes_can_be_told_apart(deficiency: str, num_classes: int, distance: float) -> None:
    ignored = np.array([to_rgb(IGNORED)])
    assert smallest_distance(np.concatenate([class_palette(num_classes) / 255, ignored]), deficiency) > distance


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_networks_can_be_told_apart(deficiency: str) -> None:
    known = ["global_teacher", "local_teacher", "student", "supervised"]
    looks = styles([*known, "student_ema", "second_student"], {}).values()
    colors = np.array([to_rgb(look.color) for look in looks])
    assert smallest_distance(colors[:4], deficiency) > 12
    assert smallest_distance(colors, deficiency) > 7
    assert len({look.marker for look in looks}) == len(looks)


def test_a_class_keeps_its_colour_and_no_two_share_one() -> None:
    palette = class_palette(150)
    assert palette.shape == (150, 3)
    assert palette.dtype == np.uint8
    assert len(np.unique(palette, axis=0)) == 150
    assert np.array_equal(class_palette(11), palette[:11])
    assert class_palette(0).shape == (0, 3)
