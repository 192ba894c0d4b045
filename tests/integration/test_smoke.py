"""The whole project once, as a user runs it."""

import html
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

PROJECT = Path(__file__).parents[2]
SPLITS = {"manifest.csv", "labeled.csv", "unlabeled.csv", "val.csv", "test.csv", "split_summary.json"}
STAGES = ("data_splitting", "teacher_pretraining", "student_learning", "evaluation", "reporting")
NETWORKS = {"student", "student_best", "global_teacher", "local_teacher", "supervised", "supervised_best"}


def test_the_promised_files_are_there(full: Path) -> None:
    assert {path.name for path in (full / "data/05_model_input/smoke").iterdir()} >= SPLITS
    weights = full / "data/06_models/smoke"
    best_teachers = {"global_teacher_best", "local_teacher_best"}
    assert {path.stem for path in weights.rglob("*.safetensors")} == NETWORKS | best_teachers
    assert {path.stem for path in weights.glob("*.safetensors")} >= {"global_teacher", "local_teacher", "student"}
    reporting = full / "data/08_reporting/smoke"
    assert (reporting / "image_scores.csv").is_file()
    figures = sorted(reporting.glob("*.png"))
    drawn = {"data", "losses", "miou", "pseudo_labels", "per_class_iou", "confusion", "examples"}
    assert {figure.stem for figure in figures} == drawn
    for figure in figures:
        with Image.open(figure) as image:
            assert min(image.size) > 100
    assert not [path for path in (full / "data").glob("*/*") if path.name != "smoke"]


def test_the_report_says_what_the_metrics_say_and_how_they_came_about(full: Path) -> None:
    reporting = full / "data/08_reporting/smoke"
    page = (reporting / "report.html").read_text("utf-8")
    metrics = json.loads((reporting / "metrics.json").read_text("utf-8"))
    for scores in metrics.values():
        for key in ("miou", "miou_present", "pixel_accuracy", "mean_class_accuracy"):
            assert f'<data value="{scores[key]}">{100 * scores[key]:.2f}</data>' in page
    summary = json.loads((full / "data/05_model_input/smoke/split_summary.json").read_text("utf-8"))
    record = json.loads((reporting / "run_manifest.json").read_text("utf-8"))
    assert {stage: entry["unfinished"] for stage, entry in record.items()} == {stage: [] for stage in STAGES}
    for stage in STAGES[:4]:  # the last one is not yet done when it writes the report
        assert f'<td class="n">{record[stage]["seconds"]}</td>' in page
        assert f'<td class="n">{record[stage]["peak_memory_mib"]}</td>' in page
    networks = json.loads((reporting / "networks.json").read_text("utf-8"))
    fingerprints = [network["fingerprint"] for network in networks.values()]
    for said in (summary["sha256"]["labeled"], *fingerprints, html.escape(record["evaluation"]["command"])):
        assert said in page
    assert page.count("data:image/png;base64,") == 7


def test_pseudo_labels_are_measured_at_each_validation(full: Path) -> None:
    history = pd.read_csv(full / "data/08_reporting/smoke/history_teachers.csv")
    columns = [
        f"pseudo_label_{kind}.{net}"
        for kind in ("accuracy", "confident")
        for net in ("global_teacher", "local_teacher")
    ]
    for column in (*columns, "pseudo_label_agreement"):
        assert history.loc[history[column].notna(), "step"].tolist() == [4, 8]
        assert history[column].dropna().between(0, 1).all()


def test_metrics_have_an_entry_per_network(full: Path) -> None:
    metrics = json.loads((full / "data/08_reporting/smoke/metrics.json").read_text("utf-8"))
    assert metrics.keys() == NETWORKS
    names = json.loads((full / "data/05_model_input/smoke/class_names.json").read_text("utf-8"))
    for name, scores in metrics.items():
        assert 0 <= scores["miou"] <= 1 and 0 <= scores["boundary_miou"] <= 1, name
        assert list(scores["per_class"]) == names
    assert len({scores["pixels"] for scores in metrics.values()}) == 1


def test_each_measured_image_has_a_score_per_network(full: Path) -> None:
    scores = pd.read_csv(full / "data/08_reporting/smoke/image_scores.csv")
    assert list(scores) == ["id", "student", "global_teacher", "local_teacher", "supervised"]
    assert scores["id"].tolist() == pd.read_csv(full / "data/05_model_input/smoke/test.csv")["id"].tolist()
    assert scores.drop(columns="id").stack().between(0, 1).all()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")  # Kedro's
def test_its_weights_are_measured_apart_with_the_same_scores_and_become_a_file_for_others(
    full: Path, make_project, run_here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = str(full / "data/06_models/smoke/student.safetensors")
    root = make_project("apart")
    shutil.copytree(full / "data", root / "data")
    run_here(root, "weights_evaluation", weights_evaluation={"weights": weights, "split": "test"})
    output = root / "data/07_model_output/smoke"
    apart = json.loads((output / "weights_evaluation/metrics.json").read_text("utf-8"))
    scores = json.loads((full / "data/08_reporting/smoke/metrics.json").read_text("utf-8"))["student"]
    assert {key: apart[key] for key in scores} == scores
    run_here(root, "export", export={"weights": weights})
    assert (output / "student.onnx").stat().st_size > 10_000
    folder = output / "student"
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert (folder / "model.safetensors").read_bytes() == Path(weights).read_bytes()
    names = json.loads((output.parents[1] / "05_model_input/smoke/class_names.json").read_text("utf-8"))
    assert json.loads((folder / "config.json").read_text("utf-8"))["class_names"] == names
    _, header, text = (folder / "README.md").read_text("utf-8").split("---\n")
    assert yaml.safe_load(header)["pipeline_tag"] == "image-segmentation"
    assert ", ".join(names) in text

    (code,) = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/own_data.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (50, 40)).save("image.jpg")
    exec(code.replace("data/07_model_output/folder", str(output)), {})
    with Image.open("mask.png") as mask:
        assert mask.size == (50, 40)
        assert max(mask.tobytes()) < len(names)


@pytest.mark.parametrize(
    ("name", "networks", "losses"),
    [
        ("teachers", {"global_teacher", "local_teacher"}, {"global_teacher.supervised", "local_teacher.cross_pseudo"}),
        ("student", {"student"}, {"supervised", "labeled_pseudo_label", "global_context", "local_regional"}),
        ("supervised", {"supervised"}, {"supervised"}),
    ],
)
def test_histories_have_losses_rates_and_scores(full: Path, name: str, networks: set, losses: set) -> None:
    history = pd.read_csv(full / f"data/08_reporting/smoke/history_{name}.csv")
    assert history["step"].tolist() == list(range(1, 9))
    rates = {f"learning_rate.{network}" for network in networks}
    assert losses | rates <= set(history)
    for network in networks:
        assert history.loc[history[f"val_miou.{network}"].notna(), "step"].tolist() == [4, 8]
    training = {"teachers": "teacher_pretraining", "student": "student_learning", "supervised": "reference"}[name]
    grown = full / f"data/07_model_output/smoke/training/{training}/history.csv"
    assert grown.read_bytes() == (full / f"data/08_reporting/smoke/history_{name}.csv").read_bytes()


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::ResourceWarning")  # Kedro's
def test_without_its_reference_the_student_is_the_same(full: Path, make_project, outputs, run_here) -> None:
    root = make_project("without")
    shutil.copytree(full / "data", root / "data")
    torch.rand(5)  # what was drawn before must not matter
    run_here(root, "student_learning", "evaluation", "reporting", student_learning={"reference": False})
    once, without = outputs(full), outputs(root)
    metrics = json.loads(without["data/08_reporting/smoke/metrics.json"])
    assert metrics.keys() == NETWORKS - {"supervised", "supervised_best"}
    gone = once.keys() - without.keys()
    assert {Path(name).stem for name in gone if name.endswith(".safetensors")} == {"supervised", "supervised_best"}
    assert all("supervised" in name for name in gone)
    assert not without.keys() - once.keys()
    for name in ("student", "student_best", "global_teacher", "local_teacher"):
        path = f"data/06_models/smoke/{name}.safetensors"
        assert without[path] == once[path]
    assert without["data/08_reporting/smoke/history_student.csv"] == once["data/08_reporting/smoke/history_student.csv"]
    for name in ("per_class_iou", "image_scores"):
        assert "supervised" not in without[f"data/08_reporting/smoke/{name}.csv"].decode()
