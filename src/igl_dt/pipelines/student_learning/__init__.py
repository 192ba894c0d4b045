"""Pipeline ``student_learning``."""

from igl_dt.pipelines.student_learning.pipeline import create_pipeline

__all__ = ["create_pipeline"]
