"""A figure's data as one SVG element that follows the page: its fonts, its width, its light or dark colours."""

import hashlib

from armillary.errors import UsageError
from armillary.report import bars, heatmap, lines, points
from armillary.report.canvas import NARROW, WIDE, drawn
from armillary.report.markup import themed
from armillary.report.pictures import Bars, Heatmap, Lines, Tokens, picture
from armillary.report.wording import visible
from armillary.runs.plain import digest
from armillary.runs.sections import Figure


def svg(figure: Figure, *, narrow: bool = False, prefix: str = "") -> str:
    """The figure as an ``<svg>`` element, the same bytes for the same data.

    Text stays text, in the font of the page; colours are CSS variables with a light default (``report.canvas.THEME``);
    ``title`` and ``alt`` describe it to a screen reader. ``narrow`` draws for a phone's width (a heat map is never
    narrowed: its page lets it scroll). ids start with ``prefix``, or with a digest of the data.

    Raises:
        UsageError: the data is not what the kind of figure needs, or the figure is one of text (``report.tokens``).
    """
    found = picture(figure)
    width: float = NARROW if narrow else WIDE
    if isinstance(found, Heatmap):
        width, height, draw = heatmap.layout(found, WIDE)
    elif isinstance(found, Bars):
        height, draw = bars.layout(found, width)
    elif isinstance(found, Lines):
        height, draw = lines.layout(found, width)
    elif isinstance(found, Tokens):
        raise UsageError(f"Figure {figure.title!r} is of kind 'tokens', which is text and not a drawing.")
    else:
        height, draw = points.layout(found, width)
    prefix = prefix or f"figure-{hashlib.sha256(f'{digest(figure)}{narrow}'.encode()).hexdigest()[:10]}-"
    return themed(
        drawn(width, height, draw), title=visible(figure.title), description=visible(figure.alt), prefix=prefix
    )
