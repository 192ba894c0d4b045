"""Pipeline ``data_splitting``."""

from igl_dt.pipelines.data_splitting.pipeline import create_pipeline

__all__ = ["create_pipeline"]
