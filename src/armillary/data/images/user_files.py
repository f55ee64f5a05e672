"""Questions about images, from a user's own files or made from the emoji set: one form for both.

A file of questions has one JSON object a line: ``image`` (a path, relative to the file's folder), ``question``,
``answer``, and optionally ``choices`` (what the answer is one of) and ``task`` (the name of its kind).
"""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from armillary.data.images.emoji import Emoji
from armillary.data.images.pixels import read_image
from armillary.data.images.questions import ImageExample
from armillary.errors import UsageError
from armillary.files import json_rows
from armillary.progress import track

Pixels = NDArray[np.uint8]
"""An image ``[h, w, 3]`` in RGB, 0 to 255."""

_HELD_OUT = 10
"""One image in so many is tested on: more would leave fewer to learn from, fewer would make wider intervals."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageQuestion:
    """One question about one image."""

    image: Path | Pixels
    """Where the image is read from, or its pixels."""

    question: str
    answer: str
    choices: tuple[str, ...] | None = None
    """What the answer is one of; None where it is free."""

    task: str = ""

    @property
    def where(self) -> str:
        """The image in words, for a sentence about it."""
        return str(self.image) if isinstance(self.image, Path) else "an image given as pixels"


def image_questions(emoji: Emoji, examples: Iterable[ImageExample], task: str) -> list[ImageQuestion]:
    """The same questions with the images themselves."""
    return [
        ImageQuestion(
            image=emoji.images[example.image, example.style],
            question=example.question,
            answer=example.answer,
            choices=example.choices,
            task=task,
        )
        for example in examples
    ]


def read_questions(path: Path, task: str) -> list[ImageQuestion]:
    """The questions of a file in its order, under the task that a line names or else ``task``.

    Every image is decoded once, so that a broken one is known before anything is trained. An image mark of another
    model's data ("<image>") at either end of a question is taken off, since the prompt has its own. UsageError for a
    missing or empty file and, with the number of the line, for one that is no such object, lacks a field, has such a
    mark elsewhere, or whose image is missing or unreadable.
    """
    rows = json_rows(path, "image, question and answer")
    if not rows:
        raise UsageError(f"{path} has no rows; give one JSON object a line with image, question and answer.")
    questions = [_question(row, path, where, task) for where, row in rows]
    seen: set[Path] = set()
    numbered = list(zip(rows, questions, strict=True))
    for (where, _), question in track(numbered, f"Looking at the images of {path.name}"):
        if isinstance(question.image, Path) and question.image not in seen:
            seen.add(question.image)
            if not os.path.isfile(question.image):  # pathlib's own raises for a name that is too long, as of base64
                name = str(question.image)[:200]
                raise UsageError(f"{where} names the image {name}, which is not there; give the path of a file.")
            read_image(question.image, where=where, thumbnail=True)
    return questions


IMAGE_MARK = re.compile(
    r"(?i:</?\|?(?:image(?:_start|_end|_pad|_token|_soft_token|[_-]placeholder|_?\d+)?|image_?here|img_context|"
    r"vision_(?:start|end|pad)|(?:video|media)_pad|(?:start|begin|end)_of_image|fake_token_around_image)\|?>)|"
    r"<im_(?:start|patch|end)>|\[IMG(?:_BREAK|_END)?\]"
)
"""What models and their data sets write where an image stands: no word that a question could mean."""


def without_image_marks(text: str) -> str:
    """A question less the image marks at its beginning and at its end, with the blanks beside them."""
    mark = IMAGE_MARK.pattern
    return re.sub(rf"^(?:\s*(?:{mark}))+\s*|\s*(?:(?:{mark})\s*)+$", "", text)


def _question(row: Mapping[str, Any], path: Path, where: str, task: str) -> ImageQuestion:
    for name in ("image", "question", "answer"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            got = f"{row[name]!r}" if name in row else "nothing"
            raise UsageError(f"{where} needs text under {name!r}; got {got}.")
    if not isinstance(row.get("task") or "", str):
        raise UsageError(f"{where} needs text under 'task', or nothing; got {row['task']!r}.")
    for name in ("choices", "task"):  # other names are left alone, but a slip here would make answers free
        if name not in row and (near := get_close_matches(name, row, n=1, cutoff=0.8)):
            raise UsageError(f"{where} has the name {near[0]!r}; did you mean {name!r}?")
    choices = row.get("choices")
    if choices is not None:
        texts = isinstance(choices, list) and all(isinstance(choice, str) and choice.strip() for choice in choices)
        if not texts or len(set(choices)) != len(choices) or len(choices) < 2:
            raise UsageError(f"{where} needs two or more different texts under 'choices'; got {choices!r}.")
        if row["answer"] not in choices:
            raise UsageError(f"{where} has the answer {row['answer']!r}, which is not among its choices {choices}.")
    question = without_image_marks(row["question"])
    for text in (question, row["answer"], *(choices or ())):
        if (mark := IMAGE_MARK.search(text)) is not None or not text:
            raise UsageError(
                f"{where} has {mark[0] if mark else 'nothing but an image mark'!r} in {text or row['question']!r}; "
                "leave it out, since the prompt says where the image stands."
            )
    return ImageQuestion(
        image=path.parent / row["image"],
        question=question,
        answer=row["answer"],
        choices=None if choices is None else tuple(choices),
        task=row.get("task") or task,
    )


def held_out(questions: Sequence[ImageQuestion], path: Path) -> tuple[list[ImageQuestion], list[ImageQuestion]]:
    """Questions to learn from and to test with, about a tenth, dealt by a hash of the image's name.

    No image is in both. UsageError where one of the two would be empty.
    """
    kept: list[ImageQuestion] = []
    tested: list[ImageQuestion] = []
    for question in questions:
        name = question.image.name if isinstance(question.image, Path) else str(question.image.tobytes())
        tenth = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) % _HELD_OUT == 0
        (tested if tenth else kept).append(question)
    if not kept or not tested:
        raise UsageError(
            f"{path} has too few images to hold a tenth of them out for testing; give a file of test questions with "
            'test = "..." under [data].'
        )
    return kept, tested
