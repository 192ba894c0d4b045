"""The report of a run: one HTML file that holds all it shows, and loads and runs nothing."""

from igl_dt.report.remarks import find_remarks
from igl_dt.report.rendering import render_report
from igl_dt.report.run import Run

__all__ = ["Run", "find_remarks", "render_report"]
