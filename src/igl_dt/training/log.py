"""What a training shows and keeps while it runs: no output, and no part of its fingerprint."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.io import save_network
from igl_dt.runtime.memory import peak_memory
from igl_dt.training.history import LossHistory
from igl_dt.utils.files import atomic_write
from igl_dt.utils.palette import id_colors

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

EXAMPLES = 3
"""Validation images whose predictions TensorBoard shows."""
_FILES = ("history.csv", "events.out.tfevents.*", "*.safetensors")
_GROUPS = ("learning_rate", "val_miou", "pseudo_label_accuracy", "pseudo_label_confident", "speed", "memory")


class Examples(NamedTuple):
    """Images that TensorBoard shows with their masks and predictions."""

    pairs: Sequence[tuple[Tensor, Tensor]]
    """Image (3×H×W uint8) and mask (H×W class ids, 255: ignored)."""
    predict: Callable[[SegmentationNetwork, Tensor], Tensor]
    """Gives the class ids (H×W) of an image."""


class TrainingLog:
    """A folder with the history so far, ``history.csv``, numbered weights, and what TensorBoard reads.

    Args:
        folder: of the training; None: nothing is written.
        keep_every: steps between weights that are kept; None: none.
        examples: for TensorBoard, whose package must be installed; None: nothing is written for it.
    """

    def __init__(self, folder: Path | None, keep_every: int | None = None, examples: Examples | None = None) -> None:
        self._folder, self._keep_every, self._examples = folder, keep_every, examples
        self._first = 0
        self._device: torch.device | None = None
        self._writer: SummaryWriter | None = None

    def begin(self, first: int, device: torch.device | None = None) -> None:
        """Resume after so many steps; 0: from scratch, and what an earlier training has written is removed.

        ``device`` is the one whose memory TensorBoard shows.
        """
        self._first, self._device = first, device
        if self._folder is None or first:
            return
        for file in [file for pattern in _FILES for file in self._folder.glob(pattern)]:
            file.unlink()

    def add(self, history: LossHistory, speed: float, validated: Mapping[str, SegmentationNetwork]) -> None:
        """Write what the latest row of the history says.

        Args:
            history: with the row.
            speed: images per second since the row before, without validation.
            validated: the networks, by name, where this row is that of a validation.
        """
        if self._folder is None:
            return
        table = history.table().to_csv(index=False, lineterminator="\n")
        atomic_write(self._folder / "history.csv", table.encode())
        if self._examples is None:
            return
        if self._writer is None:  # only now: it starts a thread, and processes that load images are forked before
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard drops what was written after the state that the training resumes from.
            self._writer = SummaryWriter(str(self._folder), purge_step=self._first + 1)
        values = dict(history.rows[-1])
        step = int(values.pop("step"))
        values["speed.images_per_second"] = speed
        values["memory.peak_mib"] = peak_memory(self._device)
        for column, value in values.items():
            group, _, name = column.partition(".")
            self._writer.add_scalar(f"{group}/{name}" if group in _GROUPS else f"losses/{column}", value, step)
        for role, network in validated.items():
            colors = id_colors(network.num_classes)
            for number, (image, mask) in enumerate(self._examples.pairs, start=1):
                prediction = self._examples.predict(network, image)
                panels = (image.permute(1, 2, 0).numpy(), *(colors[ids.cpu().numpy()] for ids in (mask, prediction)))
                self._writer.add_image(f"{role}/{number}", np.hstack(panels), step, dataformats="HWC")
        self._writer.flush()

    def keep(self, done: int, networks: Mapping[str, SegmentationNetwork]) -> None:
        """Keep the weights after a step if it is their turn, as ``<network>_<step>.safetensors``."""
        if self._folder is not None and self._keep_every is not None and done % self._keep_every == 0:
            for name, network in networks.items():
                save_network(network, self._folder / f"{name}_{done:06d}.safetensors")

    def close(self) -> None:
        """Close what TensorBoard reads."""
        if self._writer is not None:
            self._writer.close()
