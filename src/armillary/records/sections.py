"""The plain data a report is drawn from: sections, figures, tables, findings. JSON in, JSON out, no torch.

A record keeps numbers, never pictures, so that ``armillary report RECORD`` can draw it again without a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Any, Literal

from armillary.errors import UsageError
from armillary.numerics.intervals import Interval
from armillary.records.plain import decode

Cell = str | float | int | bool | None
Name = str | int | float


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """Cells of a table by colour; None is a value that is missing."""

    rows: list[Name]
    columns: list[Name]
    values: list[list[float | None]]
    low: float | None = None
    high: float | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        _check_lengths("rows", self.rows, values=self.values)
        for index, row in enumerate(self.values):
            if len(row) != len(self.columns):
                raise UsageError(f"Row {index} of a heat map has {len(row)} values for {len(self.columns)} columns.")


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A number a label, with interval ends and a reference (null or chance) where known."""

    labels: list[Name]
    values: list[float | None]
    low: list[float | None] | None = None
    high: list[float | None] | None = None
    reference: list[float | None] | None = None
    reference_name: str = "reference"
    x_label: str = ""

    def __post_init__(self) -> None:
        _check_lengths(
            "labels", self.labels, values=self.values, low=self.low, high=self.high, reference=self.reference
        )


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of ``Lines``."""

    name: str
    y: list[float | None]
    low: list[float | None] | None = None
    high: list[float | None] | None = None


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Named series over one x; text in ``x`` stands at equal distances."""

    x: list[Name]
    series: list[Series]
    x_label: str = ""
    y_label: str = ""
    log_x: bool = False

    def __post_init__(self) -> None:
        for series in self.series:
            ends = {f"low of {series.name!r}": series.low, f"high of {series.name!r}": series.high}
            _check_lengths("x", self.x, **{f"y of {series.name!r}": series.y}, **ends)


@dataclass(frozen=True, kw_only=True)
class Points:
    """A point a label, coloured by group."""

    x: list[float | None]
    y: list[float | None]
    labels: list[Name] = field(default_factory=list)
    groups: list[Name] = field(default_factory=list)
    x_label: str = ""
    y_label: str = ""

    def __post_init__(self) -> None:
        _check_lengths("x", self.x, y=self.y, labels=self.labels or None, groups=self.groups or None)


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """One text of ``Tokens``, cut into its tokens."""

    label: str
    tokens: list[str]
    values: list[float | None]
    note: str = ""

    def __post_init__(self) -> None:
        _check_lengths("tokens", self.tokens, values=self.values)


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Texts whose tokens are coloured by a number each, from ``-limit`` to ``limit``."""

    rows: list[TokenRow]
    limit: float
    low_name: str
    """What a value below 0 means."""

    high_name: str
    """What one above 0 means."""

    def __post_init__(self) -> None:
        if not self.limit > 0:
            raise UsageError(f"The limit of coloured tokens must be above 0, got {self.limit}.")


@dataclass(frozen=True, kw_only=True)
class AnswerPair:
    """What two models answered to one prompt, cut where the answers part."""

    prompt: str
    shared: str
    """What both answers begin with."""

    before: tuple[str, str]
    """The first token that only the earlier model's answer has there, and the rest of the answer."""

    after: tuple[str, str]
    """The same of the later model."""

    change: str = ""
    """In words: "right, now wrong"; empty where there is no right answer."""

    turn: Literal["worse", "better", "neither"] = "neither"
    group: str = ""
    """The kind of prompt: "arithmetic"."""

    wanted: str = ""
    """The answer that counts as right; empty where none is known."""

    numbers: list[int | float | None] = field(default_factory=list)
    """One for each name in ``AnswerPairs.numbers``."""


@dataclass(frozen=True, kw_only=True)
class AnswerPairs:
    """Two models' answers side by side; a reader may sort them by group or by any of the numbers."""

    rows: list[AnswerPair]
    numbers: list[str] = field(default_factory=list)
    """Names of the numbers that each row has."""

    before_name: str = "before"
    after_name: str = "after"

    def __post_init__(self) -> None:
        for index, row in enumerate(self.rows):
            _check_lengths("numbers", self.numbers, **{f"numbers of answer pair {index}": row.numbers})


@dataclass(frozen=True, kw_only=True)
class MarkedPiece:
    """A stretch of a text, and which notes speak of it."""

    text: str
    notes: list[int] = field(default_factory=list)
    """Places in ``MarkedText.notes``, counted from 0; empty where no note speaks of the stretch."""


@dataclass(frozen=True, kw_only=True)
class MarkedNote:
    """What is said about a text, at a stretch of it or as a whole."""

    text: str
    detail: str = ""
    """What was seen: "11 words"."""


@dataclass(frozen=True, kw_only=True)
class MarkedText:
    """One text, cut where marks begin and end."""

    title: str
    pieces: list[MarkedPiece]
    notes: list[MarkedNote]
    prompt: str = ""
    """What the text answers; the page folds it."""

    def __post_init__(self) -> None:
        for note in (note for piece in self.pieces for note in piece.notes):
            if not 0 <= note < len(self.notes):
                raise UsageError(f"A marked text has {len(self.notes)} notes, and a stretch of it names note {note}.")


@dataclass(frozen=True, kw_only=True)
class MarkedTexts:
    """Texts with notes, each note at the stretches that it speaks of."""

    rows: list[MarkedText]


@dataclass(frozen=True, kw_only=True)
class PlacedStep:
    """One step of a text in one of two orders, or the steps that are left out between two others."""

    text: str = ""
    place: int = 0
    """Counted from 1 in this order."""

    other: int = 0
    """Its place in the other order."""

    moved: bool = False
    note: str = ""
    """What is wrong with its place."""

    skipped: int = 0
    """Steps that are left out here; 0 for a step."""


@dataclass(frozen=True, kw_only=True)
class OrderPair:
    """The steps of one text in two orders."""

    title: str
    before: list[PlacedStep]
    after: list[PlacedStep]
    prompt: str = ""
    """What the text answers; the page folds it."""


@dataclass(frozen=True, kw_only=True)
class OrderPairs:
    """Texts whose steps stand in two orders side by side, those that moved marked."""

    rows: list[OrderPair]
    before_name: str = "before"
    after_name: str = "after"


def marked_pieces(text: str, marks: Sequence[tuple[int, int, int]]) -> list[MarkedPiece]:
    """``text`` cut so that each stretch has one set of notes; marks are (start, end, note), and may overlap.

    A mark without length stands before the character at its place, or at the end. UsageError for one outside the text.
    """
    for start, end, _ in marks:
        if not 0 <= start <= end <= len(text):
            raise UsageError(f"A mark from {start} to {end} lies outside a text of {len(text)} characters.")
    cuts = sorted({0, len(text), *(place for start, end, _ in marks for place in (start, end))})
    pieces = []
    for begin, stop in [*pairwise(cuts), (len(text), len(text))]:
        empty = sorted({note for start, end, note in marks if start == end == begin})
        if empty:
            pieces.append(MarkedPiece(text="", notes=empty))
        if begin < stop:
            notes = sorted({note for start, end, note in marks if start <= begin and stop <= end and start < end})
            pieces.append(MarkedPiece(text=text[begin:stop], notes=notes))
    return pieces


def _check_lengths(name: str, wanted: Sequence[Any], /, **others: Sequence[Any] | None) -> None:
    for other, given in others.items():
        if given is not None and len(given) != len(wanted):
            raise UsageError(f"There are {len(wanted)} {name} but {len(given)} {other}; they must be as many.")


FigureKind = Literal["heatmap", "bars", "lines", "points", "tokens", "answers", "marked", "orders"]
FigureData = Heatmap | Bars | Lines | Points | Tokens | AnswerPairs | MarkedTexts | OrderPairs
_KINDS: dict[FigureKind, type[FigureData]] = {
    "heatmap": Heatmap,
    "bars": Bars,
    "lines": Lines,
    "points": Points,
    "tokens": Tokens,
    "answers": AnswerPairs,
    "marked": MarkedTexts,
    "orders": OrderPairs,
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing as data, so that a record can be drawn again; None in ``data`` is a value that is missing."""

    title: str
    data: FigureData
    alt: str
    """The picture in one sentence, for someone who can't see it."""

    interactive: bool = False
    """True where pointing at a mark tells something that the still picture can't."""

    @property
    def kind(self) -> FigureKind:
        """The word for it in a record and on a page."""
        return next(name for name, kind in _KINDS.items() if isinstance(self.data, kind))

    def to_plain(self) -> dict[str, Any]:
        """JSON data; of the figure's data what is not at its default."""
        given = {
            field.name: getattr(self.data, field.name)
            for field in fields(self.data)
            if getattr(self.data, field.name) != field.default
        }
        return {
            "kind": self.kind,
            "title": self.title,
            "data": given,
            "alt": self.alt,
            "interactive": self.interactive,
        }

    @classmethod
    def from_plain(cls, data: Any, where: str) -> "Figure":
        """Inverse of ``to_plain``. UsageError names what is missing, unknown or of another type."""
        if not isinstance(data, dict) or data.get("kind") not in _KINDS:
            raise UsageError(f"{where} is no figure of a kind that is known ({', '.join(_KINDS)}).")
        title = str(data.get("title"))
        kind = _KINDS[data["kind"]]
        return cls(
            title=title,
            data=decode(kind, data.get("data"), f"The data of figure {title!r}"),
            alt=str(data.get("alt", "")),
            interactive=bool(data.get("interactive", False)),
        )


def interval_bars(
    title: str,
    values: Mapping[str, Interval],
    x_label: str,
    reference: Sequence[float | None] | None = None,
    reference_name: str = "reference",
) -> Figure:
    """A bar with its interval for each value; ``reference`` puts a tick (a null, chance) beside each."""
    data = Bars(
        labels=list(values),
        values=[value.estimate for value in values.values()],
        low=[value.low for value in values.values()],
        high=[value.high for value in values.values()],
        reference=None if reference is None else list(reference),
        reference_name=reference_name,
        x_label=x_label,
    )
    numbers = ", ".join(f"{name} {value.estimate:.2f}" for name, value in values.items())
    return Figure(title=title, data=data, alt=f"Bars: {numbers}.")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under named columns; floats are shown to three significant digits."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One result as a reader meets it: what was found, what the picture means, where it misleads."""

    id: str
    title: str
    summary: str
    """What was found in this model, in one or two sentences with numbers."""

    meaning: str
    """What the picture shows, for somebody who has not read the paper."""

    caution: str
    """Where the picture can mislead."""

    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    folded: bool = False
    """True for what most readers may pass over: the page shows the summary and opens the rest on demand."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A sentence to read first, with how surprising it is and the section that shows it."""

    text: str
    interest: float
    """Between 0 (expected) and 1 (surprising or important); the command prints the highest three."""

    section: str

    label: str = ""
    """A word that says what kind of finding it is ("learned", "forgot"); findings without one are numbered."""

    basis: str = ""
    """What the sentence rests on: interval, chance, floor."""


def names(labels: list[Name]) -> list[str]:
    """Labels as text."""
    return [str(label) for label in labels]
