"""What nodes do beside calling the library."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from torch import nn

from igl_dt.evaluation import evaluator
from igl_dt.evaluation.evaluator import Evaluation
from igl_dt.pipelines.evaluation.nodes import collect_networks, evaluate_networks, select_eval_split
from igl_dt.pipelines.reporting.nodes import collect_results
from igl_dt.pipelines.training.nodes import train_reference, train_student, train_teachers
from igl_dt.runtime.context import RunContext
from igl_dt.training import trainer
from igl_dt.training.parameters import StudentLearningParameters, TeacherPretrainingParameters
from igl_dt.training.trainer import TrainingData, TrainingResult
from tiny import CLASSES, NETWORKS

OPTIMIZER = {"learning_rate": 0.1}
TRAINING = {"steps": 1, "batch_size": 2, "augmentation": {"crop_size": [32, 32]}}
STUDENT = TRAINING | {
    "networks": {"student": NETWORKS["student"]},
    "optimizers": {"student": OPTIMIZER},
    "method": {"name": "igl_dt"},
}
TEACHERS = TRAINING | {
    "networks": {role: NETWORKS[role] for role in ("global_teacher", "local_teacher")},
    "optimizers": dict.fromkeys(("global_teacher", "local_teacher"), OPTIMIZER),
    "method": {"name": "cps"},
    "pseudo_label_probe_size": 2,
}


def table(split: str, *ids: str) -> pd.DataFrame:
    return pd.DataFrame({"id": list(ids), "split": split, "image": list(ids), "mask": list(ids)})


LABELED, UNLABELED, VAL = table("train", "a"), table("train", "b", "c", "d"), table("val", "v")
TABLES = (pd.concat([LABELED, UNLABELED, VAL], ignore_index=True), LABELED, UNLABELED.assign(mask=None), VAL)


class Network(nn.Linear):
    """Something with weights that knows what trained it."""

    def __init__(self, trained_by: str = "igl_dt") -> None:
        super().__init__(1, 1)
        self.name, self.trained_by, self.fingerprint = "tiny", trained_by, f"by {trained_by}"
        self.compute, self.class_names = {"total": 1}, CLASSES


@pytest.fixture
def context() -> RunContext:
    return SimpleNamespace(seed=3)  # type: ignore[return-value]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What the library is called with; it gives networks whose best weights are 2 and whose last ones 1."""
    calls: list[dict[str, Any]] = []

    def create_method(parameters: Any, class_names: list[str], seed: int, teachers: dict, key: str) -> dict:
        made = {"parameters": parameters, "class_names": class_names, "seed": seed, "teachers": teachers, "key": key}
        calls.append(made)
        return made

    def train(method: dict, data: TrainingData, parameters: Any, context: Any, name: str, stream: str | None) -> Any:
        assert method["parameters"] is parameters
        method |= {"data": data, "context": context, "name": name, "stream": stream}
        networks, best = {}, {}
        for role in [*parameters.networks, *(["student_ema"] if name == "student_learning" else [])]:
            networks[role] = nn.Linear(1, 1, bias=False)
            nn.init.constant_(networks[role].weight, 1)
            best[role] = {"weight": networks[role].weight.detach() + 1}
        return TrainingResult(networks, pd.DataFrame({"step": [1]}), best, dict.fromkeys(best, 0.5), {"seconds": 1.0})

    monkeypatch.setattr(trainer, "create_method", create_method)
    monkeypatch.setattr(trainer, "train", train)
    return calls


def weights(networks: dict[str, Any]) -> dict[str, float]:
    return {name: network.weight.item() for name, network in networks.items()}


class TestTraining:
    @pytest.mark.parametrize(("keep", "weight"), [("last", 1.0), ("best", 2.0)])
    def test_teachers(self, trainings: list[dict], context: RunContext, keep: str, weight: float) -> None:
        parameters = TeacherPretrainingParameters(**TEACHERS, keep=keep)
        one, other, best, history, cost = train_teachers(parameters, list(CLASSES), *TABLES, context)
        assert one is not other
        assert weights({"one": one, "other": other}) == {"one": weight, "other": weight}
        assert weights(best) == {"global_teacher_best": 2, "local_teacher_best": 2}
        assert history["step"].tolist() == [1]
        assert cost == {"seconds": 1.0}
        (call,) = trainings
        assert (call["key"], call["name"], call["stream"]) == ("teacher_pretraining", "teacher_pretraining", None)
        assert call["class_names"] == list(CLASSES)
        assert call["seed"] == 3
        assert call["context"] is context
        assert call["teachers"] == {}
        data = call["data"]
        assert [data.labeled["id"].tolist(), data.unlabeled["id"].tolist(), data.val["id"].tolist()] == [
            ["a"],
            ["b", "c", "d"],
            ["v"],
        ]
        assert len(data.probe) == 2
        assert set(data.probe["id"]) <= {"b", "c", "d"}

    def test_the_student_and_whatever_else_the_method_trains(self, trainings: list[dict], context: RunContext) -> None:
        teacher, parameters = Network(), StudentLearningParameters(**STUDENT)
        student, best, others, _, cost = train_student(parameters, list(CLASSES), *TABLES, context, teacher, None)
        assert weights({"student": student, "student_best": best}) == {"student": 1, "student_best": 2}
        assert cost == {"seconds": 1.0}
        assert weights(others) == {"student_ema": 1, "student_ema_best": 2}
        (call,) = trainings
        assert call["teachers"] == {"global_teacher": teacher}  # those that there are
        assert (call["key"], call["name"], call["stream"]) == ("student_learning", "student_learning", None)
        assert call["data"].probe is None

    def test_the_baseline_is_the_students_network_on_the_students_crops(
        self, trainings: list[dict], context: RunContext
    ) -> None:
        parameters = StudentLearningParameters(**STUDENT)
        networks, history, _ = train_reference(parameters, list(CLASSES), *TABLES, context)
        assert weights(networks) == {"supervised": 1, "supervised_best": 2}
        (call,) = trainings
        assert call["name"] == "reference"
        assert call["stream"] == "student_learning"
        assert call["parameters"].networks == {"supervised": parameters.networks["student"]}
        assert call["parameters"].method.name == "supervised"
        assert call["teachers"] == {}
        assert history["step"].tolist() == [1]

    def test_without_a_baseline_there_are_no_networks_and_an_empty_history(
        self, trainings: list[dict], context: RunContext
    ) -> None:
        parameters = StudentLearningParameters(**STUDENT, reference=False)
        networks, history, cost = train_reference(parameters, list(CLASSES), *TABLES, context)
        assert networks == cost == {}
        assert trainings == []
        assert list(history) == ["step"]
        assert history.empty


def test_student_and_baseline_start_from_the_same_weights() -> None:
    """Each builds its own, so that neither training changes the other's."""
    parameters = StudentLearningParameters(**STUDENT, reference=True)
    parameters = parameters.model_copy(update={"method": parameters.as_reference().method})  # needs no teachers
    methods = [
        trainer.create_method(parameters, CLASSES, seed=3),
        trainer.create_method(parameters.as_reference(), CLASSES, seed=3),
        trainer.create_method(parameters, CLASSES, seed=4),
    ]
    student, baseline, other = (next(iter(method.networks.values())).state_dict() for method in methods)
    assert student.keys() == baseline.keys()
    assert all(tensor.equal(baseline[key]) for key, tensor in student.items())
    assert not all(tensor.equal(other[key]) for key, tensor in student.items())
    assert student["classifier.weight"].data_ptr() != baseline["classifier.weight"].data_ptr()


def test_the_test_images_are_evaluated_where_there_are_any() -> None:
    val, test = pd.DataFrame({"id": ["a"]}), pd.DataFrame({"id": ["b"]})
    assert select_eval_split(val, test) is test
    assert select_eval_split(val, test.iloc[:0]) is val


def test_the_networks_that_there_are_come_in_the_order_of_tables() -> None:
    student, teacher, supervised = Network(), Network("cps"), Network("supervised")
    others, references = {"student_ema": student}, {"supervised": supervised, "supervised_best": supervised}
    networks, info = collect_networks(student, student, others, teacher, None, references)
    assert list(networks) == [
        "student",
        "student_best",
        "student_ema",
        "global_teacher",
        "supervised",
        "supervised_best",
    ]
    assert list(info) == list(networks)
    assert networks["global_teacher"] is teacher
    assert info["global_teacher"] == {
        "architecture": "tiny",
        "trained_by": "cps",
        "fingerprint": "by cps",
        "compute": {"total": 1},
    }


def test_networks_that_an_earlier_run_trained_for_other_classes_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    student, teacher, old = Network(), Network("cps"), Network("cps")
    old.class_names = (*CLASSES, "another")
    networks, info = collect_networks(student, student, {}, old, teacher, {"supervised": old})
    assert list(networks) == list(info) == ["student", "student_best", "local_teacher"]
    assert "global_teacher is left out: it was trained for other classes than the student" in caplog.messages


def test_scores_have_an_entry_per_network_and_those_of_images_one_per_last_weights(
    monkeypatch: pytest.MonkeyPatch, context: RunContext
) -> None:
    def evaluation(hits: int, rows: pd.DataFrame) -> Evaluation:
        confusion = pd.DataFrame([[hits, 0], [1, 3]], index=["a", "b"], columns=["a", "b"])
        confusion.index.name = "truth"
        boundary = pd.DataFrame([[1, 2, 2], [0, 0, 0]], index=["a", "b"], columns=["both", "truth", "prediction"])
        return Evaluation(confusion, boundary, pd.Series([hits / 10, float("nan")], index=pd.Index(rows["id"])))

    def evaluate_all(networks: dict[str, int], rows: pd.DataFrame, _: RunContext) -> dict[str, Evaluation]:
        return {name: evaluation(hits, rows) for name, hits in networks.items()}

    monkeypatch.setattr(evaluator, "evaluate_networks", evaluate_all)
    networks = {"student": 1, "student_best": 2, "global_teacher": 3, "any_other": 4}
    metrics, miou, images, matrices = evaluate_networks(networks, pd.DataFrame({"id": ["x", "y"]}), context)  # type: ignore[arg-type]
    assert list(metrics) == list(matrices) == list(networks)
    assert miou == {name: scores["miou"] for name, scores in metrics.items()}
    for name, hits in networks.items():
        assert metrics[name]["per_class"] == {"a": pytest.approx(hits / (hits + 1)), "b": pytest.approx(3 / 4)}
        assert metrics[name]["boundary_per_class"] == {"a": pytest.approx(1 / 3), "b": None}
        assert matrices[name].to_csv(index=False).split() == ["truth,a,b", f"a,{hits},0", "b,1,3"]
    assert list(images) == ["id", "student", "global_teacher", "any_other"]
    assert images.to_csv(index=False).splitlines()[1:] == ["x,0.1,0.3,0.4", "y,,,"]


def test_histories_without_rows_are_left_out_and_the_main_networks_confusion_is_taken() -> None:
    rows, matrices = pd.DataFrame({"step": [1]}), {"student": pd.DataFrame({"a": [1]}), "supervised": pd.DataFrame()}
    loaders = {name: lambda name=name: matrices[name] for name in matrices}
    info: dict[str, dict] = {name: {} for name in matrices}
    spent = {"fingerprint": "f", "seconds": 1.0}
    histories, confusion, costs = collect_results(rows, rows, rows.iloc[:0], info, loaders, spent, {}, {})
    assert costs == {"f": spent}
    assert list(histories) == ["teacher_pretraining", "student_learning"]
    assert confusion is matrices["student"]
    assert list(collect_results(rows.iloc[:0], rows, rows, info, loaders)[0]) == ["student_learning", "reference"]
