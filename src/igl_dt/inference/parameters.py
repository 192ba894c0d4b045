"""Parameters of prediction, of the evaluation of a weight file, and of export."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from igl_dt.utils.parameters import Parameters, Size, UserPath

STDIN = "-"
"""In place of a path: read from the standard input."""


def _accept_dash(path: Any) -> Any:
    """A lone dash on the command line is parsed as YAML: as a list of nothing."""
    return STDIN if path == [None] else path


class WeightsEvaluationParameters(Parameters):
    """Which weight file ``weights_evaluation`` evaluates, and on which images of ``dataset``."""

    weights: UserPath | None = None
    """Required: weight file of any network of the project, with the data set's classes."""
    split: Literal["train", "val", "test"] = "val"
    """Split to evaluate on: its images that have a mask."""


class PredictionParameters(Parameters):
    """Which images to predict, and what to write."""

    images: Annotated[UserPath | None, BeforeValidator(_accept_dash)] = None
    """Required: a folder of images; an image; a list of images (.txt, a path per line, relative to the list's folder);
    a list of a run, such as its test.csv, with images of ``dataset``; or ``-``: paths from the standard input, one per
    line."""
    weights: UserPath | None = None
    """Required: weight file of any network of the project, or ``hf-hub:OWNER/NAME``; nothing else is needed."""
    output: UserPath
    """Folder for the masks, the overlays and ``table.csv``."""
    probabilities: bool = False
    """Whether to write the class probabilities too: large files."""
    overwrite: bool = False
    """Whether existing files may be replaced."""


OPSETS = range(14, 21)
"""ONNX operator sets that have what the networks need and that torch's exporter can write."""


def _check_opset(opset: int) -> int:
    if opset not in OPSETS:
        raise ValueError(f"must be {OPSETS[0]} to {OPSETS[-1]}, not {opset}")
    return opset


class ExportParameters(Parameters):
    """Which network to export to ONNX, and how."""

    weights: UserPath | None = None
    """Required: weight file of any network of the project, or ``hf-hub:OWNER/NAME``; nothing else is needed."""
    folder: UserPath
    """Folder of the file where ``output`` is null; its name is that of the weights, with .onnx."""
    output: UserPath | None = None
    """The .onnx file."""
    opset: Annotated[int, AfterValidator(_check_opset)] = 18
    """ONNX operator set."""
    size: Size | None = None
    """(height, width) of the only images that the file accepts; null: any size."""
    overwrite: bool = False
    """Whether an existing file may be replaced."""
