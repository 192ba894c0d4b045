"""Pipeline ``study``: the runs of a study in one table, with figures and a page; not part of the main job."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.study.nodes import draw_figures, gather_results, write_tables


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                gather_results,
                inputs="params:study",
                outputs=["study_plan", "study_results", "study_costs"],
                name="gather_results_node",
                namespace="study",
            ),
            Node(
                draw_figures,
                inputs=["study_plan", "study_results"],
                outputs="study_figures",
                name="draw_study_figures_node",
                namespace="study",
            ),
            Node(
                write_tables,
                inputs=["study_plan", "study_results", "study_costs", "study_figures"],
                outputs=["study_table", "study_report"],
                name="write_tables_node",
                namespace="study",
            ),
        ],
        tags="study",
    )
