"""Pipeline ``data_fetching``: a recipe's pictures from their archives; no part of the main job."""

from kedro.pipeline import Node, Pipeline

from igl_dt.pipelines.data_fetching.nodes import fetch_pictures


def create_pipeline() -> Pipeline:
    """Make the pipeline."""
    return Pipeline(
        [
            Node(
                fetch_pictures,
                inputs=["params:fetching", "params:dataset"],
                outputs=None,
                name="fetch_pictures_node",
                namespace="data_fetching",
            )
        ],
        tags="data_fetching",
    )
