"""Pipeline ``data_splitting``: from a folder of images to labelled and unlabelled lists."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.data_splitting.nodes import read_manifest, split_labels


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                read_manifest,
                inputs=["params:dataset", "params:runtime.checked_files"],
                outputs=["manifest", "class_pixels", "class_names"],
                name="read_manifest_node",
                namespace="data_splitting",
            ),
            Node(
                split_labels,
                inputs=["manifest", "class_pixels", "params:splitting", "params:seed"],
                outputs=["labeled", "unlabeled", "val", "test", "split_summary"],
                name="split_labels_node",
                namespace="data_splitting",
            ),
        ],
        tags="data_splitting",
    )
