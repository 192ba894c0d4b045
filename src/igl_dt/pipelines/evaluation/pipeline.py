"""Pipeline ``evaluation``: every network measured on the same pictures in the same way."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.evaluation.nodes import (
    choose_measured,
    collect_metrics,
    evaluate_network,
    evaluate_references,
    predict_examples,
)


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    measured = ["measured", "params:dataset", "params:evaluation", "params:runtime"]
    evaluations = [
        Node(
            evaluate_network,
            inputs=[f"{namespace}.{network}", *measured, "params:seed"],
            outputs=f"{namespace}.{network.replace('network', 'confusion')}",
            name=f"evaluate_{network}_node",
            namespace=namespace,
        )
        for namespace, network in (
            ("swin_unet", "network"),
            ("res_unet", "network"),
            ("student", "network"),
            ("student", "best_network"),
        )
    ]
    return Pipeline(
        [
            Node(choose_measured, inputs=["val", "test"], outputs="measured", name="choose_measured_node"),
            *evaluations,
            Node(
                evaluate_references,
                inputs=["reference_networks", *measured, "params:seed"],
                outputs="reference_confusions",
                name="evaluate_references_node",
            ),
            Node(
                collect_metrics,
                inputs=[
                    "student.confusion",
                    "student.best_confusion",
                    "swin_unet.confusion",
                    "res_unet.confusion",
                    "reference_confusions",
                ],
                outputs="metrics",
                name="collect_metrics_node",
            ),
            Node(
                predict_examples,
                inputs=[
                    "student.network",
                    "swin_unet.network",
                    "res_unet.network",
                    "reference_networks",
                    *measured,
                    "params:reporting",
                    "params:seed",
                ],
                outputs="examples",
                name="predict_examples_node",
            ),
        ],
        tags="evaluation",
    )
