"""Texts in a file to prompts: the attributes that each text has, stated as an instruction that it answers."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from armillary.attributes.attribute import Attribute
from armillary.attributes.attribute_set import AttributeSet, Order
from armillary.errors import UsageError
from armillary.methods.ultragen.corpus.checking import default_catalogue
from armillary.methods.ultragen.soft.extraction import Extraction, ExtractorChoice, opened_extractor
from armillary.numerics.intervals import Interval, bootstrap_of_counts
from armillary.records.plain import digest, dumps
from armillary.records.sections import Bars, Cell, Figure, Finding, Section, Table
from armillary.runs.pieces import Piece, Row, rows

TEXTS = ("text", "content", "document", "response", "completion")
"""Names under which a row may hold its text; the first that is there counts."""

SHOWN = 3
"""Prompts that a report shows whole."""


@dataclass(frozen=True, kw_only=True)
class DeriveChoice:
    """What is derived from each text."""

    n: int = 45
    order: Order = "shuffled"
    seed: int = 0
    field: str | None = None
    """Name under which a row holds its text; None for the first of ``TEXTS``."""

    extractor: ExtractorChoice = ExtractorChoice()


@dataclass(kw_only=True)
class DerivedPiece:
    """What came of a piece's texts."""

    lines: list[str] = field(default_factory=list)
    """One JSON object a text: id, prompt, response (the text) and attributes."""

    numbers: dict[str, int] = field(default_factory=dict)
    """How many texts gave so many attributes."""

    kinds: dict[str, int] = field(default_factory=dict)
    """Texts by kind of attribute that they gave."""

    empty: int = 0
    """Texts without a word, which give no row."""

    leaked: int = 0
    """Soft attributes that were left out since they hand over their text."""

    unread: int = 0
    """Replies of the extractor that had not the form that was asked for."""


def text_of(where: str, row: Row, name: str | None) -> str:
    """The text of a row. UsageError where it has none."""
    names = TEXTS if name is None else (name,)
    text = next((row[key] for key in names if isinstance(row.get(key), str)), None)
    if not isinstance(text, str):
        raise UsageError(f"{where} has no text; give one under {' or '.join(names)}, or say with --field where it is.")
    return text


def derive_rows(located_rows: Iterator[tuple[str, Row]], choice: DeriveChoice) -> DerivedPiece:
    """The rows of a piece. A text's draws hang on the seed and on the text alone, not on where it stands.

    Soft attributes are stated for all texts together, where an extractor was chosen.
    """
    given = [(row, text_of(where, row, choice.field)) for where, row in located_rows]
    extractor = opened_extractor(choice.extractor)
    nothing = Extraction(attributes=[], leaked=[], unparsed=0)
    stated = extractor.extract([text for _, text in given]) if extractor is not None else [nothing] * len(given)
    piece = DerivedPiece()
    numbers: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    for (row, text), extraction in zip(given, stated, strict=True):
        piece.leaked += len(extraction.leaked)
        piece.unread += extraction.unparsed
        if not text.strip():
            piece.empty += 1
            continue
        name = str(row["id"]) if row.get("id") is not None else digest(text)[:16]
        seed = int(digest([choice.seed, text])[:8], 16)
        softs = partial(_as_stated, extraction.attributes) if extraction.attributes else None
        try:
            attributes = AttributeSet.from_text(text, hard=default_catalogue(), soft=softs, n=choice.n, seed=seed)
        except UsageError:  # signs, but no word
            piece.empty += 1
            continue
        ordered = attributes.ordered(choice.order, seed)
        row_out = {
            "id": name, "prompt": attributes.render(choice.order, seed), "response": text,
            "attributes": [attribute.to_json() for attribute in ordered],
        }  # fmt: skip
        piece.lines.append(dumps(row_out))
        numbers[len(ordered)] += 1
        kinds.update({attribute.kind for attribute in ordered})
    piece.numbers = {str(number): times for number, times in sorted(numbers.items())}
    piece.kinds = dict(sorted(kinds.items()))
    return piece


def _as_stated(attributes: list[Attribute], text: str) -> list[Attribute]:
    """An extractor that has stated its attributes already."""
    return attributes


def derive_piece(piece: Piece, choice: DeriveChoice) -> DerivedPiece:
    """What comes of one piece of a file."""
    return derive_rows(rows(piece), choice)


def merged(total: DerivedPiece, piece: DerivedPiece) -> None:
    """Add the counts of a piece; its lines are not kept."""
    for mine, theirs in ((total.numbers, piece.numbers), (total.kinds, piece.kinds)):
        for key, times in theirs.items():
            mine[key] = mine.get(key, 0) + times
    for name in ("empty", "leaked", "unread"):
        setattr(total, name, getattr(total, name) + getattr(piece, name))


def attributes_a_text(total: DerivedPiece, seed: int) -> Interval:
    """Mean number of attributes of a text, by bootstrap over texts."""
    import numpy as np

    numbers_Q = np.array([int(number) for number in total.numbers], dtype=np.float64)
    counts = list(total.numbers.values())
    return bootstrap_of_counts(
        lambda drawn_RQ: drawn_RQ @ numbers_Q / drawn_RQ.sum(1), counts, seed=seed,
        how=f"bootstrap over {sum(counts):,} texts",
    )  # fmt: skip


def derived_section(
    total: DerivedPiece, mean: Interval, file_name: str, examples: list[str]
) -> tuple[Section, Finding]:
    """What was derived, for a reader: how many attributes a text gave and of which kinds, with the first prompts."""
    texts = sum(total.numbers.values())
    kinds = sorted(total.kinds.items(), key=lambda item: -item[1])
    few, many = min(map(int, total.numbers)), max(map(int, total.numbers))
    text = (
        f"{texts:,} {'text' if texts == 1 else 'texts'} gave {mean.estimate:.1f} attributes each on average ({few} to "
        f"{many}), of {len(kinds)} kinds; each holds on its own text."
    )
    if total.empty:
        left_out = "text without a word was" if total.empty == 1 else "texts without a word were"
        text += f" {total.empty:,} {left_out} left out."
    if total.leaked or total.unread:
        text += f" Of the soft ones {total.leaked:,} were left out since they hand over their text, and "
        text += f"{total.unread:,} replies could not be read."
    shown: list[list[Cell]] = [[number, prompt] for number, prompt in enumerate(examples, 1)]
    section = Section(
        id="derived",
        title="What the texts gave",
        summary=f"{text} The rows stand in {file_name}, one prompt with its text a line.",
        meaning="A bar for each kind of attribute: the share of the texts of whose list it is part. An attribute is "
        "read off its own text and checked on it before it enters a list; conflicting ones are left out.",
        caution="What a text does not have gives no attribute, so that a kind that is rare here is rare in what is "
        "learned from it. All texts together meet their lists, which says nothing about how hard a list is to meet.",
        figures=[
            Figure(
                title="Share of texts by kind",
                data=Bars(
                    labels=[kind.replace("_", " ") for kind, _ in kinds],
                    values=[times / texts for _, times in kinds],
                    x_label=f"share of {texts:,} texts",
                ),
                alt="Bars: " + ", ".join(f"{kind} {times / texts:.2f}" for kind, times in kinds) + ".",
            )
        ],
        tables=[Table(title="The first prompts", columns=["text", "prompt"], rows=shown)],
    )
    return section, Finding(text=text, interest=1.0, section="derived", basis=mean.how)
