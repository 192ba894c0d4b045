"""Pipeline ``teacher_pretraining``."""

from igl_dt.pipelines.teacher_pretraining.pipeline import create_pipeline

__all__ = ["create_pipeline"]
