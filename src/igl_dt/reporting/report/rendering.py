"""The text of a run's page."""

import base64
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from igl_dt.reporting.figures.history import has_pseudo_labels, loss_columns
from igl_dt.reporting.figures.style import signed
from igl_dt.reporting.gallery import GALLERY, Entry
from igl_dt.reporting.networks import BASELINE, label, last_weights, method_name
from igl_dt.reporting.report.remarks import find_remarks
from igl_dt.reporting.report.run import Run
from igl_dt.reporting.scores import score_titles


def render_report(run: Run) -> str:
    """Render the page of a run; equal runs give equal text.

    The page is self-contained, with figures as data URIs. Values are shown rounded; ``<data value>`` has them as in
    ``metrics.json``. Figures that are missing are left out.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": _percent,
        "signed": _signed,
        "png": _embed,
        "size": _size,
        "network": run.label,
        "amount": _amount,
    }
    networks = last_weights(run.metrics)
    baseline = BASELINE if BASELINE in networks and run.main != BASELINE else None
    environment_name, method = _first(run, "env"), method_name(run.networks_info)
    title = f"{method or 'Run'} on {environment_name}" if environment_name else method or "Run"
    return environment.get_template("report.html.jinja").render(
        run=run,
        title=title,
        role=label(run.main).lower(),
        summary=_summarize(run, baseline),
        remarks=find_remarks(run),
        scores=score_titles(run.metrics),
        baseline=baseline,
        others=[name for name in networks if name not in (run.main, baseline)],
        classes=_compare_classes(run, networks, baseline),
        figures=_arrange_figures(run),
        losses=_tabulate_losses(run),
        costs=_tabulate_costs(run),
        probed=has_pseudo_labels(run.histories),
        commands=_commands(run),
        environment=_first(run, "environment"),
        versions=_first(run, "versions"),
        parameters=_parameters(run),
        labeled_list=_labeled_list(run),
    )


def _arrange_figures(run: Run) -> dict[str, list[tuple[Entry, bytes]]]:
    """Group the figures by section."""
    sections: dict[str, list[tuple[Entry, bytes]]] = {entry.section: [] for entry in GALLERY.values()}
    for name, entry in GALLERY.items():
        if name in run.figures:
            sections[entry.section].append((entry, run.figures[name]))
    return sections


def _summarize(run: Run, baseline: str | None) -> str:
    """Put the result into one sentence."""
    miou = {name: scores["miou"] for name, scores in run.metrics.items()}
    images = run.split_summary["images"]
    kind = {"test": "test", "val": "validation"}[run.evaluated]
    summary = (
        f"Trained on {images['labeled']} labelled and {images['unlabeled']} unlabelled images, the "
        f"{label(run.main).lower()} reaches {100 * miou[run.main]:.1f} % mIoU on {images[run.evaluated]} {kind} images"
    )
    compared = []
    if baseline is not None:
        gain = _difference(miou[run.main] - miou[baseline])
        compared.append(f"{gain} the supervised baseline, which was trained on the labels alone")
    if teachers := run.teachers:
        best = max(teachers, key=lambda name: miou[name])
        which = (
            ("its teacher", "the better of its teachers")[len(teachers) - 1]
            if len(teachers) < 3
            else "the best of its teachers"
        )
        info = run.networks_info.get(best, {}).get("architecture")
        name = ", ".join(filter(None, [label(best).lower(), info]))
        compared.append(f"{_difference(miou[run.main] - miou[best])} {which} ({name})")
    return f"{summary}: {', and '.join(compared)}." if compared else f"{summary}."


def _difference(gain: float) -> str:
    points = round(100 * gain, 1)
    return "as much as" if points == 0 else f"{abs(points):.1f} points {'more' if points > 0 else 'less'} than"


def _compare_classes(run: Run, networks: list[str], baseline: str | None) -> list[dict[str, Any]]:
    """Tabulate the classes; those that gain most over the baseline come first."""
    labeled = run.split_summary["pixels_per_class"]["labeled"]
    total = sum(labeled.values()) or 1
    rows = []
    for name in run.metrics[run.main]["per_class"]:
        ious = {network: run.metrics[network]["per_class"].get(name) for network in networks}
        main, reference = ious[run.main], None if baseline is None else ious[baseline]
        gain = None if main is None or reference is None else main - reference
        rows.append({"name": name, "ious": ious, "gain": gain, "labeled": labeled.get(name, 0) / total})
    return sorted(rows, key=lambda row: (row["gain"] is None, -(row["gain"] or 0)))


def _tabulate_losses(run: Run) -> list[tuple[str, str, str, float, float]]:
    """Give training, network, loss, its first and its last value."""
    return [
        (training.replace("_", " "), run.label(network), loss.replace("_", " "), *ends)
        for training, history in run.histories.items()
        for column, (network, loss) in loss_columns(history, training).items()
        if (ends := _ends(history, column))
    ]


def _tabulate_costs(run: Run) -> list[dict[str, Any]]:
    """Tabulate the trainings: what was trained together, multiply-adds, and what was measured on this machine.

    A method's total includes the training of its teachers; ``relative`` is that over the supervised baseline's.
    """
    trainings: dict[str, list[str]] = {}
    for name in last_weights(run.networks_info):
        trainings.setdefault(run.networks_info[name].get("fingerprint") or name, []).append(name)
    rows: list[dict[str, Any]] = []
    for fingerprint, names in trainings.items():
        compute = run.networks_info[names[0]].get("compute")
        teachers = compute and compute["teachers"]
        whole = None if compute is None or teachers is None else compute["total"] + teachers
        measured = run.costs.get(fingerprint, {})
        rows.append({"names": names, "compute": compute or {}, "whole": whole, "measured": measured})
    baseline = next((row["whole"] for row in rows if BASELINE in row["names"]), None)
    for row in rows:
        row["relative"] = row["whole"] / baseline if row["whole"] and baseline else None
    return rows


def _amount(value: int | None) -> str:
    """Write a large number with three digits and a prefix: 1.23 G."""
    if value is None:
        return "–"
    rounded = float(f"{value:.2e}")
    prefix = min(len(f"{rounded:.0f}") - 1, 20) // 3
    return f"{rounded / 1000**prefix:.3g} {' kMGTPE'[prefix]}".strip()


def _ends(history: pd.DataFrame, column: str) -> tuple[float, float] | None:
    values = history[column].dropna() if column in history else history["step"].iloc[:0]
    return None if values.empty else (float(values.iloc[0]), float(values.iloc[-1]))


def _first(run: Run, key: str) -> Any:
    """Give a value of the records, preferably of the student's training; None if no record has it."""
    records = [run.run_manifest.get("student_learning", {}), *run.run_manifest.values()]
    return next((record[key] for record in records if record.get(key)), None)


def _commands(run: Run) -> dict[str, list[str]]:
    """Give the commands, each with the stages that it ran."""
    commands: dict[str, list[str]] = {}
    for stage, record in run.run_manifest.items():
        if command := record.get("command"):
            commands.setdefault(command, []).append(stage)
    return commands


def _parameters(run: Run) -> str | None:
    """Give the parameters as text: once if all stages ran with the same, else those of each stage."""
    found = {stage: record.get("parameters") for stage, record in run.run_manifest.items()}
    texts = {stage: json.dumps(each, indent=2, ensure_ascii=False) for stage, each in found.items() if each}
    if len(set(texts.values())) <= 1:
        return next(iter(texts.values()), None)
    return "\n\n".join(f"{stage}\n{text}" for stage, text in texts.items())


def _labeled_list(run: Run) -> dict[str, Any]:
    """Describe the list of labelled images."""
    splitting: Mapping[str, Any] = (
        (run.run_manifest.get("data_splitting") or {}).get("parameters", {}).get("splitting", {})
    )
    return {
        "path": splitting.get("labeled_list"),
        "fraction": splitting.get("labeled_fraction"),
        "sha256": run.split_summary["sha256"]["labeled"],
        **run.split_summary["lists"]["labeled"],
    }


def _percent(fraction: float | None, digits: int = 1) -> str:
    return "–" if fraction is None else f"{100 * fraction:.{digits}f}"


def _signed(fraction: float | None) -> str:
    return "–" if fraction is None else signed(100 * fraction)


def _embed(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _size(png: bytes) -> Markup:
    """Give an image's size as HTML attributes, so that the page does not shift while it loads."""
    width, height = struct.unpack(">II", png[16:24])
    return Markup(f'width="{width}" height="{height}"')
