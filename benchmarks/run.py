"""Measures what the engine costs, and compares it with its limits and with the committed figures.

``python -m benchmarks [SUBJECT ...] [--write]``, or ``make bench``, which measures all subjects and writes
``benchmarks/results.json``; exit code 1 where a limit is not kept. Nothing else may run meanwhile. What is compared
takes turns in one run, so that a slow moment of the machine hits both; a ratio is the median of the pairs' ratios.

What each subject measures stands with its function.
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks import settings
from benchmarks.choices import measure_choices
from benchmarks.commands import measure_prediction, measure_startup
from benchmarks.figures import HEADER, Figure, read_results, write_results
from benchmarks.images import measure_loading, measure_splitting, measure_supply
from benchmarks.memory import measure_memory
from benchmarks.plain_unimatch import measure_plain
from benchmarks.processes import in_own_process, measure_processes
from benchmarks.steps import measure_methods, measure_portable, measure_steps

SUBJECTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "steps": measure_steps,
    "methods": measure_methods,
    "loading": measure_loading,
    "supply": measure_supply,
    "splitting": measure_splitting,
    "startup": measure_startup,
    "prediction": measure_prediction,
    "memory": measure_memory,
    "portable": measure_portable,
    "processes": measure_processes,
    "plain": measure_plain,
    "choices": measure_choices,
}
ANYWHERE = {"steps", "choices"}
"""Subjects that can be measured on other devices and with other crops."""


def main(arguments: list[str] | None = None) -> int:
    """Measure the subjects that the command line names; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help=f"of {', '.join(SUBJECTS)}; none: all")
    parser.add_argument("--write", action="store_true", help="replace the subjects' figures in benchmarks/results.json")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of steps and choices")
    parser.add_argument("--crop", nargs=2, type=int, default=settings.CROP_SIZE, metavar=("HEIGHT", "WIDTH"))
    options = parser.parse_args(arguments)
    subjects = options.subjects or list(SUBJECTS)
    if unknown := [subject for subject in subjects if subject not in SUBJECTS]:
        parser.error(f"unknown subject {', '.join(unknown)}; there are {', '.join(SUBJECTS)}")
    place = (options.device, tuple(options.crop))
    if place != ("cpu", settings.CROP_SIZE) and (options.write or not set(subjects) <= ANYWHERE):
        parser.error(f"--device and --crop are for {' and '.join(sorted(ANYWHERE))} alone, and without --write")
    committed, kept = read_results(), True
    print(HEADER, flush=True)
    for subject in subjects:
        # Each in a process of its own: peaks of memory, numbers of threads and instruction sets are a process's.
        given = (subject, committed, *place)
        figures = collect(*given) if len(subjects) == 1 else in_own_process(collect, *given)
        kept &= all(figure.is_within_limit for figure in figures)
        if options.write:
            write_results(subject, figures)
    return int(not kept)


def collect(subject: str, committed: dict[str, Any], device: str, crop: tuple[int, int]) -> list[Figure]:
    """Measure a subject on a device with a crop, and print each figure as soon as it is there."""
    settings.choose(device, crop)
    figures = []
    for figure in SUBJECTS[subject]():
        print(figure.row(subject, committed), flush=True)
        figures.append(figure)
    return figures
