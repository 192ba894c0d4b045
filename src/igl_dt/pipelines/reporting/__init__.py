"""Pipeline ``reporting``."""

from igl_dt.pipelines.reporting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
