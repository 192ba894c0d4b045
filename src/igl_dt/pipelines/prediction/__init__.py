"""Pipeline ``prediction``."""

from igl_dt.pipelines.prediction.pipeline import create_pipeline

__all__ = ["create_pipeline"]
