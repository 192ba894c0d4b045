"""What a training is given: out of range or contradictory values are refused where they are said."""

import pytest
from pydantic import BaseModel, ValidationError

from igl_dt.training.parameters import OptimizerParameters, StudentLearningParameters, TrainingParameters
from problems import problem

TRAINING = {
    "networks": {"student": {"architecture": "res_unet"}},
    "method": {"name": "supervised"},
    "optimizers": {"student": {"learning_rate": 0.1}},
    "steps": 1,
    "batch_size": 4,
    "augmentation": {"crop_size": (8, 8)},
}
NO_RATE = {"optimizers": {"student": {"learning_rate": 0}}}
NO_PIXELS = {"supervised_loss": {"ohem_min_fraction": 0}}


@pytest.mark.parametrize(
    ("kind", "values", "where"),
    [
        (OptimizerParameters, {"learning_rate": 0}, "learning_rate"),
        (OptimizerParameters, {"learning_rate": 1, "name": "adam"}, "name"),
        (OptimizerParameters, {"learning_rate": 1, "warmup_steps": -1}, "warmup_steps"),
        (OptimizerParameters, {"learning_rate": 1, "max_grad_norm": 0}, "max_grad_norm"),
        (TrainingParameters, TRAINING | {"steps": 0}, "steps"),
        (TrainingParameters, TRAINING | {"steps": "many"}, "steps"),
        (TrainingParameters, TRAINING | {"steps": 2.5}, "steps"),
        (TrainingParameters, TRAINING | NO_RATE, "optimizers.student.learning_rate"),
        (TrainingParameters, TRAINING | NO_PIXELS, "supervised_loss.ohem_min_fraction"),
    ],
)
def test_out_of_range(kind: type[BaseModel], values: dict[str, object], where: str) -> None:
    assert problem(kind, **values)[0] == where


def test_parts_must_divide_the_batch() -> None:
    _, message = problem(TrainingParameters, **TRAINING, gradient_accumulation_steps=3)
    assert "gradient_accumulation_steps (3) must divide batch_size (4)" in message
    TrainingParameters(**TRAINING, gradient_accumulation_steps=4)


def test_the_baseline_needs_batches_of_two() -> None:
    _, message = problem(StudentLearningParameters, **TRAINING, gradient_accumulation_steps=4)
    assert "batch_size (4) over gradient_accumulation_steps (4) must be at least 2" in message
    assert "reference to false" in message
    StudentLearningParameters(**TRAINING, gradient_accumulation_steps=4, reference=False)
    StudentLearningParameters(**TRAINING, gradient_accumulation_steps=2)


def test_all_problems_are_found_at_once() -> None:
    with pytest.raises(ValidationError) as raised:
        StudentLearningParameters(**TRAINING | {"steps": 0, "augmentation": {"crop_size": (8, 0), "scael": 1}})
    where = {".".join(map(str, error["loc"])) for error in raised.value.errors()}
    assert where == {"steps", "augmentation.crop_size.1", "augmentation.scael"}


def test_a_rate_is_scaled_by_the_total_batch() -> None:
    optimizer = OptimizerParameters(learning_rate=0.01, base_batch_size=16, backbone_lr_mult=0.1)
    assert optimizer.for_batch(16).learning_rate == 0.01
    assert optimizer.for_batch(8) == OptimizerParameters(learning_rate=0.005, backbone_lr_mult=0.1)
    assert OptimizerParameters(learning_rate=0.01).for_batch(8).learning_rate == 0.01


def test_each_role_has_its_optimiser_or_that_of_the_role_it_is_like() -> None:
    optimizers = {"student": {"learning_rate": 0.1, "base_batch_size": 16}, "second": {"learning_rate": 0.2}}
    training = TrainingParameters(**TRAINING | {"optimizers": optimizers})
    assert training.optimizer("student").learning_rate == pytest.approx(0.05)  # 4 labelled and 4 unlabelled images
    assert training.optimizer("third", like="student") == training.optimizer("student")
    assert training.optimizer("second", like="student").learning_rate == 0.2
    with pytest.raises(ValueError, match=r"optimizers\.third is missing: .*; there are student, second"):
        training.optimizer("third")


def test_the_baseline_is_the_students_network_and_optimiser_by_the_supervised_loss_alone() -> None:
    student = StudentLearningParameters(
        **TRAINING | {"method": {"name": "igl_dt"}, "supervised_loss": {"name": "ohem"}, "pseudo_label_probe_size": 5}
    )
    reference = student.as_reference()
    assert reference.networks == {"supervised": student.networks["student"]}
    assert reference.optimizers == {"supervised": student.optimizers["student"]}
    assert reference.method.name == "supervised"
    assert reference.pseudo_label_probe_size == 0
    kept = {"supervised_loss", "steps", "batch_size", "gradient_accumulation_steps", "validate_every", "augmentation"}
    assert all(getattr(reference, name) == getattr(student, name) for name in kept)
