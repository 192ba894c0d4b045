"""The benchmark of splitting runs, on few pictures, and its exit code says whether a limit was kept."""

import sys

import pytest

from igl_dt import benchmark


@pytest.mark.parametrize(("seconds", "code"), [(60, 0), (0, 1)])
def test_splitting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: int, code: int
) -> None:
    monkeypatch.setattr(benchmark, "PICTURES", 1000)
    monkeypatch.setattr(benchmark, "SPLITTING_SECONDS", seconds)
    monkeypatch.setattr(sys, "argv", ["benchmark", "splitting"])
    assert benchmark.main() == code
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [
        "by a fraction",
        "by lists, format ids",
        "by lists, format UniMatch",
        "by lists, format CPS",
    ]
    assert all("124 labelled and 866 unlabelled" in line for line in lines[1:])


def test_without_a_subject_it_times_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "measure_steps", lambda: 7)
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    assert benchmark.main() == 7
