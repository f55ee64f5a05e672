"""The plain data a report is drawn from: sections, figures, tables, findings. JSON in, JSON out, no torch.

A record keeps numbers, never pictures, so that ``armillary report RECORD`` can draw it again without a model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from armillary.numerics.intervals import Interval

FigureKind = Literal["heatmap", "bars", "lines", "points", "tokens"]
Cell = str | float | int | bool | None


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One picture as data. ``data`` by kind (lists of equal length, None for a missing value):

    heatmap  rows [r], columns [c], values [r][c], optional low, high (colour range), unit
    bars     labels [k], values [k], optional low [k], high [k] (interval ends), reference [k] (null or chance),
             reference_name, x_label
    lines    x [k], series [{name, y [k], optional low [k], high [k]}], x_label, y_label, optional log_x
    points   x [k], y [k], labels [k], groups [k], x_label, y_label
    tokens   rows [{label, tokens [t], values [t], optional note}], limit (colours run from -limit to limit),
             low_name, high_name (what a value below 0, and above it, means)
    """

    kind: FigureKind
    title: str
    data: dict[str, Any]
    alt: str
    """The picture in one sentence, for someone who can't see it."""

    interactive: bool = False
    """True where pointing at a mark tells something that the still picture can't."""


def interval_bars(
    title: str, values: Mapping[str, Interval], x_label: str, reference: Sequence[float | None] | None = None
) -> Figure:
    """A bar with its interval for each value; ``reference`` puts a tick (a null, chance) beside each."""
    data: dict[str, Any] = {
        "labels": list(values),
        "values": [value.estimate for value in values.values()],
        "low": [value.low for value in values.values()],
        "high": [value.high for value in values.values()],
        "x_label": x_label,
    }
    if reference is not None:
        data["reference"] = list(reference)
    said = ", ".join(f"{name} {value.estimate:.2f}" for name, value in values.items())
    return Figure(kind="bars", title=title, data=data, alt=f"Bars: {said}.")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under named columns; floats are shown to three significant digits."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One diagnosis as a reader meets it: what was found, what the picture means, where it misleads."""

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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Section":
        """Inverse of ``to_dict``."""
        return cls(
            **{
                **data,
                "figures": [Figure(**figure) for figure in data["figures"]],
                "tables": [Table(**table) for table in data["tables"]],
            }
        )


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence worth telling first, with how surprising it is and the section that shows it."""

    text: str
    interest: float
    """Between 0 (expected) and 1 (surprising or important); the command prints the highest three."""

    section: str


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


@dataclass(frozen=True, kw_only=True)
class Points:
    """A point a label, coloured by group."""

    x: list[float | None]
    y: list[float | None]
    labels: list[Name] = field(default_factory=list)
    groups: list[Name] = field(default_factory=list)
    x_label: str = ""
    y_label: str = ""


@dataclass(frozen=True, kw_only=True)
class TokenRow:
    """One text of ``Tokens``, cut into its tokens."""

    label: str
    tokens: list[str]
    values: list[float | None]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Texts whose tokens are coloured by a number each, from ``-limit`` to ``limit``."""

    rows: list[TokenRow]
    limit: float
    low_name: str
    """What a value below 0 means."""

    high_name: str
    """What one above 0 means."""


Picture = Heatmap | Bars | Lines | Points | Tokens


def names(labels: list[Name]) -> list[str]:
    """Labels as text."""
    return [str(label) for label in labels]
