"""The cells of a table, how wide it must be at least, and the style of one that has less room than that."""

import json
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from armillary.report.canvas import text_width
from armillary.report.wording import number, visible

SHORT = 20
"""Characters of a text that stays on one line: a word or two, an interval."""

# As the style sheet has them, in pixels (a rem is 16): text of .9rem, .6rem at each side, 9rem for text that breaks.
_FONT, _PADDING, _LONG = 14.4, 19.2, 144.0
_STEP = 4
"""Least widths are rounded up to as many rem, so that a page needs few rules."""


def cell(value: Any) -> str:
    """A value as its cell shows it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, (int, float)):
        return number(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def shape(value: Any) -> Literal["number", "short", "long"]:
    """How a cell breaks its lines: numbers and short words never, longer text anywhere."""
    if value is None or isinstance(value, (int, float)):
        return "number"
    return "long" if len(visible(cell(value))) > SHORT else "short"


def least_width(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int:
    """The rem that a table needs for its columns to stand side by side without cutting a word or a number."""
    pixels = 0.0
    for index, column in enumerate(columns):
        # Headings are bold, which is wider.
        needs = [1.1 * text_width(word, _FONT) for word in visible(column).replace("_", " ").split()]
        for value in (row[index] for row in rows if index < len(row)):
            needs.append(_LONG if shape(value) == "long" else text_width(visible(cell(value)), _FONT))
        pixels += max(needs, default=0.0) + _PADDING
    return max(1, math.ceil(pixels / 16 / _STEP)) * _STEP


def stacking_rules(widths: Iterable[int]) -> str:
    """Style rules by which a table that has less room than its least width shows its cells one below the other."""
    return "\n".join(_RULES.replace("WIDTH", str(width)) for width in sorted(set(widths)))


_RULES = """\
@container (width < WIDTHrem) {
  .from-WIDTH, .from-WIDTH tbody, .from-WIDTH tr { display: block; }
  .from-WIDTH thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .from-WIDTH tr { padding: .5rem .8rem; border-top: 1px solid var(--line); }
  .from-WIDTH tr:first-child { border-top: 0; }
  .from-WIDTH td { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: .8rem; min-width: 0;
    max-width: none; padding: .1rem 0; border: 0; white-space: pre-wrap; overflow-wrap: anywhere; }
  .from-WIDTH td:first-child { font-weight: 600; }
  .from-WIDTH td::before { content: attr(data-column); color: var(--muted); font-weight: 400; }
}"""
