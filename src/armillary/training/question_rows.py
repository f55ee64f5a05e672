"""Questions about pictures as batches of any image-text model, made by its own processor.

Shapes: B rows, T tokens.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import ProcessorMixin

from armillary.data.picture_files import AskedPicture
from armillary.errors import ModelError, UsageError
from armillary.training.answer_loss import IGNORED

PLAIN = "{image}\n{question}\nAnswer:"
CHAT = "chat"
Row = dict[str, Tensor]


class QuestionEncoder:
    """Makes rows and batches: the prompt by the processor, then the answer and the end token.

    ``prompt`` is a text with ``{image}`` and ``{question}``, or "chat" for the processor's own chat template. Tokens
    of prompt and answer are made apart, so that a prompt's tokens are the same whatever the answer. Only the answer
    and the end token have labels. UsageError for a prompt without its places, ModelError for a processor that can't.
    """

    def __init__(self, processor: ProcessorMixin, prompt: str = PLAIN) -> None:
        given = cast(Any, processor)
        self.processor, self.prompt = given, prompt
        self.tokenizer = given.tokenizer
        # Gemma 3 spells an image by the mark before it, all others by its own token.
        mark = getattr(given, "boi_token", None) or getattr(given, "image_token", None)
        if not isinstance(mark, str):
            raise ModelError(f"{type(processor).__name__} does not say how a text names an image (no image_token).")
        self._mark = mark
        if prompt == CHAT and not getattr(given, "chat_template", None):
            raise UsageError("the model's processor has no chat template; write the prompt as a text instead.")
        if prompt != CHAT and ("{image}" not in prompt or "{question}" not in prompt):
            raise UsageError(f"a prompt needs {{image}} and {{question}}, or is 'chat'; got {prompt!r}.")

    @property
    def marks(self) -> tuple[int, ...]:
        """Ids of the special tokens, which a processor may put around images and tiles."""
        return tuple(token for token, added in self.tokenizer.added_tokens_decoder.items() if added.special)

    def prompt_row(self, asked: AskedPicture) -> Row:
        """The model's inputs up to the answer, each with a first axis of 1 (or of the picture's parts)."""
        made = self.processor(images=[picture_of(asked)], text=[self._text(asked.question)], return_tensors="pt")
        row: Row = {name: value for name, value in made.items() if isinstance(value, Tensor)}
        if self.end and int(row["input_ids"][0, -1]) == self.end[0] and self.prompt != CHAT:  # put behind any text
            row = {name: value[:, :-1] if _like_text(row, name) else value for name, value in row.items()}
        return row

    def answer_ids(self, answer: str) -> list[int]:
        """Tokens of an answer behind the prompt, without the end token. UsageError where there are none."""
        spaced = self.prompt == CHAT or self.prompt[-1:].isspace()
        ids: list[int] = self.tokenizer.encode(answer if spaced else f" {answer}", add_special_tokens=False)
        if not ids:
            raise UsageError(f"the model's tokenizer makes nothing of the answer {answer!r}.")
        return ids

    @property
    def end(self) -> list[int]:
        """The end token, where the tokenizer has one."""
        return [] if self.tokenizer.eos_token_id is None else [int(self.tokenizer.eos_token_id)]

    def answered(self, prompt: Row, answer_ids: Sequence[int]) -> Row:
        """The prompt's row with an answer and labels ``[1, T]``."""
        length, ids = prompt["input_ids"].shape[1], torch.tensor([[*answer_ids, *self.end]])
        row = {name: self._longer(name, value, ids, length) for name, value in prompt.items()}
        row["labels"] = torch.cat([torch.full((1, length), IGNORED), ids], dim=1)
        return row

    def row(self, asked: AskedPicture) -> Row:
        """A whole row to learn from."""
        return self.answered(self.prompt_row(asked), self.answer_ids(asked.answer))

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> Row:
        """A batch: text padded at the right, pictures put one after another, padded with zeros where sizes differ."""
        longest = max(row["input_ids"].shape[1] for row in rows)
        pad = self.tokenizer.pad_token_id
        filling = {"input_ids": 0 if pad is None else pad, "labels": IGNORED}
        batch: Row = {}
        for name in dict.fromkeys(name for row in rows for name in row):
            parts = [row[name] for row in rows if name in row]
            if all(_like_text(row, name) for row in rows):
                parts = [functional.pad(x, (0, longest - x.shape[1]), value=filling.get(name, 0)) for x in parts]
            batch[name] = torch.cat(_same_size(parts))
        return batch

    def _text(self, question: str) -> str:
        if self.prompt != CHAT:
            return self.prompt.replace("{image}", self._mark).replace("{question}", question)
        content = [{"type": "image"}, {"type": "text", "text": question}]
        turns = [{"role": "user", "content": content}]
        text = str(self.processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))
        if self._mark not in text:
            raise UsageError(
                "the model's chat template has no place for the picture; write the prompt as a text instead."
            )
        return text

    @staticmethod
    def _longer(name: str, value: Tensor, ids: Tensor, length: int) -> Tensor:
        if value.dim() != 2 or value.shape != (1, length):
            return value
        more = ids if name == "input_ids" else torch.full_like(ids, int(name == "attention_mask"))
        return torch.cat([value, more.to(value.dtype)], dim=1)


class QuestionRows(Dataset[Row]):
    """Rows made when they are asked for, so that pictures need not all be in memory."""

    def __init__(self, encoder: QuestionEncoder, questions: Sequence[AskedPicture]) -> None:
        self.encoder, self.questions = encoder, questions

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> Row:
        return self.encoder.row(self.questions[index])


def picture_of(asked: AskedPicture) -> Any:
    """The picture as PIL's, in RGB. UsageError where its file can't be read."""
    from PIL import Image

    if not isinstance(asked.picture, Path):
        return Image.fromarray(asked.picture)
    try:
        with Image.open(asked.picture) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise UsageError(f"{asked.picture} can't be read as an image ({error}).") from error


def _like_text(row: Mapping[str, Tensor], name: str) -> bool:
    return name in row and row[name].dim() == 2 and row[name].shape == row["input_ids"].shape


def _same_size(parts: Sequence[Tensor]) -> list[Tensor]:
    """The tensors padded with zeros at the end of each axis but the first, to the largest of them."""
    if len({part.shape[1:] for part in parts}) == 1:
        return list(parts)
    sizes = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    padding = [[(0, size - own) for size, own in zip(sizes, part.shape[1:], strict=True)] for part in parts]
    return [
        functional.pad(part, [n for pair in reversed(pads) for n in pair])
        for part, pads in zip(parts, padding, strict=True)
    ]
