"""Pipeline ``teacher_pretraining``: two complementary teachers by Cross Pseudo Supervision."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.teacher_pretraining.nodes import (
    initialize_res_unet,
    initialize_swin_unet,
    pretrain_teachers,
)


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                initialize_swin_unet,
                inputs=["params:networks.swin_unet", "class_names", "params:seed"],
                outputs="swin_unet.initial_network",
                name="initialize_network_node",
                namespace="swin_unet",
            ),
            Node(
                initialize_res_unet,
                inputs=["params:networks.res_unet", "class_names", "params:seed"],
                outputs="res_unet.initial_network",
                name="initialize_network_node",
                namespace="res_unet",
            ),
            Node(
                pretrain_teachers,
                inputs=[
                    "swin_unet.initial_network",
                    "res_unet.initial_network",
                    "labeled",
                    "unlabeled",
                    "val",
                    "params:teacher_pretraining",
                    "params:dataset",
                    "params:evaluation",
                    "params:runtime",
                    "params:seed",
                ],
                outputs=["swin_unet.network", "res_unet.network", "history_teachers"],
                name="pretrain_teachers_node",
            ),
        ],
        tags="teacher_pretraining",
    )
