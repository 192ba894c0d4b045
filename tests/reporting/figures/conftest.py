"""What the tests of the figures share."""

import io
from collections.abc import Callable

import pytest
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    return file.getvalue()


@pytest.fixture
def check_figure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Figure]:
    """Draw a figure, and check that no word is cut off and, unless tilted, none lies over another."""
    boxes: dict[Text, Bbox] = {}
    draw_text = Text.draw

    def record(text: Text, renderer: RendererBase) -> None:
        draw_text(text, renderer)
        if text.get_text().strip():
            boxes[text] = Text.get_window_extent(text, renderer)  # without an annotation's arrow

    def check(draw: Callable[[], Figure], tilted: bool = False) -> Figure:
        figure = draw()
        with monkeypatch.context() as patch:
            patch.setattr(Text, "draw", record)
            boxes.clear()
            figure.draw_without_rendering()
        width, height = figure.bbox.width, figure.bbox.height
        words = [(text.get_text(), box) for text, box in boxes.items()]
        assert words
        for index, (word, box) in enumerate(words):
            inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
            assert inside, f"{word!r} is cut off: {box}"
            for other, other_box in [] if tilted else words[index + 1 :]:
                across = min(box.x1, other_box.x1) - max(box.x0, other_box.x0)
                along = min(box.y1, other_box.y1) - max(box.y0, other_box.y0)
                assert min(across, along) < 2, f"{word!r} lies over {other!r}"
        return figure

    return check


@pytest.fixture
def check_bytes() -> Callable[[Callable[[], Figure]], None]:
    """The same bytes when a figure is saved, saved again, and drawn again."""

    def check(draw: Callable[[], Figure]) -> None:
        figure = draw()
        first = _png(figure)
        assert first == _png(figure), "saved twice"
        assert first == _png(draw()), "drawn twice"

    return check
