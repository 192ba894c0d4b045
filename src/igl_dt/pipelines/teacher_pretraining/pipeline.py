"""Pipeline ``teacher_pretraining``: two complementary teachers by Cross Pseudo Supervision."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.teacher_pretraining.nodes import (
    choose_pseudo_label_probe,
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
                outputs="initial_swin_unet",
                name="initialize_swin_unet_node",
                namespace="teacher_pretraining.swin_unet",
            ),
            Node(
                initialize_res_unet,
                inputs=["params:networks.res_unet", "class_names", "params:seed"],
                outputs="initial_res_unet",
                name="initialize_res_unet_node",
                namespace="teacher_pretraining.res_unet",
            ),
            Node(
                choose_pseudo_label_probe,
                inputs=["manifest", "unlabeled", "params:teacher_pretraining"],
                outputs="monitored",
                name="choose_pseudo_label_probe_node",
                namespace="teacher_pretraining",
            ),
            Node(
                pretrain_teachers,
                inputs=[
                    "initial_swin_unet",
                    "initial_res_unet",
                    "labeled",
                    "unlabeled",
                    "val",
                    "monitored",
                    "params:teacher_pretraining",
                    "params:dataset",
                    "params:evaluation",
                    "params:runtime",
                    "params:seed",
                ],
                outputs=["swin_unet", "res_unet", "history_teachers"],
                name="pretrain_teachers_node",
                namespace="teacher_pretraining",
            ),
        ],
        tags="teacher_pretraining",
    )
