"""The packaged facts about countries and cities as triples (head, relation, tail), with the names of what they link.

Plain tuples of text, as every reader of graphs gives them; this file stands beside the facts and not in ``graphs``,
which is a foundation of the same height and knows no data.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cache

from armillary.data.relations import places

CAPITAL, COUNTRY, CONTINENT = "capital", "country", "continent"
LANGUAGE, CURRENCY, BORDERS = "official language", "currency", "borders"

_AMERICAS = {"North": "North America", "South": "South America"}
"""The table has the first word alone, the token where they differ."""


def geography_facts() -> Iterator[tuple[str, str, str]]:
    """Every fact: of a country its capital, continent, official languages, currencies and neighbours by land, of a
    city its country. What bears the name of something larger is told apart: "Singapore (city)", beside the country;
    "Hamilton (Bermuda)", the capital, beside the city in Canada."""
    names = _names()
    tables = {
        LANGUAGE: ("language", places.country_languages()),
        CURRENCY: ("currency", places.country_currencies()),
        BORDERS: ("country", places.country_neighbours()),
    }
    for code, country in places.countries().items():
        head = names["country", code]
        yield head, CONTINENT, names["continent", country.continent]
        if country.capital:
            yield head, CAPITAL, names["capital", code]
            if names["capital", code] != names["city", country.capital]:
                yield names["capital", code], COUNTRY, head
        for relation, (kind, table) in tables.items():
            for key in dict.fromkeys(table.get(code, ())):
                yield head, relation, names[kind, key]
    for city, (code,) in places.cities().items():
        if city == _written(city):
            yield names["city", city], COUNTRY, names["country", code]


def geography_names() -> Iterator[tuple[str, str]]:
    """Pairs (entity, name): further names of what ``geography_facts`` links, which several may share."""
    names = _names()
    for code, country in places.countries().items():
        for name in country.names[1:]:
            yield names["country", code], name
    for city in places.cities():
        entity = names["city", _written(city)]
        if city != entity:
            yield entity, city
    for (kind, key), entity in names.items():
        name = places.countries()[key].capital if kind == "capital" else key
        if (kind == "language" and entity != name) or (kind == "capital" and entity != names["city", name]):
            yield entity, name


@cache
def _names() -> dict[tuple[str, str], str]:
    """(kind, key of the tables) -> the name of the entity, which no other has."""
    countries = places.countries()
    continents = dict.fromkeys(country.continent for country in countries.values())
    plain = {("country", code): country.names[0] for code, country in countries.items()}
    plain |= {("continent", word): _AMERICAS.get(word, word) for word in continents}
    plain |= {("city", city): _written(city) for city in places.cities()}
    for kind, table in (("language", places.country_languages()), ("currency", places.country_currencies())):
        plain |= {(kind, word): word for words in table.values() for word in words}
    kinds = Counter(name for _, name in {(kind, name) for (kind, _), name in plain.items()})
    names = {
        (kind, key): f"{name} ({kind})" if kinds[name] > 1 and kind not in ("country", "continent") else name
        for (kind, key), name in plain.items()
    }
    for code, country in countries.items():
        if country.capital:
            own = places.cities()[country.capital] == (code,)
            shared = f"{country.capital} ({country.names[0]})"
            names["capital", code] = names["city", country.capital] if own else shared
    return names


@cache
def _accented() -> dict[str, str]:
    """A city's name without accents, or its second name -> the first."""
    cities = places.cities()
    return {
        other: city
        for city in cities
        for other in places.spellings(city)[1:]
        if cities.get(other, cities[city]) == cities[city]
    }


def _written(city: str) -> str:
    """The first of a city's spellings."""
    return _accented().get(city, city)
