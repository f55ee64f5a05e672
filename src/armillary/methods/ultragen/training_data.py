"""Rows to reconstruct: each text behind an instruction made of attributes that it itself has.

Rows stand in TRL's columns prompt and completion, as messages for a model with a chat template or as plain text; the
attributes travel with them as JSON, so that a reward function can check what is written.
"""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from armillary.attributes.attribute_set import AttributeSet, Order, SoftExtractor
from armillary.attributes.interchange.rows import row_attributes
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.attributes.text_stats import TextStats
from armillary.errors import UsageError
from armillary.extras import optional
from armillary.methods.ultragen.config import SEPARATOR

if TYPE_CHECKING:
    import datasets

MOST_WORDS = 512
"""Words of a text at most (released)."""

Message = dict[str, str]
"""One turn: role and content."""


def truncated(text: str, most_words: int = MOST_WORDS) -> str:
    """The text up to the last sentence that ends within ``most_words``, its line breaks kept; short texts whole.

    A first sentence that is longer is cut behind its last word that fits. (Joining the first words, as the released
    code does, loses the line breaks, and with them lists and paragraphs.) UsageError for fewer than one word.
    """
    if most_words < 1:
        raise UsageError(f"most_words must be 1 or more, got {most_words}.")
    stats = TextStats(text)
    if len(stats.pairs) <= most_words:
        return stats.text
    end = stats.pairs[most_words - 1][1]
    ends = [stop for _, stop in stats.sentences if len(stats.words_within((0, stop))) <= most_words]
    return stats.text[: ends[-1] if ends else end].rstrip()


@dataclass(frozen=True, kw_only=True)
class DocumentSplit:
    """Places of the texts on each side; repeated texts are on neither but once."""

    train: list[int]
    test: list[int]
    repeated: int
    """Texts that are another's words again and were left out."""


def split_documents(texts: Sequence[str], test_share: float = 0.2, *, seed: int = 0) -> DocumentSplit:
    """Documents to train on and to test on, before anything is derived from them; no text is on both sides.

    Two texts are the same where their words are, whatever their case and punctuation. UsageError for a share that is
    not between 0 and 1.
    """
    if not 0 <= test_share < 1:
        raise UsageError(f"test_share must be 0 or more and below 1, got {test_share}.")
    first: dict[tuple[str, ...], int] = {}
    for index, text in enumerate(texts):
        words = tuple(TextStats(text).folded)
        if words:
            first.setdefault(words, index)
    kept = list(first.values())
    test = set(random.Random(f"split {seed}").sample(kept, round(test_share * len(kept))))
    return DocumentSplit(
        train=[index for index in kept if index not in test],
        test=[index for index in kept if index in test],
        repeated=sum(bool(text.strip()) for text in texts) - len(kept),
    )


# An attribute set as a column of a data set.


def attributes_json(attributes: AttributeSet) -> str:
    """The set's attributes as one JSON text: columns of mixed objects are not kept as they are by Arrow."""
    return json.dumps([attribute.to_json() for attribute in attributes.attributes], ensure_ascii=False)


def attributes_of(value: object) -> AttributeSet:
    """The set in a cell of the column ``attributes``, in every form that ``armillary ultragen check`` reads (objects,
    sentences, JSON of either), or a set itself. UsageError else."""
    return value if isinstance(value, AttributeSet) else set_of_row({"attributes": value}, "a row")


def set_of_row(row: Mapping[str, object], where: str) -> AttributeSet:
    """The set of a row, as ``armillary ultragen check`` reads it. UsageError naming ``where`` if it has none."""
    read = row_attributes(row, where)
    if not read.attributes:
        raise UsageError(f"{where} has no attributes; give them under attributes, as objects or sentences.")
    return AttributeSet(attributes=read.attributes)


def as_prompt(request: str, *, chat: bool) -> str | list[Message]:
    """An instruction as TRL's column prompt."""
    return [{"role": "user", "content": request}] if chat else request + SEPARATOR


def as_completion(text: str, *, chat: bool) -> str | list[Message]:
    """A text as TRL's column completion, chosen or rejected."""
    return [{"role": "assistant", "content": text}] if chat else text


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """A text, the attributes it has, and the instruction that states them."""

    request: str
    text: str
    attributes: AttributeSet
    """In the order of the instruction."""

    def row(self, *, chat: bool) -> dict[str, str | list[Message]]:
        """In TRL's columns."""
        return {
            "prompt": as_prompt(self.request, chat=chat),
            "completion": as_completion(self.text, chat=chat),
            "attributes": attributes_json(self.attributes),
        }


def reconstructions(
    texts: Iterable[str],
    *,
    n: int = 45,
    hard: Catalogue | None = None,
    soft: SoftExtractor | None = None,
    order: Order = "shuffled",
    most_words: int = MOST_WORDS,
    seed: int = 0,
) -> Iterator[Reconstruction]:
    """One for each text that has attributes, as they come; nothing is held.

    What is drawn for a text depends on the seed and its place. Texts are cut (``truncated``) before attributes are
    read off them, so that the cut text has them all. Texts without a word are passed over. UsageError for ``n`` below
    1.
    """
    if n < 1:
        raise UsageError(f"n must be 1 or more attributes, got {n}.")
    for number, text in enumerate(texts):
        shortened = truncated(text, most_words)
        if not TextStats(shortened).pairs:
            continue
        own_seed = random.Random(f"text {seed} {number}").getrandbits(32)
        attributes = AttributeSet.from_text(shortened, hard=hard, soft=soft, n=n, seed=own_seed)
        request = attributes.render(order, own_seed)
        ordered = replace(attributes, attributes=attributes.ordered(order, own_seed))
        yield Reconstruction(request=request, text=shortened, attributes=ordered)


def build_ar_dataset(
    texts: Iterable[str],
    *,
    n: int = 45,
    hard: Catalogue | None = None,
    soft: SoftExtractor | None = None,
    order: Order = "shuffled",
    most_words: int = MOST_WORDS,
    chat: bool = True,
    seed: int = 0,
) -> "datasets.Dataset":
    """``datasets.Dataset`` with the columns prompt, completion and attributes, as TRL's supervised trainer reads it.

    ``chat``: messages, for a model with a chat template; else plain text. Split documents first (``split_documents``).
    UsageError without the package datasets, or where no text has an attribute.
    """
    data = optional("datasets", "trl")
    made = reconstructions(texts, n=n, hard=hard, soft=soft, order=order, most_words=most_words, seed=seed)
    rows = [reconstruction.row(chat=chat) for reconstruction in made]
    if not rows:
        raise UsageError("no text has an attribute: there is nothing to reconstruct.")
    return data.Dataset.from_list(rows)
