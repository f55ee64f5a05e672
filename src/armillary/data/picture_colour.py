"""The colour that dominates a picture, computed from its pixels alone.

[derived] White (value at least 0.9, saturation below 0.1, on the cone of hue, saturation and value) is background. Of
the rest a pixel is coloured if its saturation is at least 0.25 (blue: 0.35, so that bluish greys stay grey) and its
value at least 0.3: black outlines and greys have no say. Its hue, with brown for dark or dull orange and pink for pale
red, gives one of eight colours. A colour dominates a picture if it takes at least 65 % of the coloured pixels, and if
these are at least 8 % of the picture and 40 % of all that is not white.
"""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float, Int, UInt8

# Shapes: h rows, w columns, n pixels that are not white.

Colour = Literal["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"]
COLOURS: tuple[Colour, ...] = get_args(Colour)

_RED, _ORANGE, _YELLOW, _GREEN, _BLUE, _PURPLE, _PINK, _BROWN = range(len(COLOURS))
_NONE = len(COLOURS)
# Where, in degrees of hue, one colour ends and the next begins; red lies on both sides of 0.
_BOUNDS = np.array([18, 42, 66, 165, 255, 300, 345])
_BY_HUE = np.array([_RED, _ORANGE, _YELLOW, _GREEN, _BLUE, _PURPLE, _PINK, _RED])
_BROWN_HUES = (8, 42)
_SHARE, _OF_PICTURE, _OF_DRAWN = 0.65, 0.08, 0.4


def dominant_colour(picture: UInt8[np.ndarray, "h w 3"]) -> Colour | None:
    """The colour that clearly dominates a picture (RGB, 0 to 255), or None; the module tells the rule."""
    hue, saturation, value = _drawn(picture)
    counts = np.bincount(_colours(hue, saturation, value), minlength=_NONE + 1)[:_NONE]
    coloured, best = int(counts.sum()), int(counts.argmax())
    enough = coloured > 0 and coloured >= max(_OF_PICTURE * picture[..., 0].size, _OF_DRAWN * hue.size)
    return COLOURS[best] if enough and counts[best] >= _SHARE * coloured else None


def _drawn(
    picture: UInt8[np.ndarray, "h w 3"],
) -> tuple[Float[np.ndarray, "n"], Float[np.ndarray, "n"], Float[np.ndarray, "n"]]:
    """Hue in degrees (0 for greys), saturation and value in 0 to 1 of the pixels that are not white."""
    rgb = picture.reshape(-1, 3).astype(np.float32) / 255
    value = rgb.max(-1)
    chroma = value - rgb.min(-1)
    kept = (value < 0.9) | (chroma >= 0.1 * value)
    rgb, value, chroma = rgb[kept], value[kept], chroma[kept]
    red, green, blue = rgb.T
    apart = np.where(chroma > 0, chroma, 1)
    sixths = np.select(
        [value == red, value == green],
        [((green - blue) / apart) % 6, (blue - red) / apart + 2],
        (red - green) / apart + 4,
    )
    return 60 * sixths, chroma / np.where(value > 0, value, 1), value


def _colours(
    hue: Float[np.ndarray, "n"], saturation: Float[np.ndarray, "n"], value: Float[np.ndarray, "n"]
) -> Int[np.ndarray, "n"]:
    """Index into COLOURS of each pixel; their number where it has no colour."""
    found = _BY_HUE[np.searchsorted(_BOUNDS, hue, side="right")]
    brownish = (hue >= _BROWN_HUES[0]) & (hue < _BROWN_HUES[1])
    found[brownish & ((value < 0.7) | ((saturation < 0.65) & (value < 0.85)))] = _BROWN
    found[(found == _YELLOW) & (value < 0.6)] = _BROWN
    found[(found == _RED) & (saturation < 0.5) & (value > 0.8)] = _PINK
    least = np.where(found == _BLUE, 0.35, 0.25)
    found[(saturation < least) | (value < 0.3)] = _NONE
    return found
