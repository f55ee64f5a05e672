"""A run's record as one HTML file and as a table in the terminal. Reads plain data only; no model, no torch."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from armillary.report.figures import svg
    from armillary.report.html import render_html
    from armillary.report.terminal import render_terminal

_HOMES = {"svg": "figures", "render_html": "html", "render_terminal": "terminal"}

__all__ = ["render_html", "render_terminal", "svg"]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
