"""Values and symbols in arithmetic: what a line takes in, what it gives out, and which line a value came from.

[derived] A number that a line computes with was found by the nearest line to its left whose result it is; a number
that is nowhere to the left nor in the prompt was taken from a line to its right. Both are guesses: two lines may
have the same result. The measured precision stands in the docs.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

NUMBER = re.compile(r"(?<![\w.])(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?![\d])")
SYMBOL = re.compile(r"[^\W\d_]\w*'*")
"""A letter, then letters, digits, underscores and primes: x, P_0, total, n'."""

DISTINCTIVE = 2
"""Significant digits of a number that no line to the left gives, from which it is taken from a line to the right. A
line that doubles, or counts six of something, did not take its 2 or 6 from a later result. Chosen on half of a set of
problems whose numbers are drawn anew many times; the docs give the figures of the other half."""


@dataclass(frozen=True)
class ValueLine:
    """What one line of a computation takes in and gives out."""

    takes: tuple[str, ...]
    """Numbers in their shortest form and symbols, in their order."""
    gives: tuple[str, ...]


def shortest(number: str) -> str:
    """A number written in one way: without separators and without zeros at the end of its decimals."""
    plain = number.replace(",", "")
    if "." in plain:
        whole, _, decimals = plain.partition(".")
        decimals = decimals.rstrip("0")
        plain = f"{whole or '0'}.{decimals}" if decimals else whole or "0"
    return plain


def numbers(text: str) -> tuple[str, ...]:
    """The numbers of a text in their order, each in its shortest form."""
    return tuple(shortest(number) for number in NUMBER.findall(text))


def flow(lines: Sequence[ValueLine], given: Collection[str] = ()) -> list[set[int]]:
    """Positions, from 0, of the lines that supply each line.

    ``given`` are values of the prompt. A value is supplied by the nearest line to the left that gives it; if it is
    given as well, only by the line just before, which is meant then more often than not. A symbol or a number of
    ``DISTINCTIVE`` digits that is neither to the left nor given is supplied by the first line to the right.
    """
    givers: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        for value in line.gives:
            givers.setdefault(value, []).append(place)
    suppliers: list[set[int]] = []
    for place, line in enumerate(lines):
        sources = set()
        for value in line.takes:
            places = givers.get(value)
            if places is None:
                continue
            left = [giver for giver in places if giver < place]
            if left:
                if value not in given or left[-1] == place - 1:
                    sources.add(left[-1])
            elif value not in given and places[0] > place:
                digits = len(value.replace(".", "").strip("0"))
                if not value[0].isdecimal() or digits >= DISTINCTIVE:
                    sources.add(places[0])
        suppliers.append(sources)
    return suppliers


_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
WORDS = {
    **{word: str(number) for number, word in enumerate(_UNITS.split())},
    **{word: str(10 * number) for number, word in enumerate(_TENS.split(), 2)},
    **{"once": "1", "twice": "2", "double": "2", "triple": "3", "thrice": "3", "dozen": "12", "hundred": "100"},
    **{"half": "2", "third": "3", "quarter": "4", "fourth": "4", "fifth": "5"},
}
"""Numbers that a problem gives in words, as solutions write them in digits."""


def given_in(prompt: str) -> set[str]:
    """The numbers of a problem, those in words included."""
    return {*numbers(prompt), *(WORDS[word] for word in re.findall(r"[a-z]+", prompt.lower()) if word in WORDS)}


CALCULATOR = re.compile(r"<<([^<>=]*(?:=[^<>=]*)+)>>")
BREAK = re.compile(r"[:;?!]|[.,](?=\s)")
"""Where the words before an equation end."""


def calculated(text: str) -> ValueLine:
    """What the calculator's brackets ``<<a*b=c>>`` of a text take in and give out; without brackets, its equations.

    What the text itself found further left it does not take in.
    """
    traces = [trace.split("=") for trace in CALCULATOR.findall(text)]
    if not traces and "=" in text:
        sides = text.split("=")
        sides[0] = BREAK.split(sides[0])[-1]
        sides[-1] = BREAK.split(sides[-1])[0]
        traces = [sides]
    takes, gives = list[str](), list[str]()
    for sides in traces:
        values_of_sides = [numbers(side) for side in sides]
        for place, values in enumerate(values_of_sides):
            if place and (len(values) == 1 or place == len(values_of_sides) - 1):
                gives.extend(values[:1])
            else:
                takes.extend(value for value in values if value not in gives)
    return ValueLine(tuple(takes), tuple(gives))
