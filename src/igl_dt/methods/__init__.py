"""Ways to train networks, one file each; all run on the one engine."""

from igl_dt.methods.base import Method
from igl_dt.methods.cps import CrossPseudoSupervision
from igl_dt.methods.igl_dt import IglDt
from igl_dt.methods.supervised import Supervised

__all__ = ["CrossPseudoSupervision", "IglDt", "Method", "Supervised"]
