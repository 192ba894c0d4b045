"""kedro-viz on the results of a run, in a real browser: what a user sees and clicks."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from igl_dt.pipeline_registry import register_pipelines

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
STAGES = {"data_splitting", "teacher_pretraining", "student_learning", "evaluation", "reporting"}
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to look at kedro-viz with")
WAIT = 60.0
"""Seconds for the server to start, and for the page to react, where the machine is busy."""


def find_port() -> int:
    """Give a free port among those that kedro-viz takes: it refuses the ones that the system hands out by itself."""
    first = 20000 + os.getpid() % 20000
    for port in range(first, first + 100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError(f"no free port from {first} on")


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=WAIT) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def offline(environment: dict[str, str]) -> dict[str, str]:
    """kedro-viz asks for its latest version: it is to know at once that it gets no answer."""
    return environment | {"HTTPS_PROXY": "http://127.0.0.1:9"}


@pytest.fixture(scope="module")
def server(full: Path, offline: dict[str, str]) -> Iterator[str]:
    """The address of ``kedro viz run`` on a finished run."""
    port = find_port()
    command = ["kedro", "viz", "run", "--no-browser", "--env=smoke", f"--port={port}"]
    log = full.parent / "viz.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, cwd=full, env=offline, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        url, deadline = f"http://127.0.0.1:{port}/", time.monotonic() + WAIT
        while not answers(url + "api/main"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


@pytest.fixture(scope="module")
def page(server: str) -> Iterator[Any]:
    """The page in a browser; in the end, no error of its own may have shown up in the console."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    errors: list[str] = []

    def note(message: Any) -> None:
        if message.type == "error" and message.location.get("url", "").startswith(server):  # not: fonts from elsewhere
            errors.append(message.text)

    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(1000 * WAIT)
        page.on("console", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.route(lambda url: not url.startswith((server, "blob:")), lambda route: route.abort())
        page.add_init_script("localStorage.setItem('KedroViz', JSON.stringify({showFeatureHints: false}))")
        page.goto(server)
        page.wait_for_selector(".pipeline-node")
        yield page
        browser.close()
    assert errors == []


def shown(page: Any) -> set[str]:
    """Names of the boxes in the graph."""
    return set(page.locator(".pipeline-node").evaluate_all("boxes => boxes.map(box => box.dataset.nodeFullname)"))


def click(page: Any, name: str) -> None:
    """Click a box, and wait for its panel."""
    page.locator(f'.pipeline-node[data-node-fullname="{name}"]').dispatch_event("click")
    page.locator(".pipeline-metadata--visible .pipeline-metadata__title", has_text=name).wait_for()


def image_width(page: Any, name: str) -> int:
    """Click a box, and give the pixels across of the image that its panel shows."""
    click(page, name)
    image = page.locator("img.pipeline-metadata__plot-image")
    image.wait_for()
    page.wait_for_function("image => image.complete && image.naturalWidth > 0", arg=image.element_handle())
    return image.evaluate("image => image.naturalWidth")


@in_browser
def test_collapsed_it_is_the_five_stages_and_fits_the_screen(page: Any) -> None:
    names = shown(page)
    assert names >= STAGES | {"labeled", "unlabeled", "global_teacher", "local_teacher", "student", "metrics"}
    assert not {name for name in names if name.endswith("_node")}
    layers = page.locator(".pipeline-layer-name").all_inner_texts()
    assert layers == [
        "splits",
        "models",
        "evaluation",
        "reporting",
    ]  # none where layers depend on each other in a circle
    page.wait_for_timeout(1000)  # it glides into place
    height = page.viewport_size["height"]
    boxes = [box.bounding_box() for box in page.locator(".pipeline-node").all()]
    assert all(box["y"] >= 0 and box["y"] + box["height"] <= height for box in boxes)


@in_browser
def test_clicks_show_numbers_lists_and_networks(page: Any, full: Path) -> None:
    click(page, "metrics")
    preview = page.locator(".pipeline-metadata__preview-json")
    preview.wait_for()
    assert "student" in preview.inner_text()
    assert "global_teacher" in preview.inner_text()
    click(page, "student")
    page.locator(".pipeline-metadata__preview-json", has_text="parameters").wait_for()
    click(page, "per_class_table")
    page.locator(".pipeline-metadata table", has_text="student").wait_for()
    assert 100 < image_width(page, "labeled") < 1000


@in_browser
def test_expanded_it_shows_every_node_what_it_does_and_figures(page: Any) -> None:
    page.get_by_label("Expand all modular pipelines").click()
    page.locator('.pipeline-node[data-node-fullname="train_student_node"]').wait_for(state="attached")
    nodes = {node.name.rpartition(".")[2] for node in register_pipelines()["full"].nodes}
    assert {name for name in shown(page) if name.endswith("_node")} == nodes
    click(page, "train_student_node")
    page.locator(".pipeline-metadata .pipeline-toggle-label", has_text="Show Code").click()
    page.locator(".pipeline-metadata-code--visible", has_text="Train the student.").wait_for()
    assert image_width(page, "examples_figure") > 1000


def test_the_site_has_everything_but_the_server(full: Path, offline: dict[str, str]) -> None:
    """What ``make site`` makes."""
    command = ["kedro", "viz", "build", "--include-previews"]
    subprocess.run(command, cwd=full, env=offline | {"KEDRO_ENV": "smoke"}, check=True, capture_output=True)
    site = full / "build"
    assert (site / "index.html").is_file()
    nodes = [json.loads(path.read_text("utf-8")) for path in (site / "api/nodes").iterdir()]
    previewed = {Path(node["filepath"]).name for node in nodes if node.get("preview")}
    results = {path.name for path in full.glob("data/08_reporting/smoke/*") if path.name != "run_manifest.json"}
    assert previewed >= results | {"labeled.csv", "unlabeled.csv", "student.safetensors", "split_summary.json"}


def test_a_run_leaves_no_statistics_that_would_be_shown_with_every_other_run(full: Path) -> None:
    assert not (full / ".viz/stats.json").exists()
