"""Made-up pictures and a random vision tower: what stands in for the emoji and DINOv2 where nothing is downloaded.

Coloured shapes on white in two styles, labelled as emoji are, so that every question about pictures can be asked.
"""

import itertools

import numpy as np
import torch
from jaxtyping import UInt8
from transformers import Dinov2Config, Dinov2Model

from armillary.data.emoji import Emoji, EmojiLabel

IMAGE_SIZE = 12
"""Pixels to which the tower's pictures are resized; nine tokens."""

_SIZE = 16
_COLOURS = {"red": (220, 20, 20), "green": (20, 180, 20), "blue": (20, 40, 220), "orange": (240, 130, 0)}
_THINGS = {"red": "fire", "green": "grass", "blue": "water", "orange": "fruit"}
_SHAPES = {"square": "box", "bar": "stick", "cross": "plus"}
_CORNERS = {"left": (0, 0), "top": (0, 6), "right": (6, 6), "bottom": (6, 0)}
_EXTENTS = {"small": 6, "large": 10}


def made_up_emoji() -> Emoji:
    """96 emoji (three groups of shapes, four colours) of 16 pixels, filled and striped."""
    pictures, labels = [], []
    every = itertools.product(_SHAPES, _COLOURS, _CORNERS, _EXTENTS)
    for number, (shape, colour, corner, extent) in enumerate(every):
        labels.append(
            EmojiLabel(
                hexcode=f"{0x20000 + number:X}",
                character=colour[0],
                label=f"{extent} {colour} {shape} {corner}",
                tags=(_THINGS[colour], _SHAPES[shape]),
                group=f"{shape}s",
                subgroup=f"{colour} {shape}s",
            )
        )
        pictures.append(_drawn(shape, colour, corner, extent))
    return Emoji(pictures=np.stack(pictures), labels=tuple(labels), styles=("filled", "striped"), source=())


def _drawn(shape: str, colour: str, corner: str, extent: str) -> UInt8[np.ndarray, "s p p 3"]:
    side = _EXTENTS[extent]
    mask = np.zeros((side, side), dtype=bool)
    third = max(2, side // 3)
    if shape in ("square", "bar"):
        mask[:, : side if shape == "square" else third] = True
    else:
        mask[side // 2 - third // 2 : side // 2 + (third + 1) // 2] = True
        mask[:, side // 2 - third // 2 : side // 2 + (third + 1) // 2] = True
    picture = np.full((2, _SIZE, _SIZE, 3), 255, dtype=np.uint8)
    top, left = _CORNERS[corner]
    for style, shown in enumerate((mask, mask & (np.arange(side)[:, None] % 2 == 0))):
        picture[style, top : top + side, left : left + side][shown] = _COLOURS[colour]
    return picture


def random_tower(seed: int = 0) -> Dinov2Model:
    """A DINOv2 of two narrow layers with random weights; the global random generator is left as it was."""
    config = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=1,
        mlp_ratio=2,
        image_size=IMAGE_SIZE,
        patch_size=4,
        use_mask_token=False,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = Dinov2Model(config)
    tower.eval()
    return tower
