"""Progress of long work: a bar on a terminal, plain lines now and then in a log."""

import logging
import sys
import time
from collections.abc import Mapping

from tqdm import tqdm

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows how far a stage is, its losses, its speed and the time left.

    Args:
        stage: its name.
        first: the step it starts from; above 0 where it goes on after an interruption.
        total: steps of the stage.
        pictures_per_step: for the speed in pictures per second.
        step: what a step is called.
        picture: what the speed is given in, where that is not pictures.
    """

    def __init__(
        self, stage: str, first: int, total: int, pictures_per_step: int, step: str = "step", picture: str = "images"
    ) -> None:
        self._stage, self._first, self._total, self._pictures = stage, first, total, pictures_per_step
        self._step, self._picture = step, picture
        self._bar = tqdm(desc=stage, initial=first, total=total, unit=step) if sys.stderr.isatty() else None
        self._start = self._last_line = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def update(self, done: int, values: Mapping[str, float]) -> None:
        """Say that so many steps are done, and what the latest losses and scores are."""
        speed = (done - self._first) * self._pictures / max(self.seconds, 1e-9)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(f"{speed:.0f} {self._picture}/s  {shown}", refresh=False)
            self._bar.update(done - self._bar.n)
        elif done == self._total or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = self.seconds / max(done - self._first, 1) * (self._total - done)
            line = "%s  %s %d/%d  %.0f %s/s  %.0f s left  %s"
            logger.info(line, self._stage, self._step, done, self._total, speed, self._picture, left, shown)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
