"""Everything that decides whether two runs give the same bits, in one place."""

import functools
import importlib.metadata
import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import PIL
import torch

from igl_dt.runtime.matrix_products import use_onednn
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.runtime.portable import pin
from igl_dt.utils.files import digest
from igl_dt.utils.seeding import derive_seed


def configure_torch(runtime: RuntimeParameters) -> torch.device:
    """Make torch deterministic, set its threads, and choose the device.

    Raises:
        ValueError: CUDA is asked for and absent, or there are fewer GPUs than processes; ``portable`` on a processor
            without AVX2, or in a process whose math libraries chose other kernels first; or ``portable`` and
            ``compile`` on the CPU.
    """
    use_onednn(runtime.portable)
    if runtime.portable:
        pin()
        if (kernels := torch.backends.cpu.get_cpu_capability()) != "AVX2":
            raise ValueError(
                f"runtime.portable asks for kernels of AVX2, but torch has chosen those of {kernels}: either this "
                "processor has no AVX2 (then set runtime.portable=false: results differ in their last bits), or torch "
                "has computed before configure_torch was called"
            )
        if other := _other_bits():
            raise ValueError(
                f"runtime.portable: {other} give other bits here than with the instruction sets pinned. Something in "
                "this process has computed before they were: call igl_dt.runtime.portable.pin() first of all (in a "
                "notebook, restart the kernel), or set runtime.portable=false: results differ in their last bits"
            )
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("runtime.device is cuda, but torch finds no CUDA device: take runtime.device=cpu or auto")
    if uses_cuda(runtime) and runtime.processes > torch.cuda.device_count():
        raise ValueError(
            f"runtime.processes is {runtime.processes}, but this machine has {torch.cuda.device_count()} GPUs, and "
            "each process needs its own"
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is deterministic only with it
    if runtime.compile:
        torch.use_deterministic_algorithms(True)  # the compiler's kernels too
    else:
        torch.set_deterministic_debug_mode("error")  # does the same but for the compiler, which the other one imports
    # A debugging aid that costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    device = torch.device("cuda" if uses_cuda(runtime) else "cpu")
    if runtime.compile and runtime.portable and device.type == "cpu":
        raise ValueError(
            "runtime.compile makes code for this processor alone, so its results are not portable: set "
            "runtime.portable=false, or runtime.compile=false"
        )
    return device


def uses_cuda(runtime: RuntimeParameters) -> bool:
    """Say whether a run with these parameters computes on a GPU of this machine."""
    return runtime.device != "cpu" and torch.cuda.is_available()


PORTABLE_BITS = {
    "2.15.0": {"matrix products": "1af8a106", "batches of matrix products": "ce982d73", "convolutions": "576b900e"}
}
"""By version of torch, how the sha256 of small results begins when the instruction sets are pinned."""


@functools.cache
def _other_bits() -> str | None:
    """Name the operations that do not compute the portable bits in this process; None too for an unknown torch.

    The libraries can only be asked by computing: they tell nobody which instruction sets they took when first used.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    results = {
        "matrix products": _numbers(64, 96) @ _numbers(96, 80),
        "batches of matrix products": _numbers(3, 32, 48) @ _numbers(3, 48, 40),
        "convolutions": torch.nn.functional.conv2d(_numbers(2, 16, 24, 24), _numbers(24, 16, 3, 3), padding=1),
    }
    torch.set_num_threads(threads)
    known = PORTABLE_BITS.get(torch.__version__.partition("+")[0], {})
    other = [name for name, bits in known.items() if not digest(results[name].numpy().tobytes()).startswith(bits)]
    return " and ".join(other) or None


def _numbers(*shape: int) -> torch.Tensor:
    """Make numbers that are exact on any machine."""
    return (torch.arange(math.prod(shape)) * 7919 % 1009).float().div(1009).sub(0.5).reshape(shape)


def describe_environment(runtime: RuntimeParameters) -> dict[str, str]:
    """Describe what decides a result's bits beside code, data and parameters; changes nothing."""
    on_cuda = uses_cuda(runtime)
    return {
        "torch": torch.__version__,
        "torchvision": importlib.metadata.version("torchvision"),
        "timm": importlib.metadata.version("timm"),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "cudnn": str(torch.backends.cudnn.version()) if on_cuda else "none",
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "instruction sets": " ".join(instruction_sets()),
        "threads": str(runtime.threads or torch.get_num_threads()),
        "precision": runtime.precision,
        "compile": str(runtime.compile).lower(),
        "portable": str(runtime.portable).lower(),
    }


def instruction_sets() -> list[str]:
    """Name the processor's instruction sets by which math libraries choose their kernels; empty except on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    flags = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return sorted(flag for flag in flags if flag.startswith(("sse4", "avx", "fma", "amx", "asimd", "sve")))


def autocast(device: torch.device, runtime: RuntimeParameters) -> torch.autocast:
    """Give the context in which networks compute: bfloat16 where ``runtime.precision`` says so, else float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=runtime.precision == "bfloat16")


def uncompiled(runtime: RuntimeParameters) -> AbstractContextManager[object]:
    """Give the context in which networks compute uncompiled."""
    return torch.compiler.set_stance("force_eager") if runtime.compile else nullcontext()  # its import takes seconds


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Draw from torch's generator as from a new one of this purpose, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, *names))
        yield
