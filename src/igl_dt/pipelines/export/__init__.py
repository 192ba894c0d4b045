"""Pipeline ``export``."""

from igl_dt.pipelines.export.pipeline import create_pipeline

__all__ = ["create_pipeline"]
