"""Processes that do one thing together, such as a training, and are started and ended by this one.

``launch`` starts them with torch elastic, the engine of torchrun. They meet in a folder: what to call, a request to
stop, the first error, the result. A process that is killed makes elastic restart them all.
"""

import io
import logging
import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import set_forkserver_preload
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from igl_dt.runtime.determinism import uses_cuda
from igl_dt.runtime.parameters import RuntimeParameters
from igl_dt.utils.errors import is_ours
from igl_dt.utils.files import atomic_write
from igl_dt.utils.signals import obey_only

logger = logging.getLogger(__name__)

CALL, STOP, ERROR, RESULT = "call.pt", "stop", "error.pt", "result.pt"
"""Files in the folder where the processes of a machine meet."""
RESTARTS = 3
"""How many times processes may be killed in one call."""
ERROR_DELAY = 5.0
"""Seconds before a process reports an error that is not ours: where another one was killed, connections break, and
elastic ends this one in the meantime."""
MEETING_TIMEOUT = 1800
"""Seconds that a machine waits for the others, whose images may take longer to check."""
LAUNCHER_CHECK_INTERVAL = 1.0
"""Seconds between two looks at whether the launching process is still there."""

T = TypeVar("T")


class ProcessesError(RuntimeError):
    """Processes that work together were killed too often, or do not find each other."""


class StoppedTogetherError(RuntimeError):
    """All processes have ended at the same point, as they were asked to."""


@dataclass(frozen=True)
class Group:
    """Processes that work together, as one of them sees them; without arguments, a process alone."""

    rank: int = 0
    size: int = 1
    leads: bool = True
    """Whether this is the first process of its machine: the one that writes files and reports progress."""
    folder: Path | None = None
    """Where the processes of this machine meet; None for a process alone."""

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Give this process's part: each ``size``-th item."""
        return items[self.rank :: self.size]

    def gather(self, shared: Sequence[T]) -> list[T]:
        """Join what the processes have made of the items that ``share`` gave them, in the order of all items."""
        if self.size == 1:
            return list(shared)
        parts: list[Any] = [None] * self.size
        distributed.all_gather_object(parts, list(shared))
        return [parts[index % self.size][index // self.size] for index in range(sum(map(len, parts)))]

    def any(self, flag: bool) -> bool:
        """Tell whether the flag is set in any process; all must ask."""
        if self.size == 1:
            return flag
        flags = torch.tensor([flag], dtype=torch.uint8)  # on the CPU: no device waits for it
        distributed.all_reduce(flags, distributed.ReduceOp.MAX)
        return bool(flags)

    def sum_counts(self, counts: Tensor) -> Tensor:
        """Sum a tensor of integers over all processes, in place, and return it."""
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
        """Give what tells, alike in all processes, whether to stop now: all must ask alike."""
        folder = self.folder
        if folder is None:
            with stop_signals() as asked_to_stop:
                yield asked_to_stop
        else:
            yield lambda: self.any((folder / STOP).exists())


ALONE = Group()


def launch(
    function: Callable[..., T],
    arguments: Sequence[Any],
    runtime: RuntimeParameters,
    name: str,
    *,
    stoppable: bool = False,
) -> T:
    """Call a function in new processes, as many as ``runtime`` says, with their ``group`` as an argument more.

    Args:
        function: that can be imported.
        arguments: that can be pickled.
        runtime: processes, machines, device.
        name: of this call, the same on all machines and of no other call.
        stoppable: whether the function asks ``group.stopping()``, and is to end by itself where Ctrl-C or SIGTERM has
            asked it to; else they end it at once.

    Returns:
        What the function returns in the first process of this machine.

    Raises:
        ProcessesError: processes were killed too often, or did not find each other.
        Exception: the first one that the function raises in a process of this machine.
    """
    # These imports take a second.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, launch_agent

    on_cuda = uses_cuda(runtime)
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").addFilter(_without_traceback)
    # A restarted group must not find what the one before has left in the store (pytorch issue 135712).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    # Imported once, for all processes and restarts; trainings import all that is called here.
    set_forkserver_preload(["__main__", "igl_dt.training.trainer"])
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
            rdzv_configs={"read_timeout": MEETING_TIMEOUT, "join_timeout": MEETING_TIMEOUT},
            local_addr=None if runtime.rendezvous else "localhost",
            max_restarts=RESTARTS,
            start_method="forkserver",
            logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
            signals_to_handle="SIGQUIT",  # the others are ours
        )
        level = logging.getLogger("igl_dt").getEffectiveLevel()
        try:
            # By default, SIGTERM would end this process alone; Ctrl-C cleans up.
            at_once = _handling(signal.default_int_handler, signal.SIGTERM)
            with stop_signals(lambda: (folder / STOP).touch()) if stoppable else at_once:
                launch_agent(config, _work, [str(folder), on_cuda, level, os.getpid()])
        except ChildFailedError as error:
            if not (folder / ERROR).exists():
                raise ProcessesError(f"{name}: its processes ended {RESTARTS + 1} times: {error}") from error
        except RendezvousError as error:
            if not (folder / ERROR).exists():
                raise ProcessesError(
                    f"{name}: the {runtime.nodes} machines have not met at {runtime.rendezvous}, or one of them has "
                    f"left ({type(error).__name__}: {error}). All of them must run the same command on the same images "
                    f"within {MEETING_TIMEOUT // 60} minutes, and reach this address"
                ) from error
        if (folder / ERROR).exists():
            raise torch.load(folder / ERROR, weights_only=False)
        if not (folder / RESULT).exists():
            raise ProcessesError(f"{name}: it failed on another machine, whose log has the reason")
        if (folder / STOP).exists():
            raise StoppedTogetherError(f"{name} was stopped after its last step: the same command resumes it")
        result: T = torch.load(folder / RESULT, weights_only=False)
        return result


def _work(path: str, on_cuda: bool, level: int, launcher: int) -> None:
    """Be one of the processes."""
    folder, rank, local_rank = Path(path), int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    obey_only(launcher)
    threading.Thread(target=_exit_with, args=(launcher, folder), daemon=True).start()
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
        if isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker"):
            logger.warning("%s; all processes restart", error)
            raise SystemExit(1) from error  # killed, as this process may be: elastic restarts them all
        if not is_ours(error):
            time.sleep(ERROR_DELAY)
            error.add_note("".join(traceback.format_exception(error)))
        stopped = isinstance(error, StoppedTogetherError)
        if group.leads or not stopped:  # if stopped, the leading one knows whether the state was saved
            _report(error, folder / ERROR)
        if not stopped:
            raise SystemExit(1) from error  # elastic ends the others, which wait for this one, and restarts them all
    distributed.destroy_process_group()


def _without_traceback(record: logging.LogRecord) -> bool:
    """Take the traceback off what elastic logs of a process that failed: it is elastic's own."""
    record.exc_info = None
    return True


def _exit_with(launcher: int, folder: Path) -> None:
    """End this process once the launching one is gone: killed, it can end and remove nothing itself."""
    while _is_there(launcher):
        time.sleep(LAUNCHER_CHECK_INTERVAL)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def _report(error: Exception, file: Path) -> None:
    """Write an error where the launching process finds it, unless there is one."""
    content = io.BytesIO()
    try:
        torch.save(error, content)
        content.seek(0)
        torch.load(content, weights_only=False)
    except Exception:  # an error that cannot be pickled, or not be made again from that
        content = io.BytesIO()
        torch.save(ProcessesError(f"{type(error).__name__}: {error}"), content)
    if not file.exists():
        atomic_write(file, content.getbuffer())


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], object], *numbers: int) -> Iterator[None]:
    """Have signals handled meanwhile; as always where this is not the main thread, the only one that can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def stop_signals(also: Callable[[], object] = lambda: None) -> Iterator[Callable[[], bool]]:
    """Take note of Ctrl-C and SIGTERM instead of dying at once; the second one does end the process at once.

    Args:
        also: called at the first one.

    Yields:
        What tells whether there was one.
    """
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

    with _handling(remember, signal.SIGINT, signal.SIGTERM):
        yield lambda: bool(received)
