"""From a run to the text of its page."""

import base64
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from igl_dt.evaluation.pseudo_labels import CONFIDENT
from igl_dt.methods.igl_dt import IglDtParameters
from igl_dt.reporting.figures.style import SERIES, signed
from igl_dt.reporting.report.remarks import find_remarks
from igl_dt.reporting.report.run import Run, name_briefly, name_network

SCORES = {
    "miou": "mIoU",
    "pixel_accuracy": "Pixel accuracy",
    "mean_class_accuracy": "Mean class accuracy",
    "miou_present": "mIoU of classes present",
    "boundary_miou": "Boundary mIoU",
}
"""Titles of the scores, in their order; further ones are called by their keys."""
STAGES = ("data_splitting", "teacher_pretraining", "student_learning", "evaluation", "reporting")
SHOWN_STATES = 6


def render_report(run: Run) -> str:
    """Write the page of a run: the same text for the same run.

    All is in it, figures as data URIs. Values are shown rounded; ``<data value>`` has them as ``metrics.json`` does.
    Needed figures: ``data``, ``examples``, ``losses``, ``miou``, ``pseudo_labels``, ``confusion``.
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
        "network": name_network,
    }
    networks = [
        *(name for name in SERIES if name in run.metrics),
        *(name for name in run.metrics if name not in SERIES),
    ]
    return environment.get_template("report.html.jinja").render(
        run=run,
        environment=_first(run, "env"),
        summary=_summarize(run),
        remarks=find_remarks(run),
        networks=networks,
        scores=_name_scores(run),
        series=SERIES,
        classes=_compare_classes(run),
        states=_tell_states(run),
        monitored=any(column.startswith("pseudo_label") for column in run.histories["teachers"].columns),
        confident=CONFIDENT,
        stages=[(stage, run.manifest.get(stage)) for stage in STAGES],
        commands=_commands(run),
        surroundings=_first(run, "surroundings", "student_learning"),
        versions=_first(run, "versions", "student_learning"),
        parameters=_parameters(run),
        labeled_list=_labeled_list(run),
    )


def _name_scores(run: Run) -> dict[str, str]:
    keys = [key for key, value in run.metrics["student"].items() if isinstance(value, float)]
    known = {key: title for key, title in SCORES.items() if key in keys}
    return known | {key: key.replace("_", " ").capitalize() for key in keys if key not in known}


def _summarize(run: Run) -> str:
    """Say the result in one sentence."""
    miou = {name: scores["miou"] for name, scores in run.metrics.items()}
    images = run.split_summary["images"]
    kind = {"test": "test", "val": "validation"}[run.measured]
    said = (
        f"Learning from {images['labeled']} labelled and {images['unlabeled']} unlabelled images, the student "
        f"reaches {100 * miou['student']:.1f} % mIoU on {images[run.measured]} {kind} images"
    )
    teacher = max(("swin_unet", "res_unet"), key=lambda name: miou[name])
    compared = [f"{_difference(miou['student'] - miou[teacher])} the better of its teachers ({name_briefly(teacher)})"]
    if "supervised" in miou:
        gain = _difference(miou["student"] - miou["supervised"])
        compared.insert(0, f"{gain} the same network trained on the labels alone")
    return f"{said}: {', and '.join(compared)}."


def _difference(gain: float) -> str:
    points = round(100 * gain, 1)
    return "as much as" if points == 0 else f"{abs(points):.1f} points {'more' if points > 0 else 'less'} than"


def _compare_classes(run: Run) -> list[dict[str, Any]]:
    """Give the classes, those first that gain most from unlabelled images."""
    labeled = run.split_summary["pixels_per_class"]["labeled"]
    total = sum(labeled.values()) or 1
    rows = []
    for name in run.metrics["student"]["per_class"]:
        ious = {network: run.metrics[network]["per_class"][name] for network in SERIES if network in run.metrics}
        known = ious["student"] is not None and ious.get("supervised") is not None
        gain = ious["student"] - ious["supervised"] if known else None
        rows.append({"name": name, "ious": ious, "gain": gain, "labeled": labeled.get(name, 0) / total})
    return sorted(rows, key=lambda row: (row["gain"] is None, -(row["gain"] or 0)))


def _tell_states(run: Run) -> dict[str, Any] | None:
    """Give the turns of the student's two states; None where it is not known how they took turns."""
    history = run.histories["student"]
    parameters = (run.manifest.get("student_learning") or {}).get("parameters")
    if parameters is None or history.empty:
        return None
    losses = parameters["student_learning"].get("losses") or {}
    every = losses.get("swap_every", IglDtParameters.model_fields["swap_every"].default)
    steps = int(history["step"].max())
    turns = [(first + 1, min(first + every, steps)) for first in range(0, steps, every)]
    states = [
        ("Global", "swin_unet", "res_unet", "global_context", turns[::2]),
        ("Local", "res_unet", "swin_unet", "local_regional", turns[1::2]),
    ]
    return {
        "every": every,
        "turns": turns[:SHOWN_STATES],
        "more": len(turns) - SHOWN_STATES,
        "states": [
            {
                "name": name,
                "guide": name_briefly(guide),
                "other": name_briefly(other),
                "steps": sum(last - first + 1 for first, last in own),
                "loss": loss.replace("_", " "),
                "ends": _ends(history, loss),
            }
            for name, guide, other, loss, own in states
        ],
    }


def _ends(history: pd.DataFrame, column: str) -> tuple[float, float] | None:
    values = history[column].dropna() if column in history else history["step"].iloc[:0]
    return None if values.empty else (float(values.iloc[0]), float(values.iloc[-1]))


def _first(run: Run, key: str, stage: str = STAGES[0]) -> Any:
    """Give what a stage's record says, or else what the first does that says it; None where none does."""
    records = [run.manifest.get(name, {}) for name in (stage, *STAGES)]
    return next((record[key] for record in records if key in record), None)


def _commands(run: Run) -> dict[str, list[str]]:
    """Give the commands with the stages that each ran."""
    commands: dict[str, list[str]] = {}
    for stage in STAGES:
        if command := run.manifest.get(stage, {}).get("command"):
            commands.setdefault(command, []).append(stage)
    return commands


def _parameters(run: Run) -> str | None:
    """Give the parameters as text, when all stages were run with the same ones; else each stage's."""
    found = {stage: run.manifest.get(stage, {}).get("parameters") for stage in STAGES}
    texts = {stage: json.dumps(each, indent=2, ensure_ascii=False) for stage, each in found.items() if each}
    if not texts:
        return None
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "\n\n".join(f"{stage}\n{text}" for stage, text in texts.items())


def _labeled_list(run: Run) -> dict[str, Any]:
    """Say which images were labelled."""
    splitting: Mapping[str, Any] = (run.manifest.get("data_splitting") or {}).get("parameters", {}).get("splitting", {})
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
    """Give an image's size as attributes, so that a page does not jump while it is read."""
    width, height = struct.unpack(">II", png[16:24])
    return Markup(f'width="{width}" height="{height}"')
