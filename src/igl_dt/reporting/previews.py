"""What kedro-viz shows of a dataset beside its path: small images and summaries, quickly made and without torch.

No result depends on them: ``igl_dt.utils.imports`` leaves this module out.
"""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from safetensors import safe_open

from igl_dt.data.datasets import DataError, mask_format
from igl_dt.data.image_io import read_image, read_mask
from igl_dt.data.parameters import DatasetParameters
from igl_dt.reporting.figures import overlay_mask, spread
from igl_dt.utils.parameters import IGNORE_INDEX

COLUMNS = 6
"""Panels in a row: an image with a mask takes two, one without takes one."""
ROWS = 4
"""At most; images are taken evenly from the whole list."""
WIDTH = 160
"""Pixels of a panel, which is at most as high; with the limits above this bounds the size of any preview."""

_GAP, _CAPTION = 6, 16
_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


def image_list(rows: pd.DataFrame, run_manifest: Path, project: Path) -> str:
    """Draw some images of a list, and beside each its mask laid over it, where it has one.

    Args:
        rows: of the manifest: ``id``, ``image`` and ``mask``.
        run_manifest: of the run that made the list: it says where its images are, and how masks are read.
        project: folder that relative paths start from.

    Returns:
        A PNG in base64.

    Raises:
        DataError: the run manifest has no record of ``data_splitting``, or an image cannot be read.
    """
    record = json.loads(run_manifest.read_text("utf-8")) if run_manifest.is_file() else {}
    if "data_splitting" not in record:
        raise DataError(f"{run_manifest} does not say where the images are: run the pipeline data_splitting here")
    dataset = DatasetParameters.model_validate(record["data_splitting"]["parameters"]["dataset"])
    root, masks = project / dataset.root, mask_format(dataset)
    panels = []
    masked = rows["mask"].notna().any()
    chosen = spread(rows, COLUMNS * ROWS // (2 if masked else 1))
    for id_, image_path, mask_path in chosen[["id", "image", "mask"]].itertuples(index=False, name=None):
        image = _shrink(read_image(root / image_path))
        panels.append((id_, image))
        if not pd.isna(mask_path):
            panels.append(("", overlay_mask(image, read_mask(root / mask_path, masks), IGNORE_INDEX)))
        elif masked:
            panels.append(("", np.full_like(image, 255)))
    return _grid(panels, COLUMNS)


def example_folder(folder: Path) -> str:
    """Draw what ``predict_examples`` wrote: a row per image, with its truth and every network's prediction.

    Args:
        folder: with ``image/<number>.png``, ``truth/<number>.png`` and ``<network>/<number>.png``.

    Returns:
        A PNG in base64.

    Raises:
        DataError: there are no images.
    """
    numbers = sorted(int(path.stem) for path in folder.glob("image/*.png"))[:ROWS]
    if not numbers:
        raise DataError(f"{folder} has no images: run the pipeline evaluation")
    networks = sorted({path.parent.name for path in folder.glob("*/*.png")} - {"image", "truth"})
    panels = []
    for number in numbers:
        image = _shrink(read_image(folder / f"image/{number}.png"))
        panels.append((f"image {number}", image))
        for kind in ("truth", *networks):
            panels.append((kind, overlay_mask(image, read_mask(folder / kind / f"{number}.png"), IGNORE_INDEX)))
    return _grid(panels, 2 + len(networks))


def network_summary(path: Path) -> dict[str, Any]:
    """Say what a weight file holds, from its header alone.

    Returns:
        Its architecture and method, the number of parameters, its size, ``fingerprint``, its classes, and the
        configuration that it was built from.

    Raises:
        safetensors.SafetensorError: the file is cut short or no safetensors file.
        OSError: it cannot be read.
    """
    with safe_open(path, framework="numpy") as file:
        (header,) = (json.loads(text) for text in (file.metadata() or {}).values())
        learned = [name for name in file.keys() if not name.endswith(_STATISTICS)]  # noqa: SIM118 (not iterable)
        parameters = sum(int(np.prod(file.get_slice(name).get_shape(), dtype=np.int64)) for name in learned)
    return {
        "architecture": header.get("architecture") or header["network"],  # as files of version 1 call it
        "trained_by": header.get("trained_by"),
        "encoder": header["parameters"]["encoder"]["name"],
        "parameters": parameters,
        "mebibytes": round(path.stat().st_size / 2**20, 1),
        "fingerprint": header["fingerprint"],
        "classes": header["class_names"],
        "configuration": header["parameters"],
    }


def _shrink(image: np.ndarray) -> np.ndarray:
    sample = Image.fromarray(image)
    scale = WIDTH / max(sample.size)
    size = max(1, round(sample.width * scale)), max(1, round(sample.height * scale))
    return np.asarray(sample.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST))


def _grid(panels: Sequence[tuple[str, np.ndarray]], columns: int) -> str:
    """Put panels with captions into rows."""
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [max(panel.shape[0] for _, panel in row) + _CAPTION + _GAP for row in rows]
    width = min(columns, len(panels)) * (WIDTH + _GAP) - _GAP
    sheet = Image.new("RGB", (max(width, 1), max(sum(heights), 1)), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    for row, height in zip(rows, heights, strict=True):
        for column, (caption, panel) in enumerate(row):
            left = column * (WIDTH + _GAP)
            sheet.paste(Image.fromarray(panel), (left, top))
            draw.text((left, top + panel.shape[0] + 1), caption[-WIDTH // 7 :], fill="black")
        top += height
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
