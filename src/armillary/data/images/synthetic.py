"""Synthetic images and a random vision tower: what stands in for the emoji and DINOv2 where nothing is downloaded.

Coloured shapes on white in two styles, labelled as emoji are, so that every question about images can be asked.
"""

import itertools

import numpy as np
import torch
from jaxtyping import UInt8
from transformers import Dinov2Config, Dinov2Model

from armillary.data.images.drawings import EmojiLabel
from armillary.data.images.emoji import Emoji

IMAGE_SIZE = 12
"""Pixels to which the tower's images are resized; nine tokens."""

_SIZE = 16
_COLOURS = {"red": (220, 20, 20), "green": (20, 180, 20), "blue": (20, 40, 220), "orange": (240, 130, 0)}
_THINGS = {"red": "fire", "green": "grass", "blue": "water", "orange": "fruit"}
_SHAPES = {"square": "box", "bar": "stick", "cross": "plus"}
_CORNERS = {"left": (0, 0), "top": (0, 6), "right": (6, 6), "bottom": (6, 0)}
_EXTENTS = {"small": 6, "large": 10}


def synthetic_emoji() -> Emoji:
    """96 emoji (three groups of shapes, four colours) of 16 pixels, filled and striped."""
    images, labels = [], []
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
        images.append(_drawn(shape, colour, corner, extent))
    return Emoji(images=np.stack(images), labels=tuple(labels), styles=("filled", "striped"), source=())


def _drawn(shape: str, colour: str, corner: str, extent: str) -> UInt8[np.ndarray, "s p p 3"]:
    side = _EXTENTS[extent]
    mask = np.zeros((side, side), dtype=bool)
    third = max(2, side // 3)
    if shape in ("square", "bar"):
        mask[:, : side if shape == "square" else third] = True
    else:
        mask[side // 2 - third // 2 : side // 2 + (third + 1) // 2] = True
        mask[:, side // 2 - third // 2 : side // 2 + (third + 1) // 2] = True
    image = np.full((2, _SIZE, _SIZE, 3), 255, dtype=np.uint8)
    top, left = _CORNERS[corner]
    for style, shown in enumerate((mask, mask & (np.arange(side)[:, None] % 2 == 0))):
        image[style, top : top + side, left : left + side][shown] = _COLOURS[colour]
    return image


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


# A second set with four styles and a keyword a subgroup, so that tasks about styles and keywords have answers enough.

_GROUPS = {
    "food & drink": ("fruits", "drinks"), "animals & nature": ("birds", "bugs"), "objects": ("tools", "books"),
}  # fmt: skip

_EMOJI_COLOURS = ((220, 20, 20), (20, 60, 230), (30, 160, 40), (150, 50, 190), (240, 220, 40), (250, 140, 20))

_EACH, _EMOJI_SIZE = 30, 28

STYLES = ("bar", "block", "frame", "cross")


def stand_in_emoji() -> Emoji:
    """Emoji of six subgroups in four styles: each subgroup has its colour and its keyword, each style its shape."""
    labels, images = [], []
    for kind, (group, subgroup) in enumerate((group, part) for group, parts in _GROUPS.items() for part in parts):
        for number in range(_EACH):
            labels.append(
                EmojiLabel(
                    hexcode=f"{0x20000 + 1000 * kind + number:X}",
                    character="x",
                    label=f"{subgroup.removesuffix('s')} {chr(ord('a') + number % 26)}{'x' * (number // 26)}",
                    tags=(f"{subgroup}like", "thing"),
                    group=group,
                    subgroup=subgroup,
                )
            )
            images.append([_drawn_emoji(style, kind, number) for style in range(len(STYLES))])
    return Emoji(images=np.array(images, dtype=np.uint8), labels=tuple(labels), styles=STYLES, source=())


def _drawn_emoji(style: int, kind: int, number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    image = np.full((_EMOJI_SIZE, _EMOJI_SIZE, 3), 255, dtype=np.uint8)
    shift, colour = number % 6, _EMOJI_COLOURS[kind]
    if style == 0:
        image[4:24, 6 + shift : 14 + shift] = colour
    elif style == 1:
        image[6 + shift : 22 + shift, 6:22] = colour
    elif style == 2:
        image[3:25, 3:25] = colour
        image[9:19, 9:19] = 255
    else:
        image[11:17, 2:26] = colour
        image[2:26, 8 + shift : 14 + shift] = colour
    return image
