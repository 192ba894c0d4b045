"""Pipeline ``data_fetching``."""

from igl_dt.pipelines.data_fetching.pipeline import create_pipeline

__all__ = ["create_pipeline"]
