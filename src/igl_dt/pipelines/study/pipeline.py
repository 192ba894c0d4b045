"""Pipeline ``study``: the runs of a study in one table, with figures and a page; not part of the main job."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.study.nodes import gather_study


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    outputs = ["study_results", "study_costs", "study_figures", "study_table", "study_report"]
    node = Node(gather_study, inputs="params:study", outputs=outputs, name="gather_study_node", namespace="study")
    return Pipeline([node], tags="study")
