import math

import pytest

from igl_dt.losses.schedule import ramp_up


def test_it_rises_from_almost_nothing_to_one():
    factors = [ramp_up(step, 100) for step in range(101)]
    assert factors[0] == pytest.approx(math.exp(-5))
    assert factors[50] == pytest.approx(math.exp(-1.25))
    assert factors[100] == 1
    assert factors == sorted(factors)


@pytest.mark.parametrize(("step", "steps"), [(0, 0), (5, 0), (7, 7), (8, 7)])
def test_it_is_one_without_ramp_and_after_it(step, steps):
    assert ramp_up(step, steps) == 1
