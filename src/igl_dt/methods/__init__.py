"""Ways to train networks, one file each; all run on the one engine."""

from igl_dt.methods.cross_pseudo_supervision import CrossPseudoSupervision
from igl_dt.methods.igl_dt import IglDt
from igl_dt.methods.method import Method
from igl_dt.methods.supervised import Supervised

__all__ = ["CrossPseudoSupervision", "IglDt", "Method", "Supervised"]
