"""Runs in MLflow."""

import logging
import os
from pathlib import Path

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from igl_dt.kedro_ext.provenance import find_commit
from igl_dt.utils.parameters import flatten

logger = logging.getLogger(__name__)

EXPERIMENT = "igl-dt"
HISTORIES = ("history_teachers", "history_student", "history_supervised")


class LogToMlflow:
    """Logs a run once it is done: parameters, scores, curves, fingerprints and the report."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note what is run, and where it is logged."""
        self._project, self._parameters = Path(context.project_path), context.config_loader["parameters"]

    @hook_impl(trylast=True)  # relative paths start at the project
    def before_pipeline_run(self, pipeline: Pipeline) -> None:
        """Open the store before any work: a wrong URI must not come to light after hours."""
        self._uri = self._parameters["runtime"].get("mlflow") if "metrics" in pipeline.all_outputs() else None
        if self._uri is None:
            return
        self._commit = find_commit(self._project)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        if self._uri.startswith("sqlite:///"):
            Path(self._uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(self._uri)
        mlflow.set_experiment(EXPERIMENT)

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Log what the run has left; its results are saved, so a failure to log them is no failure of the run."""
        if self._uri is None:
            return
        try:
            self._log(pipeline, catalog)
        except Exception as error:  # MLflow's own, and those of whatever it stores runs in
            logger.warning("the run is complete, but was not logged to %s: %s", self._uri, error)

    def _log(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        import mlflow

        with mlflow.start_run(run_name=self._parameters["run"]):
            mlflow.log_params(dict(flatten(self._parameters)))
            mlflow.set_tags({name: str(value) for name, value in self._commit.items()})
            for network, info in catalog.load("networks_info").items():
                mlflow.set_tag(f"fingerprint.{network}", info["fingerprint"])
            for network, scores in catalog.load("metrics").items():
                numbers = {name: value for name, value in scores.items() if isinstance(value, int | float)}
                mlflow.log_metrics({f"{network}.{name}": value for name, value in numbers.items()})
            for history in HISTORIES:
                for row in catalog.load(history).to_dict("records"):
                    step = int(row.pop("step"))
                    values = {f"{history}.{name}": value for name, value in row.items() if value == value}  # no NaN
                    mlflow.log_metrics(values, step=step)
            if "report" in pipeline.all_outputs():
                mlflow.log_text(catalog.load("report"), "report.html")
