"""A chain of thought cut into its steps."""

import re
from typing import Literal

from armillary.attributes.sentences import sentence_spans

Rule = Literal["numbered", "sentences"]

_MARK = r"(?:\*\*)?(?:(?:step\s*)?\d{1,3}\s*[.):]|[-*\u2022](?=\s))(?:\*\*)?"
_ITEM = re.compile(rf"^[^\S\n]*{_MARK}[^\S\n]*", re.IGNORECASE | re.MULTILINE)
_INLINE = re.compile(r"(?:(?<=[.!?:;])\s+|^)(?:step\s*)?(\d{1,2})[.):]\s+", re.IGNORECASE)
_LETTER = re.compile(r"[^\W_]")


def split_steps(text: str) -> tuple[list[str], Rule]:
    """The steps of a text, and the rule that found them.

    ``numbered``: two lines or more begin with a number, "Step 1:" or the mark of a list, or 1. 2. 3. stand within a
    line; a step goes from one mark to the next, without it, and what stands before the first is a step of its own.
    Else ``sentences``: each sentence is a step. Parts without a letter or digit are dropped.
    """
    marks = [match.span() for match in _ITEM.finditer(text)]
    if len(marks) < 2:
        marks = _counted(text)
    if len(marks) < 2:
        return [text[start:end] for start, end in sentence_spans(text)], "sentences"
    ends = [start for start, _ in marks[1:]] + [len(text)]
    parts = [text[: marks[0][0]], *(text[begin:end] for (_, begin), end in zip(marks, ends, strict=True))]
    return [part.strip() for part in parts if _LETTER.search(part)], "numbered"


def _counted(text: str) -> list[tuple[int, int]]:
    """Marks 1, 2, 3 in this order within running text; a number that is not the next is none."""
    marks: list[tuple[int, int]] = []
    for match in _INLINE.finditer(text):
        if int(match[1]) == len(marks) + 1:
            marks.append(match.span())
    return marks
