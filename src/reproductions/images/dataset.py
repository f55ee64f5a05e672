"""Questions about emoji images as training data for a small image-text model with a vocabulary of whole words.

A row is the image's image tokens, the question's words, the answer's words and an end token; only the answer and
the end token are learned. Images enter as stored states of a frozen vision tower.

Shapes: B rows, T tokens, N states of an image, v width of the tower, V words.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Dinov2Config, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, PreTrainedModel

from armillary.data.images.emoji import Emoji
from armillary.data.images.questions import ImageExample, ImageTask, image_examples
from armillary.models.vision import StoredStates

PAD, END, MEDIA = 0, 1, 2
SPECIAL = ("<pad>", "<end>", "<media>")
IGNORED = -100
_EVALUATED_AT_ONCE = 256
_STANDARDISED = 20_000


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Of the small language model."""

    layers: int = 4
    width: int = 128
    heads: int = 4
    inner: int = 344


class WordRow(TypedDict):
    """One question before it is put into a batch."""

    input_ids: list[int]
    labels: list[int]
    key: Any
    """Which image or sound it is about."""


class WordDataset:
    """Rows, batches and right answers of questions about images or sounds, in a vocabulary of whole words."""

    tasks: tuple[Any, ...]

    def examples(self, task: Any, split: str, *, limit: int | None = None, seed: int = 0) -> list[Any]:
        """Questions of one task."""
        raise NotImplementedError

    def new_model(self, shape: Shape, seed: int) -> PreTrainedModel:
        """A random model that reads them."""
        raise NotImplementedError

    @property
    def words(self) -> Mapping[str, int]:
        """Every word of every question and answer, with its token."""
        raise NotImplementedError

    @property
    def media_tokens(self) -> int:
        """Tokens of one image or sound."""
        raise NotImplementedError

    def key(self, example: Any) -> Any:
        """Which image or sound an example is about."""
        raise NotImplementedError

    def media(self, keys: Sequence[Any]) -> dict[str, Tensor]:
        """The model's inputs for these images or sounds."""
        raise NotImplementedError

    def tokens(self, text: str) -> list[int]:
        """A token a word."""
        return [self.words[word] for word in split_words(text)]

    def row(self, example: Any, *, answered: bool = True) -> WordRow:
        """One row; without its answer, for asking."""
        prompt = [MEDIA] * self.media_tokens + self.tokens(example.question)
        answer = [*self.tokens(example.answer), END] if answered else []
        return {
            "input_ids": prompt + answer,
            "labels": [IGNORED] * len(prompt) + answer,
            "key": self.key(example),
        }

    def collate(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """A batch, padded at the right."""
        longest = max(len(row["input_ids"]) for row in rows)

        def padded(name: str, value: int) -> Tensor:
            return torch.tensor([[*row[name], *[value] * (longest - len(row[name]))] for row in rows])

        ids_BT = padded("input_ids", PAD)
        return {
            "input_ids": ids_BT,
            "attention_mask": (ids_BT != PAD).long(),
            "labels": padded("labels", IGNORED),
            **self.media([row["key"] for row in rows]),
        }

    @torch.inference_mode()
    def right(self, model: torch.nn.Module, examples: Sequence[Any]) -> NDArray[np.float64]:
        """1 where the right one of the choices has the highest probability of being begun, else 0."""
        model.eval()
        device = next(model.parameters()).device
        right: list[float] = []
        for start in range(0, len(examples), _EVALUATED_AT_ONCE):
            some = examples[start : start + _EVALUATED_AT_ONCE]
            batch = self.collate([self.row(example, answered=False) for example in some])
            last_B = batch["attention_mask"].sum(1) - 1
            given = {name: x.to(device) for name, x in batch.items() if name not in ("labels", "image_key")}
            logits_BTV = model(**given).logits
            logits_BV = logits_BTV[torch.arange(len(some)), last_B.to(device)].float().cpu()
            for logits_V, example in zip(logits_BV, some, strict=True):
                choices = example.choices or ()
                best = int(logits_V[[self.tokens(choice)[0] for choice in choices]].argmax())
                right.append(float(choices[best] == example.answer))
        return np.array(right)


@dataclass(frozen=True, eq=False)
class ImageDataset(WordDataset):
    """Pictures, their stored states ``[emoji, style, N, v]`` (the class token first), and the tasks asked of them."""

    emoji: Emoji
    states: NDArray[np.float16]
    tasks: tuple[ImageTask, ...]
    code_seed: int = 0
    """Which invented word stands for which group."""

    def examples(self, task: ImageTask, split: str, *, limit: int | None = None, seed: int = 0) -> list[ImageExample]:
        """Examples of one task; "code" always with the same invented words."""
        return image_examples(self.emoji, task, split, limit=limit, seed=self.code_seed if task == "code" else seed)

    @cached_property
    def words(self) -> dict[str, int]:
        """Every word of every question and answer, with its token."""
        words: set[str] = set()
        for task in self.tasks:
            for split in ("train", "validation", "test"):
                for example in self.examples(task, split):
                    words.update(split_words(f"{example.question} {example.answer}"))
                    words.update(word for choice in example.choices or () for word in split_words(choice))
        return {word: index for index, word in enumerate((*SPECIAL, *sorted(words)))}

    @property
    def media_tokens(self) -> int:
        """Of one image: the class token is left out."""
        return int(self.states.shape[2]) - 1

    def key(self, example: ImageExample) -> tuple[int, int]:
        """Emoji and style."""
        return example.image, example.style

    def media(self, keys: Sequence[Any]) -> dict[str, Tensor]:
        """Stored states in place of pixels; ``image_key`` says which image it is, for caches."""
        images = np.array(keys)
        return {
            "pixel_values": torch.from_numpy(self.states[images[:, 0], images[:, 1]].astype(np.float32)),
            "image_key": torch.from_numpy(images[:, 0] * len(self.emoji.styles) + images[:, 1]),
        }

    def new_model(self, shape: Shape, seed: int) -> LlavaForConditionalGeneration:
        """A random model that reads stored states; the global random generator is left as it was.

        Its connector begins by standardising the states of the training images, dimension by dimension.
        """
        text = LlamaConfig(
            vocab_size=len(self.words),
            hidden_size=shape.width,
            intermediate_size=shape.inner,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=128,
            pad_token_id=PAD,
            bos_token_id=END,
            eos_token_id=END,
            tie_word_embeddings=True,
            initializer_range=shape.width**-0.5,
        )
        tower = Dinov2Config(hidden_size=int(self.states.shape[3]), num_hidden_layers=1, num_attention_heads=1)
        config = LlavaConfig(
            vision_config=tower,
            text_config=text,
            image_token_index=MEDIA,
            image_seq_length=self.media_tokens,
            vision_feature_layer=-1,
            vision_feature_select_strategy="default",
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: LlavaForConditionalGeneration = LlavaForConditionalGeneration(config)
            model.model.vision_tower = StoredStates(model.config.vision_config)
            self._prepare(model.model.multi_modal_projector)
        model.eval()
        return model

    @torch.no_grad()
    def _prepare(self, connector: Any) -> None:
        states = self.states[list(self.emoji.split("train"))][..., 1:, :].reshape(-1, self.states.shape[-1])
        seen = torch.from_numpy(states[:: max(1, len(states) // _STANDARDISED)].astype(np.float32))
        spread = seen.std(0).clamp_min(1e-3)
        for linear in (connector.linear_1, connector.linear_2):
            linear.weight.normal_(std=linear.in_features**-0.5)
            linear.bias.zero_()
        connector.linear_1.weight.div_(spread)
        connector.linear_1.bias.copy_(-connector.linear_1.weight @ seen.mean(0))


def most_frequent(examples: Sequence[ImageExample]) -> float:
    """Share of the examples that their most frequent answer gets right."""
    answers = Counter(example.answer for example in examples)
    return answers.most_common(1)[0][1] / len(examples)


def split_words(text: str) -> list[str]:
    """Small letters; marks stand alone."""
    return re.findall(r"[\w'\u2019&-]+|[^\w\s]", text.lower())
