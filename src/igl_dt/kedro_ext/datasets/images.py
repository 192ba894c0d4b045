"""Lists of images and images predicted, with something to see in kedro-viz."""

from pathlib import Path

from kedro.utils import find_kedro_project
from kedro_datasets._typing import ImagePreview
from kedro_datasets.pandas import CSVDataset
from kedro_datasets.partitions import PartitionedDataset


class ImageListDataset(CSVDataset):
    """Rows of the manifest; kedro-viz shows some of their images, and the masks laid over them."""

    def preview(self, run_manifest: str) -> ImagePreview:
        """Draw some images.

        Args:
            run_manifest: path in the project of the record of the run that made the list.
        """
        from igl_dt.reporting.previews import image_list

        path = Path(str(self._filepath)).absolute()
        project = find_kedro_project(path.parent) or Path.cwd()
        return ImagePreview(image_list(self.load(), project / run_manifest, project))


class ExamplesDataset(PartitionedDataset):
    """Images with their truth and predictions, a file each; kedro-viz shows them side by side."""

    def preview(self) -> ImagePreview:
        """Draw the images in rows."""
        from igl_dt.reporting.previews import example_folder

        return ImagePreview(example_folder(Path(self._path)))
