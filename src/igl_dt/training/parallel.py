"""Processes that train together, and give the bits of one.

A step's batch is cut into a fixed number of shards. A shard is what one forward sees: batch norm, CutMix partners, loss
denominators and random numbers are its own, whichever process computes it. Gradients, changes of buffers (the running
statistics of batch norm) and losses of a step are the means over its shards, summed in the order of the shards; the
idea is EasyScale's (Li et al., SC 2023). So the result depends on the number of shards, and on no number of processes.

``launch`` starts the processes with torch elastic, the engine of torchrun, from within this one. They meet in a folder:
what to call, a request to stop, the first error, the result. A process that is killed makes elastic restart them all,
and they resume from the latest saved state.
"""

import io
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import set_forkserver_preload
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from igl_dt.data.loading import Batch
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.utils.files import atomic_write

logger = logging.getLogger(__name__)

CALL, STOP, ERROR, RESULT = "call.pt", "stop", "error.pt", "result.pt"
"""Files in the folder where the processes of a machine meet."""
RESTARTS = 3
"""So often may processes be killed in one training."""
PATIENCE = 5.0
"""Seconds before a process reports an error that is not ours: where another one was killed, connections break, and
elastic ends this one in the meantime."""

T = TypeVar("T")


class ProcessesError(RuntimeError):
    """Processes that train together were killed too often, or do not find each other."""


@dataclass(frozen=True)
class Group:
    """The processes of a training as one of them sees them; without arguments, a process alone."""

    rank: int = 0
    size: int = 1
    leads: bool = True
    """Whether this is the first process of its machine: the one that writes files and reports progress."""
    folder: Path | None = None
    """Where the processes of this machine meet; None for a process alone."""

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Give this process's part: each ``size``-th item."""
        return items[self.rank :: self.size]

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set in any process; all must ask."""
        if self.size == 1:
            return flag
        flags = torch.tensor([flag], dtype=torch.uint8)  # on the CPU: no device waits for it
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)

    def sum_counts(self, counts: Tensor) -> Tensor:
        """Sum whole numbers over all processes."""
        if self.size > 1:
            distributed.all_reduce(counts)
        return counts

    def latest(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """Give the saved state with the most steps of those that processes have found, to each of them."""
        if self.size == 1:
            return state
        steps: list[int] = [0] * self.size
        distributed.all_gather_object(steps, -1 if state is None else state["step"])
        if max(steps) < 0:
            return None
        source = steps.index(max(steps))
        content = [state if self.rank == source else None]
        distributed.broadcast_object_list(content, src=source, device=torch.device("cpu"))
        return content[0]

    @contextmanager
    def stopping(self) -> Iterator[Callable[[], bool]]:
        """Give what tells, alike in all processes, whether the training shall stop after this step."""
        folder = self.folder
        if folder is None:
            with stop_signals() as asked_to_stop:
                yield asked_to_stop
        else:
            yield lambda: self.any((folder / STOP).exists())


ALONE = Group()


class OrderedSum:
    """A sum of vectors, one of each process per round: by rounds, and by ranks within a round.

    Each process sums one piece of all vectors, so that together they send and receive as much as in an all-reduce.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._piece: Tensor | None = None
        self._length = 0

    def add(self, vector: Tensor) -> None:
        """Add a round; the vectors of all processes have one length."""
        self._length = len(vector)
        if self._group.size > 1:
            sent = F.pad(vector, (0, -len(vector) % self._group.size))
            vector = torch.empty_like(sent)
            distributed.all_to_all_single(vector, sent)
        for piece in vector.chunk(self._group.size):
            self._piece = piece.clone() if self._piece is None else self._piece.add_(piece)

    def take(self) -> Tensor:
        """Give the sum to each process, and start again from nothing."""
        assert self._piece is not None
        whole, self._piece = self._piece, None
        if self._group.size > 1:
            pieces, whole = whole, whole.new_empty(len(whole) * self._group.size)
            distributed.all_gather_into_tensor(whole, pieces)
        return whole[: self._length]


class PlainSum:
    """The same by an all-reduce, in whatever order that adds."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, vector: Tensor) -> None:
        """Add the only round."""
        distributed.all_reduce(vector)
        self._sum = vector

    def take(self) -> Tensor:
        """Give the sum."""
        assert self._sum is not None
        return self._sum


class Shards:
    """Cuts a step's batch into shards, and joins what they give.

    With one shard, batches are cut into ``parts`` for gradient accumulation, and nothing is joined: gradients add up
    where they are, and batch norms see one part after the other.

    Args:
        method: in place on its device; its optimised modules get gradients.
        runtime: shards and reduction.
        group: of processes, whose number divides that of the shards.
        parts: that a batch is cut into where there is but one shard.
    """

    def __init__(self, method: nn.Module, runtime: RuntimeParameters, group: Group, parts: int) -> None:
        fast = runtime.reduction == "fast" and group.size > 1
        self.count = runtime.shards_per_step
        self._group, self._parts = group, parts if self.count == 1 else self.count // group.size
        self._sum = PlainSum() if fast else OrderedSum(group)
        self._parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]
        changing = {name for name in method.state_dict() if not name.startswith("teachers.")}  # others are constants
        buffers = [buffer for name, buffer in method.named_buffers() if name in changing]
        self._buffers = [buffer for buffer in buffers if buffer.is_floating_point()]
        self._counters = [buffer for buffer in buffers if not buffer.is_floating_point()]
        self._losses: list[Mapping[str, Tensor]] = []
        if fast and self._parameters[0].is_cuda:
            from timm.layers import convert_sync_batchnorm  # type: ignore[attr-defined]

            for network in method.children():
                convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]

    def slots(self, batch_size: int) -> list[int]:
        """Give the places in the batch of which this process computes the shards, shard by shard."""
        size = batch_size // self.count
        return [
            slot for shard in self._group.share(range(self.count)) for slot in range(shard * size, (shard + 1) * size)
        ]

    def cut(self, batch: Batch) -> Iterator[tuple[int, Batch]]:
        """Give this process's parts of the batch, each with its number in the whole step."""
        if self.count > 1:
            self._before, counters = self._flat(self._buffers), [counter.clone() for counter in self._counters]
        for index, part in enumerate(batch.parts(self._parts)):
            if index and self.count > 1:
                _fill(self._buffers, self._before)
                for counter, value in zip(self._counters, counters, strict=True):
                    counter.copy_(value)  # every shard leaves the same
            yield index * self._group.size + self._group.rank, part

    def backward(self, losses: Mapping[str, Tensor]) -> None:
        """Compute the gradients of a part, and keep them with the rest that it gives."""
        total = torch.stack(list(losses.values())).sum()
        self._losses.append(losses)
        if self.count == 1:
            (total / self._parts).backward()
            return
        total.backward()
        after = self._flat(self._buffers)
        change = torch.where(after == self._before, 0, after - self._before)  # also where constants are infinite
        values = torch.stack([loss.detach() for loss in losses.values()])
        self._having = [parameter for parameter in self._parameters if parameter.grad is not None]
        gradients = [parameter.grad for parameter in self._having if parameter.grad is not None]
        self._sum.add(self._flat([*gradients, change, values]))
        for parameter in self._having:
            parameter.grad = None

    def join(self) -> list[Mapping[str, Tensor]]:
        """Leave the step's gradients in place, and its buffers; give the losses, of each part or joined."""
        losses, self._losses = self._losses, []
        if self.count == 1:
            return losses
        mean = self._sum.take() / self.count
        *gradients, change, values = mean.split(
            [*(parameter.numel() for parameter in self._having), len(self._before), len(losses[-1])]
        )
        for parameter, gradient in zip(self._having, gradients, strict=True):
            parameter.grad = gradient.view_as(parameter).to(parameter.dtype)
        _fill(self._buffers, self._before + change)
        return [dict(zip(losses[-1], values.unbind(), strict=True))]

    def _flat(self, tensors: Sequence[Tensor]) -> Tensor:
        """Copy tensors of any shape into one vector, which may be empty."""
        nothing = self._parameters[0].new_zeros(0)
        return torch.cat([nothing, *(tensor.detach().reshape(-1) for tensor in tensors)])


def launch(function: Callable[..., T], arguments: Sequence[Any], runtime: RuntimeParameters, name: str) -> T:
    """Call a function in new processes, as many as ``runtime`` says, with their ``group`` as an argument more.

    Args:
        function: that can be imported.
        arguments: that can be pickled.
        runtime: processes, machines, device.
        name: of this call, the same on all machines and of no other call.

    Returns:
        What the function returns in the first process of this machine.

    Raises:
        ProcessesError: processes were killed too often, or did not find each other.
        ValueError: there are fewer GPUs than processes.
        Exception: the first one that the function raises in a process of this machine.
    """
    # These imports take a second.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, launch_agent

    on_cuda = runtime.device != "cpu" and torch.cuda.is_available()
    if on_cuda and runtime.processes > torch.cuda.device_count():
        raise ValueError(
            f"runtime.processes is {runtime.processes}, but this machine has {torch.cuda.device_count()} GPUs, and "
            "each process needs its own"
        )
    # A restarted group must not find what the one before has left in the store (pytorch issue 135712).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    set_forkserver_preload(["__main__", "igl_dt.training.trainer"])  # imported once, for all processes and restarts
    with TemporaryDirectory(prefix="igl_dt_") as temporary:
        folder = Path(temporary)
        torch.save((function, tuple(arguments)), folder / CALL)
        config = LaunchConfig(
            min_nodes=runtime.nodes,
            max_nodes=runtime.nodes,
            nproc_per_node=runtime.processes,
            run_id=name,
            rdzv_backend="c10d",
            rdzv_endpoint=runtime.rendezvous or "localhost:0",
            local_addr=None if runtime.rendezvous else "localhost",
            max_restarts=RESTARTS,
            start_method="forkserver",
            logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
            signals_to_handle="SIGQUIT",  # the others are ours
        )
        level = logging.getLogger("igl_dt").getEffectiveLevel()
        try:
            with stop_signals(lambda: (folder / STOP).touch()):
                launch_agent(config, _work, [str(folder), on_cuda, level])
        except ChildFailedError as error:
            if not (folder / ERROR).exists():
                raise ProcessesError(f"{name}: its processes ended {RESTARTS + 1} times: {error}") from error
        if (folder / ERROR).exists():
            raise torch.load(folder / ERROR, weights_only=False)
        if not (folder / RESULT).exists():
            raise ProcessesError(f"{name}: it failed on another machine, whose log has the reason")
        result: T = torch.load(folder / RESULT, weights_only=False)
        return result


def _work(path: str, on_cuda: bool, level: int) -> None:
    """Be one of the processes."""
    from igl_dt.training.trainer import InterruptedTrainingError  # which imports this module

    folder, rank, local_rank = Path(path), int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    parent = os.getppid()

    def leave_if_orphaned(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGINT, leave_if_orphaned)  # Ctrl-C is the launching process's; torch sends it to orphans
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")  # where there is nothing
    logging.getLogger("igl_dt").setLevel(level if local_rank == 0 else logging.WARNING)
    if on_cuda:
        torch.cuda.set_device(local_rank)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")
    group = Group(rank, int(os.environ["WORLD_SIZE"]), local_rank == 0, folder)
    if group.any((folder / ERROR).exists()):
        return  # a process has failed, and the others were restarted since they missed it
    try:
        function, arguments = torch.load(folder / CALL, weights_only=False)
        result = function(*arguments, group=group)
        if group.leads:
            torch.save(result, folder / RESULT)
    except Exception as error:
        if not type(error).__module__.startswith("igl_dt."):
            time.sleep(PATIENCE)
            error.add_note("".join(traceback.format_exception(error)))
        interrupted = isinstance(error, InterruptedTrainingError)  # all processes end after the same step
        if group.leads or not interrupted:  # of an interruption, the leading one knows whether the state was saved
            _report(error, folder / ERROR)
        if not interrupted:
            raise SystemExit(1) from error  # elastic ends the others, which wait for this one, and restarts them all
    distributed.destroy_process_group()


def _report(error: Exception, file: Path) -> None:
    """Write an error where the launching process finds it, unless there is one."""
    content = io.BytesIO()
    try:
        torch.save(error, content)
    except Exception:  # an error that cannot be pickled
        content = io.BytesIO()
        torch.save(ProcessesError(f"{type(error).__name__}: {error}"), content)
    if not file.exists():
        atomic_write(file, content.getbuffer())


@contextmanager
def stop_signals(also: Callable[[], object] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Take note of Ctrl-C and SIGTERM instead of dying at once; the second one does end the process at once.

    Args:
        also: called at the first one.

    Yields:
        What tells whether there was one.
    """
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
        also()
        logger.warning("stopping after this step, to save the state (once more: stop at once)")

    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fill(tensors: Sequence[Tensor], vector: Tensor) -> None:
    """Copy a vector back into the tensors that it was made of."""
    for tensor, values in zip(tensors, vector.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(values.view_as(tensor))
