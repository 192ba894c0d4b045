"""The report in a file, which Kedro-Viz shows too."""

from typing import Any, ClassVar

from kedro_datasets._typing import HTMLPreview
from kedro_datasets.text import TextDataset


class ReportDataset(TextDataset):
    """A page of HTML in UTF-8."""

    DEFAULT_FS_ARGS: ClassVar[dict[str, Any]] = {
        "open_args_load": {"mode": "r", "encoding": "utf-8"},
        "open_args_save": {"mode": "w", "encoding": "utf-8", "newline": "\n"},
    }

    def preview(self) -> HTMLPreview:
        """Give Kedro-Viz the page."""
        return HTMLPreview(self.load())
