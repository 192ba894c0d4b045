"""Kedro pipeline ``training``, used for the teachers, the student and the supervised baseline."""

from igl_dt.pipelines.training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
