"""The data of each kind of figure as typed objects: what a drawing may rely on."""

from typing import Any

from armillary.errors import UsageError
from armillary.records.plain import decode, plain
from armillary.records.sections import Bars, Figure, Heatmap, Lines, Name, Picture, Points, Tokens
from armillary.report.wording import visible

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
