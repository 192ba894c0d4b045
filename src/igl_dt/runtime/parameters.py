"""Where and how a run computes, and how it predicts whole images."""

from importlib.util import find_spec
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, model_validator

from igl_dt.utils.parameters import Parameters, Size

CONFIDENT = 0.9
"""Probability from which on a pseudo-label counts as confident, in reports only."""


class EvaluationParameters(Parameters):
    """How a network predicts a whole image."""

    mode: Literal["whole", "sliding_window"] = "whole"
    window_size: Size | None = None
    """(height, width) of the window; needed for ``sliding_window``, where the field takes the training crop."""
    window_overlap: Annotated[float, Field(ge=0, lt=1)] = 1 / 3
    """Share of the window that neighbours have in common."""
    batch_size: PositiveInt = 8
    """Images (of one size) or windows predicted at once; a matter of memory and speed."""
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = (1.0,)
    """Probabilities are the mean over the image scaled by these, brought back to its own size."""
    flip: bool = False
    """Whether each scale is predicted once more mirrored (left to right), and counts into the mean."""
    boundary_width: Annotated[float, Field(gt=0, le=1)] = 0.02
    """How far from a contour boundary IoU looks, over the image's diagonal; the paper's 2 %."""

    @model_validator(mode="after")
    def _window_has_a_size(self) -> "EvaluationParameters":
        if self.mode == "sliding_window" and self.window_size is None:
            raise ValueError("evaluation.window_size is needed when evaluation.mode is sliding_window")
        return self


class RuntimeParameters(Parameters):
    """Where and how it runs."""

    CHANGING_NO_RESULT: ClassVar[tuple[str, ...]] = (
        "rendezvous",
        "workers",
        "cache_mib",
        "checked_files",
        "recovery_folder",
        "recovery_seconds",
        "log_folder",
        "tensorboard",
        "mlflow",
    )
    """Whatever ``reduction`` is; see ``changing_no_result``."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto``: CUDA where there is one, else the CPU."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """``bfloat16``: autocast; losses and weights stay in float32."""
    compile: bool = False
    """Whether networks are compiled by ``torch.compile`` while they train, which gives other last bits; validation and
    prediction use them as they are. Excludes ``portable`` on the CPU, as it makes code for this processor."""
    threads: PositiveInt | None = None
    """Threads of one operation on the CPU; null: as many as torch would take. Kernels' last bits depend on it."""
    portable: bool = False
    """Whether to compute with AVX2 alone, as x86 processors of different age can alike; slower on the newer ones."""
    shards: PositiveInt = 1
    """Parts that a step's batch is cut into, each of which is one forward, whichever process computes it: batch norm,
    hard pixels and CutMix see one part at a time. Must divide the batch size."""
    processes: PositiveInt = 1
    """Processes that train and evaluate together on this machine, one per GPU; with ``nodes``, they must divide
    ``shards``. Changes no result while ``reduction`` is exact."""
    nodes: PositiveInt = 1
    """Machines that train and evaluate together; the same command is started on each."""
    rendezvous: Annotated[str, Field(pattern=r"^[^\s/:]+:\d+$")] | None = None
    """Where they meet, as ``host:port``: one of the machines and a free port there."""
    reduction: Literal["exact", "fast"] = "exact"
    """``exact``: gradients are summed in the order of the shards. ``fast``: one shard per process, whatever ``shards``
    is, summed in any order, and on GPUs batch norm over all shards: results depend on the number of processes."""
    workers: Annotated[int, Field(ge=0)] = 1
    """Processes that read and augment images beside the training one; 0: none. Changes no result."""
    cache_mib: Annotated[int, Field(ge=0)] = 1024
    """Memory for decoded images, per process that reads them. Changes no result."""
    checked_files: str | None = None
    """File that keeps what the check of the data set's files found, so that the next run reads new and changed ones
    only; null: all are read every time. Changes no result."""
    recovery_folder: str | None = None
    """Where trainings keep what they resume from after an interruption; null: nowhere. Changes no result."""
    recovery_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Between two states in that folder. Changes no result."""
    log_folder: str | None = None
    """Where each training writes while it runs, in a folder of its name: ``history.csv`` so far, what TensorBoard
    reads, and the weights of ``keep_every``; null: nowhere. Changes no result."""
    tensorboard: bool = False
    """Whether trainings also write for TensorBoard (extra ``tensorboard``). Changes no result."""
    mlflow: str | None = None
    """URI of an MLflow tracking store or server to which runs are logged once they are done (extra ``mlflow``), such as
    ``sqlite:///mlruns/mlflow.db``; null: none. Changes no result."""

    @model_validator(mode="after")
    def _processes_share_the_shards(self) -> "RuntimeParameters":
        if self.reduction == "exact" and self.shards % self.world_size:
            raise ValueError(
                f"runtime.processes × runtime.nodes ({self.world_size}) must divide runtime.shards ({self.shards}): "
                f"set runtime.shards to a multiple of {self.world_size}; results depend on the number of shards alone"
            )
        if self.nodes > 1 and self.rendezvous is None:
            raise ValueError("runtime.rendezvous, as host:port, is needed when runtime.nodes is above 1")
        return self

    @model_validator(mode="after")
    def _logs_can_be_written(self) -> "RuntimeParameters":
        for package, wanted in (("tensorboard", self.tensorboard), ("mlflow", self.mlflow)):
            if wanted and find_spec(package) is None:
                raise ValueError(f"runtime.{package} needs the extra {package}: pip install 'igl-dt[{package}]'")
        if self.tensorboard and self.log_folder is None:
            raise ValueError("runtime.tensorboard needs runtime.log_folder")
        return self

    @property
    def world_size(self) -> int:
        """Processes that train and evaluate together, on all machines."""
        return self.processes * self.nodes

    @property
    def changing_no_result(self) -> list[str]:
        """The fields that change no bit of a result with this reduction."""
        return [*(("processes", "nodes") if self.reduction == "exact" else ()), *self.CHANGING_NO_RESULT]

    @property
    def shards_per_step(self) -> int:
        """Parts that a step's batch is cut into: ``shards``, or one per process with the fast reduction."""
        return self.shards if self.reduction == "exact" else self.world_size
