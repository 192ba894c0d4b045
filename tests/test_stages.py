"""The stages: what they start from, what they measure, and what they do not depend on."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from igl_dt import stages
from igl_dt.data.datasets import DataError
from igl_dt.data.loading import TrainingBatches
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters, SplittingParameters
from igl_dt.data.splits import choose_pseudo_label_probe, split_labels
from igl_dt.inference.parameters import WeightsEvaluationParameters
from igl_dt.kedro_ext.parameters import StudentLearningParameters, TeacherPretrainingParameters
from igl_dt.methods import Method
from igl_dt.networks import SegmentationNetwork, build_network
from igl_dt.networks.io import save_network
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from igl_dt.stages import Surroundings
from igl_dt.training.trainer import Trained
from igl_dt.utils.files import digest
from tiny import CLASSES, NETWORKS

STAGE = {"steps": 2, "batch_size": 2, "augmentation": {"crop_size": (32, 32), "strong_unlabeled": True}}
OPTIMIZER = {"name": "adamw", "learning_rate": 0.001}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two sizes, in the manner of CamVid."""
    root = tmp_path_factory.mktemp("stages") / "images"
    rng = np.random.default_rng(0)
    for split, count in {"train": 8, "val": 7}.items():
        for kind, most in (("images", 256), ("masks", 3)):
            (root / split / kind).mkdir(parents=True)
            for index in range(count):
                shape = (32, 48) if index % 3 else (40, 36)
                array = rng.integers(0, most, (*shape, 3) if kind == "images" else shape, dtype=np.uint8)
                if kind == "masks":
                    array[:2] = 255
                Image.fromarray(array).save(root / split / kind / f"{split}{index}.png")
    (root / "classes.txt").write_text("\n".join(CLASSES))
    return root


@pytest.fixture
def surroundings(root: Path) -> Surroundings:
    return Surroundings(
        DatasetParameters(source="camvid", root=str(root)),
        EvaluationParameters(),
        RuntimeParameters(device="cpu", threads=1, workers=0),
        seed=3,
    )


@pytest.fixture
def parts(surroundings: Surroundings):
    manifest = read_manifest(surroundings.dataset)
    return split_labels(manifest.images, manifest.class_pixels, SplittingParameters(labeled_fraction=0.5), seed=0)


def initial(name: str, seed: int = 3) -> SegmentationNetwork:
    return stages.initialize_network(name, NETWORKS[name], CLASSES, seed)


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


class TestInitialWeights:
    @pytest.mark.parametrize("name", NETWORKS)
    def test_depend_on_the_seed_and_on_nothing_before(self, name: str) -> None:
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = initial(name)
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(7)
        assert same(first.state_dict(), initial(name).state_dict())
        assert not same(first.state_dict(), initial(name, seed=4).state_dict())
        assert first.class_names == CLASSES

    def test_differ_by_name(self) -> None:
        res_unet, student = initial("res_unet"), initial("student")
        shared = [name for name, tensor in student.encoder.named_parameters() if tensor.ndim == 4]
        assert any(
            one.shape == other.shape and not torch.equal(one, other)
            for one, other in (
                (res_unet.encoder.state_dict()[name], student.encoder.state_dict()[name])
                for name in shared
                if name in res_unet.encoder.state_dict()
            )
        )


class TestLearning:
    @pytest.fixture
    def scripted(self, monkeypatch) -> list[tuple[Method, TrainingBatches]]:
        """Replace training: every weight becomes 1, and those of the best validation 2."""
        calls = []

        def train(method: Method, batches: TrainingBatches, *others: object) -> Trained:
            calls.append((method, batches))
            trained = Trained(pd.DataFrame({"step": [2]}))
            for name, network in method.networks.items():
                trained.best[name] = {key: torch.full_like(tensor, 2) for key, tensor in network.state_dict().items()}
                network.load_state_dict({key: torch.ones_like(tensor) for key, tensor in network.state_dict().items()})
            return trained

        monkeypatch.setattr(stages, "train", train)
        return calls

    @pytest.mark.parametrize(("keep", "value"), [("last", 1), ("best", 2)])
    def test_teachers_have_the_weights_to_keep(self, scripted, parts, surroundings, keep: str, value: int) -> None:
        parameters = TeacherPretrainingParameters(**STAGE, swin_unet=OPTIMIZER, res_unet=OPTIMIZER, keep=keep)
        initials = initial("swin_unet"), initial("res_unet")
        images = parts.labeled, parts.unlabeled, parts.val
        *teachers, history = stages.pretrain_teachers(*initials, *images, parameters, surroundings)
        assert [teacher is network for teacher, network in zip(teachers, initials, strict=True)] == [True, True]
        for teacher in teachers:
            assert all((parameter == value).all() for parameter in teacher.parameters())
        assert list(history["step"]) == [2]

    def test_monitoring_pseudo_labels_changes_no_bit_of_the_teachers(self, parts, surroundings, tmp_path) -> None:
        """Whatever is measured, and whatever the hidden truth is."""
        monitored = choose_pseudo_label_probe(read_manifest(surroundings.dataset).images, parts.unlabeled, 3)
        wrong = monitored.assign(mask=monitored["mask"].iloc[0], image=monitored["image"].iloc[0])
        stage = STAGE | {"validate_every": 1}
        learned = []
        for count, images in ((0, None), (0, monitored.iloc[:0]), (3, monitored), (3, wrong)):
            parameters = TeacherPretrainingParameters(
                **stage, swin_unet=OPTIMIZER, res_unet=OPTIMIZER, pseudo_label_probe_size=count
            )
            networks = initial("swin_unet"), initial("res_unet")
            tables = parts.labeled, parts.unlabeled, parts.val
            learned.append(stages.pretrain_teachers(*networks, *tables, parameters, surroundings, images))
        (*first, history), *others = learned
        assert not [name for name in history if name.startswith("pseudo_label")]
        for *teachers, other in others:
            for teacher, before in zip(teachers, first, strict=True):
                assert same(teacher.state_dict(), before.state_dict())
                assert teacher.fingerprint == before.fingerprint
            pd.testing.assert_frame_equal(other[history.columns], history, check_exact=True)
        (_, _, with_truth), (_, _, with_another) = others[1:]
        names = {
            f"pseudo_label_{kind}.{net}" for kind in ("accuracy", "confident") for net in ("swin_unet", "res_unet")
        }
        assert set(with_truth) - set(history) == names | {"pseudo_label_agreement"}
        assert with_truth[[*names]].notna().all(axis=None)
        accuracies = [name for name in names if "accuracy" in name]
        assert not with_truth[accuracies].equals(with_another[accuracies])

    def test_student_and_reference_come_last_and_best_and_see_the_same_labelled_crops(
        self, scripted, parts, surroundings
    ) -> None:
        parameters = StudentLearningParameters(**STAGE, student=OPTIMIZER)
        samples = parts.labeled, parts.unlabeled, parts.val
        learned = [
            stages.learn_student(
                initial("student"), initial("swin_unet"), initial("res_unet"), *samples, parameters, surroundings
            ),
            stages.learn_reference(initial("student"), parts.labeled, parts.val, parameters, surroundings),
        ]
        for last, best, _ in learned:
            assert all((parameter == 1).all() for parameter in last.parameters())
            assert all((parameter == 2).all() for parameter in best.parameters())
        (_, of_student), (_, of_reference) = scripted
        for step in range(parameters.steps):
            assert torch.equal(of_student[step].images, of_reference[step].images)
            assert torch.equal(of_student[step].masks, of_reference[step].masks)
            assert of_student[step].weak is not None and of_reference[step].weak is None

    def test_what_masks_mean_is_part_of_the_fingerprint(self, scripted, parts, surroundings) -> None:
        """Their files do not say it all where ids are given other classes."""
        parameters = StudentLearningParameters(**STAGE, student=OPTIMIZER)
        given = {"images": "i", "masks": "m", "class_names": CLASSES, "fractions": {"val": 0.5}}
        fingerprints = []
        for ids in (None, {"road": 0, "tree": 1, "pole": 2}, {"road": 2, "tree": 1, "pole": 0}):
            options = given | {"ids": ids}
            dataset = surroundings.dataset.model_copy(update={"source": "folder", "options": options})
            changed = surroundings._replace(dataset=dataset)
            student = initial("student")
            stages.learn_reference(student, parts.labeled, parts.val, parameters, changed)
            fingerprints.append(student.fingerprint)
        student = initial("student")
        stages.learn_reference(student, parts.labeled, parts.val, parameters, surroundings)
        assert student.fingerprint == fingerprints[0] and len(set(fingerprints)) == 3

    def test_nothing_drawn_before_changes_the_student(self, parts, surroundings) -> None:
        """Not its projections either, which are made for the training and left behind."""
        losses = {"discrepancy_space": "features", "discrepancy_weight": 1.0}
        parameters = StudentLearningParameters(**STAGE, student=OPTIMIZER, losses=losses)
        learned = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            networks = initial("student"), initial("swin_unet"), initial("res_unet")
            images = parts.labeled, parts.unlabeled, parts.val
            learned.append(stages.learn_student(*networks, *images, parameters, surroundings))
        assert same(learned[0].last.state_dict(), learned[1].last.state_dict())
        pd.testing.assert_frame_equal(learned[0].history, learned[1].history, check_exact=True)
        assert not same(learned[0].last.state_dict(), initial("student").state_dict())

    def test_validation_is_the_evaluation(self, parts, surroundings) -> None:
        parameters = StudentLearningParameters(**STAGE, student=OPTIMIZER)
        learned = stages.learn_reference(initial("student"), parts.labeled, parts.val, parameters, surroundings)
        evaluation = stages.evaluate_network(learned.last, parts.val, surroundings)
        assert learned.history["val_miou.supervised"].iloc[-1] == stages.score_evaluation(evaluation)["miou"]

    def test_a_fingerprint_holds_what_decides_a_training_and_nothing_else(self, scripted, parts, surroundings) -> None:
        def fingerprint(optimizer: dict | None = None, losses: dict | None = None, **evaluation: object) -> str | None:
            rates = OPTIMIZER | (optimizer or {})
            parameters = StudentLearningParameters(**STAGE, student=rates, losses=losses or {})
            network = initial("student")
            changed = surroundings._replace(evaluation=EvaluationParameters(**evaluation))
            stages.learn_reference(network, parts.labeled, parts.val, parameters, changed)
            return network.fingerprint

        plain = fingerprint()
        assert fingerprint(losses={"global_weight": 5.0}) == plain, "of which the reference has none"
        assert fingerprint(optimizer={"base_batch_size": 2 * STAGE["batch_size"]}) == plain, "the same rate"
        assert fingerprint(boundary_width=0.5) == plain, "no validation looks at boundaries"
        others = [fingerprint(losses={"supervised": {"name": "ohem"}}), fingerprint(optimizer={"learning_rate": 0.3})]
        others.append(fingerprint(flip=True))
        assert len({plain, *others}) == 4


class TestEvaluation:
    @pytest.mark.parametrize("batch_size", [1, 8])
    def test_counts_what_one_image_at_a_time_gives(self, parts, root, surroundings, batch_size: int) -> None:
        network = initial("student").eval()
        with torch.no_grad():  # so that it is not of one mind
            noise = torch.randint(0, 256, (1, 3, 32, 48), generator=torch.Generator().manual_seed(0)).byte()
            network.classifier.bias -= network(noise).logits.mean(dim=(0, 2, 3))
        expected, scores = np.zeros((3, 3), dtype=np.int64), {}
        for row in parts.val.itertuples():
            image, truth = (np.array(Image.open(root / path)) for path in (row.image, row.mask))
            with torch.inference_mode():
                prediction = network(torch.from_numpy(image).permute(2, 0, 1)[None]).logits[0].argmax(0).numpy()
            counted = truth != 255
            np.add.at(expected, (truth[counted], prediction[counted]), 1)
            there = np.union1d(truth[counted], prediction[counted])
            scores[row.id] = np.mean(
                [
                    np.sum((truth == k) & (prediction == k)) / np.sum(counted & ((truth == k) | (prediction == k)))
                    for k in there
                ]
            )
        at_once = surroundings._replace(evaluation=EvaluationParameters(batch_size=batch_size))
        confusion, boundary, images = stages.evaluate_network(network, parts.val, at_once)
        assert list(confusion.index) == list(confusion.columns) == list(CLASSES)
        np.testing.assert_array_equal(confusion.to_numpy(), expected)
        assert (expected.sum(axis=0) > 0).sum() > 1
        assert images.to_dict() == pytest.approx(scores) and list(images.index) == parts.val["id"].tolist()
        assert list(boundary.index) == list(CLASSES) and (boundary["both"] <= boundary["truth"]).all()

    def test_is_in_the_precision_of_the_run(self, parts, surroundings) -> None:
        seen = []
        network = initial("student")
        network.classifier.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
        runtime = surroundings.runtime.model_copy(update={"precision": "bfloat16"})
        for run, dtype in ((surroundings, torch.float32), (surroundings._replace(runtime=runtime), torch.bfloat16)):
            seen.clear()
            stages.evaluate_network(network, parts.val, run)
            scores = pd.Series(0.5, index=parts.val["id"])
            stages.predict_examples({"student": network}, parts.val, scores, 1, run)
            assert len(seen) > 1 and set(seen) == {dtype}

    def test_scores_are_those_of_the_tables(self) -> None:
        confusion = pd.DataFrame([[3, 1], [0, 4]], index=["a", "b"], columns=["a", "b"])
        boundary = pd.DataFrame([[1, 2, 2], [4, 4, 4]], index=["a", "b"], columns=["both", "truth", "prediction"])
        scores = stages.score_evaluation(stages.Evaluation(confusion, boundary, pd.Series(dtype=float)))
        assert scores["per_class"] == {"a": pytest.approx(3 / 4), "b": pytest.approx(4 / 5)}
        assert scores["miou"] == pytest.approx((3 / 4 + 4 / 5) / 2)
        assert scores["boundary_miou"] == pytest.approx((1 / 3 + 1) / 2)
        assert scores["pixels"] == 8


class TestWeights:
    @pytest.fixture
    def weights(self, tmp_path: Path) -> Path:
        network = initial("student")
        network.fingerprint = "0123abc"
        save_network(network, tmp_path / "any.safetensors")
        return tmp_path / "any.safetensors"

    def test_any_file_is_measured_on_any_split_with_masks(self, parts, weights: Path, surroundings) -> None:
        scores, images = stages.evaluate_weights(WeightsEvaluationParameters(weights=str(weights)), surroundings)
        expected = stages.evaluate_network(initial("student"), parts.val, surroundings)
        assert scores["miou"] == stages.score_evaluation(expected)["miou"]
        assert (scores["network"], scores["fingerprint"], scores["split"], scores["images"]) == (
            *("student", "0123abc", "val", 7),
        )
        assert scores["weights"] == digest(weights.read_bytes())
        pd.testing.assert_series_equal(images.set_index("id")["miou"], expected.images, check_names=False)
        train = WeightsEvaluationParameters(weights=str(weights), split="train")
        assert stages.evaluate_weights(train, surroundings)[0]["images"] == 8

    def test_what_does_not_fit_is_named(self, weights: Path, root: Path, surroundings, tmp_path: Path) -> None:
        def measure(**changes: str) -> None:
            stages.evaluate_weights(WeightsEvaluationParameters(**{"weights": str(weights)} | changes), surroundings)

        with pytest.raises(DataError, match=r"no images with masks in test; it has \{'train': 8, 'val': 7\}"):
            measure(split="test")
        with pytest.raises(ValueError, match=r"weights_evaluation\.weights: there is no file absent"):
            measure(weights="absent")
        with pytest.raises(ValueError, match=r"--params=weights_evaluation\.weights=PATH"):
            stages.evaluate_weights(WeightsEvaluationParameters(), surroundings)
        save_network(build_network("student", NETWORKS["student"], ("a", "b", "c")), tmp_path / "other.safetensors")
        with pytest.raises(DataError, match=r"knows the classes a, b, c, but .* has road, tree, pole"):
            measure(weights=str(tmp_path / "other.safetensors"))


class TestExamples:
    @pytest.mark.parametrize(("count", "ranks"), [(1, [0]), (2, [0, 5]), (3, [0, 2, 5]), (50, list(range(6)))])
    def test_come_from_the_best_to_the_worst(self, parts, root, surroundings, count: int, ranks: list[int]) -> None:
        scores = pd.Series([0.5, 0.5, float("nan"), 0.1, 0.9, 0.5, 0.2], index=parts.val["id"].iloc[::-1])
        order = parts.val["id"].iloc[::-1].iloc[[4, 5, 1, 0, 6, 3]].tolist()
        examples = stages.predict_examples({"student": initial("student")}, parts.val, scores, count, surroundings)
        kinds = ("image", "truth", "student")
        assert set(examples) == {f"{kind}/{number + 1}" for kind in kinds for number in range(len(ranks))}
        for number, rank in enumerate(ranks, start=1):
            row = parts.val.set_index("id").loc[order[rank]]
            np.testing.assert_array_equal(examples[f"image/{number}"], np.array(Image.open(root / row["image"])))
            np.testing.assert_array_equal(examples[f"truth/{number}"], np.array(Image.open(root / row["mask"])))
            prediction = examples[f"student/{number}"]
            assert prediction.dtype == np.uint8 and prediction.shape == examples[f"truth/{number}"].shape
            assert prediction.max() < len(CLASSES)

    def test_there_are_some_where_every_pixel_is_ignored(self, parts, surroundings) -> None:
        scores = pd.Series(float("nan"), index=parts.val["id"])
        assert len(stages.predict_examples({}, parts.val, scores, 3, surroundings)) == 6
