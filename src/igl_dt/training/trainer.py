"""The training loop: one for all methods."""

import logging
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor, nn

from igl_dt.data.loading import TrainingBatches
from igl_dt.methods import Method
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.runtime.determinism import autocast, configure_torch
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.training.checkpoint import Recovery, State
from igl_dt.training.optimizer import build_optimizer, rate_factor, set_rates
from igl_dt.training.parameters import OptimizerParameters
from igl_dt.utils.progress import Progress
from igl_dt.utils.seeding import derive_seed

logger = logging.getLogger(__name__)

ROWS_PER_HISTORY = 100
"""About so many rows does a history have, each the mean over the steps since the one before."""


REMEDIES = "Lower the learning rate or the weight of a loss, add warmup_steps or max_grad_norm, or take runtime.precision=float32"


class TrainingError(RuntimeError):
    """Training cannot go on."""


class InterruptedTrainingError(TrainingError):
    """Training was asked to stop, and can go on another time."""


@dataclass
class Trained:
    """What a training leaves, beside the networks that it has trained in place."""

    history: pd.DataFrame
    """Columns ``step`` (steps done), the losses by name (means since the row before; empty where a loss did not occur),
    ``learning_rate.<network>`` and, in the rows of validations, ``val_miou.<network>`` and what is monitored."""
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Per network, the weights of its best validation; of equal ones, the first."""
    best_miou: dict[str, float] = field(default_factory=dict)
    """Per network, its best validation."""


def train(
    method: Method,
    batches: TrainingBatches,
    optimizers: Mapping[str, OptimizerParameters],
    runtime: RuntimeParameters,
    validate: Callable[[SegmentationNetwork], float],
    recovery: Recovery | None = None,
    monitor: Callable[[Mapping[str, SegmentationNetwork]], Mapping[str, float]] | None = None,
) -> Trained:
    """Train a method's networks, in place; they are left on the CPU, in evaluation mode.

    The last bits of the result depend on the inputs, the parameters, the number of threads and the device, and on
    nothing else: not on the number of workers, and not on where a training was cut off that goes on from a saved state.

    Args:
        method: what is trained, and by which losses.
        batches: what each step sees; they carry the stage's parameters, its name and the seed.
        optimizers: parameters by the names of ``method.trained()``.
        runtime: device, precision, threads, workers.
        validate: gives a network's mIoU (a fraction) on the validation images.
        recovery: where states are saved, and what is there to go on from; the last state stays there. None: nowhere.
        monitor: gives further values, by column, for the row of a validation; they decide nothing.

    Raises:
        RecoveryError: a state cannot be written.
        InterruptedTrainingError: by Ctrl-C or SIGTERM; the state is saved.
        TrainingError: a loss is NaN or infinite, or a weight when the networks are validated.
        ValueError: CUDA is asked for and absent.
    """
    device = configure_torch(runtime)
    stage, parameters = batches.stage, batches.parameters
    method.to(device)
    modules = method.trained()
    running = {name: build_optimizer(module, optimizers[name]) for name, module in modules.items()}
    recorder = _Recorder()
    trained = Trained(pd.DataFrame())
    changing = _Changing(modules, running, recorder, trained)
    recovery = recovery or Recovery(None, "", {}, math.inf)
    first = changing.restore(state) if (state := recovery.load()) else 0
    record_every = max(1, parameters.steps // ROWS_PER_HISTORY)
    title = f"{stage} ({', '.join(method.networks)})"
    method.train()
    with (
        closing(Progress(title, first, parameters.steps, _images_per_step(batches))) as progress,
        _signals() as asked_to_stop,
    ):
        loader = batches.loader(first, runtime.workers, pin_memory=device.type == "cuda")
        for step, batch in enumerate(loader, start=first):
            rates = {name: rate_factor(step, parameters.steps, optimizers[name]) for name in modules}
            for part, images in enumerate(batch.parts(parameters.gradient_accumulation_steps)):
                torch.manual_seed(derive_seed(batches.seed, stage, "step", step, part))
                with autocast(device, runtime):
                    losses = method(images.to(device), step)
                (torch.stack(list(losses.values())).sum() / parameters.gradient_accumulation_steps).backward()
                recorder.add(step, losses)
            for name, module in modules.items():
                _step(running[name], rates[name], module, optimizers[name])

            done = step + 1
            validating = done % parameters.validate_every == 0 or done == parameters.steps
            news: dict[str, float] = {}
            if validating or done % record_every == 0:
                row = recorder.flush(stage, done)
                row |= {f"learning_rate.{name}": rates[name] * optimizers[name].learning_rate for name in modules}
                if validating:
                    scores = _validate(method, validate, trained, f"{stage}: after {done} steps")
                    row |= {f"val_miou.{name}": miou for name, miou in scores.items()}
                news = {name: value for name, value in row.items() if not name.startswith(("step", "learn"))}
                if validating and monitor is not None:
                    row |= monitor(method.networks)
            progress.update(done, news)
            if recovery.due() or asked_to_stop() or done == parameters.steps:
                recovery.save(changing.state(done))
            if asked_to_stop():
                raise InterruptedTrainingError(f"{title} was stopped after step {done}: {recovery.prospect}")
    trained.history = recorder.table()
    method.cpu().eval()
    best = ", ".join(f"{name} {miou:.1%}" for name, miou in trained.best_miou.items())
    logger.info("%s  %d steps in %.0f s  best validation mIoU: %s", title, parameters.steps, progress.seconds, best)
    return trained


@contextmanager
def _signals() -> Iterator[Callable[[], bool]]:
    """Take note of Ctrl-C and SIGTERM instead of dying at once; the second one does end the process at once."""
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield lambda: False
        return
    received: list[int] = []
    process = os.getpid()

    def remember(number: int, _: object) -> None:
        if os.getpid() != process:
            return
        if received:
            raise KeyboardInterrupt
        received.append(number)
        logger.warning("stopping after this step, to save what is there (once more: stop at once)")

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _step(optimizer: torch.optim.Optimizer, factor: float, module: nn.Module, parameters: OptimizerParameters) -> None:
    set_rates(optimizer, factor)
    if parameters.max_grad_norm is not None:
        nn.utils.clip_grad_norm_(module.parameters(), parameters.max_grad_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _validate(
    method: Method,
    validate: Callable[[SegmentationNetwork], float],
    trained: Trained,
    when: str,
) -> dict[str, float]:
    """Validate each network, and keep the weights of those that are better than ever."""
    scores = {}
    for name, network in method.networks.items():
        if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
            raise TrainingError(f"{when}, weights of {name} are not finite. {REMEDIES}")
        scores[name] = validate(network)
        if scores[name] > trained.best_miou.get(name, -math.inf):
            trained.best_miou[name] = scores[name]
            trained.best[name] = {
                key: value.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
                for key, value in network.state_dict().items()
            }
    return scores


def _images_per_step(batches: TrainingBatches) -> int:
    return batches.parameters.batch_size * (1 if batches.unlabeled is None else 2)


@dataclass
class _Changing:
    """All that a training changes: what a state holds, and what it is put back into."""

    modules: Mapping[str, nn.Module]
    optimizers: Mapping[str, torch.optim.Optimizer]
    recorder: "_Recorder"
    trained: Trained

    def state(self, done: int) -> State:
        return {
            "step": done,
            "modules": {name: module.state_dict() for name, module in self.modules.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "rows": self.recorder.rows,
            "pending": self.recorder.pending,
            "best": self.trained.best,
            "best_miou": self.trained.best_miou,
        }

    def restore(self, state: State) -> int:
        """Put everything back; gives the number of steps done."""
        for name, module in self.modules.items():
            module.load_state_dict(state["modules"][name])
            self.optimizers[name].load_state_dict(state["optimizers"][name])
        self.recorder.rows, self.recorder.pending = state["rows"], state["pending"]
        self.trained.best, self.trained.best_miou = state["best"], state["best_miou"]
        return int(state["step"])


class _Recorder:
    """Collects losses without waiting for the device, and turns them into rows of means."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.pending: list[tuple[int, list[str], Tensor]] = []

    def add(self, step: int, losses: Mapping[str, Tensor]) -> None:
        self.pending.append((step, list(losses), torch.stack([loss.detach() for loss in losses.values()])))

    def flush(self, stage: str, done: int) -> dict[str, float]:
        """Append and return the row of the steps since the last one; it may be added to."""
        sums: dict[str, list[float]] = {}
        for step, names, tensor in self.pending:
            values = dict(zip(names, tensor.tolist(), strict=True))
            if not all(map(math.isfinite, values.values())):
                shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
                raise TrainingError(f"{stage}: a loss is not finite at step {step}: {shown}. {REMEDIES}")
            for name, value in values.items():
                sums.setdefault(name, []).append(value)
        self.pending.clear()
        row = {"step": done} | {name: sum(values) / len(values) for name, values in sorted(sums.items())}
        self.rows.append(row)
        return row

    def table(self) -> pd.DataFrame:
        columns = dict.fromkeys(name for row in self.rows for name in row)
        return pd.DataFrame(self.rows, columns=list(columns))
