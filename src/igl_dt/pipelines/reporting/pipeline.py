"""Pipeline ``reporting``: figures and tables."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.reporting.nodes import (
    draw_curves,
    draw_data,
    draw_examples,
    draw_scores,
    tabulate_classes,
)


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                draw_data,
                inputs=["params:dataset", "manifest", "class_pixels", "labeled", "unlabeled", "val", "test"],
                outputs="data_figure",
                name="draw_data_node",
                namespace="reporting",
            ),
            Node(
                tabulate_classes,
                inputs="metrics",
                outputs="per_class_table",
                name="tabulate_classes_node",
                namespace="reporting",
            ),
            Node(
                draw_curves,
                inputs=["history_teachers", "history_student", "history_supervised", "fingerprints"],
                outputs=["loss_figure", "miou_figure"],
                name="draw_curves_node",
                namespace="reporting",
            ),
            Node(
                draw_scores,
                inputs=["metrics", "confusion_student", "fingerprints"],
                outputs=["per_class_figure", "confusion_figure"],
                name="draw_scores_node",
                namespace="reporting",
            ),
            Node(
                draw_examples,
                inputs=["examples", "class_names", "fingerprints"],
                outputs="examples_figure",
                name="draw_examples_node",
                namespace="reporting",
            ),
        ],
        tags="reporting",
    )
