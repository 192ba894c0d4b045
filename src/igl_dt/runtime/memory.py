"""The most memory that a computation has had. Imports no torch, as splitting is measured too."""

import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def reset_peak_memory(device: "torch.device | None" = None) -> None:
    """Let ``peak_memory`` count from now on, where the system can: on CUDA, and for the process on Linux."""
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: "torch.device | None" = None) -> float:
    """Give the most memory in MiB since the latest reset, or since the process started where none works.

    Args:
        device: a CUDA device: what torch had allocated on it. Any other, or None: what this process had, resident.
    """
    if device is not None and device.type == "cuda":
        import torch

        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    try:
        status = Path("/proc/self/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
