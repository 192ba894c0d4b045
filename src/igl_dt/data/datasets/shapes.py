"""The built-in data set: small synthetic scenes, drawn on first use, so that nothing has to be downloaded.

Every image shows a sea or a field under a strip of sky, with toys scattered over it. The classes are designed so that
both halves of the method matter:

- *global context*: one and the same drawing is a ``boat`` at sea and a ``wagon`` on land, and another is a ``starfish``
  at sea and a ``flower`` on land. The object's own pixels do not tell which; only the scene around it does: waves, or
  blades of grass under a hilly horizon. Water tends to blue and land to yellow, but both can be green, and the light
  tints them.
- *local detail*: ``wire`` is a curve of about two pixels, ``coin`` a dot of four to six.

The other classes are told apart by shape and pattern. Colours overlap between classes, and light, contrast, blur and
noise are random per image, so that a few labelled images do not cover them all.

The pixels are a function of (seed, split, index, options). They are computed from uniform random numbers by arithmetic
and square roots of float64 alone, whose rounding IEEE 754 defines, so that they are the same on every machine.
"""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from igl_dt.data.datasets.base import DataError, Listing, Sample, SegmentationDataset, Split
from igl_dt.utils.files import lock_of
from igl_dt.utils.parameters import Parameters
from igl_dt.utils.seeding import generator

CLASS_NAMES = ("background", "boat", "wagon", "starfish", "flower", "ring", "crate", "wire", "coin")
"""Class names in the order of their ids in the masks."""

DRAWING_VERSION = 2
"""Incremented whenever the same options give different pixels, so that older folders are redrawn."""

T = TypeVar("T")
Scene = Literal["sea", "field"]
Side = Annotated[int, Field(ge=32, multiple_of=16)]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]


class ShapesOptions(Parameters):
    """``dataset.options`` of the source ``shapes``."""

    seed: NonNegativeInt = 0
    """Another seed gives another data set with the same distribution."""
    train: PositiveInt = 480
    """Number of training images."""
    val: PositiveInt = 120
    test: NonNegativeInt = 120
    min_side: Side = 64
    """Shortest side in pixels; a multiple of 16."""
    max_side: Side = 128
    """Longest side in pixels; a multiple of 16."""

    @model_validator(mode="after")
    def _sides_are_in_order(self) -> "ShapesOptions":
        if self.min_side > self.max_side:
            raise ValueError(f"min_side ({self.min_side}) must not be above max_side ({self.max_side})")
        return self


class Shapes(SegmentationDataset[ShapesOptions]):
    """The built-in scenes, drawn into the root unless they are there already.

    The root is laid out like CamVid: ``{train,val,test}/{images,masks}/*.png`` and ``classes.txt``. ``shapes.json``
    records the options it was drawn with.
    """

    name = "shapes"
    options_type = ShapesOptions
    draws_itself = True

    def list_samples(self) -> Listing:
        samples = tuple(
            Sample(id_, split, f"{split}/images/{id_}.png", f"{split}/masks/{id_}.png")
            for split in get_args(Split)
            for id_ in (f"{split}_{index:04d}" for index in range(getattr(self.options, split)))
        )
        content = {"drawing_version": DRAWING_VERSION, "options": self.options.model_dump()}
        identity = json.dumps(content, indent=2) + "\n"
        if not self._is_drawn(samples, identity):
            self.root.parent.mkdir(parents=True, exist_ok=True)
            with lock_of(self.root):  # of processes that start at once, one draws
                if not self._is_drawn(samples, identity):
                    self._draw(samples, identity)
        return Listing(samples, CLASS_NAMES)

    def _is_drawn(self, samples: Sequence[Sample], identity: str) -> bool:
        marker = self.root / "shapes.json"
        if not marker.is_file():
            if self.root.exists() and any(self.root.iterdir()):
                raise DataError(
                    f"dataset.root {str(self.root)!r} holds files that the source shapes did not draw (there is no "
                    "shapes.json): choose another folder, or empty this one"
                )
            return False
        if marker.read_text("utf-8") != identity:
            raise DataError(
                f"dataset.root {str(self.root)!r} was drawn with other dataset.options, or by another version, and "
                "other runs may use it: give this run a dataset.root of its own, or remove that folder"
            )
        files = ["classes.txt", *(path for sample in samples for path in (sample.image, sample.mask) if path)]
        return all((self.root / file).is_file() for file in files)

    def _draw(self, samples: Sequence[Sample], identity: str) -> None:
        """Draw into a temporary folder and rename it to the root, so that the root is never half drawn."""
        with tempfile.TemporaryDirectory(prefix=f".{self.root.name}-", dir=self.root.parent) as temporary:
            drawn = Path(temporary, "drawn")
            for split in get_args(Split):
                for kind in ("images", "masks"):
                    (drawn / split / kind).mkdir(parents=True)
            indices = {split: iter(range(getattr(self.options, split))) for split in get_args(Split)}
            for sample in samples:
                image, mask = draw_scene(self.options.seed, sample.split, next(indices[sample.split]), self.options)
                Image.fromarray(image).save(drawn / sample.image, compress_level=1)
                Image.fromarray(mask).save(drawn / str(sample.mask), compress_level=1)
            (drawn / "classes.txt").write_text("\n".join(CLASS_NAMES) + "\n", "utf-8")
            (drawn / "shapes.json").write_text(identity, "utf-8")
            if self.root.exists():
                self.root.replace(Path(temporary, "replaced"))
            drawn.replace(self.root)


def draw_scene(seed: int, split: Split, index: int, options: ShapesOptions) -> tuple[Bytes, Bytes]:
    """Draw one scene.

    Args:
        seed: the data set's seed.
        split: ``train``, ``val`` or ``test``; they share no scene.
        index: number of the scene within its split, from 0.
        options: only the range of the sides is used.

    Returns:
        H×W×3 uint8 RGB image, and H×W uint8 mask of class ids.
    """
    scene: Scene = _Dice(seed, split, index, "scene").pick(("sea", "field"))
    return paint(scene, (seed, split, index), options)


def paint(scene: Scene, key: tuple[int, str, int], options: ShapesOptions) -> tuple[Bytes, Bytes]:
    """Paint the scene of a key (seed, split, index) on a given backdrop, on which objects and light do not depend.

    Returns:
        H×W×3 uint8 RGB image, and H×W uint8 mask of class ids.
    """
    layout, backdrop, light = (_Dice(*key, purpose) for purpose in ("layout", "backdrop", "light"))
    sides = (options.min_side, (options.min_side + options.max_side) // 32 * 16, options.max_side)
    height, width = layout.pick([(h, w) for h in sides for w in sides if 2 * max(h, w) <= 3 * min(h, w)])
    sun = layout.direction()
    canvas = _Canvas(_paint_backdrop(scene, height, width, backdrop), np.zeros((height, width), np.uint8), sun)
    _put_objects(canvas, scene, layout)
    return _develop(canvas.image, light), canvas.mask


class _Dice:
    """Uniform random numbers for one purpose, and simple draws made from them."""

    def __init__(self, *key: str | int) -> None:
        seed, *names = key
        self._generator = generator(int(seed), "shapes", *names)

    def grid(self, *shape: int) -> Floats:
        return self._generator.random(shape)

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self._generator.random()

    def chance(self, probability: float) -> bool:
        return self._generator.random() < probability

    def whole(self, low: int, high: int) -> int:
        """Draw from low to high, both included."""
        return low + int(self._generator.random() * (high - low + 1))

    def pick(self, items: Sequence[T]) -> T:
        return items[self.whole(0, len(items) - 1)]

    def direction(self, steepness: float = 1.0) -> tuple[float, float]:
        """Draw a unit vector (x, y) turned from (1, 0) to either side by up to 2·atan(steepness), 90° for 1."""
        t = self.uniform(-steepness, steepness)
        return (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)

    def colour(self, palette: str) -> Floats:
        hue, saturation, value = PALETTES[palette]
        return _from_hsv(self.uniform(*hue), self.uniform(*saturation), self.uniform(*value))


Range = tuple[float, float]

PALETTES: dict[str, tuple[Range, Range, Range]] = {
    "cool": ((0.3, 0.6), (0.4, 0.95), (0.5, 1.0)),
    "dark": ((0.0, 1.0), (0.2, 0.8), (0.05, 0.2)),
    "gold": ((0.13, 0.18), (0.7, 1.0), (0.9, 1.0)),
    "pale": ((0.0, 1.0), (0.0, 0.35), (0.8, 1.0)),
    "pink": ((0.7, 1.0), (0.4, 0.95), (0.5, 1.0)),
    "warm": ((-0.05, 0.09), (0.6, 0.95), (0.5, 1.0)),
    "white": ((0.0, 1.0), (0.0, 0.15), (0.9, 1.0)),
    "wood": ((0.05, 0.13), (0.35, 0.7), (0.5, 0.9)),
}
"""Ranges of hue (in turns), saturation and value."""

HUES: dict[Scene, Range] = {"sea": (0.32, 0.68), "field": (0.06, 0.45)}
"""Hue of the ground: the ranges overlap in the greens, so that colour does not settle a third of the images."""


def _from_hsv(hue: float, saturation: float, value: float) -> Floats:
    ramp = np.clip(np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    return np.asarray(value * (1 - saturation + saturation * ramp))


def _smooth(t: Floats) -> Floats:
    """Ease from 0 to 1."""
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def _wave(phase: Floats) -> Floats:
    """Oscillate smoothly from 0 to 1 and back with period 1."""
    return _smooth(np.abs(phase % 1 * 2 - 1))


def _noise(dice: _Dice, height: int, width: int, cell: tuple[float, float]) -> Floats:
    """Value noise in [0, 1]: random numbers on a grid of cells (height, width), interpolated smoothly."""
    (row, down), (column, across) = (
        np.divmod((np.arange(length) + 0.5) / size, 1) for length, size in zip((height, width), cell, strict=True)
    )
    top, left = row.astype(int), column.astype(int)
    values = dice.grid(top[-1] + 2, left[-1] + 2)
    rows = values[top] + (values[top + 1] - values[top]) * _smooth(down)[:, None]
    return np.asarray(rows[:, left] + (rows[:, left + 1] - rows[:, left]) * _smooth(across))


def _pixels(height: int, width: int) -> tuple[Floats, Floats]:
    """Return the coordinates of the pixel centres: rows H×1, columns 1×W."""
    return np.arange(height, dtype=np.float64)[:, None] + 0.5, np.arange(width, dtype=np.float64)[None] + 0.5


def _mix(first: Floats, second: Floats, share: Floats) -> Floats:
    """Blend colours; a share of 1 gives exactly the second."""
    return first * (1 - share[..., None]) + second * share[..., None]


# The backdrop: sky above, and water or land below.


def _paint_backdrop(scene: Scene, height: int, width: int, dice: _Dice) -> Floats:
    """Paint sky and ground: H×W×3."""
    hue, saturation, value = dice.uniform(*HUES[scene]), dice.uniform(0.15, 0.45), dice.uniform(0.3, 0.75)
    step = dice.uniform(0.25, 0.4) * (1 if value < 0.5 else -1)
    dark = _from_hsv(hue, saturation, value)
    light = _from_hsv(hue + dice.uniform(-0.08, 0.08), saturation * dice.uniform(0.5, 1.1), value + step)
    horizon = np.full((1, width), height * dice.uniform(0.1, 0.24))
    if scene == "field":
        horizon = horizon + (_noise(dice, 1, width, (1, width / 5)) - 0.5) * height * 0.16
    y, _ = _pixels(height, width)
    depth = (y - horizon) / (height - horizon)
    ground = _mix(dark, light, (_paint_water if scene == "sea" else _paint_land)(depth, dice))

    zenith, haze = _from_hsv(dice.uniform(0, 1), 0.25, dice.uniform(0.6, 1)), _from_hsv(dice.uniform(0, 1), 0.15, 0.95)
    clouds = _smooth(_noise(dice, height, width, (height / 16, width / 6)) * 2 - 0.8) * dice.uniform(0, 0.6)
    sky = _mix(_mix(zenith, haze, np.clip(y / horizon, 0, 1)), np.ones(3), clouds)
    return _mix(sky, ground, np.clip(y - horizon, 0, 1))


def _paint_water(depth: Floats, dice: _Dice) -> Floats:
    """Waves: crests across the image, denser towards the horizon; H×W in [0, 1]."""
    height, width = depth.shape
    rows = height / dice.uniform(7, 11) * depth * (1.4 - 0.4 * depth)
    swell = _noise(dice, height, width, (dice.uniform(8, 16), dice.uniform(10, 20))) * dice.uniform(0.8, 1.6)
    crests = _wave(rows + swell) ** 2
    glitter = _noise(dice, height, width, (1.5, dice.uniform(4, 9)))
    share = dice.uniform(0.65, 0.85)
    return share * crests + (1 - share) * glitter


def _paint_land(depth: Floats, dice: _Dice) -> Floats:
    """Grass and soil: blades that stand up, over blotches; H×W in [0, 1]."""
    height, width = depth.shape
    size = dice.uniform(8, 16)
    blotches = _noise(dice, height, width, (size, size * dice.uniform(1, 1.6)))
    blades = _smooth(_noise(dice, height, width, (dice.uniform(4, 8), 1.6)) * 3 - 1)
    share = dice.uniform(0.15, 0.35)
    return share * blotches + (1 - share) * blades


# The objects: distances to outlines (H×W, in pixels, negative inside), filled with a look.


@dataclass
class _Canvas:
    image: Floats
    """H×W×3, about 0 to 1."""
    mask: Bytes
    """H×W."""
    sun: tuple[float, float]
    """Unit vector (x, y) towards the light."""


class _Frame(NamedTuple):
    """Pixel coordinates relative to a placed and rotated object: each H×W."""

    u: Floats
    """Pixels to the right of the object's centre."""
    v: Floats
    """Pixels below the object's centre."""
    sunward: Floats
    """Pixels from the object's centre towards the sun."""


@dataclass(frozen=True)
class _Look:
    """Two colours and a pattern of them."""

    first: Floats
    second: Floats
    pattern: str
    period: float
    """Pixels from one stripe or dot to the next."""

    def paint(self, frame: _Frame) -> Floats:
        """Paint the whole frame: H×W×3."""
        u, v = frame.u / self.period, frame.v / self.period
        if self.pattern == "stripes":
            share = _smooth(_wave(u) * 2 - 0.5)
        elif self.pattern == "planks":
            share = _smooth(_wave(v) * 2 - 0.5)
        elif self.pattern == "dots":
            share = _smooth(_wave(u) * _wave(v) * 4 - 1)
        elif self.pattern == "quarters":
            share = _smooth(u * v * 4 + 0.5)
        else:
            share = np.zeros_like(u)
        return _mix(self.first, self.second, share)


def _draw_look(dice: _Dice, first: str, second: str | None = None, pattern: str = "plain") -> _Look:
    return _Look(dice.colour(first), dice.colour(second or first), pattern, dice.uniform(4, 9))


Parts = list[tuple[Floats, _Look]]
"""An object's parts, each over the ones before it: distance to the outline, and look."""


def _put(canvas: _Canvas, frame: _Frame, parts: Parts, size: float, class_id: int) -> None:
    """Draw an object on the canvas: lit from the side of the sun, darker along its outlines, with a shadow."""
    light = 1 + 0.4 * np.clip(frame.sunward / size, -1, 1)
    colour = np.zeros_like(canvas.image)
    outline = np.full_like(frame.u, np.inf)
    for distance, look in parts:
        rim = 1 - 0.4 * np.clip(1 + distance, 0, 1)
        colour = _mix(colour, look.paint(frame) * (light * rim)[..., None], np.clip(1.5 - distance, 0, 1))
        outline = np.minimum(outline, distance)
    cover = np.clip(0.5 - outline, 0, 1)
    canvas.image *= 1 - 0.4 * _smooth(0.5 - _shifted(outline, canvas.sun) / 4)[..., None]
    canvas.image[:] = _mix(canvas.image, colour, cover)
    canvas.mask[cover >= 0.5] = class_id


def _shifted(distance: Floats, sun: tuple[float, float]) -> Floats:
    """Move a distance map three pixels away from the sun."""
    across, down = (3 + round(3 * towards) for towards in sun)
    height, width = distance.shape
    return np.pad(distance, 3, mode="edge")[down : down + height, across : across + width]


def _disc(frame: _Frame, u: float, v: float, radius: float) -> Floats:
    return np.sqrt((frame.u - u) ** 2 + (frame.v - v) ** 2) - radius


def _box(frame: _Frame, half_width: float, half_height: float) -> Floats:
    return np.maximum(np.abs(frame.u) - half_width, np.abs(frame.v) - half_height)


def _make_vessel(frame: _Frame, size: float, dice: _Dice) -> Parts:
    """A hull with two discs at its foot and an arched cover on top: a boat, or a covered wagon."""
    half, height = size * dice.uniform(0.46, 0.52), size * dice.uniform(0.16, 0.22)
    foot = half * dice.uniform(0.6, 0.8)
    slope = np.sqrt((2 * height) ** 2 + (half - foot) ** 2)
    v = frame.v - height
    side = ((np.abs(frame.u) - half) * 2 * height + (v + height) * (half - foot)) / slope
    hull = np.maximum(np.maximum(-v - height, v - height), side)
    wide, high = half * dice.uniform(0.65, 0.85), size * dice.uniform(0.28, 0.42)
    arch = (np.sqrt((frame.u / wide) ** 2 + (frame.v / high) ** 2) - 1) * min(wide, high)
    cover = np.maximum(arch, frame.v - 2)
    wheel, apart, wheels = size * dice.uniform(0.09, 0.13), foot * dice.uniform(0.5, 0.75), _draw_look(dice, "dark")
    parts = [(cover, _draw_look(dice, "pale", "warm", "stripes")), (hull, _draw_look(dice, "warm"))]
    return parts + [(_disc(frame, at, 2 * height - wheel * 0.6, wheel), wheels) for at in (-apart, apart)]


FIFTHS = (
    (0.0, -1.0),
    (0.9510565162951535, -0.3090169943749474),
    (0.5877852522924731, 0.8090169943749475),
    (-0.5877852522924731, 0.8090169943749475),
    (-0.9510565162951535, -0.3090169943749474),
)
"""Unit vectors to the corners of a pentagon."""


def _make_star(frame: _Frame, size: float, dice: _Dice) -> Parts:
    """Five arms around a disc: a starfish, or a flower."""
    reach = size * 0.5
    root, tip = reach * dice.uniform(0.22, 0.36), reach * dice.uniform(0.1, 0.26)
    arms = np.full_like(frame.u, np.inf)
    for x, y in FIFTHS:
        along = np.clip((frame.u * x + frame.v * y) / (reach - tip), 0, 1)
        reached = along * (reach - tip)
        distance = np.sqrt((frame.u - x * reached) ** 2 + (frame.v - y * reached) ** 2) - (root + (tip - root) * along)
        arms = np.minimum(arms, distance)
    heart = _disc(frame, 0, 0, root * dice.uniform(0.7, 1.1))
    return [(arms, _draw_look(dice, "pink", "pink", "dots")), (heart, _draw_look(dice, "warm"))]


def _make_ring(frame: _Frame, size: float, dice: _Dice) -> Parts:
    """A ring, more or less tilted, with the background visible through it."""
    squash, half = dice.uniform(0.7, 1), size * dice.uniform(0.09, 0.13)
    middle = _disc(frame._replace(v=frame.v / squash), 0, 0, size * 0.5 - half)
    return [((np.abs(middle) - half) * squash, _draw_look(dice, "white", "cool", "quarters"))]


def _make_crate(frame: _Frame, size: float, dice: _Dice) -> Parts:
    """A box of planks in a frame."""
    half_width, half_height = size * dice.uniform(0.36, 0.46), size * dice.uniform(0.3, 0.46)
    box = _box(frame, half_width, half_height)
    board = size * dice.uniform(0.08, 0.13)
    rim = np.maximum(box, -box - board)
    return [(box, _draw_look(dice, "wood", "dark", "planks")), (rim, _draw_look(dice, "wood"))]


def _make_wire(frame: _Frame, size: float, dice: _Dice) -> Parts:
    """A slack wire."""
    sag, half = dice.uniform(-1, 1.6) / size, dice.uniform(0.9, 1.3)
    distance = np.abs(frame.v - sag * frame.u**2) / np.sqrt(1 + (2 * sag * frame.u) ** 2) - half
    return [(np.maximum(distance, np.abs(frame.u) - size * 0.5), _draw_look(dice, "dark"))]


def _make_coins(frame: _Frame, size: float, dice: _Dice) -> Parts:
    """A handful of coins."""
    places = [(dice.uniform(-0.5, 0.5) * size, dice.uniform(-0.3, 0.3) * size) for _ in range(dice.whole(6, 12))]
    discs = [_disc(frame, u, v, dice.uniform(2, 3)) for u, v in places]
    return [(np.minimum.reduce(discs), _draw_look(dice, "gold"))]


class _Kind(NamedTuple):
    """A kind of object."""

    make: Callable[[_Frame, float, _Dice], Parts]
    names: Mapping[Scene, str]
    """Class name by scene."""
    frequency: float
    """Share of the scenes that contain one or two of it."""
    size: Range
    """Range of the extent, relative to the geometric mean of the image's sides."""
    tilt: float
    """Tangent of half the largest rotation."""


def _everywhere(name: str) -> dict[Scene, str]:
    return {"sea": name, "field": name}


KINDS = (
    _Kind(_make_vessel, {"sea": "boat", "field": "wagon"}, 0.85, (0.34, 0.5), 0.1),
    _Kind(_make_star, {"sea": "starfish", "field": "flower"}, 0.85, (0.32, 0.48), 1.0),
    _Kind(_make_ring, _everywhere("ring"), 0.75, (0.32, 0.48), 0.3),
    _Kind(_make_crate, _everywhere("crate"), 0.75, (0.26, 0.42), 0.3),
    _Kind(_make_wire, _everywhere("wire"), 0.65, (1.2, 1.8), 0.4),
    _Kind(_make_coins, _everywhere("coin"), 0.65, (0.4, 0.7), 1.0),
)


def _put_objects(canvas: _Canvas, scene: Scene, dice: _Dice) -> None:
    """Put five to nine objects on the canvas, each at the emptiest of a few candidate places."""
    kinds = [kind for kind in KINDS if dice.chance(kind.frequency) for _ in range(dice.whole(1, 2))]
    while len(kinds) < 5:
        kinds.append(dice.pick(KINDS))
    order = np.argsort(dice.grid(len(kinds)), kind="stable")
    height, width = canvas.mask.shape
    side = np.sqrt(height * width)
    taken: list[tuple[float, float]] = []
    for kind in [kinds[i] for i in order[:9]]:
        places = [(dice.uniform(0.1, 0.9) * width, dice.uniform(0.25, 0.9) * height) for _ in range(6)]
        centre = max(places, key=lambda place: _clearance(place, taken))
        taken.append(centre)
        size = side * dice.uniform(*kind.size)
        part, frame = _around(canvas, centre, size * 0.75 + 8, dice.direction(kind.tilt))
        _put(part, frame, kind.make(frame, size, dice), size, CLASS_NAMES.index(kind.names[scene]))


def _around(
    canvas: _Canvas, centre: tuple[float, float], reach: float, turn: tuple[float, float]
) -> tuple[_Canvas, _Frame]:
    """Return the part of the canvas that an object can touch (a view, for speed), and its frame for the object."""
    (left, right), (top, bottom) = (
        (max(int(at - reach), 0), min(int(at + reach) + 1, length))
        for at, length in zip(centre, reversed(canvas.mask.shape), strict=True)
    )
    part = _Canvas(canvas.image[top:bottom, left:right], canvas.mask[top:bottom, left:right], canvas.sun)
    y, x = _pixels(bottom - top, right - left)
    x, y = x + left - centre[0], y + top - centre[1]
    u, v = x * turn[0] + y * turn[1], y * turn[0] - x * turn[1]
    return part, _Frame(u, v, x * canvas.sun[0] + y * canvas.sun[1])


def _clearance(place: tuple[float, float], taken: Sequence[tuple[float, float]]) -> float:
    return min(((place[0] - u) ** 2 + (place[1] - v) ** 2 for u, v in taken), default=0.0)


# The camera: light, lens and noise of the whole image.


def _develop(image: Floats, dice: _Dice) -> Bytes:
    """Turn a painted scene into a photograph: H×W×3 uint8."""
    height, width, _ = image.shape
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    light = dice.uniform(0.75, 1.25) * (1 + dice.uniform(-0.25, 0.25) * x + dice.uniform(-0.25, 0.25) * y)
    light = light * (1 - dice.uniform(0, 0.2) * (x * x + y * y))
    image = image * light[..., None] * (0.75 + 0.5 * dice.grid(3))
    image = 0.45 + (image - 0.45) * dice.uniform(0.6, 1.2)
    image = _blur(image, dice.uniform(0, 0.14))
    noise = dice.grid(height, width, 3) + dice.grid(height, width, 3) + dice.grid(height, width, 1) - 1.5
    image = image + noise * dice.uniform(0.01, 0.05)
    return np.floor(np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _blur(image: Floats, weight: float) -> Floats:
    """Blur with the kernel (weight, 1 - 2·weight, weight), one axis after the other."""
    for axis in (0, 1):
        padded = np.pad(image, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        before, after = (padded[:-2], padded[2:]) if axis == 0 else (padded[:, :-2], padded[:, 2:])
        image = image * (1 - 2 * weight) + (before + after) * weight
    return image
