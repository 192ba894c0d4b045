"""What all tests share."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from igl_dt.runtime.portable import pin

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # each of the processes has a core, and waits for no threads
pin()  # before torch computes: tests that run pipelines in this process must give the bits of those that start one

import torch  # noqa: E402


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the longest files first, so that none of xdist's processes is left with one in the end."""
    items.sort(key=lambda item: not {"integration", "test_parallel.py"}.intersection(item.path.parts))


@pytest.fixture(autouse=True)
def _torch_as_before() -> Iterator[None]:
    """Put torch's global state back after each test."""
    threads, mode, state = torch.get_num_threads(), torch.get_deterministic_debug_mode(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode(mode)
    torch.set_rng_state(state)


@pytest.fixture
def count_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count the multiply-adds of a training's first step alone: of small networks, counting takes longer than steps."""
    monkeypatch.setattr("igl_dt.training.cost.COUNTED_STEPS", 1)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB of its own."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
