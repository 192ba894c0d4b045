"""Which weight file predicts, is evaluated or exported, and what is written."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from igl_dt.utils.parameters import Parameters, Size


class WeightsEvaluationParameters(Parameters):
    """Which weight file ``weights_evaluation`` measures, and on which images of ``dataset``."""

    weights: str | None = None
    """Weight file of any network of the project, of the data set's classes; needed."""
    split: Literal["train", "val", "test"] = "val"
    """Which images: those of this split that have a mask."""


class PredictionParameters(Parameters):
    """Which images get masks, and what is written."""

    images: str | None = None
    """Folder of images; needed."""
    weights: str | None = None
    """Weight file of any network of the project; needed, and nothing else is."""
    output: str
    """Folder of the masks and overlays."""
    probabilities: bool = False
    """Whether to write the classes' probabilities too: large files."""
    overwrite: bool = False
    """Whether masks that are there already may be replaced."""


OPSETS = range(14, 21)
"""Versions of ONNX's operators that have what the networks need and that torch's exporter can write."""


def _an_opset(opset: int) -> int:
    if opset not in OPSETS:
        raise ValueError(f"must be {OPSETS[0]} to {OPSETS[-1]}, not {opset}")
    return opset


class ExportParameters(Parameters):
    """Which network becomes an ONNX file, and how."""

    weights: str | None = None
    """Weight file of any network of the project; needed, and nothing else is."""
    folder: str
    """Folder of the file where ``output`` is null; its name is that of the weights, with .onnx."""
    output: str | None = None
    """The .onnx file."""
    opset: Annotated[int, AfterValidator(_an_opset)] = 18
    """Version of ONNX's operators."""
    size: Size | None = None
    """(height, width) of the only images that the file takes; null: any size."""
    overwrite: bool = False
    """Whether a file that is there already may be replaced."""
