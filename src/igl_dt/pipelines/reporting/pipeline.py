"""Pipeline ``reporting``: figures, tables, and a page that has it all."""

import inspect

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.reporting.nodes import collect_results, tabulate_classes, write_report
from igl_dt.reporting.gallery import GALLERY

_PARAMETERS = {"dataset": "params:dataset"}
"""What a figure is drawn from that is not called so in the catalog."""


def create_pipeline() -> Pipeline:
    """Make the pipeline: a node per figure of the gallery."""
    figures = [
        Node(
            entry.draw,
            inputs=[_PARAMETERS.get(name, name) for name in inspect.signature(entry.draw).parameters],
            outputs=f"{figure}_figure",
            name=f"draw_{figure}_node",
            namespace="reporting",
        )
        for figure, entry in GALLERY.items()
    ]
    histories = ["history_teachers", "history_student", "history_supervised"]
    costs = ["cost_teachers", "cost_student", "cost_supervised"]
    return Pipeline(
        [
            Node(
                collect_results,
                inputs=[*histories, "networks_info", "confusion_matrices", *costs],
                outputs=["histories", "confusion", "costs"],
                name="collect_results_node",
                namespace="reporting",
            ),
            Node(
                tabulate_classes,
                inputs="metrics",
                outputs="per_class_table",
                name="tabulate_classes_node",
                namespace="reporting",
            ),
            *figures,
            Node(
                write_report,
                inputs=[
                    "metrics",
                    "split_summary",
                    "networks_info",
                    "histories",
                    "run_manifest",
                    "costs",
                    *(f"{figure}_figure" for figure in GALLERY),
                ],
                outputs="report",
                name="write_report_node",
                namespace="reporting",
            ),
        ],
        tags="reporting",
    )
