"""The paper's attribute prompts ("{} lives in the city of") for which we have the words that may answer."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from armillary.data import geography
from armillary.data.relations import relation
from armillary.errors import UsageError

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
