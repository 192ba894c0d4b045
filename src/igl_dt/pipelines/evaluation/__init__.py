"""Pipeline ``evaluation``."""

from igl_dt.pipelines.evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
