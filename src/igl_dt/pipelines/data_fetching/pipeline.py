"""Pipeline ``data_fetching``: a data set's images from their archives; not part of the main job."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.data_fetching.nodes import download_images


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                download_images,
                inputs=["params:fetching", "params:dataset"],
                outputs=None,
                name="download_images_node",
                namespace="data_fetching",
            )
        ],
        tags="data_fetching",
    )
