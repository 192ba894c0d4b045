"""The page as a browser shows it: on a screen, on a phone, in the dark and on paper."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from igl_dt.reporting.report import Run, render_report

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.filterwarnings("default::ResourceWarning"),  # playwright's
]
COLOR = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture
def open_page(make_run: Callable[..., Run], tmp_path: Path) -> Iterator[Callable]:
    from playwright.sync_api import sync_playwright

    file = tmp_path / "report.html"
    file.write_text(render_report(make_run()), "utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def open_page(width: int, scheme: str = "light"):
            context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
            page = context.new_page()
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
            page.goto(file.as_uri())
            assert said == []
            return page

        yield open_page
        browser.close()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_and_is_complete(open_page: Callable, width: int, scheme: str) -> None:
    page = open_page(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth == 1800)")
    outside = """[...document.querySelectorAll("main *")].filter(
        e => !e.closest(".scroll, pre") && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"""
    assert page.evaluate(outside) == []
    red, green, blue = (int(part) for part in page.evaluate(COLOR).strip("rgb()").split(","))
    assert (max(red, green, blue) < 60) == (scheme == "dark")
    for card in page.locator(".card").all():  # figures are drawn on white
        assert card.evaluate("card => getComputedStyle(card).backgroundColor") == "rgb(255, 255, 255)"


def test_prints_without_a_dark_ground(open_page: Callable) -> None:
    page = open_page(1280, "dark")
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.emulate_media(media="print")
    assert page.evaluate(COLOR) == "rgb(255, 255, 255)"
    page.set_viewport_size({"width": 700, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
