"""A run with everything that a report shows, and with names that would break a page that does not escape them."""

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from igl_dt.reporting.gallery import GALLERY
from igl_dt.reporting.report import Run

CLASSES = ("sky & sea", "<b>", "road", "never")
NETWORKS = ("student", "student_best", "global_teacher", "local_teacher", "supervised", "supervised_best")


def png(index: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (1800, 600 + 50 * index), (255, 255, 255 - index)).save(buffer, "png")
    return buffer.getvalue()


def scores(miou: float) -> dict[str, Any]:
    per_class = {"sky & sea": miou + 0.2, "<b>": miou / 3, "road": 2 * miou - 0.2 - miou / 3, "never": None}
    others = {"miou_present": 4 / 3 * miou, "pixel_accuracy": 0.9 * miou + 1 / 7, "mean_class_accuracy": miou + 1 / 9}
    return {"miou": miou, **others, "per_class": per_class, "pixels": 1000}


def histories() -> dict[str, pd.DataFrame]:
    step = np.arange(1, 41)
    validated = step % 10 == 0

    def at_validations(last: float) -> np.ndarray:
        return np.where(validated, last * np.sqrt(step / 40), np.nan)

    teachers = {"step": step, "pseudo_label_agreement": at_validations(0.8)}
    for name, accuracy in (("global_teacher", 0.85), ("local_teacher", 0.75)):
        teachers[f"{name}.supervised"] = np.ones(40)
        teachers[f"val_miou.{name}"] = at_validations(0.5)
        teachers[f"pseudo_label_accuracy.{name}"] = at_validations(accuracy)
        teachers[f"pseudo_label_confident.{name}"] = at_validations(0.6)
    student = {
        "step": step,
        "supervised": np.ones(40),
        "learning_rate.student": 1 / step,
        "global_context": np.where(step % 2, 1 / step, np.nan),
        "local_regional": np.where(step % 2, np.nan, 2 / step),
        "val_miou.student": at_validations(0.6),
    }
    supervised = {"step": step, "supervised": np.ones(40), "val_miou.supervised": at_validations(0.5)}
    return {
        "teacher_pretraining": pd.DataFrame(teachers),
        "student_learning": pd.DataFrame(student),
        "reference": pd.DataFrame(supervised),
    }


def record(**changes: Any) -> dict[str, Any]:
    known = {
        "env": "smoke",
        "command": "kedro run --env=smoke --pipelines=full '--params=dataset.root=<a>'",
        "commit": 40 * "c",
        "dirty": False,
        "parameters": {"splitting": {"labeled_fraction": 0.125}, "student_learning": {"losses": {"swap_every": 8}}},
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "environment": {"device": "cpu", "threads": "3"},
        "seconds": 12.3,
        "peak_memory_mib": 456.7,
        "sha256": {"data/a.csv": "a", "data/b.csv": "b"},
    }
    return known | changes


@pytest.fixture
def make_run() -> Callable[..., Run]:
    """Make a run about which there is nothing to remark, but for what is changed."""
    lists = dict.fromkeys(("labeled", "unlabeled", "val", "test"))
    run = Run(
        metrics={name: scores(0.6 if "student" in name else 0.5 + index / 100) for index, name in enumerate(NETWORKS)},
        split_summary={
            "images": {"labeled": 5, "unlabeled": 35, "val": 6, "test": 7},
            "pixels_per_class": {use: dict.fromkeys(CLASSES, 250) for use in ("labeled", "val", "test")},
            "classes_without_labels": [],
            "sha256": {name: name[0] * 64 for name in lists},
            "lists": {
                name: {"format": None, "file_sha256": None, "published": None, "not_comparable_with": []}
                for name in lists
            },
        },
        networks_info={
            "student": {"architecture": "deeplab_v3_plus", "trained_by": "igl_dt", "fingerprint": "2" * 64},
            "global_teacher": {"architecture": "swin_unet", "trained_by": "cps", "fingerprint": "1" * 64},
            "local_teacher": {"architecture": "res_unet", "trained_by": "cps", "fingerprint": "1" * 64},
            "supervised": {"architecture": "deeplab_v3_plus", "trained_by": "supervised", "fingerprint": "3" * 64},
        },
        histories=histories(),
        run_manifest={
            stage: record(seconds=12.3 + index)
            for index, stage in enumerate(
                ("data_splitting", "teacher_pretraining", "student_learning", "evaluation", "reporting")
            )
        },
        figures={name: png(index) for index, name in enumerate(GALLERY)},
    )
    return lambda **changes: replace(run, **changes)
