"""What is set for the whole process, and what is left alone."""

import os
import subprocess
import sys

import pytest
import torch

from igl_dt.runtime import portable
from igl_dt.runtime.determinism import (
    PORTABLE_BITS,
    _other_bits,
    configure_torch,
    describe_environment,
    instruction_sets,
    seeded,
)
from igl_dt.runtime.parameters import RuntimeParameters


def test_seeded_draws_by_seed_and_names_and_leaves_the_generator_as_it_was() -> None:
    def draw(*names: str | int) -> list[float]:
        with seeded(*names):
            return torch.rand(3).tolist()

    torch.manual_seed(1)
    before = torch.get_rng_state()
    drawn = draw(0, "initial weights", "student")
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert draw(0, "initial weights", "student") == drawn
    assert draw(1, "initial weights", "student") != drawn
    assert draw(0, "initial weights", "swin_unet") != drawn


def test_seeded_puts_the_generator_back_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="within"), seeded(0, "purpose"):  # noqa: PT012
        torch.rand(3)
        raise RuntimeError("within")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("has_cuda", "expected"), [(False, "cpu"), (True, "cuda")])
def test_auto_takes_cuda_where_there_is_one(monkeypatch, has_cuda: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(has_cuda))
    assert configure_torch(RuntimeParameters(device="auto")).type == expected
    assert configure_torch(RuntimeParameters(device="cpu")).type == "cpu"


def test_fewer_gpus_than_processes_are_an_error(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=r"runtime\.processes is 2, but this machine has 1 GPUs"):
        configure_torch(RuntimeParameters(processes=2, shards=2))


def test_absent_cuda_is_an_error_that_names_the_parameter(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"runtime\.device is cuda.*runtime\.device=cpu"):
        configure_torch(RuntimeParameters(device="cuda"))


def test_operations_without_a_deterministic_kernel_are_errors() -> None:
    torch.set_deterministic_debug_mode("default")
    configure_torch(RuntimeParameters(device="cpu"))
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize("compiled", [False, True])
def test_the_compiler_is_asked_for_deterministic_kernels_too(compiled: bool) -> None:
    code = (
        "import torch, torch._inductor.config as inductor\n"
        "from igl_dt.runtime.determinism import configure_torch\n"
        "from igl_dt.runtime.parameters import RuntimeParameters\n"
        f"configure_torch(RuntimeParameters(device='cpu', compile={compiled}))\n"
        "print(torch.are_deterministic_algorithms_enabled(), inductor.deterministic)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["True", str(compiled)]


def test_threads_are_set_where_a_number_is_given() -> None:
    configure_torch(RuntimeParameters(device="cpu", threads=3))
    assert torch.get_num_threads() == 3
    configure_torch(RuntimeParameters(device="cpu", threads=None))
    assert torch.get_num_threads() == 3


def test_describing_the_environment_changes_nothing() -> None:
    torch.set_deterministic_debug_mode("default")
    torch.set_num_threads(2)
    torch.manual_seed(1)
    before, variables = torch.get_rng_state(), dict(os.environ)
    for runtime in (RuntimeParameters(device="cpu", threads=3), RuntimeParameters(device="auto", portable=True)):
        described = describe_environment(runtime)
        assert described["threads"] == str(runtime.threads or 2)
        assert torch.get_num_threads() == 2
        assert torch.get_deterministic_debug_mode() == 0
        assert torch.equal(torch.get_rng_state(), before)
        assert dict(os.environ) == variables


def test_the_environment_is_what_decides_bits() -> None:
    plain = describe_environment(RuntimeParameters(device="cpu", threads=1))
    assert plain["torch"] == torch.__version__
    assert plain["device"] == "cpu"
    assert plain["cudnn"] == "none"
    for name, value in {"threads": 2, "precision": "bfloat16", "portable": True, "compile": True}.items():
        changed = describe_environment(RuntimeParameters(**{"device": "cpu", "threads": 1} | {name: value}))
        assert {key for key in plain if plain[key] != changed[key]} == {name}
    without_effect = RuntimeParameters(device="cpu", threads=1, workers=3, cache_mib=1, recovery_folder="x")
    assert describe_environment(without_effect) == plain


PORTABLE = """
import torch
from igl_dt.runtime.determinism import configure_torch, describe_environment
from igl_dt.runtime.parameters import RuntimeParameters

runtime = RuntimeParameters(device="cpu", threads=1, portable=True)
configure_torch(runtime)
torch.manual_seed(0)
layers = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.GELU(), torch.nn.Conv2d(16, 8, 3), torch.nn.Softmax(1))
layers(torch.rand(2, 3, 24, 24)).square().sum().backward()
print(describe_environment(runtime)["kernels"], hashlib.sha256(layers[0].weight.grad.numpy().tobytes()).hexdigest())
"""


@pytest.mark.skipif("avx2" not in instruction_sets(), reason="needs AVX2")
def test_portable_computes_with_avx2_alone() -> None:
    def run(**variables: str) -> str:
        code = "import hashlib\n" + PORTABLE
        ran = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    said = run(ONEDNN_VERBOSE="1")
    assert "cpu,isa:Intel AVX2" in said
    assert "avx512" not in said
    result = said.splitlines()[-1]
    assert result.startswith("AVX2 ")
    # The C library chooses its own variants; on a processor without AVX-512 it has these.
    hidden = "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ,-AVX512CD"
    assert run(GLIBC_TUNABLES=hidden).splitlines()[-1] == result


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "AVX2", reason="this process computes with AVX2 anyway")
def test_portable_is_refused_where_it_comes_too_late(monkeypatch) -> None:
    for name in portable.PINNED:
        monkeypatch.setenv(name, "")
    with pytest.raises(ValueError, match=r"runtime\.portable asks for kernels of AVX2, but torch has chosen those of"):
        configure_torch(RuntimeParameters(device="cpu", portable=True))


def test_portable_is_refused_in_a_process_whose_libraries_have_chosen_already() -> None:
    code = (
        "import torch; torch.ones(64, 64) @ torch.ones(64, 64)\n"
        "from igl_dt.runtime import determinism, parameters\n"
        "determinism.configure_torch(parameters.RuntimeParameters(portable=True, device='cpu'))"
    )
    free = {name: value for name, value in os.environ.items() if name not in portable.PINNED}
    free["ATEN_CPU_CAPABILITY"] = "avx2"  # else torch's own kernels are found to be others first
    found = subprocess.run([sys.executable, "-c", code], env=free, capture_output=True, text=True, check=False)
    if found.returncode == 0:
        pytest.skip("without being pinned, this processor's libraries take what they are pinned to")
    assert "call igl_dt.runtime.portable.pin() first of all" in found.stderr


def test_what_is_compiled_for_this_processor_is_not_portable() -> None:
    with pytest.raises(ValueError, match=r"runtime\.compile makes code for this processor alone.*portable=false"):
        configure_torch(RuntimeParameters(device="cpu", portable=True, compile=True))


def test_portable_bits_are_known_for_the_locked_torch() -> None:
    assert torch.__version__.partition("+")[0] in PORTABLE_BITS
    configure_torch(RuntimeParameters(device="cpu", portable=True))  # tests/conftest.py pins first
    assert _other_bits() is None
