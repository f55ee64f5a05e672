"""Sets of attributes in a file: what is built, evaluated and analysed, a set a line.

The lines are those of ``armillary ultragen derive`` and ``check``: id, prompt, attributes in the order of the prompt,
and the text or response where there is one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from armillary.attributes.attribute_set import AttributeSet
from armillary.errors import UsageError
from armillary.files import write_atomic
from armillary.methods.ultragen.corpus.checking import RESPONSES, response_row
from armillary.records.plain import dumps
from armillary.runs.pieces import pieces, rows


@dataclass(frozen=True, kw_only=True)
class StoredSet:
    """One line of a file of sets."""

    attributes: AttributeSet
    prompt: str
    """The instruction as it is stated there; empty where the file has none."""

    text: str | None = None
    """The text that has these attributes, or a response."""

    def line(self) -> str:
        """As JSON, read back by ``read_sets``."""
        row = {
            "id": self.attributes.id,
            "prompt": self.prompt,
            **({} if self.text is None else {"response": self.text}),
            "attributes": [attribute.to_json() for attribute in self.attributes.attributes],
        }
        return dumps(row)


def stored(attributes: AttributeSet, order_seed: int, text: str | None = None) -> StoredSet:
    """The set with its shuffled prompt, its attributes in that order."""
    ordered = AttributeSet(attributes=attributes.ordered("shuffled", order_seed), id=attributes.id)
    return StoredSet(attributes=ordered, prompt=attributes.render("shuffled", order_seed), text=text)


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """The lines, whole or not at all. Raises StorageError."""
    write_atomic(path, "".join(f"{line}\n" for line in lines))


def read_sets(path: Path | str, limit: int | None = None) -> list[StoredSet]:
    """The first ``limit`` sets of a file of JSON lines, CSV or Parquet.

    Attributes may stand there as objects or sentences, or be those of IFEval's and ultrabench's rows. UsageError for a
    file without any, or a row that is of no such form; the sentence names it.
    """
    # Late: of these names a file of texts has one, and a file of responses another.
    from armillary.methods.ultragen.corpus.deriving import TEXTS

    sets = []
    located = chain.from_iterable(map(rows, pieces(path)))
    for number, (where, row) in enumerate(islice(located, limit)):
        text = next((row[name] for name in (*RESPONSES, *TEXTS) if isinstance(row.get(name), str)), None)
        read = response_row(where, {**row, RESPONSES[0]: text or ""})
        name = str(row["id"]) if row.get("id") is not None else str(row.get("key", number))
        attributes = AttributeSet(attributes=read.attributes, id=name)
        sets.append(StoredSet(attributes=attributes, prompt=read.prompt, text=None if text is None else read.response))
    if not sets:
        raise UsageError(f"{path} holds no set of attributes.")
    return sets


def read_texts(path: Path | str, field: str | None = None, limit: int | None = None) -> list[str]:
    """The first ``limit`` texts of a file of rows. UsageError as ``read_sets``, or where a row has no text."""
    from armillary.methods.ultragen.corpus.deriving import text_of

    located = chain.from_iterable(map(rows, pieces(path)))
    texts = [text_of(where, row, field) for where, row in islice(located, limit)]
    if not any(text.strip() for text in texts):
        raise UsageError(f"{path} holds no text with a word.")
    return texts
