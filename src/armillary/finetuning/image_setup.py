"""What experiments on images stand on: a language model with a vision tower, images, and their stored states."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from armillary.data.images.emoji import Emoji, load_emoji
from armillary.data.images.synthetic import IMAGE_SIZE, random_tower, synthetic_emoji
from armillary.data.images.vision_states import image_states
from armillary.data.sources import DataSource
from armillary.errors import ModelError
from armillary.models import LoadedModel
from armillary.models.image_text import assemble_image_text_model, open_image_text_model
from armillary.models.vision import tower_states
from armillary.training.image_rows import ImageRows

ImageSet = Literal["emoji", "synthetic"]
_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageTextSetup:
    """An image-text model and rows of questions for it."""

    model: LlavaForConditionalGeneration
    processor: LlavaProcessor
    rows: ImageRows
    """With stored states: to be used inside ``stored_states(model)``."""

    @property
    def emoji(self) -> Emoji:
        return self.rows.emoji

    def sources(self) -> list[DataSource]:
        """Where the images came from."""
        return list(self.emoji.source)


def image_text_setup(text: LoadedModel, images: ImageSet, *, seed: int = 0) -> ImageTextSetup:
    """``text`` with DINOv2-small and the emoji images; "synthetic" takes a random tower and needs no download.

    The seed draws the connector. Some minutes where the states of the images are not in the cache yet. Raises
    UsageError where the emoji have not been fetched, and what ``assemble_image_text_model`` and ``image_states``
    raise.
    """
    if images == "emoji":
        emoji = load_emoji()
        model, processor = assemble_image_text_model(text, connector_seed=seed)
        states = image_states(emoji)
    else:
        emoji, tower = synthetic_emoji(), random_tower()
        model, processor = assemble_image_text_model(
            text,
            image_size=IMAGE_SIZE,
            connector_seed=seed,
            tower=tower,
            vision_layers=int(tower.config.num_hidden_layers),
        )
        states = states_of(model, processor, emoji)
    return ImageTextSetup(model=model, processor=processor, rows=ImageRows.of(model, processor, emoji, states=states))


def opened_setup(folder: str, text: LoadedModel) -> ImageTextSetup:
    """The model that ``armillary train connector`` made of ``text`` and left in ``folder``, on the emoji images.

    Raises:
        ModelError: it can't be opened, its vocabulary is another one than ``text`` has, or its own tower does not give
            the states that are kept of the images.
        UsageError: the emoji have not been fetched.
    """
    emoji, opened = load_emoji(), open_image_text_model(folder)
    model, processor = opened.model, opened.processor
    if not isinstance(model, LlavaForConditionalGeneration) or not isinstance(processor, LlavaProcessor):
        raise ModelError(f"{folder} is no model that `armillary train connector` leaves.")
    words, given = text.tokenizer.get_vocab(), processor.tokenizer.get_vocab()
    # One token may bear another name: an untrained one becomes the image token.
    if sum(given.get(word) != index for word, index in words.items()) > 1:
        raise ModelError(f"{folder} was not made of {text.name}: its tokens are others.")
    states = image_states(emoji)
    pixels = processor.image_processor(list(emoji.images[0]), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        (own,) = tower_states(model, [pixels])
    # Kept in half precision, and read in other batches.
    if not np.allclose(own.numpy(), states[0].astype(np.float32), rtol=0.05, atol=0.05):
        raise ModelError(f"{folder} sees by another tower than the kept states of the images come from.")
    cast(Any, model).to(text.device)
    rows = ImageRows.of(model, processor, emoji, states=states)
    return ImageTextSetup(model=model, processor=processor, rows=rows)


def states_of(model: LlavaForConditionalGeneration, processor: LlavaProcessor, emoji: Emoji) -> NDArray[np.float16]:
    """States ``[emoji, style, N, v]`` that the model's own tower gives for every image."""
    flat = emoji.images.reshape(-1, *emoji.images.shape[2:])
    batches = (
        processor.image_processor(list(flat[start : start + _AT_ONCE]), return_tensors="pt")["pixel_values"]
        for start in range(0, len(flat), _AT_ONCE)
    )
    with torch.inference_mode():
        states = torch.cat([batch.cpu() for batch in tower_states(model, batches)]).half().numpy()
    shaped: NDArray[np.float16] = states.reshape(*emoji.images.shape[:2], *states.shape[1:])
    return shaped
