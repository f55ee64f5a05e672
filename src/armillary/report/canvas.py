"""A drawing surface measured in CSS pixels, and the colours that a page turns light or dark."""

import io
import unicodedata
import warnings
from collections.abc import Callable
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from armillary.report.wording import tick

WIDE, NARROW = 760, 350
FONT = 12.0

# Each colour stands for a CSS variable of the page (see THEME); the value is what it shows elsewhere.
INK, MUTED, GRID, PAPER = "#1c2027", "#666d79", "#dfe2e6", "#fffffe"
SERIES = ("#2563a8", "#c4511d", "#15806a", "#8a4fa3", "#96710a", "#4a5a6a", "#b03a6c", "#3c8fb0")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
THEME = {
    INK: "currentColor",
    MUTED: f"var(--muted, {MUTED})",
    GRID: f"var(--grid, {GRID})",
    PAPER: f"var(--paper, {PAPER})",
    **{color: f"var(--series-{index}, {color})" for index, color in enumerate(SERIES, start=1)},
}

_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "armillary",
    "text.parse_math": False,
    "font.size": FONT,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.7,
}


def drawn(width: float, height: float, draw: Callable[["Canvas"], None]) -> str:
    """The SVG, as matplotlib writes it, of what ``draw`` puts on a canvas of that size; no global setting changes."""

    with matplotlib.rc_context(), warnings.catch_warnings():
        # The page's fonts draw the text, so what matplotlib's own font lacks doesn't matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        canvas = Canvas(width, height)
        draw(canvas)
        FigureCanvasSVG(canvas.figure)
        buffer = io.StringIO()
        canvas.figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


class Canvas:
    """A matplotlib figure whose positions are pixels from the top left corner."""

    def __init__(self, width: float, height: float) -> None:

        self.width, self.height = width, height
        # At 72 dots an inch a point is a pixel, so font sizes are CSS sizes.
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes in that rectangle."""
        bottom = self.height - top - height
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )

    def text(self, left: float, top: float, text: str, **style: Any) -> None:
        """Text whose middle line is at ``top``."""
        style = {"verticalalignment": "center", **style}
        self.figure.text(left / self.width, 1 - top / self.height, text, **style)


def grid(axes: Axes, axis: Literal["x", "y", "both"]) -> None:
    """Faint lines behind the marks along ``axis``, short numbers beside them, and no tick marks."""

    axes.grid(True, axis=axis, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", length=0, pad=6)
    for name, side in (("x", axes.xaxis), ("y", axes.yaxis)):
        if axis in (name, "both"):
            side.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
            side.set_minor_formatter(NullFormatter())


def text_width(text: str, size: float = FONT) -> float:
    """About how wide a page's sans-serif font sets ``text``, in pixels, rather too wide than too narrow."""
    return sum(map(_em, text)) * size


def _em(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    if unicodedata.east_asian_width(character) in "WF":
        return 1.05
    if character in "iljtfr.,:;'|!()[] ":
        return 0.4
    return 0.95 if character in "mwMW@%" else 0.7 if character.isupper() else 0.62
