"""What is misspelt, out of range or contradictory is refused where it is said, and every recipe is accepted."""

from pathlib import Path

import pytest
from kedro.config import OmegaConfigLoader
from pydantic import BaseModel, ValidationError

from igl_dt import parameters as p

CONF = Path(__file__).parents[1] / "conf"
ENVIRONMENTS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("base", "local"))
MODELS = [kind for kind in vars(p).values() if isinstance(kind, type) and issubclass(kind, p.Parameters)]


def problem(kind: type[BaseModel], **values: object) -> tuple[str, str]:
    """Give where the only problem is, and its message."""
    with pytest.raises(ValidationError) as raised:
        kind(**values)
    (error,) = raised.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_recipe_is_valid(environment: str) -> None:
    loader = OmegaConfigLoader(
        conf_source=str(CONF), base_env="base", env=environment, merge_strategy={"parameters": "soft"}
    )
    p.ProjectParameters.model_validate(loader["parameters"])


def test_every_group_refuses_unknown_keys_and_changes() -> None:
    assert len(MODELS) > 15
    for kind in MODELS:
        assert kind.model_config["extra"] == "forbid" and kind.model_config["frozen"]
    where, message = problem(p.RuntimeParameters, worker=1)
    assert where == "worker" and "not permitted" in message
    with pytest.raises(ValidationError, match="frozen"):
        p.RuntimeParameters().workers = 3


def test_every_number_refuses_nan_and_infinity() -> None:
    for kind in MODELS:
        assert kind.model_config["allow_inf_nan"] is False
    for value in (float("nan"), float("inf"), ".nan", "inf"):
        assert problem(p.IglDtParameters, global_weight=value)[0] == "global_weight"


AUGMENTATION = {"crop_size": (8, 8)}
STAGE = {"steps": 1, "batch_size": 4, "augmentation": AUGMENTATION}
STUDENT = STAGE | {"student": {"learning_rate": 0.1}}


@pytest.mark.parametrize(
    ("kind", "values", "where"),
    [
        (p.SplittingParameters, {"labeled_fraction": 0.0}, "labeled_fraction"),
        (p.SplittingParameters, {"labeled_fraction": 1.01}, "labeled_fraction"),
        (p.DatasetParameters, {"root": "x", "image_size": (0, 5)}, "image_size.0"),
        (p.OptimizerParameters, {"learning_rate": 0}, "learning_rate"),
        (p.OptimizerParameters, {"learning_rate": 1, "name": "adam"}, "name"),
        (p.OptimizerParameters, {"learning_rate": 1, "warmup_steps": -1}, "warmup_steps"),
        (p.OptimizerParameters, {"learning_rate": 1, "max_grad_norm": 0}, "max_grad_norm"),
        (p.AugmentationParameters, {"crop_size": (8,)}, "crop_size.1"),
        (p.AugmentationParameters, {"crop_size": (8, 8.5)}, "crop_size.1"),
        (p.AugmentationParameters, AUGMENTATION | {"scale": (0, 1)}, "scale.0"),
        (p.AugmentationParameters, AUGMENTATION | {"flip_probability": 1.1}, "flip_probability"),
        (p.AugmentationParameters, AUGMENTATION | {"cutmix_ratio": 0}, "cutmix_ratio"),
        (p.StrongAugmentation, {"hue": 0.6}, "hue"),
        (p.StageParameters, STAGE | {"steps": 0}, "steps"),
        (p.StageParameters, STAGE | {"steps": "many"}, "steps"),
        (p.StageParameters, STAGE | {"steps": 2.5}, "steps"),
        (p.IglDtParameters, {"swap_every": 0}, "swap_every"),
        (p.IglDtParameters, {"confidence_threshold": -0.1}, "confidence_threshold"),
        (p.IglDtParameters, {"local_regions": 0}, "local_regions"),
        (p.DeepLabV3PlusParameters, {"encoder": {"name": "x"}, "output_stride": 12}, "output_stride"),
        (p.EvaluationParameters, {"window_overlap": 1}, "window_overlap"),
        (p.RuntimeParameters, {"device": "gpu"}, "device"),
        (p.RuntimeParameters, {"threads": 0}, "threads"),
        (p.RuntimeParameters, {"workers": -1}, "workers"),
    ],
)
def test_out_of_range(kind: type[BaseModel], values: dict[str, object], where: str) -> None:
    assert problem(kind, **values)[0] == where


@pytest.mark.parametrize("name", ["scale", "cutmix_area"])
def test_ranges_begin_with_the_lower_bound(name: str) -> None:
    where, message = problem(p.AugmentationParameters, **AUGMENTATION, **{name: (0.9, 0.5)})
    assert where == name and "lower bound comes first, not [0.9, 0.5]" in message
    p.AugmentationParameters(**AUGMENTATION, **{name: (0.5, 0.5)})
    assert problem(p.StrongAugmentation, blur_sigma=(2, 1))[0] == "blur_sigma"


def test_labels_come_from_a_fraction_or_from_a_list() -> None:
    _, message = problem(p.SplittingParameters)
    assert "give splitting.labeled_fraction or splitting.labeled_list" in message


def test_an_unlabeled_list_needs_a_labeled_one() -> None:
    _, message = problem(p.SplittingParameters, labeled_fraction=0.5, unlabeled_list="list.txt")
    assert "splitting.unlabeled_list needs splitting.labeled_list" in message
    p.SplittingParameters(labeled_list="list.txt", unlabeled_list="list.txt")


def test_parts_must_divide_the_batch() -> None:
    assert (
        "gradient_accumulation_steps (3) must divide batch_size (4)"
        in problem(p.StageParameters, **STAGE, gradient_accumulation_steps=3)[1]
    )
    p.StageParameters(**STAGE, gradient_accumulation_steps=4)


def test_the_reference_needs_batches_of_two() -> None:
    _, message = problem(p.StudentLearningParameters, **STUDENT, gradient_accumulation_steps=4)
    assert (
        "batch_size (4) over gradient_accumulation_steps (4) must be at least 2" in message
        and "reference to false" in message
    )
    p.StudentLearningParameters(**STUDENT, gradient_accumulation_steps=4, reference=False)
    p.StudentLearningParameters(**STUDENT, gradient_accumulation_steps=2)


def test_a_sliding_window_has_a_size() -> None:
    assert "evaluation.window_size is needed" in problem(p.EvaluationParameters, mode="sliding_window")[1]
    p.EvaluationParameters(mode="sliding_window", window_size=(8, 8))


def test_all_problems_are_found_at_once() -> None:
    with pytest.raises(ValidationError) as raised:
        p.StudentLearningParameters(**(STUDENT | {"steps": 0, "losses": {"swap_every": 0, "global_wait": 1}}))
    where = {".".join(map(str, error["loc"])) for error in raised.value.errors()}
    assert where == {"steps", "losses.swap_every", "losses.global_wait"}


def test_a_rate_is_scaled_by_the_total_batch() -> None:
    optimizer = p.OptimizerParameters(learning_rate=0.01, base_batch_size=16, backbone_lr_mult=0.1)
    assert optimizer.for_batch(16).learning_rate == 0.01
    assert optimizer.for_batch(8) == p.OptimizerParameters(learning_rate=0.005, backbone_lr_mult=0.1)
    assert p.OptimizerParameters(learning_rate=0.01).for_batch(8).learning_rate == 0.01
