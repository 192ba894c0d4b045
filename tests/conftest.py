"""What all tests share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    """Put torch's global state back after each test."""
    threads, mode, state = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)
    torch.set_rng_state(state)
