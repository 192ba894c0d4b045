"""Which method a training uses."""

from igl_dt.utils.parameters import Selection


class MethodChoice(Selection):
    """The method of a training; the section of that name holds its parameters.

    ``{name: cps, cps: {cps_weight: 1.5}, igl_dt: {…}}`` trains by CPS: sections of methods that are not chosen are left
    aside, so that ``--params=student_learning.method.name=…`` is all it takes to compare methods.
    """

    name: str
    """A name in ``igl_dt.methods``, or ``package.module:Class`` for a method outside the project."""
