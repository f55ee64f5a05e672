"""Questions about images as batches of any image-text model, made by its own processor.

Shapes: B rows, T tokens.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import ProcessorMixin

from armillary.data.images.pixels import read_image, rgb
from armillary.data.images.user_files import ImageQuestion
from armillary.errors import ModelError, UsageError
from armillary.models.loaded import known_ids
from armillary.models.prompts import bare_ids, frame, unended
from armillary.models.quiet import quiet, reason
from armillary.progress import track

# The loss on answers whose logits exist only where an answer stands: for the stock Trainer's ``compute_loss_func``.
#
# Prompts are most of a row, and the head of a small language model is a large part of its work.
#
# Shapes: B rows, T tokens, K positions kept, V vocabulary.

IGNORED = -100
"""Label of a token that is not learned."""

_OF_MEDIA = re.compile(r"image|img|vision|video|audio", re.I)
"""In the name of a special token: it stands for something that is not text."""

Batch = dict[str, Tensor]


def answer_positions(labels: Int[Tensor, "B T"]) -> Int[Tensor, " K"]:
    """Positions whose next token is learned in some row of the batch."""
    return (labels[:, 1:] != IGNORED).any(0).nonzero()[:, 0]


def with_answer_positions(collate: Callable[[Sequence[Mapping[str, Any]]], Batch]) -> Callable[[Sequence[Any]], Batch]:
    """A collator whose batches ask the model for these positions' logits only; ``image_key`` is left out."""

    def collated(rows: Sequence[Any]) -> Batch:
        batch = {name: tensor for name, tensor in collate(rows).items() if name != "image_key"}
        return {**batch, "logits_to_keep": answer_positions(batch["labels"])}

    return collated


def answer_loss(outputs: Any, labels: Int[Tensor, "B T"], num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Mean negative log-likelihood (nats) of the learned tokens, from logits ``[B, K, V]`` at ``answer_positions``.

    ``num_items_in_batch`` is the Trainer's count over all micro-batches; None takes the mean over this one.
    """
    logits_BKV = outputs["logits"] if isinstance(outputs, dict) else outputs.logits
    targets_BK = labels[:, 1:][:, answer_positions(labels)]
    learned_BK = targets_BK != IGNORED
    total = functional.cross_entropy(logits_BKV[learned_BK].float(), targets_BK[learned_BK], reduction="sum")
    count = learned_BK.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
    return total / count.to(total.device)


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
        self._mark = _image_mark(given)
        own = (content.content for content in self.tokenizer.added_tokens_decoder.values() if content.special)
        self._image_tokens = {token for token in (self._mark, *own) if token and _OF_MEDIA.search(token)}
        if prompt == CHAT and not getattr(given, "chat_template", None):
            raise UsageError("the model's processor has no chat template; write the prompt as a text instead.")
        places = sorted(re.findall(r"\{(\w+)\}", prompt))
        if prompt != CHAT and (places != ["image", "question"] or (self._mark and self._mark in prompt)):
            raise UsageError(
                f"a prompt needs {{image}} and {{question}}, once each and nothing else in braces and no mark of an "
                f"image, or is 'chat'; got {prompt!r}."
            )

    @property
    def marks(self) -> tuple[int, ...]:
        """Ids of the special tokens, which a processor may put around images and tiles."""
        return tuple(token for token, added in self.tokenizer.added_tokens_decoder.items() if added.special)

    def check(self, questions: Iterable[ImageQuestion]) -> None:
        """UsageError for a question in which a token of the model stands that means an image: the prompt has one."""
        for question in questions:
            for text in (question.question, question.answer, *(question.choices or ())):
                inside = sorted(token for token in self._image_tokens if token in text)
                if inside:
                    raise UsageError(
                        f"the question {question.question!r} about {question.where} holds {inside[0]!r}, by which the "
                        "model means an image; leave it out, since the prompt says where the image stands."
                    )

    def prompt_row(self, question: ImageQuestion) -> Row:
        """The model's inputs up to the answer, each with a first axis of 1 (or of the image's parts).

        UsageError as in ``check``, and for an image that can't be read or that the processor refuses.
        """
        self.check([question])
        image, text = image_of(question), self._text(question.question)
        tokenizer = self.processor.tokenizer
        before = frame(tokenizer).before
        # A chat template may write what the tokenizer would put in front once more.
        brings = bool(before) and tuple(bare_ids(tokenizer, [text])[0][:1]) == before[:1]
        settings = {"add_special_tokens": False} if brings else {}
        try:
            made = self.processor(images=[image], text=[text], return_tensors="pt", **settings)
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise UsageError(
                f"{type(self.processor).__name__} can't make an input of {question.where}, {image.width} x "
                f"{image.height} pixels ({reason(error)})."
            ) from error
        row: Row = {name: value for name, value in made.items() if isinstance(value, Tensor)}
        ids = row["input_ids"][0].tolist()
        behind = 0 if brings else len(ids) - len(unended(tokenizer, ids))
        if behind:
            row = {name: value[:, :-behind] if _like_text(row, name) else value for name, value in row.items()}
        return row

    def answer_ids(self, answer: str) -> list[int]:
        """Tokens of an answer behind the prompt, without the end token. UsageError where there are none."""
        spaced = self.prompt == CHAT or self.prompt[-1:].isspace()
        ids = bare_ids(self.processor.tokenizer, [answer if spaced else f" {answer}"])[0]
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

    def row(self, question: ImageQuestion) -> Row:
        """A whole row to learn from."""
        return self.answered(self.prompt_row(question), self.answer_ids(question.answer))

    def collate(self, rows: Sequence[Mapping[str, Tensor]]) -> Row:
        """A batch: text padded at the right, images put one after another, padded with zeros where sizes differ."""
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
                "the model's chat template has no place for the image; write the prompt as a text instead."
            )
        return text

    @staticmethod
    def _longer(name: str, value: Tensor, ids: Tensor, length: int) -> Tensor:
        if value.dim() != 2 or value.shape != (1, length):
            return value
        more = ids if name == "input_ids" else torch.full_like(ids, int(name == "attention_mask"))
        return torch.cat([value, more.to(value.dtype)], dim=1)


def _image_mark(processor: Any) -> str:
    """What a text must hold so that the processor puts one image there, tried on a grey image.

    Its own image token, or the mark before it (Gemma 3); nothing where it puts an image's tokens before any text
    (BLIP-2). ModelError where it takes none of them.
    """
    from PIL import Image

    name = type(processor).__name__
    token = str(getattr(processor, "image_token", None) or "")
    if not token:
        raise ModelError(f"{name} does not say how a text names an image (no image_token).")
    counted = int(processor.tokenizer.convert_tokens_to_ids(token))
    tokens: dict[str, int] = {}
    errors: list[str] = []
    for mark in dict.fromkeys((token, str(getattr(processor, "boi_token", None) or ""), "")):
        grey = Image.new("RGB", (64, 64), "grey")
        try:
            with quiet():
                ids = processor(images=[grey], text=[f"{mark}a"], return_tensors="pt")["input_ids"]
            tokens[mark] = int((ids == counted).sum())
        except Exception as error:  # each processor has its own for a text without its mark
            errors.append(reason(error))
    unasked = tokens.get("", 0)
    # A mark that only adds itself to what comes unasked is none.
    taken = [mark for mark, count in tokens.items() if count and not 0 < unasked < count]
    if not taken and token not in tokens:
        raise ModelError(f"{name} makes nothing of a grey image behind {token!r} ({errors[0]}).")
    return taken[0] if taken else token


class QuestionRows(Dataset[Row]):
    """Rows made when they are asked for, so that images need not all be in memory."""

    def __init__(self, encoder: QuestionEncoder, questions: Sequence[ImageQuestion]) -> None:
        self.encoder, self.questions = encoder, questions

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> Row:
        return self.encoder.row(self.questions[index])


def image_of(question: ImageQuestion) -> Any:
    """The image as PIL's, in RGB; see ``read_image``. UsageError where its file or its pixels can't be read."""
    from PIL import Image

    if isinstance(question.image, Path):
        return read_image(question.image)
    try:
        return rgb(Image.fromarray(question.image))
    except Exception as error:  # whatever was given that is no array of pixels
        given: Any = question.image
        what = f"{getattr(given, 'dtype', type(given).__name__)} of shape {getattr(given, 'shape', 'unknown')}"
        raise UsageError(f"an image is a Path, or an array [h, w, 3] of numpy.uint8; got {what}.") from error


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


# Which questions about images a model answers rightly.
#
# A question with choices is right where its answer has the highest mean log-probability per token of all choices; one
# without where greedy decoding gives exactly the answer and then ends, which one pass with the answer in place tells.
#
# Shapes: B rows, T tokens, K last positions, V vocabulary.

ROWS_AT_ONCE = 16


@dataclass(frozen=True)
class AnswerScore:
    """Of one answer behind one prompt."""

    mean: float
    """Mean log-probability of the answer's tokens in nats, the end token left out."""

    greedy: bool
    """Whether each token, the end token included, is the most probable one where it stands."""


def right_answers(
    model: nn.Module,
    encoder: QuestionEncoder,
    questions: Sequence[ImageQuestion],
    *,
    rows_at_once: int = ROWS_AT_ONCE,
    label: str = "",
) -> list[float]:
    """1 for each question that is answered rightly, else 0, in order. Of equal choices the first counts.

    The model is read in evaluation mode and left in the mode it was in; its device is that of its parameters.
    """
    choices = [question.choices or (question.answer,) for question in questions]
    scores = answer_scores(model, encoder, questions, choices, rows_at_once=rows_at_once, label=label)
    right = []
    for question, of_choices in zip(questions, scores, strict=True):
        if question.choices is None:
            right.append(float(of_choices[0].greedy))
        else:
            best = max(range(len(of_choices)), key=lambda index: of_choices[index].mean)
            right.append(float(question.choices[best] == question.answer))
    return right


def answer_scores(
    model: nn.Module,
    encoder: QuestionEncoder,
    questions: Sequence[ImageQuestion],
    answers: Sequence[Sequence[str]],
    *,
    rows_at_once: int = ROWS_AT_ONCE,
    label: str = "",
) -> list[list[AnswerScore]]:
    """The score of each answer of each question."""
    training = model.training
    model.eval()
    waiting: list[Row] = []
    flat: list[AnswerScore] = []
    named = known_ids(encoder.processor.tokenizer, sys.maxsize)
    try:
        for question, texts in track(list(zip(questions, answers, strict=True)), label):
            prompt = encoder.prompt_row(question)
            waiting += [encoder.answered(prompt, encoder.answer_ids(text)) for text in texts]
            while len(waiting) >= rows_at_once:
                flat += _scored(model, encoder, waiting[:rows_at_once], named)
                del waiting[:rows_at_once]
        if waiting:
            flat += _scored(model, encoder, waiting, named)
    finally:
        model.train(training)
    ordered = iter(flat)
    return [list(islice(ordered, len(texts))) for texts in answers]


@torch.inference_mode()
def _scored(
    model: nn.Module, encoder: QuestionEncoder, rows: Sequence[Row], named: frozenset[int]
) -> list[AnswerScore]:
    """The answers of these rows; only ``named`` tokens have a probability."""
    batch = encoder.collate(rows)
    labels_BT = batch.pop("labels")
    device = next(model.parameters()).device
    given = {name: value.to(device) for name, value in batch.items()}
    # The first position that must be read is the one before the first label; all behind it stand at the end.
    first = min(int((labels != IGNORED).nonzero()[0]) for labels in labels_BT)
    keep = labels_BT.shape[1] - first + 1
    logits_BKV = cast(Any, model)(**given, use_cache=False, logits_to_keep=keep).logits.float()
    logits_BKV[..., [row for row in range(logits_BKV.shape[-1]) if row not in named]] = -torch.inf
    logs_BKV = torch.log_softmax(logits_BKV[:, :-1], dim=-1).cpu()
    scores = []
    for logs_KV, wanted_K in zip(logs_BKV, labels_BT[:, first:], strict=True):
        logs_NV, wanted_N = logs_KV[wanted_K != IGNORED], wanted_K[wanted_K != IGNORED]
        own_N = logs_NV.gather(1, wanted_N[:, None])[:, 0].double()
        answer_N = own_N[: len(own_N) - len(encoder.end)]
        scores.append(AnswerScore(float(answer_N.mean()), bool((logs_NV.argmax(1) == wanted_N).all())))
    return scores
