"""Progress of long work: a bar on a terminal, plain lines now and then in a log."""

import logging
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 10.0
BAR = "{desc} {percentage:3.0f}% |{bar:12}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
"""A short bar: most of the line is for the losses, and what is too much for the terminal is cut off."""


class Progress:
    """Shows how far a stage is, its losses, its speed and the time left.

    Args:
        stage: its name.
        first: the step it starts from; above 0 where it resumes after an interruption.
        total: steps of the stage.
        images_per_step: for the speed in images per second.
        step: what a step is called.
        image: what the speed is given in, where that is not images.
        bar: whether to draw a bar where there is a terminal; without, there are lines in the log, as elsewhere.
    """

    def __init__(
        self,
        stage: str,
        first: int,
        total: int,
        images_per_step: int,
        step: str = "step",
        image: str = "images",
        bar: bool = True,
    ) -> None:
        self._stage, self._first, self._total, self._images = stage, first, total, images_per_step
        self._step, self._image = step, image
        self._values: dict[str, float] = {}
        self._redirected, self._bar = ExitStack(), None
        if bar and sys.stderr.isatty():
            self._bar = tqdm(desc=stage, initial=first, total=total, bar_format=BAR, dynamic_ncols=True)
            self._redirected.enter_context(logging_redirect_tqdm())  # what is logged meanwhile goes above the bar
        self._start = self._last_line = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    def update(self, done: int, values: Mapping[str, float]) -> None:
        """Say that so many steps are done, and what the latest losses and scores are; none: those from before."""
        self._values.update(values)
        speed = (done - self._first) * self._images / max(self.seconds, 1e-9)
        shown = "  ".join(f"{name} {value:.3f}" for name, value in self._values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(f"{speed:.0f} {self._image}/s  {shown}", refresh=False)
            self._bar.update(done - self._bar.n)
        elif done == self._total or time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = self.seconds / max(done - self._first, 1) * (self._total - done)
            line = "%s  %s %d/%d  %.0f %s/s  %.0f s left  %s"
            logger.info(line, self._stage, self._step, done, self._total, speed, self._image, left, shown)

    def close(self) -> None:
        """Leave the bar as it is, and let what is logged take its own way again."""
        if self._bar is not None:
            self._bar.close()
        self._redirected.close()
