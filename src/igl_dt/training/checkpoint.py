"""States on disk, from which an interrupted training resumes; they are no output.

A training has a fingerprint: a digest of everything that decides its result. Its states lie in a folder of that name,
so that a training is never resumed with other parameters, data, code or environment. A state file appears whole or
not at all, and its name holds the digest of its content.
"""

import io
import json
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from igl_dt.utils.files import atomic_write, digest

logger = logging.getLogger(__name__)

KEPT_STATES = 2
"""The latest one, and the one before in case the disk loses the latest."""
KEPT_TRAININGS = 2
"""Of trainings with the same name and other fingerprints, so that going back to earlier parameters loses nothing."""
DIGITS = 16
"""Hexadecimal digits of a digest in the name of a file or folder."""
IDENTITY = "identity.json"

State = dict[str, Any]


class CheckpointError(RuntimeError):
    """A state could not be written."""


class Checkpointer:
    """The saved states of one training.

    Args:
        folder: of the run's states; None: nothing is saved.
        name: of the training, such as ``teacher_pretraining``.
        identity: digests or descriptions of all that decides the result, by what they are of.
        seconds: between two states.
    """

    def __init__(self, folder: Path | None, name: str, identity: Mapping[str, str], seconds: float) -> None:
        self._identity = dict(identity)
        self._key = digest(json.dumps(self._identity, sort_keys=True).encode())
        self._name = name
        self._folder = None if folder is None else folder / name / self._key[:DIGITS]
        self._seconds, self._last = seconds, time.monotonic()

    def load(self) -> State | None:
        """Give the latest state that is whole, or None; files that are not are named in the log and skipped."""
        if self._folder is None:
            return None
        for path in sorted(self._folder.glob("*.pt"), reverse=True):
            try:
                state = self._read(path)
            except (OSError, ValueError) as error:
                logger.warning("%s is skipped: %s", path, error)
                continue
            logger.info("%s resumes after step %d, from %s", self._name, state["step"], path)
            return state
        self._log_what_is_new()
        return None

    @property
    def resume_hint(self) -> str:
        """Say what becomes of a training that ends early."""
        if self._folder is None:
            return "nothing of it was saved, as runtime.recovery_folder is null"
        return "the same command resumes from there"

    def due(self) -> bool:
        """Tell whether it is time to save."""
        return self._folder is not None and time.monotonic() - self._last >= self._seconds

    def save(self, state: State) -> None:
        """Write a state and remove the ones that it makes superfluous.

        Args:
            state: ``step`` and what else is needed: tensors, numbers, strings, None, lists and dictionaries of these.

        Raises:
            CheckpointError: the disk is full or cannot be written; earlier states are as they were.
        """
        if self._folder is None:
            return
        buffer = io.BytesIO()
        torch.save({**state, "key": self._key}, buffer)
        content = buffer.getbuffer()
        path = self._folder / f"{state['step']:09d}-{digest(content)[:DIGITS]}.pt"
        try:
            atomic_write(self._folder / IDENTITY, json.dumps(self._identity, indent=2, sort_keys=True).encode())
            atomic_write(path, content)
        except OSError as error:
            raise CheckpointError(
                f"{path} could not be written: {error.strerror or error}. Earlier states are as they were: free some "
                "space and rerun the same command, or set runtime.recovery_folder to another disk or to null"
            ) from error
        others = sorted(set(self._folder.glob("*.pt")) - {path}, key=lambda other: other.stat().st_mtime_ns)
        for old in set(self._folder.iterdir()) - {self._folder / IDENTITY, path, *others[1 - KEPT_STATES :]}:
            old.unlink()  # also what a killed run was writing
        self._prune()
        self._last = time.monotonic()

    def _read(self, path: Path) -> State:
        content = path.read_bytes()
        if digest(content)[:DIGITS] != path.stem.rpartition("-")[2]:
            raise ValueError("it is truncated or damaged, its content does not have the digest in its name")
        try:
            state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch's reader stumbles over
            raise ValueError(f"it is no saved state: {error}") from error
        if not isinstance(state, dict) or state.get("key") != self._key:
            raise ValueError("it belongs to another training")
        return state

    def _others(self) -> list[Path]:
        """Give the folders of trainings of this name with another fingerprint, the latest first."""
        assert self._folder is not None
        parent = self._folder.parent
        others = [path for path in parent.iterdir() if path != self._folder] if parent.is_dir() else []
        return sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)

    def _prune(self) -> None:
        for path in self._others()[KEPT_TRAININGS:]:
            shutil.rmtree(path, ignore_errors=True)

    def _log_what_is_new(self) -> None:
        for other in self._others()[:1]:
            try:
                before = json.loads((other / IDENTITY).read_text())
                new = [name for name, value in self._identity.items() if before.get(name) != value]
            except (OSError, ValueError):
                new = ["all"]
            line = "%s starts from scratch: the unfinished run in %s had other %s"
            logger.warning(line, self._name, other, ", ".join(new))
