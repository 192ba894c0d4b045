"""Pipeline ``weights_evaluation``."""

from igl_dt.pipelines.weights_evaluation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
