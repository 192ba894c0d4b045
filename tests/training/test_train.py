"""A training as a whole: what it starts from, what identifies it, and what it does not depend on."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from igl_dt.data.datasets import DataError
from igl_dt.data.loading import ImageReader
from igl_dt.data.manifest import read_manifest
from igl_dt.data.splits import choose_pseudo_label_probe
from igl_dt.evaluation.evaluator import evaluate_network, score_evaluation
from igl_dt.losses.supervised import median_frequency_weights
from igl_dt.methods.base import Method
from igl_dt.methods.igl_dt import IglDt
from igl_dt.methods.parameters import MethodChoice
from igl_dt.methods.supervised import Supervised
from igl_dt.networks.io import save_network
from igl_dt.networks.registry import build_network
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.determinism import seeded
from igl_dt.runtime.parameters import EvaluationParameters
from igl_dt.runtime.processes import Group
from igl_dt.training import trainer
from igl_dt.training.fingerprint import digest_of_parameters
from igl_dt.training.parameters import StudentLearningParameters, TrainingParameters
from igl_dt.training.trainer import TrainingData, TrainingError, TrainingResult, create_method, train
from tiny import CLASSES, NETWORKS

pytestmark = pytest.mark.usefixtures("count_one_step")

TEACHERS = ("global_teacher", "local_teacher")
TRAINING = {"steps": 2, "batch_size": 2, "augmentation": {"crop_size": (32, 32), "strong_unlabeled": True}}
OPTIMIZER = {"name": "adamw", "learning_rate": 0.001}


def parameters(
    *roles: str,
    method: str = "supervised",
    sections: dict | None = None,
    kind: type = TrainingParameters,
    **changes: Any,
) -> Any:
    values: dict[str, Any] = {
        "networks": {role: NETWORKS[role] for role in roles},
        "method": MethodChoice(name=method, **(sections or {})),
        "optimizers": dict.fromkeys(roles, OPTIMIZER),
    }
    return kind(**TRAINING | values | changes)


def create(*roles: str, seed: int = 3, teachers: Mapping | None = None, **options: Any) -> Method:
    return create_method(parameters(*roles, **options), CLASSES, seed, teachers)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture
def data(splits) -> TrainingData:
    return TrainingData(splits.labeled, splits.unlabeled, splits.val)


@pytest.fixture
def teachers() -> dict:
    return {role: create(role).evaluated()[role] for role in TEACHERS}


class TestInitialWeights:
    @pytest.mark.parametrize("role", NETWORKS)
    def test_depend_on_the_seed_and_on_nothing_before(self, role: str) -> None:
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = create(role)
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(7)
        assert same(first.state_dict(), create(role).state_dict())
        assert not same(first.state_dict(), create(role, seed=4).state_dict())
        assert first.evaluated()[role].class_names == CLASSES

    @pytest.mark.parametrize(
        ("role", "former"), [("global_teacher", "swin_unet"), ("local_teacher", "res_unet"), ("student", "student")]
    )
    def test_are_those_of_the_names_that_roles_once_had(self, role: str, former: str) -> None:
        with seeded(3, "initial weights", former):
            expected = build_network(NETWORKS[role], CLASSES).state_dict()
        assert same(create(role).evaluated()[role].state_dict(), expected)
        assert same(create(*TEACHERS, "student").evaluated()[role].state_dict(), expected), "with others too"

    def test_differ_between_roles_of_one_architecture(self) -> None:
        networks = dict.fromkeys(TEACHERS, NETWORKS["global_teacher"])
        one, other = (network.state_dict() for network in create(*TEACHERS, networks=networks).evaluated().values())
        assert one.keys() == other.keys()
        assert not torch.equal(one["classifier.weight"], other["classifier.weight"])
        assert not torch.equal(*(weights["encoder.patch_embed.proj.weight"] for weights in (one, other)))

    def test_of_the_baseline_are_the_students(self, teachers) -> None:
        both = parameters("student", method="igl_dt", kind=StudentLearningParameters)
        student = create_method(both, CLASSES, 3, teachers).evaluated()["student"]
        baseline = create_method(both.as_reference(), CLASSES, 3)
        assert isinstance(baseline, Supervised)
        assert baseline.trained().keys() == {"supervised"}
        assert same(baseline.evaluated()["supervised"].state_dict(), student.state_dict())

    def test_of_projections_have_a_stream_of_their_own(self, teachers) -> None:
        options: dict = {"method": "igl_dt", "sections": {"igl_dt": {"global_map": "features"}}, "teachers": teachers}
        method = create("student", **options)
        with seeded(3, "initial weights", "projections"):
            channels = method.networks["student"].feature_channels, teachers["global_teacher"].feature_channels
            expected = torch.nn.Conv2d(*channels, 1)
        assert same(method.projections["global_teacher"].state_dict(), expected.state_dict())

    def test_of_a_weight_file_are_not_those_of_networks_that_a_method_adds(
        self, tmp_path, monkeypatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        source = tmp_path / "a.safetensors"
        first = create_method(parameters("student"), ("sky", *CLASSES), 7).evaluated()["student"]
        save_network(first, source)
        monkeypatch.setattr(Supervised, "extra_networks", lambda *roles: {"second_student": "student"})
        networks = {"student": NETWORKS["student"].model_copy(update={"init_from": str(source)})}
        caplog.set_level("INFO")
        method = create("student", networks=networks)
        name = next(name for name, tensor in first.named_parameters() if tensor.ndim > 1)
        one, other = (method.evaluated()[role].state_dict()[name] for role in ("student", "second_student"))
        assert torch.equal(one, first.state_dict()[name])
        assert not torch.equal(other, one)
        (said,) = [record.getMessage() for record in caplog.records if "init_from" in record.getMessage()]
        assert said.endswith("has other classes, so the classifier starts from random weights")


class TestBuilding:
    def test_a_missing_teacher_names_the_pipeline(self, teachers) -> None:
        del teachers["local_teacher"]
        with pytest.raises(ValueError, match=r"training\.method\.name: igl_dt learns from local_teacher.*pipelines="):
            create("student", method="igl_dt", teachers=teachers)

    def test_a_teacher_of_other_classes_is_refused(self, teachers) -> None:
        with seeded(0):
            teachers["local_teacher"] = build_network(NETWORKS["local_teacher"], CLASSES[::-1], "local_teacher")
        with pytest.raises(
            ValueError, match=r"the local_teacher was trained for the classes pole, tree, road, but the "
        ):
            create("student", method="igl_dt", teachers=teachers)
        create("student", method="supervised", teachers=teachers)

    def test_networks_that_a_method_adds_are_built_and_trained_like_another(self, data, context, monkeypatch) -> None:
        monkeypatch.setattr(Supervised, "extra_networks", lambda *roles: {"second_student": "student"})
        method = create("student")
        second, student = (method.evaluated()[role] for role in ("second_student", "student"))
        assert second.configuration == student.configuration
        assert not same(second.state_dict(), student.state_dict())
        history = train(method, data, parameters("student"), context, "some_training").history
        assert {"learning_rate.second_student", "val_miou.second_student"} <= set(history)
        with pytest.raises(ValueError, match=r"networks: supervised needs second_student or student, and there is nei"):
            create("global_teacher")


class TestTraining:
    def test_probing_pseudo_labels_changes_no_bit(self, data, context) -> None:
        """Whatever is measured, and whatever the hidden truth is."""
        probe = choose_pseudo_label_probe(read_manifest(context.dataset).samples, data.unlabeled, 3)
        wrong = probe.assign(mask=probe["mask"].iloc[0], image=probe["image"].iloc[0])
        learned: list[TrainingResult] = []
        for rows in (None, probe.iloc[:0], probe, wrong):
            options = parameters(*TEACHERS, method="cps", validate_every=1)
            method = create_method(options, CLASSES, 3)
            learned.append(train(method, data._replace(probe=rows), options, context, "teacher_pretraining"))
        first, *others = learned
        history = first.history
        assert not [name for name in history if name.startswith("pseudo_label")]
        for other in others:
            for role, network in other.networks.items():
                assert same(network.state_dict(), first.networks[role].state_dict())
                assert network.fingerprint == first.networks[role].fingerprint
            pd.testing.assert_frame_equal(other.history[history.columns], history, check_exact=True)
        with_truth, with_another = (other.history for other in others[1:])
        names = {f"pseudo_label_{kind}.{role}" for kind in ("accuracy", "confident") for role in TEACHERS}
        assert set(with_truth) - set(history) == names | {"pseudo_label_agreement"}
        assert with_truth[[*names]].notna().all(axis=None)
        accuracies = [name for name in names if "accuracy" in name]
        assert not with_truth[accuracies].equals(with_another[accuracies])

    def test_nothing_drawn_before_changes_the_student(self, data, context, teachers) -> None:
        """Not its projection either, which is made for the training and left behind."""
        options = parameters("student", method="igl_dt", sections={"igl_dt": {"global_map": "features"}})
        learned = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            method = create_method(options, CLASSES, 3, teachers)
            learned.append(train(method, data, options, context, "student_learning"))
        one, other = learned
        assert same(one.networks["student"].state_dict(), other.networks["student"].state_dict())
        pd.testing.assert_frame_equal(one.history, other.history, check_exact=True)
        assert not same(one.networks["student"].state_dict(), create("student").evaluated()["student"].state_dict())

    def test_class_weights_are_of_the_labelled_pixels(self, data, context) -> None:
        loss = {"class_weights": "median_frequency", "class_weight_limit": 1.2}
        results = []
        for changes in ({}, {"supervised_loss": loss}):
            options = parameters("student", **changes)
            method = create_method(options, CLASSES, 3)
            results.append(train(method, data, options, context, "some_training").history["supervised"].tolist())
            reader = ImageReader(context.dataset)
        masks = torch.stack([mask for _, mask in reader.pairs(data.labeled)])
        pixels = torch.stack([(masks == name).flatten(1).sum(1) for name in range(3)], dim=1)
        assert torch.equal(method.class_weights, median_frequency_weights(pixels, 1.2))
        assert results[0][0] != results[1][0]

    def test_a_method_knows_the_epochs_and_may_evaluate_before_the_first_step(
        self, data, context, teachers, monkeypatch
    ) -> None:
        seen: dict[str, Any] = {}

        def before_training(self: Method, steps_per_epoch: int, validate: Any) -> None:
            seen.update(epoch=steps_per_epoch, scores={role: validate(net) for role, net in self.teachers.items()})

        monkeypatch.setattr(IglDt, "before_training", before_training)
        options = parameters("student", method="igl_dt", batch_size=3)
        train(create_method(options, CLASSES, 3, teachers), data, options, context, "some_training")
        assert seen["epoch"] == math.ceil(len(data.unlabeled) / 3)
        for role, scores in seen["scores"].items():
            wanted = score_evaluation(evaluate_network(teachers[role], data.val, context))
            assert scores["per_class"] == wanted["per_class"]

    def test_validation_is_the_evaluation(self, data, context) -> None:
        result = train(create("student"), data, parameters("student"), context, "some_training")
        evaluation = evaluate_network(result.networks["student"], data.val, context)
        assert result.history["val_miou.student"].iloc[-1] == score_evaluation(evaluation)["miou"]

    def test_an_interrupted_training_is_resumed(self, data, context, tmp_path, monkeypatch) -> None:
        """The same call finds the state, and teachers are given to it as they were."""
        runtime = context.runtime.model_copy(update={"recovery_folder": str(tmp_path), "recovery_seconds": 0.0})
        saving, options = context._replace(runtime=runtime), parameters("student", method="mean_teacher:MeanTeacher")

        def learn(context: RunContext) -> tuple[Mapping[str, Any], TrainingResult]:
            method = create_method(options, CLASSES, 3)
            return method.state_dict(), train(method, data, options, context, "student_learning")

        undisturbed, result = learn(context)

        def killed(network: object, *others: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(trainer, "evaluate_rows", killed)  # in the last step
            with pytest.raises(KeyboardInterrupt):
                learn(saving)
        assert len(list(tmp_path.glob("student_learning/*/*.pt"))) == 1
        resumed, result_resumed = learn(saving)
        for name, network in result.networks.items():
            assert same(network.state_dict(), result_resumed.networks[name].state_dict())
            assert network.trained_by == "test_mean_teacher"
            assert network.sizes == context.dataset.sizes()
            assert network.fingerprint is not None
        assert torch.equal(resumed["updates"], undisturbed["updates"])

    def test_machines_with_other_code_are_refused(self, data, context) -> None:
        class WithAnother(Group):
            def gather(self, shared: Any) -> list:
                return [*shared, {**shared[0], "code": "other"}]

        options = parameters("student")
        with pytest.raises(TrainingError, match="some_training: machines that train together differ in code: "):
            train(create("student"), data, options, context, "some_training", group=WithAnother())

    def test_the_code_of_teachers_counts_for_its_states(self, data, context, teachers, monkeypatch) -> None:
        counted: set[type] = set()
        monkeypatch.setattr(trainer, "digest_of_code", lambda classes, *modules: counted.update(classes) or "")
        method = create("student", method="igl_dt", teachers=teachers)
        train(method, data, parameters("student", method="igl_dt"), context, "student_learning")
        assert counted == {IglDt, *map(type, teachers.values()), type(method.evaluated()["student"])}

    def test_without_unlabelled_images_there_is_a_baseline_only(self, data, context) -> None:
        none = data._replace(unlabeled=data.unlabeled.iloc[:0])
        train(create("student"), none, parameters("student"), context, "some_training")
        with pytest.raises(DataError, match="other_training: there are no unlabelled images"):  # noqa: PT012
            options = parameters(*TEACHERS, method="cps")
            train(create_method(options, CLASSES, 3), none, options, context, "other_training")


class TestStreams:
    def test_student_and_baseline_see_the_same_labelled_crops(self, data, context, teachers, monkeypatch) -> None:
        seen = []
        monkeypatch.setattr(trainer, "fit", lambda method, batches, *_, **__: seen.append(batches))
        both = parameters("student", method="igl_dt", kind=StudentLearningParameters)
        train(create_method(both, CLASSES, 3, teachers), data, both, context, "student_learning")
        alone = both.as_reference()
        train(create_method(alone, CLASSES, 3), data, alone, context, "reference", "student_learning")
        of_student, of_reference = seen
        for step in range(both.steps):
            assert torch.equal(of_student[step].images, of_reference[step].images)
            assert torch.equal(of_student[step].masks, of_reference[step].masks)
            assert of_student[step].weak is not None
            assert of_reference[step].weak is None


class TestFingerprint:
    @pytest.fixture
    def fingerprint(self, data, context, monkeypatch):
        monkeypatch.setattr(trainer, "fit", lambda *_, **__: None)

        def fingerprint(run: RunContext = context, stream: str = "some_training", seed: int = 3, **changes: Any) -> str:
            options = parameters("student", **changes)
            method = create_method(options, CLASSES, seed)
            train(method, data, options, run, "some_training", stream)
            (network,) = method.evaluated().values()
            assert network.fingerprint is not None
            return network.fingerprint

        return fingerprint

    def test_holds_what_decides_a_training_and_nothing_else(self, fingerprint, context) -> None:
        def evaluated(**changes: Any) -> RunContext:
            return context._replace(evaluation=EvaluationParameters(**changes))

        plain = fingerprint()
        assert fingerprint(sections={"igl_dt": {"global_weight": 5.0}}) == plain, "of which the method has none"
        scaled = {"student": OPTIMIZER | {"base_batch_size": 2 * TRAINING["batch_size"]}}
        assert fingerprint(optimizers=scaled) == plain, "the same rate"
        assert fingerprint(evaluated(boundary_width=0.5)) == plain, "no validation looks at boundaries"
        runtime = context.runtime.model_copy(update={"workers": 1, "cache_mib": 7})
        assert fingerprint(context._replace(runtime=runtime)) == plain
        others = [
            fingerprint(supervised_loss={"name": "ohem"}),
            fingerprint(optimizers={"student": OPTIMIZER | {"learning_rate": 0.3}}),
            fingerprint(evaluated(flip=True)),
            fingerprint(steps=3),
            fingerprint(stream="another"),
            fingerprint(seed=4),
            fingerprint(networks={"student": NETWORKS["local_teacher"]}),
        ]
        assert len({plain, *others}) == 1 + len(others)

    def test_shards_and_reduction_are_part_of_it_and_processes_only_where_they_decide(self, context) -> None:
        options = parameters("student")
        method = create_method(options, CLASSES, 0)

        def digest(**changes: Any) -> str:
            run = context._replace(runtime=context.runtime.model_copy(update=changes))
            return digest_of_parameters("stream", options, method, {}, run)

        plain, exact, fast = digest(), digest(shards=4), digest(processes=4, reduction="fast")
        assert digest(shards=4, processes=2) == digest(shards=4, processes=2, nodes=2) == exact
        others = digest(shards=2), digest(processes=2, reduction="fast")
        assert len({plain, exact, fast, *others}) == 5

    def test_what_masks_mean_is_part_of_it(self, fingerprint, context) -> None:
        """Their files do not say it all where ids are given other classes."""
        given = {"images": "i", "masks": "m", "class_names": CLASSES, "fractions": {"val": 0.5}}
        fingerprints = []
        for ids in (None, {"road": 0, "tree": 1, "pole": 2}, {"road": 2, "tree": 1, "pole": 0}):
            dataset = context.dataset.model_copy(update={"source": "folder", "options": given | {"ids": ids}})
            fingerprints.append(fingerprint(context._replace(dataset=dataset)))
        assert fingerprint() == fingerprints[0]
        assert len(set(fingerprints)) == 3
