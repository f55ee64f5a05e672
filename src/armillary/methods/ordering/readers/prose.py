"""Reasoning in words: steps that refer to one another by number, by symbols and by values.

Edges are inferred: "from step 2", "by (1) and (3)" and "steps 1-3" name steps by their labels; a symbol is taken from
the step that sets it equal to something, a number from the step whose equation found it (see ``values``).
"""

import re
from collections.abc import Collection, Sequence

from armillary.methods.ordering.readers.values import BREAK, ValueLine, calculated, flow

LABEL = re.compile(r"^[\s*#>]*(?:(?:step|line)\s*)?(?:\((\d{1,3})\)|\[(\d{1,3})\]|(\d{1,3})[.):](?!\d))[*\s:.]*", re.I)
"""The number with which a step begins: "1.", "1)", "(1)", "[1]", "Step 1:", "**Step 1.**"."""

_ONE = r"[(\[]?\d{1,3}[)\]]?"
_BRACKETED = r"[(\[]\d{1,3}[)\]]"
_AND = r"\s*(?:,\s*and|,|and|or|&|to|through|-|\u2013)\s*"
_NOUN = r"(?:steps?|lines?|equations?|eqs?\.?|statements?|facts?|claims?|items?)"
_REASON = r"(?:by|from|using|use|via|with|in|into|to|and|of|see|combining|applying|adding|since|because of)"
REFERENCES = re.compile(
    rf"\b{_NOUN}\s*({_ONE}(?:{_AND}(?:{_NOUN}\s*)?{_ONE})*)|\b{_REASON}\s+({_BRACKETED}(?:{_AND}{_BRACKETED})*)", re.I
)
"""Numbers behind a noun that can only mean a step, or in brackets behind a word that introduces a reason."""

OPERATORS = ("+", "-", "*", "/", "^", "(")

PROSE_SYMBOL = re.compile(r"(?<![\w'])(?![aAI](?![\w']))(?:[^\W\d_]'*|[^\W\d_]\w*[\d_][\w']*)(?![\w'])")
"""A letter alone, or a name with a digit or an underscore. Whole words are left out: "total apples = 15" sets nothing
equal that "the apples" would mean elsewhere; neither are "a" and "I"."""


def labelled(text: str) -> tuple[str, str] | None:
    """The number with which a step begins and the rest of it; None for a text without."""
    label = LABEL.match(text)
    if label is None:
        return None
    return next(number for number in label.groups() if number), text[label.end() :]


def references(text: str) -> list[str]:
    """The numbers of the steps that a text refers to, ranges written out."""
    numbers = list[str]()
    for match in REFERENCES.finditer(text):
        parts = re.findall(r"\d+|to|through|-|\u2013", match[1] or match[2])
        for place, part in enumerate(parts):
            if not part.isdecimal():
                first, last = (int(end) for end in (parts[place - 1], parts[place + 1]))
                numbers.extend(str(number) for number in range(first + 1, last))
            else:
                numbers.append(part)
    return numbers


def prose_suppliers(texts: Sequence[str], labels: Sequence[str | None], given: Collection[str]) -> list[set[int]]:
    """Positions, from 0, of the steps that support each one; ``texts`` are without their labels."""
    places = {label: place for place, label in enumerate(labels) if label is not None}
    lines = [line_of(text) for text in texts]
    suppliers = flow(lines, given)
    for place, text in enumerate(texts):
        suppliers[place].update(places[number] for number in references(text) if number in places)
        suppliers[place].discard(place)
    return suppliers


def line_of(text: str) -> ValueLine:
    """What a step of prose takes in and gives out; references to steps are no numbers that it computes with."""
    plain = REFERENCES.sub(" ", text)
    if "=" not in plain:
        return ValueLine((), ())
    takes, gives = list[str](), list[str]()
    for sentence in re.split(r"(?<=[.;])\s+|\n", plain):
        if "=" not in sentence:
            continue
        line = calculated(sentence)
        left = BREAK.split(sentence.partition("=")[0])[-1].split()
        # In "x + y = 3" neither is defined.
        alone = (
            left and PROSE_SYMBOL.fullmatch(left[-1]) and left[-2:-1] not in (["+"], ["-"], ["*"], ["/"], ["^"], ["("])
        )
        defined = left[-1] if alone else ""
        symbols = [name for name in PROSE_SYMBOL.findall(sentence) if name != defined]
        takes += [taken for taken in (*symbols, *line.takes) if taken not in gives]
        gives += [*([defined] if defined else []), *line.gives]
    return ValueLine(tuple(takes), tuple(gives))
