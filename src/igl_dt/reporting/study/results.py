"""The table of a study: what its runs came to."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from igl_dt.reporting.networks import BEST, MAIN, is_teacher
from igl_dt.reporting.study.definition import TEACHERS, Cell

DONE, RECORDED, FAILED = "done", "recorded", "failed"
"""``recorded``: done elsewhere, and in the study's tables."""
FAILURE = "failed.txt"
"""In a run's reporting folder: the digest of a failed cell's parameters, and the end of what it printed."""
IOU, TEACHER, OTHER = "iou.", "teacher.", "other."
TRAINED = {"teacher_pretraining": "teachers", "student_learning": "student"}
"""What is trained, by stage."""
_RESULTS = (
    *("method", "ablation", "fraction", "seed", "weights", "status", "run", "digest", "labeled_images"),
    *("labeled_sha256", "images_sha256", "fingerprint", "teachers", "steps", "multiply_adds"),
    *("multiply_adds_with_teachers", "val_miou", "test_miou"),
)
_COSTS = ("run", "digest", "seconds", "peak_memory_mib", "commit", "changed", "device", "kernels")
_TEXT = dict.fromkeys(
    ("ablation", "run", "digest", "labeled_sha256", "images_sha256", "fingerprint", "teachers", "commit"), "str"
)
_COUNTS = dict.fromkeys(("labeled_images", "steps", "multiply_adds", "multiply_adds_with_teachers"), "Int64")


class Tables(NamedTuple):
    """The tables of a study; of both, a run's rows have its name and the digest of its parameters."""

    results: pd.DataFrame
    costs: pd.DataFrame

    def rows_of(self, run: str, digest: str) -> "Tables":
        """Give the rows of a run with these parameters, where tables of several clones may have been merged.

        Of a run that is done in several, the first counts; one that is done somewhere has not failed.
        """
        results, costs = (table[(table["run"] == run) & (table["digest"] == digest)] for table in self)
        done = results[results["status"] == DONE]
        return Tables((done if len(done) else results).drop_duplicates("weights"), costs.drop_duplicates("run"))


def read_tables(folder: Path) -> Tables:
    """Read ``results.csv`` and ``costs.csv`` of a study's folder; one that is not there is empty."""
    found = []
    for name, columns in (("results", _RESULTS), ("costs", _COSTS)):
        path = folder / f"{name}.csv"
        table = pd.DataFrame(columns=list(columns))
        if path.is_file():
            table = pd.read_csv(path, dtype=_TEXT | _COUNTS).fillna(dict.fromkeys(_TEXT, ""))
            for key in set(columns) - set(table):
                table[key] = "an older version" if key in ("run", "digest") else None
        found.append(table)
    return Tables(*found)


def read_results(project: Path, cells: Iterable[tuple[Cell, str, str]], recorded: Tables) -> Tables:
    """Gather the scores of all cells that are done.

    Args:
        project: folder that has ``data/``.
        cells: in the order of the table, each with its status and its digest; cells that are neither done, recorded nor
            failed are left out.
        recorded: tables whose rows of recorded cells are kept.

    Returns:
        The results, two rows per cell: the student with its last weights, and with those of its best validation. Scores
        are between 0 and 1, ``multiply_adds`` are of the whole training (see ``SegmentationNetwork.compute``) and empty
        where not recorded, ``test_miou`` is empty where there is no test split; the mIoU ``teacher.<role>`` of the
        teachers' last weights and ``other.<name>`` of what a method trains beside the student, such as an average of
        its weights, and ``iou.<class>`` are of the test split if there is one, else of the validation images. A failed
        cell has no scores. Then what varies from one execution to the next, a row per cell: seconds, memory, commit.
    """
    rows: list[dict[Any, Any]] = []
    costs: list[dict[Any, Any]] = []
    for cell, status, digest in cells:
        if status == RECORDED:
            for gathered, table in zip((rows, costs), recorded.rows_of(cell.run, digest), strict=True):
                gathered += table.to_dict("records")
            continue
        key = {"method": cell.method, "ablation": cell.ablation, "fraction": cell.fraction, "seed": cell.seed}
        named = {"run": cell.run, "digest": digest}
        if status == DONE:
            costs.append(named | _costs(project, cell))
        if cell.method != TEACHERS and status in (DONE, FAILED):
            scores = _scores(project, cell) if status == DONE else {"last": {}, "best": {}}
            rows += [key | {"weights": name, "status": status} | named | values for name, values in scores.items()]
    found = dict.fromkeys(name for row in rows for name in row if name.startswith((TEACHER, OTHER, IOU)))
    more = sorted(found, key=lambda name: [TEACHER, OTHER, IOU].index(name.partition(".")[0] + "."))
    results = pd.DataFrame(rows, columns=[*_RESULTS, *more], dtype=object).astype(_COUNTS).infer_objects()
    return Tables(results, pd.DataFrame(costs, columns=list(_COSTS)))


def score_column(results: pd.DataFrame) -> str:
    """Give the column of the scores to compare: of the test split if there is one."""
    return "test_miou" if results["test_miou"].notna().any() else "val_miou"


def find_other_lists(results: pd.DataFrame) -> list[str]:
    """Name runs whose labelled images are not those of the first run with the same fraction and seed."""
    known = results[results["labeled_sha256"].fillna("") != ""]
    return _unlike_the_first(known, ["fraction", "seed"], ["labeled_sha256"])


def find_other_images(results: pd.DataFrame) -> list[str]:
    """Name runs whose images or masks, of all splits, are not those of the study's first run."""
    known = results[results["images_sha256"].fillna("") != ""]
    return _unlike_the_first(known.assign(study=""), ["study"], ["images_sha256"])


def find_other_teachers(results: pd.DataFrame) -> list[str]:
    """Name runs whose teachers have other scores than those of the first run with the same teachers."""
    scores = [name for name in map(str, results) if name.startswith(TEACHER)]
    known = results[results["teachers"].fillna("") != ""].dropna(subset=scores, how="all")
    return _unlike_the_first(known, ["teachers"], scores)


def _unlike_the_first(rows: pd.DataFrame, by: list[str], columns: list[str]) -> list[str]:
    """Name runs that differ in some columns from the first row of their group."""
    first = rows.groupby(by)[columns].transform("first")
    return list(dict.fromkeys(rows["run"][(rows[columns] != first).any(axis=1)]))


def _scores(project: Path, cell: Cell) -> dict[str, dict[str, Any]]:
    """Give the columns of a cell with its last and its best weights."""
    reporting = project / "data/08_reporting" / cell.run
    files = own_stages(reporting, cell)["data_splitting"].get("sha256", {})
    images = next((content for path, content in files.items() if path.endswith("/manifest.csv")), None)
    metrics, networks = _read(reporting / "metrics.json"), _read(reporting / "networks.json")
    summary = _read(project / "data/05_model_input" / cell.run / "split_summary.json")
    history = pd.read_csv(reporting / "history_student.csv").dropna(subset=f"val_miou.{MAIN}")
    steps, val = history["step"].to_numpy(), history[f"val_miou.{MAIN}"].to_numpy()
    teachers_there = [name for name in metrics if is_teacher(name) and not name.endswith(BEST)] if cell.teachers else []
    of_teachers = {TEACHER + name: round(metrics[name]["miou"], 6) for name in teachers_there}
    others = [name for name in metrics if not (name == MAIN or is_teacher(name) or name.endswith(BEST))]
    found = {}
    for weights, network in (("last", MAIN), ("best", MAIN + BEST)):
        ending = network.removeprefix(MAIN)
        row = -1 if weights == "last" else int(val.argmax())
        scores, compute = metrics[network], networks[network].get("compute") or {}
        total, teachers = compute.get("total"), compute.get("teachers")
        found[weights] = {
            "labeled_images": summary["images"]["labeled"],
            "labeled_sha256": summary["sha256"]["labeled"],
            "images_sha256": images,
            "fingerprint": networks[network]["fingerprint"],
            "teachers": cell.teachers or "",
            "steps": int(steps[row]),
            "multiply_adds": total,
            "multiply_adds_with_teachers": None if teachers is None else total + teachers,
            "val_miou": round(float(val[row]), 6),
            "test_miou": round(scores["miou"], 6) if summary["images"]["test"] else None,
            **of_teachers,
            **{OTHER + name: round(metrics[name + ending]["miou"], 6) for name in others},
            **{IOU + name: None if iou is None else round(iou, 6) for name, iou in scores["per_class"].items()},
        }
    return found


def own_stages(reporting: Path, cell: Cell) -> dict[str, Any]:
    """Read how the pipelines of a cell were run, from its folder of metrics.

    Raises:
        OSError, ValueError: there is no such account, or it is no JSON.
    """
    stages = _read(reporting / "run_manifest.json")
    return {name: stages[name] for name in cell.pipelines if name in stages}


def measure_run(reporting: Path, stages: Mapping[str, Any]) -> tuple[float, float]:
    """Give the seconds and the peak memory in MiB of a run that is done, however often its training was resumed.

    Args:
        reporting: the run's folder of metrics.
        stages: what its ``run_manifest.json`` holds.
    """
    seconds, memory = 0.0, 0.0
    for name, stage in stages.items():
        # The account of a stage is of the last process alone, a training's cost of all.
        cost = reporting / f"cost_{TRAINED.get(name, name)}.json"
        training = _read(cost) if cost.is_file() else {"seconds": 0.0, "peak_memory_mib": 0.0}
        seconds += max(stage["seconds"], training["seconds"])
        memory = max(memory, stage["peak_memory_mib"], training["peak_memory_mib"])
    return round(seconds, 1), memory


def _costs(project: Path, cell: Cell) -> dict[str, Any]:
    reporting = project / "data/08_reporting" / cell.run
    stages = own_stages(reporting, cell)
    trained = next(stage for stage in stages.values() if "environment" in stage)
    seconds, memory = measure_run(reporting, stages)
    return {
        "seconds": seconds,
        "peak_memory_mib": memory,
        "commit": trained["commit"] or "",
        "changed": bool(trained["dirty"]),
        **{key: trained["environment"][key] for key in ("device", "kernels")},
    }


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
