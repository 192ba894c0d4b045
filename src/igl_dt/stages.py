"""The stages of a run, each one function: what the pipelines' nodes, the benchmark and the notebooks call."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from igl_dt.data.datasets import DataError, MaskFormat, mask_format
from igl_dt.data.loading import ImageReader, TrainingBatches, by_size
from igl_dt.data.manifest import read_manifest
from igl_dt.data.parameters import DatasetParameters
from igl_dt.evaluation.boundary import score_boundary
from igl_dt.evaluation.inference import evaluate, measure, predict_classes
from igl_dt.evaluation.metrics import score
from igl_dt.evaluation.pseudo_labels import measure_pseudo_labels
from igl_dt.inference.parameters import WeightsEvaluationParameters
from igl_dt.kedro_ext.parameters import StudentLearningParameters, TeacherPretrainingParameters
from igl_dt.methods import CrossPseudoSupervision, IglDt, Method, Supervised
from igl_dt.networks.base import NetworkParameters, SegmentationNetwork
from igl_dt.networks.io import load_network, weight_file
from igl_dt.networks.registry import build_network
from igl_dt.runtime.determinism import autocast, configure_torch, seeded
from igl_dt.runtime.determinism import surroundings as describe_surroundings
from igl_dt.runtime.parameters import EvaluationParameters, RuntimeParameters
from igl_dt.training.checkpoint import Recovery
from igl_dt.training.parameters import OptimizerParameters, StageParameters
from igl_dt.training.trainer import Trained, train
from igl_dt.utils.files import digest
from igl_dt.utils.parameters import Parameters


class Surroundings(NamedTuple):
    """What all stages of a run have in common."""

    dataset: DatasetParameters
    evaluation: EvaluationParameters
    runtime: RuntimeParameters
    seed: int


class Evaluation(NamedTuple):
    """How a network predicts some images."""

    confusion: pd.DataFrame
    """Pixels: rows are the truth, columns the prediction, both named by class."""
    boundary: pd.DataFrame
    """Pixels near contours by class (rows), in ``both``, the ``truth`` and the ``prediction``."""
    images: pd.Series
    """Mean IoU by id, over the classes in an image's truth or prediction; NaN where all of it is ignored."""


class Learned(NamedTuple):
    """A network after its training."""

    last: SegmentationNetwork
    best: SegmentationNetwork
    """With the weights of its best validation."""
    history: pd.DataFrame
    """See ``igl_dt.training.trainer.Trained``."""


def initialize_network(
    name: NetworkName, parameters: NetworkParameters, class_names: Sequence[str], seed: int
) -> SegmentationNetwork:
    """Build one of the networks, with weights drawn from the seed and its name, or pretrained ones.

    Args:
        name: ``swin_unet``, ``res_unet`` or ``student``.
        parameters: its own.
        class_names: in the order of their ids.
        seed: of the run.
    """
    with seeded(seed, "initial weights", name):
        return build_network(name, parameters, tuple(class_names))


def pretrain_teachers(
    swin_unet: SegmentationNetwork,
    res_unet: SegmentationNetwork,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame,
    val: pd.DataFrame,
    parameters: TeacherPretrainingParameters,
    surroundings: Surroundings,
    monitored: pd.DataFrame | None = None,
) -> tuple[SegmentationNetwork, SegmentationNetwork, pd.DataFrame]:
    """Train both teachers by Cross Pseudo Supervision.

    Args:
        swin_unet: initial network; trained in place.
        res_unet: initial network; trained in place.
        labeled: rows of the manifest.
        unlabeled: rows of the manifest.
        val: rows of the manifest.
        parameters: of the stage.
        surroundings: of the run.
        monitored: rows of the manifest, see ``igl_dt.data.splits.choose_pseudo_label_probe``: images whose
            pseudo-labels are measured at each validation, if any. They change no bit of the teachers.

    Returns:
        Both teachers, with their last or best weights as ``parameters.keep`` says, and the history.
    """
    method = CrossPseudoSupervision(swin_unet, res_unet, parameters.losses)
    optimizers = {"swin_unet": parameters.swin_unet, "res_unet": parameters.res_unet}
    stage = "teacher_pretraining"
    trained = train_method(method, labeled, unlabeled, val, parameters, optimizers, stage, surroundings, monitored)
    if parameters.keep == "best":
        for name, network in method.networks.items():
            network.load_state_dict(trained.best[name])
    return swin_unet, res_unet, trained.history


def learn_student(
    student: SegmentationNetwork,
    swin_unet: SegmentationNetwork,
    res_unet: SegmentationNetwork,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame,
    val: pd.DataFrame,
    parameters: StudentLearningParameters,
    surroundings: Surroundings,
) -> Learned:
    """Train the student between its two frozen teachers.

    Args:
        student: initial network; trained in place.
        swin_unet: teacher; not changed.
        res_unet: teacher; not changed.
        labeled: rows of the manifest.
        unlabeled: rows of the manifest.
        val: rows of the manifest.
        parameters: of the stage.
        surroundings: of the run.
    """
    with seeded(surroundings.seed, "initial weights", "projections"):
        method = IglDt(student, swin_unet, res_unet, parameters.losses)
    optimizers = {"student": parameters.student}
    trained = train_method(method, labeled, unlabeled, val, parameters, optimizers, "student_learning", surroundings)
    return Learned(student, _with_weights(student, trained.best["student"]), trained.history)


def learn_reference(
    student: SegmentationNetwork,
    labeled: pd.DataFrame,
    val: pd.DataFrame,
    parameters: StudentLearningParameters,
    surroundings: Surroundings,
) -> Learned:
    """Train the student's network on the labelled images alone, for as many steps.

    It starts from the student's initial weights and sees the same labelled crops in the same order, so that what
    differs is what the teachers and the unlabelled images bring.

    Args:
        student: initial network; trained in place.
        labeled: rows of the manifest.
        val: rows of the manifest.
        parameters: of the student's stage.
        surroundings: of the run.
    """
    method = Supervised("supervised", student, parameters.losses.supervised)
    optimizers = {"supervised": parameters.student}
    trained = train_method(method, labeled, None, val, parameters, optimizers, "student_learning", surroundings)
    return Learned(student, _with_weights(student, trained.best["supervised"]), trained.history)


def evaluate_network(network: SegmentationNetwork, images: pd.DataFrame, surroundings: Surroundings) -> Evaluation:
    """Measure how a network predicts the pixels of some images; each is predicted once."""
    device = configure_torch(surroundings.runtime)
    network.to(device)
    reader = ImageReader(surroundings.dataset)
    names = list(network.class_names)
    with autocast(device, surroundings.runtime):
        measured = measure(network, reader.pairs(images), surroundings.evaluation, len(names))
    network.to("cpu")
    return Evaluation(
        pd.DataFrame(measured.confusion.numpy(), index=pd.Index(names, name="truth"), columns=names),
        pd.DataFrame(measured.boundary.numpy(), index=names, columns=["both", "truth", "prediction"]),
        pd.Series(measured.images, index=by_size(images)["id"], dtype=float).loc[images["id"]],
    )


def score_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Turn counts into the scores of the whole set: those of ``score`` and of ``score_boundary``."""
    confusion, boundary = (torch.from_numpy(table.to_numpy(copy=True)) for table in evaluation[:2])
    names = list(evaluation.confusion.columns)
    return {**score(confusion, names), **score_boundary(boundary, names)}


def tabulate_images(evaluations: Mapping[str, Evaluation]) -> pd.DataFrame:
    """Put the images' mean IoU of several networks side by side: ``id``, and a column per network."""
    return pd.DataFrame({name: evaluation.images for name, evaluation in evaluations.items()}).reset_index()


def evaluate_weights(
    parameters: WeightsEvaluationParameters, surroundings: Surroundings
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Measure a weight file on the images of a split of the data set.

    Args:
        parameters: which file, which split.
        surroundings: of the run.

    Returns:
        The scores of ``score_evaluation`` with what was measured (``weights``: sha256 of the file, ``network``,
        ``fingerprint``, ``split``, ``images``); and each image's mean IoU (``id``, ``miou``).

    Raises:
        DataError: the weights' classes are not the data set's; or there are no images with masks in the split.
        ValueError: the weights are not given, not there, or not of this project.
    """
    path = weight_file(parameters.weights, "weights_evaluation.weights")
    network = load_network(path)
    checked = surroundings.runtime.checked_files
    manifest = read_manifest(surroundings.dataset, None if checked is None else Path(checked))
    if network.class_names != manifest.class_names:
        raise DataError(
            f"{path} knows the classes {', '.join(network.class_names)}, but the data set in "
            f"{surroundings.dataset.root} has {', '.join(manifest.class_names)}: both must have the same, in one order"
        )
    images = manifest.samples[(manifest.samples["split"] == parameters.split) & manifest.samples["mask"].notna()]
    if images.empty:
        counts = manifest.samples.dropna(subset="mask")["split"].value_counts().to_dict()
        raise DataError(
            f"weights_evaluation.split: the data set in {surroundings.dataset.root} has no images with masks in "
            f"{parameters.split}; it has {counts}"
        )
    evaluation = evaluate_network(network, images, surroundings)
    what = {
        "weights": digest(path.read_bytes()),
        "network": network.name,
        "fingerprint": network.fingerprint,
        "split": parameters.split,
        "images": len(images),
    }
    return what | score_evaluation(evaluation), tabulate_images({"miou": evaluation})


def predict_examples(
    networks: Mapping[str, SegmentationNetwork],
    images: pd.DataFrame,
    scores: pd.Series,
    count: int,
    surroundings: Surroundings,
) -> dict[str, np.ndarray]:
    """Predict a few images, spread evenly from the best to the worst.

    Args:
        networks: by name.
        images: rows of the manifest.
        scores: of the images, by id; NaN: not to be shown unless there are no others. Ties are put in order by id.
        count: of images, at most. 3: the best, the median and the worst.
        surroundings: of the run.

    Returns:
        Under ``image/<number>`` the image (H×W×3 uint8), under ``truth/<number>`` its mask and under
        ``<network>/<number>`` the predictions (H×W uint8 class ids), numbered from 1.
    """
    device = configure_torch(surroundings.runtime)
    reader = ImageReader(surroundings.dataset)
    scored = scores.dropna() if scores.notna().any() else scores
    ranked = scored.sort_index().sort_values(ascending=False, kind="stable").index
    chosen = images.set_index("id").loc[ranked[np.unique(np.linspace(0, len(ranked) - 1, count).round().astype(int))]]
    examples = {}
    for number, row in enumerate(chosen.itertuples(), start=1):
        image = reader.image(str(row.image))
        examples[f"image/{number}"], examples[f"truth/{number}"] = image, reader.mask(str(row.mask))
        for name, network in networks.items():
            tensor = torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0)
            with autocast(device, surroundings.runtime):
                prediction = predict_classes(network.to(device), tensor, surroundings.evaluation)
            examples[f"{name}/{number}"] = prediction[0].byte().cpu().numpy()
    return examples


def _evaluate(
    network: SegmentationNetwork, reader: ImageReader, images: pd.DataFrame, surroundings: Surroundings
) -> Tensor:
    with autocast(next(network.parameters()).device, surroundings.runtime):
        return evaluate(network, reader.pairs(images), surroundings.evaluation, len(network.class_names))


def train_method(
    method: Method,
    labeled: pd.DataFrame,
    unlabeled: pd.DataFrame | None,
    val: pd.DataFrame,
    parameters: StageParameters,
    optimizers: Mapping[str, OptimizerParameters],
    stage: str,
    surroundings: Surroundings,
    monitored: pd.DataFrame | None = None,
) -> Trained:
    """Train the networks of any method, in place, with a run's images, validation and recovery states.

    Args:
        method: says what is trained, and by which losses.
        labeled: rows of the manifest.
        unlabeled: rows of the manifest; None for training on labels alone.
        val: rows of the manifest.
        parameters: steps, batch size and augmentation.
        optimizers: by the names of ``method.trained()``.
        stage: its name; methods under one name see the same labelled crops in the same order.
        surroundings: of the run.
        monitored: rows of the manifest by which pseudo-labels are measured; None: not at all.
    """
    # As many unlabelled images come on top; the reference, which has none, learns at the student's rate.
    optimizers = {name: optimizer.for_batch(2 * parameters.batch_size) for name, optimizer in optimizers.items()}
    reader = ImageReader(surroundings.dataset, surroundings.runtime.cache_mib)
    batches = TrainingBatches(reader, labeled, unlabeled, parameters, surroundings.seed, stage)

    def validate(network: SegmentationNetwork) -> float:
        return score(_evaluate(network, reader, val, surroundings), network.class_names)["miou"]

    identity = {
        "parameters": _digest_of_parameters(stage, parameters, method.settings, optimizers, surroundings),
        "images": digest(
            "".join("-" if part is None else part.to_csv() for part in (labeled, unlabeled, val)).encode()
        ),
        "networks": _digest_of_weights(method),
    }
    fingerprint = digest(json.dumps(identity, sort_keys=True).encode())
    for network in method.networks.values():
        network.fingerprint = fingerprint
    runtime = surroundings.runtime
    identity |= {"code": _digest_of_code(), "surroundings": json.dumps(describe_surroundings(runtime))}
    if monitored is not None:  # no part of the fingerprint, but a history is of one set of images
        identity["monitored images"] = digest(monitored.to_csv().encode())
    recovery = Recovery(
        None if runtime.recovery_folder is None else Path(runtime.recovery_folder) / stage,
        "+".join(method.networks),
        identity,
        runtime.recovery_seconds,
    )
    monitor = None if monitored is None or monitored.empty else _monitor(monitored, surroundings)
    return train(method, batches, optimizers, runtime, validate, recovery, monitor)


def _monitor(
    images: pd.DataFrame, surroundings: Surroundings
) -> Callable[[Mapping[str, SegmentationNetwork]], dict[str, float]]:
    """Give what measures pseudo-labels: with a reader of its own, so that no hidden truth is where training reads."""
    reader = ImageReader(surroundings.dataset)

    def measure(networks: Mapping[str, SegmentationNetwork]) -> dict[str, float]:
        device = next(next(iter(networks.values())).parameters()).device
        with autocast(device, surroundings.runtime):
            return measure_pseudo_labels(networks, reader.known_pairs(images), surroundings.evaluation)

    return measure


def _digest_of_parameters(
    stage: str,
    parameters: StageParameters,
    settings: Parameters | Mapping[str, Any],
    optimizers: Mapping[str, OptimizerParameters],
    surroundings: Surroundings,
) -> str:
    """Identify all parameters that decide a training's result and are not in its images or networks."""
    decisive = {
        "stage": stage,
        "parameters": parameters.model_dump(mode="json", include=set(StageParameters.model_fields)),
        "settings": settings.model_dump(mode="json") if isinstance(settings, Parameters) else dict(settings),
        "optimizers": {name: optimizer.model_dump(mode="json") for name, optimizer in optimizers.items()},
        "evaluation": surroundings.evaluation.model_dump(mode="json", exclude={"boundary_width"}),  # of no validation
        "image_size": surroundings.dataset.image_size,
        "precision": surroundings.runtime.precision,
        "seed": surroundings.seed,
    }
    if (masks := mask_format(surroundings.dataset)) != MaskFormat():  # then the masks' files do not say it all
        decisive["mask_format"] = asdict(masks)
    return digest(json.dumps(decisive, sort_keys=True).encode())


def _digest_of_weights(method: Method) -> str:
    """Identify all networks of a method: how they are built, and every bit of what they start from."""
    built = {name: module.configuration for name, module in method.named_children() if hasattr(module, "configuration")}
    weights = {
        name: [str(tensor.dtype), list(tensor.shape), digest(tensor.detach().cpu().contiguous().numpy().tobytes())]
        for name, tensor in method.state_dict().items()
    }
    return digest(json.dumps([built, weights], sort_keys=True).encode())


def _digest_of_code() -> str:
    """Identify the library's code: the folders and modules that training uses."""
    package = Path(__file__).parent
    modules = ("files", "parameters", "progress", "randomness", "stages")
    folders = ("data", "engine", "evaluation", "losses", "methods", "networks")
    files = [package / f"{name}.py" for name in modules]
    files += [path for folder in folders for path in (package / folder).rglob("*.py")]
    return digest(
        "".join(f"{file.relative_to(package)} {digest(file.read_bytes())}\n" for file in sorted(files)).encode()
    )


def _with_weights(network: SegmentationNetwork, weights: dict[str, Tensor]) -> SegmentationNetwork:
    network = copy.deepcopy(network)
    network.load_state_dict(weights)
    return network
