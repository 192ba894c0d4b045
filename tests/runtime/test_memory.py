"""How the peak of memory is taken."""

from pathlib import Path

from igl_dt.runtime.memory import peak_memory, reset_peak_memory


def test_the_peak_of_memory_is_of_what_came_after_the_reset() -> None:
    reset_peak_memory()
    before = peak_memory()
    block = bytearray(b"x") * 2**26
    with_block = peak_memory()
    assert with_block > before + 50
    assert len(block) == 2**26
    del block
    reset_peak_memory()
    if Path("/proc/self/clear_refs").exists():
        assert peak_memory() < with_block - 50
