"""The data of a figure as a drawing may rely on it: plain numbers, and words whose hidden characters show."""

from typing import Any

from armillary.records.plain import decode, plain
from armillary.records.sections import Figure, FigureData
from armillary.report.wording import visible


def drawable(figure: Figure) -> FigureData:
    """The data of ``figure`` as its record would give it back (numbers that are not finite are missing)."""
    return decode(type(figure.data), _visible(plain(figure.data)), f"The data of figure {figure.title!r}")


def _visible(data: Any) -> Any:
    if isinstance(data, str):
        return visible(data)
    if isinstance(data, list):
        return [_visible(item) for item in data]
    return {name: _visible(item) for name, item in data.items()} if isinstance(data, dict) else data
