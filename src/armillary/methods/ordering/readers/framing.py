"""Where a record keeps its prompt and its text."""

from collections.abc import Mapping
from dataclasses import dataclass

from armillary.methods.ordering.readers.interface import Record

PROMPTS = ("prompt", "question", "problem", "instruction", "statement", "input")
BODIES = ("completion", "answer", "solution", "response", "output", "proof", "code", "text", "content")
KEYS = ("key", "id", "name", "full_name")
"""Fields in which rows of published data hold these; the first that is there is taken."""


@dataclass(frozen=True)
class TextFrame:
    """A text with what it answers."""

    body: str
    prompt: str = ""
    key: str = ""
    field: str = ""
    """The row's field that holds the text; empty for a bare text."""

    def filled(self, record: Record, body: str) -> Record:
        """The record with another text in its place."""
        return body if isinstance(record, str) else {**record, self.field: body}


def framed(record: Record) -> TextFrame | None:
    """The text of a record; None for a row without one.

    A row of turns is none: the reader of messages says which turn is the text.
    """
    if isinstance(record, str):
        return TextFrame(record)
    field = next((name for name in BODIES if isinstance(record.get(name), str)), None)
    return None if field is None else TextFrame(str(record[field]), prompt_of(record), key_of(record), field)


def prompt_of(row: Mapping[str, object]) -> str:
    """What the row asks, "" where it does not."""
    return next((value for name in PROMPTS if isinstance(value := row.get(name), str)), "")


def key_of(row: Mapping[str, object]) -> str:
    """What the row calls itself, "" where it does not."""
    return next((str(row[name]) for name in KEYS if isinstance(row.get(name), str | int)), "")
