"""The report of a run: one HTML file that holds all it shows, and loads and runs nothing."""

from igl_dt.reporting.report.remarks import find_remarks
from igl_dt.reporting.report.rendering import render_report
from igl_dt.reporting.report.run import Run

__all__ = ["Run", "find_remarks", "render_report"]
