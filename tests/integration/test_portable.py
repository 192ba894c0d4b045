"""With ``runtime.portable`` a processor of fewer instruction sets gives the same bytes."""

import pytest

from igl_dt.runtime.determinism import instruction_sets

FEWER = {
    "NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX512DQ",
}


@pytest.mark.slow
@pytest.mark.skipif("avx512f" not in instruction_sets(), reason="there is nothing to restrict")
def test_fewer_instruction_sets_give_the_same_bytes(make_project, kedro_run, outputs, environment, monkeypatch) -> None:
    made = []
    for restriction in ({}, FEWER):
        root = make_project("portable")
        for name, value in restriction.items():
            monkeypatch.setitem(environment, name, value)
        kedro_run(root, "--pipelines=full", "--params=runtime.threads=1,runtime.portable=true")
        made.append(outputs(root))
    once, again = made
    assert once.keys() == again.keys()
    assert [name for name in once if once[name] != again[name]] == []
