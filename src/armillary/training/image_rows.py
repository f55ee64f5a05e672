"""Questions about images as rows and batches for an image-text model of LLaVA's kind, with its own tokenizer.

A row is ``<image>`` as often as an image has tokens, a line with the question, ``Answer:``, the answer and the end
token; only the answer and the end token are learned. Images enter as pixels, or as stored states of a frozen tower.

Shapes: B rows, T tokens, P pixels a side, N states of an image (the class token first), v width of the tower.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

from armillary.data.images.emoji import Emoji
from armillary.data.images.questions import ImageExample
from armillary.errors import ModelError
from armillary.models.batches import pad
from armillary.models.loaded import known_ids
from armillary.models.prompts import bare_ids, framed_ids
from armillary.training.questions import IGNORED

PROMPT = "{images}\n{question}\nAnswer:"


class ImageRow(TypedDict):
    """One question before it is put into a batch."""

    input_ids: list[int]
    labels: list[int]
    image: tuple[int, int]
    """Emoji and style."""


class SharedRow(ImageRow):
    """Several questions about one image: its tokens once, then each question with its answer, as if alone."""

    question: list[int]
    """Of each token the number of its question from 1 on, 0 for the image's."""

    position_ids: list[int]
    """Of each token in the row that its question would have to itself."""


@dataclass(frozen=True, eq=False)
class ImageRows:
    """Makes the rows of one model on one set of images."""

    processor: LlavaProcessor
    image_token_id: int
    image_tokens: int
    """Of one image."""

    emoji: Emoji
    states: NDArray[np.float16] | None = None
    """``[emoji, style, N, v]`` as ``tower_states`` gives them; None makes batches of pixels."""

    nameless: tuple[int, ...] = ()
    """Rows of the model's head that are no token."""

    @classmethod
    def of(
        cls,
        model: LlavaForConditionalGeneration,
        processor: LlavaProcessor,
        emoji: Emoji,
        states: NDArray[np.float16] | None = None,
    ) -> "ImageRows":
        """The rows of ``model``. Raises ModelError where its tokenizer has no end token or splits ``<image>``."""
        config = model.config
        assert isinstance(config, LlavaConfig)
        tokenizer, size = processor.tokenizer, int(config.get_text_config().vocab_size)
        known = known_ids(tokenizer, size)
        nameless = tuple(row for row in range(size) if row not in known)
        rows = cls(processor, int(config.image_token_id), int(config.image_seq_length), emoji, states, nameless)
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end token; an answer could not end.")
        count = rows.prompt("What is this?").count(rows.image_token_id)
        if count != rows.image_tokens:
            raise ModelError(f"the tokenizer makes {count} image tokens of {rows.image_tokens} times <image>.")
        return rows

    @property
    def end_id(self) -> int:
        """The token that ends an answer."""
        return int(self.processor.tokenizer.eos_token_id)

    def prompt(self, question: str) -> list[int]:
        """Tokens up to ``Answer:``, with what the tokenizer puts before a text but not what it puts behind."""
        text = PROMPT.format(images=self.processor.image_token * self.image_tokens, question=question)
        return framed_ids(self.processor.tokenizer, [text])[0]

    def answer(self, text: str) -> list[int]:
        """Tokens of an answer behind its prompt, and the end token."""
        return [*bare_ids(self.processor.tokenizer, [f" {text}"])[0], self.end_id]

    def text(self, tokens: Sequence[int]) -> str:
        """An answer's tokens as text, on one line."""
        return " ".join(str(self.processor.tokenizer.decode(list(tokens), skip_special_tokens=True)).split())

    def row(self, example: ImageExample, *, answered: bool = True) -> ImageRow:
        """One row; without its answer, for asking."""
        prompt = self.prompt(example.question)
        answer = self.answer(example.answer) if answered else []
        return {
            "input_ids": prompt + answer,
            "labels": [IGNORED] * len(prompt) + answer,
            "image": (example.image, example.style),
        }

    def shared_row(self, examples: Sequence[ImageExample]) -> SharedRow:
        """One row of questions about the same image: fewer tokens to read, and the same losses."""
        rows = [self.row(example) for example in examples]
        start = len(rows[0]["input_ids"]) - rows[0]["input_ids"][::-1].index(self.image_token_id)
        shared: SharedRow = {**rows[0], "question": [0] * start, "position_ids": list(range(start))}
        shared["input_ids"], shared["labels"] = rows[0]["input_ids"][:start], [IGNORED] * start
        for number, row in enumerate(rows, start=1):
            shared["input_ids"] += row["input_ids"][start:]
            shared["labels"] += row["labels"][start:]
            shared["question"] += [number] * (len(row["input_ids"]) - start)
            shared["position_ids"] += range(start, len(row["input_ids"]))
        return shared

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """A batch padded at the right: ``input_ids``, ``attention_mask``, ``labels`` ``[B, T]``, ``pixel_values``.

        Of shared rows also ``position_ids``, and the mask is ``[B, 1, T, T]`` (query, key).

        ``image_key`` ``[B]`` is the image's number among all, for caches. Stored states stand in place of pixels
        ``[B, 3, P, P]`` as float32 ``[B, N, v]``; the model reads them inside ``models.stored_states``.
        """
        ids_BT, mask_BT = pad([row["input_ids"] for row in rows])
        labels_BT, _ = pad([row["labels"] for row in rows])
        images = np.array([row["image"] for row in rows])
        more = {}
        if "question" in rows[0]:
            more["position_ids"] = pad([row["position_ids"] for row in rows])[0]
            # A token sees those before it, of its own question and of the image.
            of_BT = pad([row["question"] for row in rows])[0]
            shown_BTT = (of_BT[:, :, None] == of_BT[:, None]) | (of_BT == 0)[:, None]
            more["attention_mask"] = (shown_BTT & mask_BT.bool()[:, None]).tril()[:, None]
        return {
            # The filler must be no image token; masked or not, those are counted.
            "input_ids": ids_BT.masked_fill(mask_BT == 0, self.end_id),
            "attention_mask": mask_BT,
            "labels": labels_BT.masked_fill(mask_BT == 0, IGNORED),
            "pixel_values": self._pixels(images[:, 0], images[:, 1]),
            "image_key": torch.from_numpy(images[:, 0] * len(self.emoji.styles) + images[:, 1]),
            **more,
        }

    def _pixels(self, images: NDArray[np.int64], styles: NDArray[np.int64]) -> Tensor:
        if self.states is not None:
            return torch.from_numpy(self.states[images, styles].astype(np.float32))
        drawn = list(self.emoji.images[images, styles])
        pixels: Tensor = self.processor.image_processor(drawn, return_tensors="pt")["pixel_values"]
        return pixels
