"""Colours of the classes, the same in masks, overlays, figures and exported networks."""

import colorsys

import numpy as np

# Each colour is as far as possible from those before it (OKLab), to the normal eye as well as under simulated
# deuteranopia and protanopia: the first N are a good choice for N classes. None is close to the grey of ignored pixels.
_CLASS_COLORS = [
    *("#383838", "#0072b2", "#e69f00", "#007800", "#e187ff", "#fff02d", "#69a596", "#5a0087"),
    *("#b42d78", "#96e187", "#6978f0", "#f0695a", "#96c3d2", "#3c3cb4", "#1e5a3c", "#b45a5a"),
    *("#699600", "#7887b4", "#c3ffa5", "#ffc300", "#b4b487", "#782d69", "#780f00", "#f0c3ff"),
]


IGNORED = "#e1e1e1"
"""The grey of pixels without a class."""


def class_palette(num_classes: int) -> np.ndarray:
    """Colours of N classes, N×3 uint8 RGB; a class has the same colour whatever N is.

    Beyond 24 classes all colours still differ, but not all can be told apart by eye.
    """
    colors = [tuple(bytes.fromhex(color[1:])) for color in _CLASS_COLORS[:num_classes]]
    for index in range(len(colors), num_classes):
        # Hues in steps of the golden ratio never come close to an earlier one twice.
        hue, shade = (index * 0.6180339887) % 1, (0.95, 0.7, 0.45)[index % 3]
        red, green, blue = colorsys.hsv_to_rgb(hue, 0.65, shade)
        colors.append((round(red * 255), round(green * 255), round(blue * 255)))
    return np.array(colors, dtype=np.uint8).reshape(num_classes, 3)


def id_colors(num_classes: int) -> np.ndarray:
    """Colours of all uint8 ids, 256×3 uint8 RGB: those of N classes, and the grey of ignored pixels for the others."""
    colors = np.tile(np.frombuffer(bytes.fromhex(IGNORED[1:]), dtype=np.uint8), (256, 1))
    colors[:num_classes] = class_palette(num_classes)
    return colors
