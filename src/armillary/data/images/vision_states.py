"""What DINOv2 makes of every emoji image, computed once on this machine and kept in the cache.

Shapes: E emoji, S drawing styles, N states of an image with the class token first, v width of the tower.
"""

from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Dinov2Model

from armillary.data.images.emoji import Emoji, emoji_folder
from armillary.fetch import cache
from armillary.models.dinov2 import fetch_dinov2, shortened
from armillary.models.image_text import VISION_LAYERS, square_image_processor
from armillary.models.quiet import quiet
from armillary.progress import track

IMAGE_SIZE = 56  # pixels: 16 image tokens, few enough that training is quick
_FILE = "states.npy"
_AT_ONCE = 64


def image_states(emoji: Emoji) -> NDArray[np.float16]:
    """States ``[E, S, N, v]`` behind the eighth layer, for images of 56 pixels; some minutes at first use.

    Raises DownloadError or StorageError, and then leaves nothing behind.
    """
    tower_folder = fetch_dinov2()
    # By the name of its folder, which tells one download and conversion from another.
    folder = emoji_folder().with_name(f"{emoji_folder().name}-{tower_folder.name}-{VISION_LAYERS}-{IMAGE_SIZE}")

    def make(result: Path, _: Path) -> None:
        with quiet():
            tower = shortened(Dinov2Model.from_pretrained(tower_folder), VISION_LAYERS, IMAGE_SIZE)
        np.save(result / _FILE, states_behind(tower, emoji), allow_pickle=False)

    kept = cache.build(folder, make, needed=400_000_000)
    states: NDArray[np.float16] = np.load(kept / _FILE, allow_pickle=False)
    return states


@torch.inference_mode()
def states_behind(tower: Dinov2Model, emoji: Emoji) -> NDArray[np.float16]:
    """States ``[E, S, N, v]`` behind the tower's last layer, images resized to its own size."""
    processor = square_image_processor(int(cast(Any, tower.config).image_size))
    count, styles = emoji.images.shape[:2]
    flat = emoji.images.reshape(count * styles, *emoji.images.shape[2:])
    starts = range(0, len(flat), _AT_ONCE)
    batches = []
    for start in track(starts, "reading images with DINOv2", len(starts)):
        pixels = processor(list(flat[start : start + _AT_ONCE]), return_tensors="pt")["pixel_values"]
        batches.append(tower(pixels, output_hidden_states=True).hidden_states[-1].half().numpy())
    states = np.concatenate(batches)
    return states.reshape(count, styles, *states.shape[1:])
