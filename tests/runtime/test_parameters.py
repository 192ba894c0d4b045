"""What a run is given: out of range or contradictory values are refused where they are said."""

import pytest
from pydantic import BaseModel

from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from problems import problem


@pytest.mark.parametrize(
    ("kind", "values", "where"),
    [
        (EvaluationParameters, {"window_overlap": 1}, "window_overlap"),
        (RuntimeParameters, {"device": "gpu"}, "device"),
        (RuntimeParameters, {"threads": 0}, "threads"),
        (RuntimeParameters, {"workers": -1}, "workers"),
    ],
)
def test_out_of_range(kind: type[BaseModel], values: dict[str, object], where: str) -> None:
    assert problem(kind, **values)[0] == where


def test_a_sliding_window_has_a_size() -> None:
    assert "evaluation.window_size is needed" in problem(EvaluationParameters, mode="sliding_window")[1]
    EvaluationParameters(mode="sliding_window", window_size=(8, 8))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"processes": 2},
            r"processes × runtime.nodes (2) must divide runtime.shards (1): set runtime.shards to a mul",
        ),
        ({"processes": 2, "nodes": 2, "shards": 6, "rendezvous": "a:1"}, "(4) must divide runtime.shards (6)"),
        ({"nodes": 2, "shards": 2}, "runtime.rendezvous, as host:port, is needed"),
    ],
)
def test_processes_share_the_shards_and_machines_meet(values: dict[str, object], message: str) -> None:
    assert message in problem(RuntimeParameters, **values)[1]
    assert RuntimeParameters(processes=2, reduction="fast", shards=3).shards_per_step == 2


def test_what_changes_no_result_is_a_parameter() -> None:
    assert set(RuntimeParameters().changing_no_result) < set(RuntimeParameters.model_fields)


def test_the_number_of_processes_changes_results_with_the_fast_reduction() -> None:
    exact, fast = (set(RuntimeParameters(reduction=name).changing_no_result) for name in ("exact", "fast"))
    assert exact - fast == {"processes", "nodes"}
    assert fast < exact
