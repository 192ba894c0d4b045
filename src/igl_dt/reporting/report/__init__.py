"""The report of a run: one HTML file, self-contained and without scripts."""

from igl_dt.reporting.report.remarks import find_remarks
from igl_dt.reporting.report.rendering import render_report
from igl_dt.reporting.report.run import Run

__all__ = ["Run", "find_remarks", "render_report"]
