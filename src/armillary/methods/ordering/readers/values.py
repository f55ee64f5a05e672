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

ORDINARY = frozenset({"0", "1", "2", "10", "100", "1000"})
"""Numbers that writers bring in by themselves (doubling, percentages): one that no line to the left gives is no sign
that it was taken from the right."""


@dataclass(frozen=True)
class Line:
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


def flow(lines: Sequence[Line], given: Collection[str] = ()) -> list[set[int]]:
    """Positions, from 0, of the lines that supply each line.

    ``given`` are values of the prompt. A value is supplied by the nearest line to the left that gives it; one that is
    neither there nor given, nor in ``ORDINARY``, by the first line to the right that gives it.
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
                if value not in given:
                    sources.add(left[-1])
            elif value not in given and value not in ORDINARY and places[0] > place:
                sources.add(places[0])
        suppliers.append(sources)
    return suppliers
