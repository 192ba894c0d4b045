"""The page: it says what the tables say, loads nothing, and is the same for the same run."""

import copy
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from igl_dt.reporting.gallery import GALLERY
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
        """Give the cells after those that the first such row begins with, without blanks."""
        cells = [[" ".join(cell.split()) for cell in row] for row in self.rows]
        found = next(row for row in cells if tuple(row[: len(starts)]) == starts)
        return found[len(starts) :]


@pytest.fixture
def page(make_run: MakeRun) -> Page:
    return Page(render_report(make_run()))


def test_scores_are_those_of_the_metrics(make_run: MakeRun, page: Page) -> None:
    metrics = make_run().metrics
    values = Counter(float(str(attributes["value"])) for tag, attributes in page.elements if tag == "data")
    keys = ("miou", "pixel_accuracy", "mean_class_accuracy", "miou_present")
    expected = Counter(scores[key] for scores in metrics.values() for key in keys)
    shown = ("student", "supervised", "global_teacher", "local_teacher")
    expected += Counter(iou for name in shown for iou in metrics[name]["per_class"].values() if iou is not None)
    assert values == expected
    assert page.row("Local teacher (res_unet)")[:4] == [f"{100 * metrics['local_teacher'][key]:.2f}" for key in keys]
    assert len(page.row("Student (igl_dt), best validation")) == 4


def test_further_scores_have_a_column_each(make_run: MakeRun) -> None:
    metrics = copy.deepcopy(make_run().metrics)
    metrics["student"] |= {"boundary_miou": 0.25, "some_score": 0.125, "boundary_per_class": {"road": 0.5}}
    page = Page(render_report(make_run(metrics=metrics)))
    assert page.row("Network")[3:] == ["mIoU of classes present", "Boundary mIoU", "Some score"]
    assert page.row("Student (igl_dt)")[4:] == ["25.00", "12.50"]
    assert page.row("Supervised")[4:] == ["–", "–"]


def test_the_result_in_one_sentence(make_run: MakeRun, page: Page) -> None:
    said = (
        "Trained on 5 labelled and 35 unlabelled images, the student reaches 60.0 % mIoU on 7 test images: "
        "6.0 points more than the supervised baseline, which was trained on the labels alone, and 7.0 points more than "
        "the better of its teachers (local teacher, res_unet)."
    )
    assert said in page.text
    metrics = copy.deepcopy(make_run().metrics)
    metrics["supervised"]["miou"], metrics["global_teacher"]["miou"] = 0.6, 0.65
    info = {"student": {"compute": {"steps": 2, "per_step": 5, "total": 10, "teachers": 0}}}
    assert "teachers (" not in Page(render_report(make_run(networks_info=info))).text
    text = render_report(make_run(metrics=metrics))
    assert "as much as the supervised baseline, which was trained on the labels alone, and 5.0 points less than" in text
    assert "(global teacher, swin_unet)" in text


def test_classes_stand_beside_the_reference_those_first_that_gain(make_run: MakeRun, page: Page) -> None:
    cells = page.row("road")
    road = {
        name: 100 * make_run().metrics[name]["per_class"]["road"]
        for name in ("student", "supervised", "global_teacher")
    }
    assert cells[0].split() == [f"{road['student']:.1f}", f"{road['supervised']:.1f}"]
    assert cells[1] == f"{road['student'] - road['supervised']:+.1f}"
    assert cells[2] == f"{road['global_teacher']:.1f}"
    assert cells[4] == "25.00"
    assert page.row("never") == ["– –", "–", "–", "–", "25.00"]
    names = [row[0] for row in page.rows if row and row[0] in ("sky & sea", "<b>", "road", "never")]
    assert names == ["road", "sky & sea", "<b>", "never"]


def test_names_are_escaped(make_run: MakeRun, page: Page) -> None:
    assert "b" not in {tag for tag, _ in page.elements}
    assert "<b>" in page.text
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
    assert render_report(make_run(networks_info={"student": {"fingerprint": "other"}})) != render_report(make_run())


def test_says_where_it_comes_from(page: Page) -> None:
    assert page.row("student_learning") == ["14.3", "456.7", "cccccccccccc"]
    for said in ("python 3.11.7", "2" * 64, "l" * 64, "kedro run --env=smoke"):
        assert said in page.text
    described = " ".join(page.text.split())
    assert "Device cpu" in described
    assert "Threads 3" in described
    assert "12.5 % of the training images" in described
    assert "igl_dt on smoke" in described
    assert '"swap_every": 8' in described


def test_losses_have_a_first_and_a_last_value(page: Page) -> None:
    assert page.row("student learning", "Student (igl_dt)", "global context") == ["1", "0.0256"]
    assert page.row("teacher pretraining", "Global teacher (swin_unet)", "supervised") == ["1", "1"]


def test_costs_have_a_row_per_training_and_are_shown_only_of_the_training_that_they_are_of(make_run: MakeRun) -> None:
    totals = {"2" * 64: (4 * 10**12, 2 * 10**12), "1" * 64: (2 * 10**12, 0), "3" * 64: (3 * 10**12, 0)}
    run = make_run()
    info = {}
    for name, known in run.networks_info.items():
        total, teachers = totals[known["fingerprint"]]
        compute = {"steps": 1000, "per_step": total // 1000, "total": total, "teachers": teachers}
        info[name] = {**known, "compute": compute}
    measured = {"seconds": 98.7, "images_per_second": 65.4, "peak_memory_mib": 321.0}
    text = render_report(make_run(networks_info=info, costs={"2" * 64: measured, "4" * 64: {"seconds": 55.5}}))
    table = text[text.index('<table id="costs"') :].partition("</table>")[0]
    assert table.count("<tr>") == 4
    student, teachers = table.split("<tr>")[2:4]
    for shown in ("1000", "4 G", "4 T", ">6 T<", "2.00", "98.7", "65.4", "321.0"):
        assert shown in student
    assert "Global teacher (swin_unet), Local teacher (res_unet)" in teachers
    assert ">–<" in teachers
    assert "55.5" not in table


def test_what_is_not_known_is_said(make_run: MakeRun) -> None:
    metrics = {name: scores for name, scores in make_run().metrics.items() if "supervised" not in name}
    histories = {name: history for name, history in make_run().histories.items() if name != "reference"}
    teachers = histories["teacher_pretraining"]
    histories["teacher_pretraining"] = teachers.drop(columns=[name for name in teachers if name.startswith("pseudo")])
    info = {"student": {"architecture": None, "trained_by": None, "fingerprint": None}}
    page = Page(render_report(make_run(run_manifest={}, metrics=metrics, histories=histories, networks_info=info)))
    assert "How the stages were run was not recorded" in page.text
    assert ["Student", *3 * ["not recorded"]] in page.rows
    assert "Not measured" in page.text
    assert "Supervised" not in page.text
    assert page.row("road")[1] == "–"
    only = make_run(run_manifest={"evaluation": make_run().run_manifest["evaluation"]})
    assert [row[0] for row in Page(render_report(only)).rows if "12.3" in str(row) or "15.3" in str(row)] == [
        "evaluation"
    ]


@pytest.mark.parametrize("names", [["student"], ["student", "second_student", "x_teacher"], ["global_teacher"]])
def test_any_networks_have_a_report(make_run: MakeRun, names: list[str]) -> None:
    """A method without teachers, or with networks that this project has never heard of."""
    metrics = {name: next(iter(make_run().metrics.values())) for name in names}
    info = {name: {"architecture": "a_net", "trained_by": "new_method", "fingerprint": None} for name in names}
    text = render_report(make_run(metrics=metrics, histories={}, networks_info=info, figures={}))
    page = Page(text)
    assert "new_method on smoke" in page.text
    assert "IGL-DT" not in text
    assert "igl_dt" not in text
    rows = [
        attributes["data-network"] for tag, attributes in page.elements if tag == "tr" and "data-network" in attributes
    ]
    assert rows == names
    assert not [tag for tag, _ in page.elements if tag == "img"]


def test_headings_tables_and_images_can_be_heard(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == len(GALLERY)
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
