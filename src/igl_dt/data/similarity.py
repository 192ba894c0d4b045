"""Images that look alike, found by their difference hashes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

MOST_DIFFERENT_BITS = 10
"""Of 128. Frames of one CamVid video, seconds apart, differ in 3 and more; images of CamVid's, IDD Lite's and Pascal
VOC's own splits in 21 and more."""
MOST_COMPARED = 200
"""So that a million training images are compared in seconds."""

FLAT = 16
"""An image with so few rises shows next to nothing, and looks like any other of this kind."""


def difference_hash(image: np.ndarray) -> int:
    """Hash an image so that similar images have similar hashes (dHash, Krawetz 2013, in both directions).

    Args:
        image: H×W×3 uint8.

    Returns:
        128 bits: whether brightness rises to the right and downwards, on a grid of 8×8.
    """
    step = max(1, min(image.shape[:2]) // 128)  # most of the pixels are not needed
    image = np.ascontiguousarray(image[::step, ::step])
    small = np.asarray(Image.fromarray(image).resize((9, 9), Image.Resampling.BOX).convert("L"))
    rises = small[:8, 1:] > small[:8, :-1], small[1:, :8] > small[:-1, :8]
    return int.from_bytes(np.packbits(rises).tobytes())


def find_lookalikes(train: Sequence[int], evaluated: Sequence[int]) -> tuple[list[tuple[int, int]], int]:
    """Find evaluated images that look like a training image.

    Args:
        train: hashes.
        evaluated: hashes; of more than ``MOST_COMPARED``, some are taken at even distances.

    Returns:
        Positions of such an image and of the training image that is most like it; and how many were compared.
    """
    if not train or not evaluated:
        return [], 0
    taken = np.unique(np.linspace(0, len(evaluated) - 1, MOST_COMPARED).round().astype(int)).tolist()
    left, right = _words(train)
    pairs = []
    for position in taken:
        if evaluated[position].bit_count() <= FLAT:
            continue
        ours = _words([evaluated[position]])
        different = np.bitwise_count(left ^ ours[0]) + np.bitwise_count(right ^ ours[1])
        nearest = int(different.argmin())
        if different[nearest] <= MOST_DIFFERENT_BITS:
            pairs.append((position, nearest))
    return pairs, len(taken)


def _words(hashes: Sequence[int]) -> np.ndarray:
    """Give the two halves of each hash, 2×N uint64."""
    content = b"".join(value.to_bytes(16) for value in hashes)
    return np.frombuffer(content, np.uint64).reshape(-1, 2).T.copy()
