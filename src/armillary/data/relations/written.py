"""Small relations that no package holds, written for this project: one TOML file each under ``tables/``."""

import tomllib
from collections.abc import Callable
from functools import partial
from importlib.resources import files

from armillary.data.relations.relation import Relation, relation_from_table
from armillary.data.sources import own_source

IDS = ("fruit-color", "food-taste", "animal-size", "ceo-company")


def written(id: str) -> Relation:
    """The relation of the shipped file of this id."""
    name = f"{id}.toml"
    text = (files("armillary.data.relations") / "tables" / name).read_text(encoding="utf-8")
    return relation_from_table(tomllib.loads(text), name, own_source(f"pairs of {id}"))


BUILDERS: dict[str, Callable[[], Relation]] = {id: partial(written, id) for id in IDS}

# Sums of one digit: relations that are as regular as they get, with an answer that words can't suggest.

DIGITS = tuple(str(digit) for digit in range(10))


def add_then(id: str, target_template: str, answer: Callable[[int], int], note: str) -> Relation:
    """``x+1=`` against another operation on the same x; gold only where the answer is one digit."""
    return Relation(
        id=id,
        source_template="{}+1=",
        target_template=target_template,
        source_words=DIGITS,
        target_words=DIGITS,
        gold={str(a): (str(answer(a - 1)),) for a in range(10) if 0 <= answer(a - 1) <= 9},
        group="arithmetic",
        source=(own_source("digits"),),
        prefix="",
        note=note,
    )


ARITHMETIC_BUILDERS: dict[str, Callable[[], Relation]] = {
    "add1-add2": lambda: add_then("add1-add2", "{}+2=", lambda x: x + 2, "If x+1=a then x+2=a+1."),
    "add1-times2": lambda: add_then("add1-times2", "{}*2=", lambda x: x * 2, "If x+1=a then x*2=2(a-1)."),
}
