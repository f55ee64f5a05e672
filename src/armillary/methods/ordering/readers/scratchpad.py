"""Scratchpads: one ``lhs = rhs`` a line.

An edge means that a line uses what another one found: a symbol that stands alone on one side of the other's equals
sign, or the number that the other ends with. Edges are inferred. A symbol is taken from the nearest line to the left
that defines it, otherwise from the first to the right.
"""

import re

from armillary.methods.ordering.readers.framing import framed
from armillary.methods.ordering.readers.graph import linked
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.readers.values import NUMBER, SYMBOL, ValueLine, flow, numbers, shortest
from armillary.methods.ordering.steps import Sample

PROSE = re.compile(r"[^\W\d_]{2,}[,;:]?\s+[^\W\d_]")
"""A word before another: what is written in sentences is no scratchpad."""

AT_LEAST = 2
"""Lines with an equals sign: a single one has no order."""


class ScratchpadReader(Reader):
    """Texts whose every line is an equation."""

    name = "scratchpad"
    about = "lines lhs = rhs: edges by symbols and by values (inferred)"

    def __call__(self, record: Record) -> Sample | None:
        """One step a line; None unless all are equations, two at least, and none a comparison."""
        frame = framed(record)
        lines = None if frame is None else _equations(frame.body)
        if frame is None or lines is None:
            return None
        given = {*numbers(frame.prompt)}
        suppliers = flow([equation(line) for line in lines], given)
        return linked(lines, suppliers, prompt=frame.prompt, key=frame.key)

    def rewritten(self, record: Record, sample: Sample) -> Record | None:
        """The lines in the new order."""
        frame = framed(record)
        return None if frame is None else frame.filled(record, "\n".join(step.text for step in sample.steps))


def equation(text: str) -> ValueLine:
    """What an equation takes in and gives out; ``a = b = c`` is a chain, whose last side is the result."""
    first, *rest = (side.strip() for side in text.split("="))
    sides = [first, *rest]
    gives: list[str] = []
    if SYMBOL.fullmatch(first):
        gives.append(first)
        sides = rest
    last = sides[-1].rstrip(" .;") if sides else ""
    if SYMBOL.fullmatch(last) and not gives:
        gives.append(last)
        sides = sides[:-1]
    elif NUMBER.fullmatch(last):
        gives.append(shortest(last))
        sides = sides[:-1] if len(sides) > 1 else []
    takes = [taken for side in sides for taken in (*SYMBOL.findall(side), *numbers(side))]
    return ValueLine(tuple(takes), tuple(gives))


def _equations(text: str) -> list[str] | None:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = all("=" in line and not any(sign in line for sign in ("==", "<", ">", "!=", ":=")) for line in lines)
    sided = marked and all(all(side.strip() for side in line.split("=")) for line in lines)
    return lines if sided and len(lines) >= AT_LEAST and not any(map(PROSE.search, lines)) else None
