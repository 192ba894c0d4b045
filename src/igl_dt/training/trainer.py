"""The training loop: one for all methods."""

import copy
import importlib.metadata
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from igl_dt.data.loading import ImageReader, TrainingBatches
from igl_dt.evaluation.evaluator import evaluate_rows
from igl_dt.evaluation.inference import predict_classes
from igl_dt.evaluation.metrics import Scores, score
from igl_dt.evaluation.pseudo_labels import measure_pseudo_labels
from igl_dt.losses.supervised import median_frequency_weights
from igl_dt.methods.base import Method
from igl_dt.methods.registry import build_method, find_method
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.io import adopt_weights
from igl_dt.networks.registry import build_network
from igl_dt.runtime.context import RunContext
from igl_dt.runtime.determinism import autocast, configure_torch, describe_environment, seeded, uncompiled
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.runtime.processes import ALONE, Group, StoppedTogetherError, launch
from igl_dt.training import STOPPED
from igl_dt.training.checkpoint import Checkpointer, State
from igl_dt.training.cost import CostMeter
from igl_dt.training.fingerprint import digest_of_code, digest_of_parameters, digest_of_weights
from igl_dt.training.history import ROWS, LossHistory, NonFiniteLossError
from igl_dt.training.log import EXAMPLES, Examples, TrainingLog
from igl_dt.training.optimizer import build_optimizer, rate_factor, set_rates
from igl_dt.training.parameters import OptimizerParameters, TrainingParameters, check_log, check_shards
from igl_dt.training.shards import Shards
from igl_dt.utils.files import digest
from igl_dt.utils.progress import Progress
from igl_dt.utils.seeding import derive_seed

logger = logging.getLogger(__name__)

REMEDIES = (
    "Lower the learning rate or the weight of a loss, add warmup_steps or max_grad_norm, or set "
    "runtime.precision=float32"
)
STREAMS = {"global_teacher": "swin_unet", "local_teacher": "res_unet", "supervised": "student"}
"""Random streams of initial weights that are not called like their role: the first release's names, so that its results
keep their bits; and the supervised baseline, which starts from the student's weights."""


class TrainingError(RuntimeError):
    """Training cannot continue."""


class InterruptedTrainingError(TrainingError, StoppedTogetherError):
    """Training was asked to stop, and can be resumed."""

    exit_code = STOPPED


class TrainingData(NamedTuple):
    """Rows of the manifest, by use."""

    labeled: pd.DataFrame
    unlabeled: pd.DataFrame
    val: pd.DataFrame
    probe: pd.DataFrame | None = None
    """Unlabelled images whose pseudo-labels are measured at each validation: see
    ``igl_dt.data.splits.choose_pseudo_label_probe``. They change no bit of the result."""


@dataclass
class TrainingResult:
    """What a training leaves: networks on the CPU, in evaluation mode."""

    networks: dict[str, SegmentationNetwork]
    """By name, with their last weights."""
    history: pd.DataFrame
    """Columns ``step`` (steps done), the losses by name (means since the row before; empty where a loss did not occur),
    ``learning_rate.<network>`` and, in rows of validations, ``val_miou.<network>`` and pseudo-label measurements."""
    best_weights: dict[str, dict[str, Tensor]]
    """Per network, the weights of its best validation; of equal ones, the first."""
    best_miou: dict[str, float]
    """Per network, its best validation mIoU, between 0 and 1."""
    cost: dict[str, Any] = field(default_factory=dict)
    """``seconds``, ``images_per_second``, ``peak_memory_mib``, which vary from run to run, and the ``fingerprint``."""

    def best(self, name: str) -> SegmentationNetwork:
        """Give a copy of a network with its best weights."""
        network = copy.deepcopy(self.networks[name])
        network.load_state_dict(self.best_weights[name])
        return network


def create_method(
    parameters: TrainingParameters,
    class_names: Sequence[str],
    seed: int,
    teachers: Mapping[str, SegmentationNetwork] | None = None,
    key: str = "training",
) -> Method:
    """Build the networks and the method of a training, as a function of the parameters and the seed.

    Args:
        parameters: of the training.
        class_names: in the order of their ids.
        seed: of the run; each role's initial weights are drawn from a stream of its own.
        teachers: trained before, by role.
        key: where ``parameters`` come from, for messages.

    Raises:
        ValueError: unknown architecture, method or parameter; initial weights that do not fit; or a teacher that the
            method needs is missing, or has other classes.
    """
    kind = find_method(parameters.method.name, f"{key}.method.name")
    for role, teacher in (teachers or {}).items():
        if role in kind.required_teachers:
            _check_classes(teacher, role, class_names, key)
    extra = kind.extra_networks(parameters.networks)
    like_others = {  # but not from the same weights: equal networks have nothing to learn from each other
        role: parameters.networks[like].model_copy(update={"init_from": None})
        for role, like in extra.items()
        if like in parameters.networks
    }
    choices = dict.fromkeys([*parameters.networks, *extra]) | like_others | parameters.networks
    networks = {}
    for role, choice in choices.items():
        if choice is None:
            raise ValueError(
                f"{key}.networks: {parameters.method.name} needs {role} or {extra[role]}, and there is neither"
            )
        with seeded(seed, "initial weights", STREAMS.get(role, role)):
            networks[role] = build_network(choice, tuple(class_names), f"{key}.networks.{role}")
        source, where = choice.init_from, f"{key}.networks.{role}.init_from"
        if source is not None and not adopt_weights(networks[role], source, where):
            logger.info("%s: %s has other classes, so the classifier starts from random weights", where, source)
    with seeded(seed, "initial weights", "projections"):
        loss, steps = parameters.supervised_loss, parameters.steps
        return build_method(parameters.method, networks, teachers or {}, loss, steps, f"{key}.method")


def _check_classes(teacher: SegmentationNetwork, role: str, class_names: Sequence[str], key: str) -> None:
    if tuple(teacher.class_names) != tuple(class_names):
        raise ValueError(
            f"{key}: the {role} was trained for the classes {', '.join(teacher.class_names)}, but the data set has "
            f"{', '.join(class_names)}: both must have the same classes in the same order. Train the teachers on this "
            "data set: kedro run --pipelines=teacher_pretraining"
        )


def train(
    method: Method,
    data: TrainingData,
    parameters: TrainingParameters,
    context: RunContext,
    name: str,
    stream: str | None = None,
    group: Group = ALONE,
) -> TrainingResult:
    """Train the networks of any method, in place, resuming an interrupted training.

    Where ``context.runtime`` asks for several processes, they are started, and each calls this function.

    Args:
        method: what is trained, and by which losses; see ``create_method``.
        data: rows of the manifest.
        parameters: steps, batches, optimisers.
        context: of the run.
        name: of the training, in logs and for its recovery states.
        stream: of random numbers; trainings of one stream see the same crops in the same order. None: ``name``.
        group: the processes that this one trains with.

    Raises:
        CheckpointError: a recovery state cannot be written.
        InterruptedTrainingError: by Ctrl-C or SIGTERM; the state is saved.
        ProcessesError: processes were killed too often.
        TrainingError: a loss, or a weight at a validation, is NaN or infinite.
        ValueError: CUDA is asked for and absent; or images, parameters and networks do not fit each other.
    """
    stream, runtime = stream or name, context.runtime
    check_shards(parameters, runtime, name)
    check_log(parameters, runtime, name)
    extra = method.extra_networks(parameters.networks)
    optimizers = {role: parameters.optimizer(role, extra.get(role)) for role in method.trained()}
    reader = ImageReader(context.dataset, runtime.cache_mib)
    batches = TrainingBatches(
        reader,
        data.labeled,
        data.unlabeled if method.uses_unlabeled else None,
        method.augmentation(parameters.augmentation),
        steps=parameters.steps,
        batch_size=parameters.batch_size,
        seed=context.seed,
        stream=stream,
        strong_views=method.strong_views,
    )
    images = (data.labeled, data.unlabeled if method.uses_unlabeled else None, data.val)
    identity = {
        "parameters": digest_of_parameters(stream, parameters, method, optimizers, context),
        "images": digest("".join("-" if part is None else part.to_csv() for part in images).encode()),
        "networks": digest_of_weights(method),
    }
    fingerprint = digest(json.dumps(identity, sort_keys=True).encode())
    for network in method.evaluated().values():
        network.fingerprint, network.trained_by = fingerprint, method.name
        network.sizes = context.dataset.sizes()
    networks = (*method.evaluated().values(), *method.teachers.values())
    if runtime.world_size > group.size:
        arguments = (method, data, parameters, context, name, stream)
        try:
            result = launch(train, arguments, runtime, f"{name}-{fingerprint}", stoppable=True)
        except StoppedTogetherError as error:
            raise InterruptedTrainingError(str(error)) from error.__cause__
        for role, network in method.evaluated().items():
            network.load_state_dict(result.networks[role].state_dict())
            network.compute = result.networks[role].compute
        method.eval()
        return replace(result, networks=method.evaluated())
    identity |= {
        "code": digest_of_code({type(module) for module in (method, *networks)}, __name__),
        "environment": json.dumps(_environment(runtime, networks)),
        "probe": digest(("-" if data.probe is None else data.probe.to_csv()).encode()),  # the history shows it
    }
    for other in group.gather([identity]):
        if differing := [key for key, value in identity.items() if other[key] != value]:
            raise TrainingError(
                f"{name}: machines that train together differ in {' and '.join(differing)}: give them the same code, "
                "library versions and kind of processor, then repeat the command on all of them"
            )
    if parameters.supervised_loss.class_weights == "median_frequency":
        num_classes = next(iter(method.evaluated().values())).num_classes
        pixels = torch.from_numpy(reader.class_pixels(data.labeled, num_classes))
        method.class_weights = median_frequency_weights(pixels, parameters.supervised_loss.class_weight_limit)
    method.to(configure_torch(runtime))

    # Workers are forked with a copy of their reader's cache, in which validation images would take the room of others.
    val_reader = ImageReader(context.dataset, runtime.cache_mib) if runtime.workers else reader

    def validate(network: SegmentationNetwork) -> Scores:
        with autocast(next(network.parameters()).device, runtime):
            counts = evaluate_rows(network, data.val, val_reader, context, group)
        return score(counts.confusion, network.class_names)

    method.before_training(batches.steps_per_epoch, validate)
    folder = Path(runtime.recovery_folder) if runtime.recovery_folder is not None and group.leads else None
    checkpointer = Checkpointer(folder, name, identity, runtime.recovery_seconds)
    return fit(
        method,
        batches,
        optimizers,
        runtime,
        lambda network: validate(network)["miou"],
        name=name,
        parts=parameters.gradient_accumulation_steps,
        validate_every=parameters.validate_every,
        checkpointer=checkpointer,
        probe=None if data.probe is None or data.probe.empty else _probe(data.probe, context),
        log=_log(name, parameters.keep_every, data.val, reader, context) if group.leads else None,
        group=group,
    )


def fit(
    method: Method,
    batches: TrainingBatches,
    optimizers: Mapping[str, OptimizerParameters],
    runtime: RuntimeParameters,
    validate: Callable[[SegmentationNetwork], float],
    *,
    name: str,
    parts: int = 1,
    validate_every: int = 500,
    checkpointer: Checkpointer | None = None,
    probe: Callable[[Mapping[str, SegmentationNetwork]], Mapping[str, float]] | None = None,
    log: TrainingLog | None = None,
    group: Group = ALONE,
) -> TrainingResult:
    """Run the steps of a training.

    The last bits of the result depend on the inputs, the parameters, the number of threads and the device, and on
    nothing else: not on the number of workers or processes, and not on where a resumed training was interrupted.

    Args:
        method: what is trained, and by which losses.
        batches: what each step sees; they carry the number of steps, the seed and the random stream.
        optimizers: parameters by the roles of ``method.trained()``.
        runtime: device, precision, threads, workers, shards.
        validate: gives a network's mIoU (between 0 and 1) on the validation images.
        name: in logs.
        parts: that a batch is cut into, for gradient accumulation, where there is but one shard.
        validate_every: steps between validations; the last step is always validated.
        checkpointer: where states are saved, and what is there to resume from. None: nowhere.
        probe: gives further values, by column, for the row of a validation; they decide nothing.
        log: what is shown and kept meanwhile; it decides nothing. None: nothing.
        group: the processes that this one trains with; all of them call this function alike.

    Raises:
        CheckpointError, InterruptedTrainingError, TrainingError, ValueError: see ``train``.
    """
    device = configure_torch(runtime)
    steps = len(batches)
    method.to(device)
    if runtime.compile:
        for network in method.modules():
            if isinstance(network, SegmentationNetwork):
                network.compile()
    modules = method.trained()
    state = TrainState(
        method,
        {role: build_optimizer(module, optimizers[role]) for role, module in modules.items()},
        LossHistory(),
        TrainingResult(method.evaluated(), pd.DataFrame(), {}, {}),
        CostMeter(steps, device, group),
    )
    checkpointer = checkpointer or Checkpointer(None, "", {}, math.inf)
    first = state.load(saved) if (saved := group.latest(checkpointer.load())) else 0
    shards = Shards(method, runtime, group, parts)
    cuts = shards.count if shards.count > 1 else parts
    if cuts > 1 and batches.batch_size % cuts:
        raise ValueError(
            f"{name}: batch_size ({batches.batch_size}) must be a multiple of {cuts}: of runtime.shards, or of "
            "gradient_accumulation_steps"
        )
    if shards.count > 1:
        batches.slots = shards.slots(batches.batch_size)
    log = log or TrainingLog(None)
    log.begin(first, device)
    record_every = max(1, steps // ROWS)
    title = f"{name} ({method.name}: {', '.join(modules)})"
    method.train()
    with (
        closing(Progress(title, first, steps, batches.images_per_step, bar=group.leads)) as progress,
        group.stopping() as asked_to_stop,
        closing(log),
        closing(batches.read(first, runtime.workers, pin_memory=device.type == "cuda")) as loader,
    ):
        shown, since = first, 0.0
        for step, batch in enumerate(loader, start=first):
            rates = {role: rate_factor(step, steps, optimizers[role]) for role in modules}
            with state.cost.counting(step):
                for index, part in shards.cut(batch):
                    torch.manual_seed(derive_seed(batches.seed, batches.stream, "step", step, index))
                    with autocast(device, runtime):
                        losses = method(part.to(device), step)
                    shards.backward(losses)
            for losses in shards.join():
                state.history.add(step, losses)
            for role, module in modules.items():
                _step(state.optimizers[role], rates[role], module, optimizers[role])
            method.after_step(step)

            done = step + 1
            validating = done % validate_every == 0 or done == steps
            news: dict[str, float] = {}
            if validating or done % record_every == 0:
                try:
                    row = state.history.flush(done)
                except NonFiniteLossError as error:
                    raise TrainingError(f"{name}: {error}. {REMEDIES}") from error
                row |= {f"learning_rate.{role}": rates[role] * optimizers[role].learning_rate for role in modules}
                speed = (done - shown) * batches.images_per_step / max(progress.seconds - since, 1e-9)
                with uncompiled(runtime):
                    if validating:
                        scores = _validate(validate, state.result, f"{name}: after {done} steps")
                        method.after_validation(done, scores)
                        row |= {f"val_miou.{network}": miou for network, miou in scores.items()}
                    news = {key: value for key, value in row.items() if not key.startswith(("step", "learn"))}
                    if validating and probe is not None:
                        row |= probe(method.evaluated())
                    log.add(state.history, speed, method.evaluated() if validating else {})
                shown, since = done, progress.seconds
            log.keep(done, method.evaluated())
            progress.update(done, news)
            due, stopping = checkpointer.due(), asked_to_stop()
            if due or stopping or done == steps:
                checkpointer.save(state.state_dict(done))
            if stopping:
                raise InterruptedTrainingError(f"{title} was stopped after step {done}: {checkpointer.resume_hint}")
    if asked_to_stop():  # while the last state was written
        raise InterruptedTrainingError(f"{title} was stopped after its last step: {checkpointer.resume_hint}")
    result = state.result
    result.history = state.history.table()
    result.cost = state.cost.measured(batches.images_per_step)
    compute = state.cost.compute(method.teachers.values())
    for network in result.networks.values():
        network.compute = compute
        result.cost["fingerprint"] = network.fingerprint  # files of costs outlive the results that they are of
    method.cpu().eval()
    best = ", ".join(f"{network} {miou:.1%}" for network, miou in result.best_miou.items())
    logger.info("%s  %d steps in %.0f s  best validation mIoU: %s", title, steps, progress.seconds, best)
    return result


@dataclass
class TrainState:
    """All that a training changes: what a checkpoint holds, and what it is loaded into."""

    method: Method
    optimizers: Mapping[str, torch.optim.Optimizer]
    history: LossHistory
    result: TrainingResult
    cost: CostMeter

    def state_dict(self, done: int) -> State:
        """Give the content of a checkpoint; frozen teachers are not part of it."""
        return {
            "step": done,
            "method": self.method.own_state(),
            "optimizers": {role: optimizer.state_dict() for role, optimizer in self.optimizers.items()},
            "history": self.history.state_dict(),
            "best_weights": self.result.best_weights,
            "best_miou": self.result.best_miou,
            "cost": self.cost.state_dict(),
        }

    def load(self, state: State) -> int:
        """Put everything back; gives the number of steps done."""
        self.method.load_own_state(state["method"])
        for role, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][role])
        self.history.load_state_dict(state["history"])
        self.result.best_weights, self.result.best_miou = state["best_weights"], state["best_miou"]
        self.cost.load_state_dict(state["cost"])
        return int(state["step"])


def _probe(rows: pd.DataFrame, context: RunContext) -> Callable[[Mapping[str, SegmentationNetwork]], dict[str, float]]:
    """Give what measures pseudo-labels: with a reader of its own, so that no hidden truth is where training reads."""
    reader = ImageReader(context.dataset)

    def measure(networks: Mapping[str, SegmentationNetwork]) -> dict[str, float]:
        device = next(next(iter(networks.values())).parameters()).device
        with autocast(device, context.runtime):
            return measure_pseudo_labels(networks, reader.known_pairs(rows), context.evaluation)

    return measure


def _environment(runtime: RuntimeParameters, networks: Sequence[nn.Module]) -> dict[str, str]:
    """Give what decides a result's bits beside code, data and parameters: no processor where bits are portable."""
    described = describe_environment(runtime)
    modules = [type(module).__module__ for network in networks for module in network.modules()]
    if any(module.startswith("segmentation_models_pytorch.") for module in modules):
        described["segmentation-models-pytorch"] = importlib.metadata.version("segmentation-models-pytorch")
    return {key: value for key, value in described.items() if not (runtime.portable and key == "instruction sets")}


def _log(name: str, keep_every: int | None, val: pd.DataFrame, reader: ImageReader, context: RunContext) -> TrainingLog:
    runtime = context.runtime
    folder = None if runtime.log_folder is None else Path(runtime.log_folder, name)
    if not runtime.tensorboard:
        return TrainingLog(folder, keep_every)

    def predict(network: SegmentationNetwork, image: Tensor) -> Tensor:
        with autocast(next(network.parameters()).device, runtime):
            return predict_classes(network, image.unsqueeze(0), context.evaluation)[0]

    return TrainingLog(folder, keep_every, Examples(list(reader.pairs(val.head(EXAMPLES))), predict))


def _step(optimizer: torch.optim.Optimizer, factor: float, module: nn.Module, parameters: OptimizerParameters) -> None:
    set_rates(optimizer, factor)
    if parameters.max_grad_norm is not None:
        nn.utils.clip_grad_norm_(module.parameters(), parameters.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _validate(validate: Callable[[SegmentationNetwork], float], result: TrainingResult, when: str) -> dict[str, float]:
    """Validate each network, and keep the weights of those that are better than ever."""
    scores = {}
    for name, network in result.networks.items():
        if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
            raise TrainingError(f"{when}, weights of {name} are not finite. {REMEDIES}")
        scores[name] = validate(network)
        if scores[name] > result.best_miou.get(name, -math.inf):
            result.best_miou[name] = scores[name]
            result.best_weights[name] = {
                key: value.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
                for key, value in network.state_dict().items()
            }
    return scores
