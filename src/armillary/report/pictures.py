"""The data of each kind of figure as typed objects: what a drawing may rely on."""

from dataclasses import dataclass, field
from typing import Any

from armillary.errors import UsageError
from armillary.report.wording import visible
from armillary.runs.decode import decode
from armillary.runs.plain import plain
from armillary.runs.sections import Figure

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
_KINDS: dict[str, type[Picture]] = {"heatmap": Heatmap, "bars": Bars, "lines": Lines, "points": Points,
                                    "tokens": Tokens}  # fmt: skip


def picture(figure: Figure) -> Picture:
    """The data of ``figure``, checked, its words as they can be drawn (hidden characters shown).

    Raises:
        UsageError: a field is missing, unknown, of another type or of another length than its neighbours.
    """
    where = f"The data of figure {figure.title!r}"
    if figure.kind not in _KINDS:
        raise UsageError(f"Figure {figure.title!r} is of kind {figure.kind!r}; accepted: {', '.join(_KINDS)}.")
    found = decode(_KINDS[figure.kind], _shown(plain(figure.data)), where)
    lengths = _lengths(found)
    wanted = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != wanted:
            raise UsageError(f"{where} has {wanted} {next(iter(lengths))} but {length} {name}; they must be as many.")
    return found


def names(labels: list[Name]) -> list[str]:
    """Labels as text."""
    return [str(label) for label in labels]


def _shown(data: Any) -> Any:
    if isinstance(data, str):
        return visible(data)
    if isinstance(data, list):
        return [_shown(item) for item in data]
    return {name: _shown(item) for name, item in data.items()} if isinstance(data, dict) else data


def _lengths(found: Picture) -> dict[str, int]:
    lists: dict[str, list[Name] | list[float | None] | list[list[float | None]] | None]
    if isinstance(found, Heatmap):
        for index, row in enumerate(found.values):
            if len(row) != len(found.columns):
                raise UsageError(f"Row {index} of a heat map has {len(row)} values for {len(found.columns)} columns.")
        lists = {"rows": found.rows, "values": found.values}
    elif isinstance(found, Bars):
        lists = {"labels": found.labels, "values": found.values, "low": found.low, "high": found.high,
                 "reference": found.reference}  # fmt: skip
    elif isinstance(found, Points):
        lists = {"x": found.x, "y": found.y, "labels": found.labels or None, "groups": found.groups or None}
    elif isinstance(found, Tokens):
        if not found.limit > 0:
            raise UsageError(f"The limit of coloured tokens must be above 0, got {found.limit}.")
        for index, text in enumerate(found.rows):
            if len(text.values) != len(text.tokens):
                raise UsageError(
                    f"Row {index} of coloured tokens has {len(text.values)} values for {len(text.tokens)} tokens."
                )
        lists = {}
    else:
        lists = {"x": found.x}
        for series in found.series:
            lists |= {f"y of {series.name!r}": series.y, f"low of {series.name!r}": series.low,
                      f"high of {series.name!r}": series.high}  # fmt: skip
    return {name: len(values) for name, values in lists.items() if values is not None}
