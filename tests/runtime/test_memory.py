"""How the peak of memory is taken."""

import subprocess
import sys

SCRIPT = """\
from pathlib import Path
from igl_dt.runtime.memory import peak_memory, reset_peak_memory

reset_peak_memory()
before = peak_memory()
block = bytearray(b"x") * 2**26
with_block = peak_memory()
assert with_block > before + 50, (before, with_block)
assert len(block) == 2**26
del block
reset_peak_memory()
if Path("/proc/self/clear_refs").exists():
    assert peak_memory() < with_block - 50
"""


def test_the_peak_of_memory_is_of_what_came_after_the_reset() -> None:
    # In a process of its own: what other tests leave may be freed just then, and outweigh the block.
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)
