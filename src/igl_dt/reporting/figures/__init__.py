"""Figures and tables of the results; no display is needed, and no global state is changed.

Every function returns a ``matplotlib.figure.Figure`` (or a table) that depends on its arguments alone; saved with
``metadata={"Software": None}`` the same arguments give the same bytes.
"""

from igl_dt.reporting.figures.data import PANELS, Sample, overlay_mask, plot_data, spread
from igl_dt.reporting.figures.examples import plot_examples
from igl_dt.reporting.figures.history import plot_losses, plot_miou, plot_pseudo_labels
from igl_dt.reporting.figures.scores import per_class_table, plot_confusion, plot_per_class

__all__ = [
    "PANELS",
    "Sample",
    "overlay_mask",
    "per_class_table",
    "plot_confusion",
    "plot_data",
    "plot_examples",
    "plot_losses",
    "plot_miou",
    "plot_per_class",
    "plot_pseudo_labels",
    "spread",
]
