"""A network for others: an ONNX file, which runs without Python, torch and this project, and a folder for a hub."""

import json
import logging
import math
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from igl_dt.data.parameters import DatasetParameters
from igl_dt.inference.parameters import ExportParameters
from igl_dt.networks.base import SegmentationNetwork
from igl_dt.networks.io import HUB_FILE, load_network, weight_file
from igl_dt.utils.files import atomic_write
from igl_dt.utils.palette import class_palette
from igl_dt.utils.parameters import Size

logger = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Largest difference of a logit from PyTorch's, relative to the largest logit where that is above 1."""


class ExportError(Exception):
    """A network cannot be exported as requested."""


def export_network(parameters: ExportParameters, dataset: DatasetParameters | None = None) -> Path:
    """Write a weight file's network as ONNX, after checking that onnxruntime gives the same logits; and as a folder.

    The folder, called like the ONNX file without its suffix, is ready for the Hugging Face Hub: ``model.safetensors``
    (the weight file), ``config.json`` and a model card.

    The ONNX file has one input ``images``, B×3×H×W uint8 RGB, and one output ``logits``, B×N×H×W float32; its axes are
    named ``batch``, ``height`` and ``width``. Normalisation, padding and cropping are part of the graph, so B, H and W
    are free unless ``parameters.size`` fixes the latter two. The metadata holds, each as JSON, ``class_names``,
    ``colors``, ``layout``, ``normalization``, how images were resized for the training (``image_size``, ``short_side``
    and ``long_side``, at most one of them not null), ``network`` (as ``rebuild_network`` takes it), ``trained_by`` and
    ``fingerprint``. The same weights and versions of packages give the same bytes.

    Args:
        parameters: Weights, output, opset, and the image size if it is fixed.
        dataset: how images were resized for its training, where the weight file does not record it; None: not at all.
            For the metadata only.

    Returns:
        Path of the file.

    Raises:
        ExportError: The extra ``onnx`` is not installed; the file exists and ``overwrite`` is off; torch cannot express
            the network in this opset; or onnxruntime gives other logits, in which case nothing is written.
        ValueError: The weights are not given, do not exist, or were not written by this project.
    """
    _need_packages()
    weights = weight_file(parameters.weights, "export.weights")
    target = Path(parameters.output or f"{parameters.folder}/{weights.stem}.onnx")
    if target.suffix != ".onnx":
        raise ExportError(f"export.output: {target} must end in .onnx")
    folder = target.with_suffix("")
    for path in (target, folder):
        if path.exists() and not parameters.overwrite:
            raise ExportError(f"{path} exists already: give another export.output, or export.overwrite=true")

    network = load_network(weights)
    sizes = network.sizes or (dataset or DatasetParameters(root="unused")).sizes()
    metadata = _metadata(network, sizes)
    content = _convert(network, parameters.opset, parameters.size, metadata)
    difference = _check(content, network, parameters.size)
    atomic_write(target, content)
    atomic_write(folder / HUB_FILE, weights.read_bytes())
    atomic_write(folder / "config.json", json.dumps(metadata, indent=2, ensure_ascii=False).encode())
    atomic_write(folder / "README.md", _model_card(network, sizes).encode())
    size = "any size" if parameters.size is None else f"{parameters.size[0]}×{parameters.size[1]} (height×width)"
    logger.info(
        "%s: %s for images of %s, opset %d, %.1f MB; logits differ from PyTorch's by at most %.1e",
        target, network.name, size, parameters.opset, len(content) / 1e6, difference,
    )  # fmt: skip
    return target


def _model_card(network: SegmentationNetwork, sizes: dict[str, Any]) -> str:
    method = f" with the method {network.trained_by}" if network.trained_by else ""
    size = "their own size"
    if sizes["image_size"] is not None:
        size = "{}×{} (height×width)".format(*sizes["image_size"])
    for side in ("short", "long"):
        if (pixels := sizes[f"{side}_side"]) is not None:
            size = f"{pixels} pixels on the {side}er side"
    return f"""---
library_name: igl-dt
pipeline_tag: image-segmentation
tags: [semantic-segmentation, semi-supervised-learning]
---

# {network.name}, {network.num_classes} classes

A {network.name} for semantic segmentation, trained by igl-dt{method}.

- Classes, by id: {", ".join(network.class_names)}
- Images: RGB, 0 to 255, resized to {size}
- Fingerprint of parameters, training images and initial weights: {network.fingerprint}

Masks of a folder of images, in a checkout of igl-dt:

    kedro run --pipelines=prediction --params=prediction.weights=hf-hub:OWNER/NAME,prediction.images=FOLDER

To be completed by whoever publishes it: license, training data, scores, intended use and limits.
"""


class _Logits(nn.Module):
    """A network that returns only logits."""

    def __init__(self, network: SegmentationNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images).logits
        return logits


def _need_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ExportError(f"exporting needs the extra onnx ({error}): pip install 'igl-dt[onnx]'") from error


def _metadata(network: SegmentationNetwork, sizes: dict[str, Any]) -> dict[str, Any]:
    return {
        "class_names": list(network.class_names),
        "colors": class_palette(network.num_classes).tolist(),
        "layout": {
            "images": "batch, channel (red, green, blue), height, width; uint8, 0 to 255",
            "logits": "batch, class, height, width; float32, to be turned into probabilities by softmax over classes",
        },
        "normalization": {
            "where": "inside the graph: (images / 255 - mean) / std",
            "mean": network.configuration["mean"],
            "std": network.configuration["std"],
        },
        **sizes,
        "network": network.configuration,
        "trained_by": network.trained_by,
        "fingerprint": network.fingerprint,
    }


def _convert(network: SegmentationNetwork, opset: int, size: Size | None, metadata: dict[str, Any]) -> bytes:
    """Content of the file, by torch's tracing exporter.

    Its successor, which treats sizes as symbols, does not terminate on shifted windows whose padding depends on the
    image. A trace follows sizes through all arithmetic, but takes one branch of each condition: the example therefore
    has a size that needs padding, and ``_check`` tries others.
    """
    import onnx

    multiple = network.size_multiple
    height, width = size or (2 * multiple + multiple // 2 + 1, 3 * multiple + 1)
    free = {0: "batch"} | ({2: "height", 3: "width"} if size is None else {})
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), _exact_roll(opset):
        file = Path(folder, "network.onnx")
        warnings.simplefilter("ignore")  # about the branches taken (see above), and about the successor
        try:
            torch.onnx.export(
                _Logits(network).eval(),
                (torch.zeros(2, 3, height, width, dtype=torch.uint8),),
                file,
                dynamo=False,
                opset_version=opset,
                input_names=["images"],
                output_names=["logits"],
                dynamic_axes={"images": free, "logits": free},
            )
        except Exception as error:  # torch raises many kinds for operations without a counterpart
            raise ExportError(
                f"torch cannot express {network.name} in opset {opset}: {type(error).__name__}: {error}"
            ) from error
        model = onnx.load(file)
    model.doc_string = f"Semantic segmentation by igl-dt: {network.name}, {network.num_classes} classes"
    onnx.helper.set_model_props(model, {key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()})
    axes: list[int | str] = ["batch", network.num_classes, *(("height", "width") if size is None else size)]
    for dimension, axis in zip(model.graph.output[0].type.tensor_type.shape.dim, axes, strict=True):
        if isinstance(axis, str):
            dimension.dim_param = axis
        else:
            dimension.dim_value = axis  # to which the exporter gives a made-up name
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


@contextmanager
def _exact_roll(opset: int) -> Iterator[None]:
    """Let the exporter support rolling by more than a map's length, as shifted windows do on small images."""
    from torch.onnx import symbolic_helper

    @symbolic_helper.parse_args("v", "is", "is")
    def roll(g: Any, maps: Any, shifts: Any, dims: Any) -> Any:
        for shift, dim in zip(shifts, dims, strict=True):
            axis, zero, end = (constant(g, value) for value in (dim, 0, sys.maxsize))
            length = g.op("Gather", g.op("Shape", maps), axis, axis_i=0)
            first = g.op("Mod", constant(g, -shift), length)  # never negative, as the length is not
            maps = g.op(
                "Concat",
                g.op("Slice", maps, first, end, axis),
                g.op("Slice", maps, zero, first, axis),
                axis_i=dim,
            )
        return maps

    def constant(g: Any, value: int) -> Any:
        return g.op("Constant", value_t=torch.tensor([value]))

    torch.onnx.register_custom_op_symbolic("aten::roll", roll, opset)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.onnx.unregister_custom_op_symbolic("aten::roll", opset)  # type: ignore[attr-defined]


def _check(content: bytes, network: SegmentationNetwork, size: Size | None) -> float:
    """Largest difference of onnxruntime's logits from PyTorch's; an ExportError where it is too large."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    multiple = network.size_multiple
    sizes = [(2 * multiple, multiple), (multiple + 1, 5 * multiple - 1), (7, 3)] if size is None else [size]
    rng, largest = np.random.default_rng(0), 0.0
    for height, width in sizes:
        for batch in (1, 3):
            images = rng.integers(0, 256, (batch, 3, height, width), dtype=np.uint8)
            with torch.inference_mode():
                expected = network(torch.from_numpy(images)).logits.numpy()
            problem = None
            try:
                (logits,) = session.run(["logits"], {"images": images})
            except Exception as error:  # onnxruntime's own, of many kinds
                problem = f"onnxruntime fails: {error}"
            else:
                difference = math.inf
                if logits.shape == expected.shape:
                    difference = float(np.abs(logits - expected).max() / max(1.0, np.abs(expected).max()))
                largest = max(largest, difference)
                if not difference <= TOLERANCE:
                    problem = f"its logits differ from PyTorch's by {difference:.1e}; {TOLERANCE} is allowed"
            if problem is not None:
                fix = "" if size else "; give export.size=HEIGHTxWIDTH for a file that takes images of one size"
                raise ExportError(
                    f"the exported {network.name} is wrong on {batch} images of {height}×{width} (height×width), and "
                    f"was not written: {problem}{fix}"
                )
    return largest
