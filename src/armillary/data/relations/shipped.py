"""A relation: two prompt templates, the words that answer each, and which answers belong together in the world.

The slot ``{}`` of both templates is filled with the same arbitrary subject; the words are what the model may say next.
Templates follow "Linear Correlation in LM's Compositional Generalization and Hallucination" (arXiv 2502.04520) where
the paper has one; a relation's note says where the template is ours.
"""

import difflib
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

from armillary.data.relations import geography, written
from armillary.data.relations.relation import Relation
from armillary.errors import UsageError

_BUILT: dict[str, Relation] = {}


def relations() -> dict[str, Relation]:
    """All shipped relations by id."""
    return {id: relation(id) for id in relation_ids()}


def relation(id: str) -> Relation:
    """One shipped relation; UsageError with the nearest names when there is none of this id."""
    if id not in _builders():
        near = difflib.get_close_matches(id, relation_ids(), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(relation_ids())}."
        raise UsageError(f"no relation is called {id!r}; {hint}")
    if id not in _BUILT:
        _BUILT[id] = _builders()[id]()
    return _BUILT[id]


def relation_ids() -> tuple[str, ...]:
    """The ids of the shipped relations, related ones first; builds nothing."""
    return tuple(_builders())


@cache
def _builders() -> dict[str, Callable[[], Relation]]:
    return {
        **geography.BUILDERS,
        **written.ARITHMETIC_BUILDERS,
        **written.BUILDERS,
        **geography.CONTROLS,
    }


# The paper's attribute prompts ("{} lives in the city of") for which we have the words that may answer.

PROMPTS: Mapping[str, str] = MappingProxyType(
    {
        "birthplace": "{} was born in the city of",
        "city": geography.CITY,
        "country": geography.COUNTRY,
        "continent": geography.CONTINENT,
        "language": geography.LANGUAGE,
        "company": "{} works for the company of",
        "ceo": "{} works for the CEO called",
        "color": geography.COLOR,
    }
)
"""Attribute -> template, as in the paper (arXiv 2502.04520)."""

_WORDS: Mapping[str, Callable[[], tuple[str, ...]]] = {
    "birthplace": lambda: relation("city-country").source_words,
    "city": lambda: relation("city-country").source_words,
    "country": lambda: relation("city-country").target_words,
    "continent": lambda: relation("country-continent").target_words,
    "language": lambda: relation("country-language").target_words,
    "company": lambda: relation("ceo-company").target_words,
    "ceo": lambda: relation("ceo-company").source_words,
    "color": lambda: geography.COLORS,
}


def prompt_words(name: str) -> tuple[str, ...]:
    """The words that may answer an attribute prompt; UsageError for another name."""
    if name not in _WORDS:
        raise UsageError(f"no attribute prompt is called {name!r}; known are {', '.join(PROMPTS)}.")
    return _WORDS[name]()
