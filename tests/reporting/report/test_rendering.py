"""The page: it says what the tables say, loads nothing, and is the same for the same run."""

import copy
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise

import pandas as pd
import pytest

from igl_dt.reporting.report import Run, render_report

MakeRun = Callable[..., Run]
VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """Collects what tests look at, and checks that elements are closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "dt":
            self.text += " "

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data

    def row(self, *starts: str) -> list[str]:
        """Give the cells after those that a row begins with, without what is blank."""
        cells = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        (found,) = [row for row in cells if tuple(row[: len(starts)]) == starts]
        return found[len(starts) :]


@pytest.fixture
def page(make_run: MakeRun) -> Page:
    return Page(render_report(make_run()))


def test_scores_are_those_of_the_metrics(make_run: MakeRun, page: Page) -> None:
    metrics = make_run().metrics
    values = Counter(float(str(attributes["value"])) for tag, attributes in page.elements if tag == "data")
    keys = ("miou", "pixel_accuracy", "mean_class_accuracy", "miou_present")
    expected = Counter(scores[key] for scores in metrics.values() for key in keys)
    shown = ("student", "supervised", "swin_unet", "res_unet")
    expected += Counter(iou for name in shown for iou in metrics[name]["per_class"].values() if iou is not None)
    assert values == expected
    assert page.row("ResUnet (teacher)")[:4] == [f"{100 * metrics['res_unet'][key]:.2f}" for key in keys]
    assert len(page.row("Student (IGL-DT), best validation")) == 4


def test_further_scores_have_a_column_each(make_run: MakeRun) -> None:
    metrics = copy.deepcopy(make_run().metrics)
    metrics["student"] |= {"boundary_miou": 0.25, "some_score": 0.125, "boundary_per_class": {"road": 0.5}}
    page = Page(render_report(make_run(metrics=metrics)))
    assert page.row("Network")[3:] == ["mIoU of classes present", "Boundary mIoU", "Some score"]
    assert page.row("Student (IGL-DT)")[4:] == ["25.00", "12.50"]
    assert page.row("Supervised only")[4:] == ["–", "–"]


def test_the_result_in_one_sentence(make_run: MakeRun, page: Page) -> None:
    said = (
        "Learning from 5 labelled and 35 unlabelled images, the student reaches 60.0 % mIoU on 7 test images: "
        "6.0 points more than the same network trained on the labels alone, and 7.0 points more than the better of its "
        "teachers (ResUnet)."
    )
    assert said in page.text
    metrics = copy.deepcopy(make_run().metrics)
    metrics["supervised"]["miou"], metrics["swin_unet"]["miou"] = 0.6, 0.65
    text = render_report(make_run(metrics=metrics))
    assert "as much as the same network trained on the labels alone, and 5.0 points less than" in text
    assert "(SwinUnet)" in text


def test_classes_stand_beside_the_reference_those_first_that_gain(make_run: MakeRun, page: Page) -> None:
    cells = page.row("road")
    road = {
        name: 100 * make_run().metrics[name]["per_class"]["road"] for name in ("student", "supervised", "swin_unet")
    }
    assert cells[0].split() == [f"{road['student']:.1f}", f"{road['supervised']:.1f}"]
    assert cells[1] == f"{road['student'] - road['supervised']:+.1f}"
    assert cells[2] == f"{road['swin_unet']:.1f}" and cells[4] == "25.00"
    assert page.row("never") == ["– –", "–", "–", "–", "25.00"]
    names = [row[0] for row in page.rows if row and row[0] in ("sky & sea", "<b>", "road", "never")]
    assert names == ["road", "sky & sea", "<b>", "never"]


def test_names_are_escaped(make_run: MakeRun, page: Page) -> None:
    assert "b" not in {tag for tag, _ in page.elements} and "<b>" in page.text
    assert "'--params=dataset.root=<a>'" in page.text
    assert page.row("<b>")


def test_nothing_is_loaded_or_run(make_run: MakeRun) -> None:
    text = render_report(make_run())
    assert not re.search(r"https?://|url\(|@import|<script|\bon\w+=", text)
    for tag, attributes in Page(text).elements:
        for name in ("src", "href"):
            if name in attributes:
                assert str(attributes[name]).startswith(("data:", "#")), (tag, attributes[name])


def test_the_same_run_is_the_same_text(make_run: MakeRun) -> None:
    assert render_report(make_run()) == render_report(make_run())
    assert render_report(make_run(fingerprints={"student": "other"})) != render_report(make_run())


def test_says_where_it_comes_from(page: Page) -> None:
    assert page.row("student_learning") == ["14.3", "456.7", "cccccccccccc"]
    for said in ("python 3.11.7", "2" * 64, "l" * 64, "kedro run --env=smoke"):
        assert said in page.text
    described = " ".join(page.text.split())
    assert "Device cpu" in described and "Threads 3" in described and "12.5 % of the training images" in described
    assert "IGL-DT on smoke" in described and '"swap_every": 8' in described


def test_states_take_turns(page: Page) -> None:
    described = " ".join(page.text.split())
    assert "They take turns every 8 steps." in described
    assert page.row("", "1–8") == ["9–16", "17–24", "25–32", "33–40"]
    assert page.row("Global", "SwinUnet", "") == ["SwinUnet", "", "SwinUnet"]
    assert page.row("Global", "SwinUnet", "ResUnet") == ["24", "global context: 1 → 0.0256"]
    assert page.row("Local", "ResUnet", "SwinUnet") == ["16", "local regional: 1 → 0.05"]


def test_what_is_not_known_is_said(make_run: MakeRun) -> None:
    metrics = {name: scores for name, scores in make_run().metrics.items() if "supervised" not in name}
    histories = make_run().histories | {"supervised": pd.DataFrame({"step": []})}
    teachers = histories["teachers"]
    histories["teachers"] = teachers.drop(columns=[name for name in teachers if name.startswith("pseudo")])
    page = Page(
        render_report(make_run(manifest={}, metrics=metrics, histories=histories, fingerprints={"student": None}))
    )
    assert page.row("evaluation") == ["not recorded"]
    assert "How they took turns was not recorded" in " ".join(page.text.replace("\n", " ").split())
    assert "Not monitored" in page.text and "Supervised only" not in page.text
    assert page.row("road")[1] == "–"
    only = make_run(manifest={"evaluation": make_run().manifest["evaluation"]})
    assert Page(render_report(only)).row("data_splitting") == ["not recorded"]


def test_headings_tables_and_images_can_be_heard(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == 6
    assert all(len(str(image["alt"])) > 30 and image["width"] == "1800" for image in images)
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in page.elements if tag == "th")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("aria-describedby", "aria-labelledby"):
            assert attributes.get(name, ids[0]) in ids
        if str(attributes.get("href")).startswith("#"):
            assert str(attributes["href"])[1:] in ids
    assert ("html", {"lang": "en"}) in page.elements
