"""Student and reference start from the same weights, though both are trained in place."""

import pandas as pd
import pytest
import torch
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.runner import SequentialRunner
from torch import nn

from igl_dt import stages
from igl_dt.kedro_ext.parameters import StudentLearningParameters
from igl_dt.pipelines.student_learning import create_pipeline

STAGE = {
    "steps": 1,
    "batch_size": 2,
    "augmentation": {"crop_size": [32, 32]},
    "student": {"learning_rate": 0.1},
}


@pytest.fixture
def learners() -> Pipeline:
    return create_pipeline().only_nodes_with_inputs("initial_student")


def run(pipeline: Pipeline, reference: bool) -> dict:
    table = pd.DataFrame({"id": ["a"]})
    inputs = dict.fromkeys(("labeled", "unlabeled", "val"), table) | {
        "initial_student": nn.Linear(2, 2),
        "swin_unet": nn.Linear(1, 1),
        "res_unet": nn.Linear(1, 1),
        "params:student_learning": StudentLearningParameters(**STAGE, reference=reference),
        "params:dataset": None,
        "params:evaluation": None,
        "params:runtime": None,
        "params:seed": 0,
    }
    kept = ("student", "student_best", "history_student", "reference_networks", "history_supervised")
    catalog = DataCatalog({name: MemoryDataset(value) for name, value in inputs.items() if value is not None})
    for name in kept:
        catalog[name] = MemoryDataset()
    for name in ("params:dataset", "params:evaluation", "params:runtime"):
        catalog[name] = MemoryDataset({})
    SequentialRunner().run(pipeline, catalog)
    return {name: catalog.load(name) for name in kept}


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The weights that each training starts from; each spoils them, as training does."""
    starts: list[torch.Tensor] = []

    def learn(student: nn.Linear, *others: object) -> stages.Learned:
        starts.append(student.weight.detach().clone())
        nn.init.constant_(student.weight, len(starts))
        return stages.Learned(student, student, pd.DataFrame({"step": [1]}))

    monkeypatch.setattr(stages, "learn_student", learn)
    monkeypatch.setattr(stages, "learn_reference", learn)
    return starts


def test_both_start_from_the_same_weights(learners: Pipeline, starts: list[torch.Tensor]) -> None:
    results = run(learners, reference=True)
    assert len(starts) == 2
    assert torch.equal(*starts)
    assert results["reference_networks"].keys() == {"supervised", "supervised_best"}
    assert not torch.equal(results["student"].weight, results["reference_networks"]["supervised"].weight)


def test_without_a_reference_there_are_no_networks_and_an_empty_history(
    learners: Pipeline, starts: list[torch.Tensor]
) -> None:
    results = run(learners, reference=False)
    assert len(starts) == 1
    assert results["reference_networks"] == {}
    assert list(results["history_supervised"]) == ["step"] and results["history_supervised"].empty
