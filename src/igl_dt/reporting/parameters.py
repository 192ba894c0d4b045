"""What the figures show."""

from pydantic import PositiveInt

from igl_dt.utils.parameters import Parameters


class ReportingParameters(Parameters):
    """What the figures show."""

    examples: PositiveInt = 3
    """Images in the qualitative figure, evenly from the student's best to its worst; 3: best, median and worst."""
