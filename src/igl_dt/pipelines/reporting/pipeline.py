"""Pipeline ``reporting``: figures, tables, and a page that has it all."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.reporting.nodes import (
    draw_curves,
    draw_data,
    draw_examples,
    draw_scores,
    tabulate_classes,
    write_report,
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
                outputs=["loss_figure", "miou_figure", "pseudo_label_figure"],
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
            Node(
                write_report,
                inputs=[
                    "metrics",
                    "split_summary",
                    "fingerprints",
                    "history_teachers",
                    "history_student",
                    "history_supervised",
                    "run_manifest",
                    "data_figure",
                    "examples_figure",
                    "loss_figure",
                    "miou_figure",
                    "pseudo_label_figure",
                    "confusion_figure",
                ],
                outputs="report",
                name="write_report_node",
                namespace="reporting",
            ),
        ],
        tags="reporting",
    )
