"""What is drawn depends on the seed and the names of its purpose, on every machine alike."""

import itertools

import numpy as np

from igl_dt.utils.seeding import derive_seed, generator


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derive_seed(0) == 3582888934675442504
    assert derive_seed(0, "stage", "labeled", 3, 1) == 7609969311939627102


def test_seeds_differ_by_every_part_and_by_its_place() -> None:
    purposes = [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), ("a", 1), ("a", "1"), ("a", 11), ("a", 1, 1)]
    seeds = {derive_seed(seed, *names) for seed, names in itertools.product((0, 1, 2**40), purposes)}
    assert len(seeds) == 3 * len(purposes)
    assert all(0 <= seed < 2**63 for seed in seeds)  # what torch and NumPy take


def test_generators_draw_the_same_and_share_nothing() -> None:
    first, second = generator(0, "purpose"), generator(0, "purpose")
    drawn = first.random(4)
    np.testing.assert_array_equal(drawn, second.random(4))
    assert not np.array_equal(drawn, generator(0, "other purpose").random(4))
    np.random.default_rng(0)
    np.testing.assert_array_equal(drawn, generator(0, "purpose").random(4))
