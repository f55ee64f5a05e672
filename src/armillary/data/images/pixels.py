"""One way from an image file, or from pixels, to RGB of eight bits, which every reader of images takes.

``Image.convert("RGB")`` alone clips sixteen bits to white, makes floats from 0 to 1 black, leaves a photograph on
its side and paints what is transparent in whatever colour its hidden pixels have.
"""

import struct
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

_THUMBNAIL = (64, 64)
_LOW_BITS = {"L;2": 85, "L;4": 17, "RGB;16B": 1 / 256}
"""By how much Pillow multiplies what a PNG holds; the key colour that means transparent it leaves as written."""

_ACCEPTED = "give PNG, JPEG or the like, of 8 or 16 bits a channel"


def read_image(source: Path | bytes, *, where: str = "", thumbnail: bool = False) -> "Image":
    """The image of a file or of its content, decoded to the last row; of an animated one the first frame.

    ``thumbnail`` lets a JPEG be decoded at an eighth of its size: fast, and a broken file is found all the same.
    UsageError, which begins with ``where``, for what can't be decoded or has no meaning in RGB.
    """
    from PIL import Image

    name = str(source) if isinstance(source, Path) else "the image"
    named = f"{where} names {name}, which" if where else name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about odd metadata and large images
            with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
                if thumbnail:
                    image.draft(None, _THUMBNAIL)
                scale = _LOW_BITS.get(str(image.tile[0].args)) if image.format == "PNG" and image.tile else None
                image.load()
                if scale is not None and "transparency" in image.info:
                    key = np.multiply(image.info["transparency"], scale).astype(int).tolist()
                    image.info["transparency"] = tuple(key) if isinstance(key, list) else key
                return rgb(image)
    except Exception as error:  # a broken file may raise anything in Pillow's many readers
        detail = str(error).split("\n")[0].rstrip(". ") or type(error).__name__
        raise UsageError(f"{named} can't be read as an image ({detail}); {_ACCEPTED}.") from error


def rgb(image: "Image") -> "Image":
    """The image in RGB as a viewer shows it: turned as its EXIF data says, on white where it is transparent.

    Sixteen bits a channel and floats from 0 to 1 are scaled to eight bits. ValueError for numbers of which it is
    unknown what is white (floats beyond 0 to 1, integers with a sign or of 32 bits), and for colours that Pillow
    can't convert.
    """
    from PIL import Image, ImageOps

    if image.mode.startswith("I") or image.mode == "F":
        grey = Image.fromarray(_eight_bits(image))
        grey.info["exif"] = image.getexif().tobytes()
        image = grey
    # Metadata that can't be read turns nothing; the image itself is whole.
    with suppress(OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error):
        image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # Pillow has no way past LA
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(image: "Image") -> "NDArray[np.uint8]":
    """Grey in 0 to 255 from grey of more bits or of floats."""
    # Of the tags of a TIFF: bits a channel, and whether 0 is white.
    tags = getattr(image, "tag_v2", {})
    grey, lowest, white = np.asarray(image, dtype=np.float64), 0.0, 1.0
    if image.mode != "F":
        # Pillow has the sixteen bits of these files in integers of 32.
        wide = image.mode == "I" and image.format not in ("PNG", "PPM")
        white = -1.0 if wide else 2.0 ** int(tags.get(258, (16,))[0]) - 1
    if not bool(((grey >= lowest) & (grey <= white)).all()):
        floats = f"floats run from {grey.min():g} to {grey.max():g}"
        kind = floats if image.mode == "F" else "integers have a sign or 32 bits"
        raise ValueError(f"its {kind}, so that white is unknown")
    scaled = np.round(255 * (1 - grey / white if tags.get(262) == 0 else grey / white)).astype(np.uint8)
    scaled[grey == image.info.get("transparency", -1)] = 255
    return scaled
