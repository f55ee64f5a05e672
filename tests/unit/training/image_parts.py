"""A tiny image-text model with rows of questions about synthetic images, and the slow way to score answers."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

from armillary.data.images.questions import ImageExample, ImageTask, image_examples
from armillary.data.images.synthetic import IMAGE_SIZE, random_tower, synthetic_emoji
from armillary.finetuning.image_setup import states_of
from armillary.models import tiny
from armillary.models.image_text import assemble_image_text_model
from armillary.training.image_rows import ImageRows


@cache
def image_rows(kind: str = "llama", *, stored: bool = False) -> tuple[Any, ImageRows]:
    """The model and its rows, of pixels or of stored states; made once, not to be changed."""
    model, processor = assemble_image_text_model(
        tiny(kind), image_size=IMAGE_SIZE, tower=random_tower(), vision_layers=2
    )
    emoji = synthetic_emoji()
    return model, ImageRows.of(model, processor, emoji, states_of(model, processor, emoji) if stored else None)


def some_examples(rows: ImageRows, tasks: Sequence[ImageTask], each: int = 4) -> list[ImageExample]:
    """A few training examples of each task."""
    return [one for task in tasks for one in image_examples(rows.emoji, task, "train", limit=each)]


@torch.no_grad()
def log_probability(model: Any, rows: ImageRows, example: ImageExample, answer: Sequence[int]) -> float:
    """Of the answer's tokens after one prompt, from logits at every position of one unpadded row, in float64."""
    prompt = rows.prompt(example.question)
    batch = rows.collate([{**rows.row(example, answered=False), "input_ids": prompt, "labels": prompt}])
    ids = torch.tensor([[*prompt, *answer]])
    logits = model(input_ids=ids, pixel_values=batch["pixel_values"]).logits[0].double()
    told = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return float(told[torch.arange(len(answer)), torch.tensor(list(answer))].sum())
