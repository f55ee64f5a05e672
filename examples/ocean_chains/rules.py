"""A second label for each step, by rule: plain patterns against gold facts from a source of their own.

The facts are countryinfo's and ISO 3166, 639 and 4217 (pycountry): capitals, regions, languages, currencies and
neighbours, none of which the packaged geography takes from there (its own come from GeoNames and CLDR); no code is
shared with the linker or the checker. Of countryinfo's cities capitals alone are known, so a step about another city
is labelled only where it answers in the question's own words ("the country in which Kyoto lies is ..."), by the
question's gold answers, which do come from the packaged geography. Where no pattern fits, the rule says none.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import pycountry
from countryinfo import CountryInfo, all_countries
from countryinfo.exceptions import CountryNotFoundError

Label = Literal["true", "false", "none"]

_OF = r"(?:the )?(?P<x>[^.,;:\"(]+?)"
_SAID = r"(?:the )?(?P<y>[^.,;:\"(\n]+?)(?=[.,;:\"(\n]| which | that |$)"
_CONTINENTS = ("North America", "South America", "Africa", "Asia", "Europe", "Oceania")
_PART = "continent|south|north|east|west|central|western|eastern|region|of|the|part"
_BEGIN = r"(?:^|(?<=[\n\":])\s*)"

Judge = Callable[[CountryInfo, str], bool]
"""Whether a value said of a country is right."""


def label(step: str, question: str, answers: Sequence[str]) -> Label:
    """One step's label; ``question`` is what was asked, without its "What is" and question mark."""
    found = [judge(country, said) for pattern, judge in _PATTERNS for country, said in _matches(pattern, step)]
    # A country asked about is left to the patterns above, which have their own facts.
    if not found:
        asked = re.escape(question.removeprefix("a ").removeprefix("an ").removeprefix("the "))
        answer = re.compile(rf"\b{asked} (?:is|are) {_SAID}", re.IGNORECASE)
        found = [_same(match["y"], answers) for match in answer.finditer(step)]
    return "none" if not found else "true" if all(found) else "false"


def _matches(pattern: re.Pattern[str], step: str) -> list[tuple[CountryInfo, str]]:
    pairs = ((_country(match["x"]), match["y"].strip()) for match in pattern.finditer(step))
    return [(country, said) for country, said in pairs if country is not None and said]


def _country(name: str) -> CountryInfo | None:
    # Short words ("it", "in") would be read as codes of countries.
    if len(name) < 4 and name not in ("UK", "USA"):
        return None
    try:
        return CountryInfo(name)
    except CountryNotFoundError:
        return None


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def _same(said: str, right: Sequence[str]) -> bool:
    return any(_words(said) == _words(one) for one in right)


def _capital(country: CountryInfo, said: str) -> bool:
    return _same(said, _capitals(country))


def _capitals(country: CountryInfo) -> list[str]:
    """One, none, or as many as the source lists."""
    known: str | list[str] | None = country.capital()
    return [known] if isinstance(known, str) and known else list(known or ())


def _language(country: CountryInfo, said: str) -> bool:
    known = [pycountry.languages.get(alpha_2=code) for code in country.languages()]
    return _same(said, [re.sub(r" \(.*", "", language.name) for language in known if language])


def _currency(country: CountryInfo, said: str) -> bool:
    """The currency's name, with the country's adjective or name before it or without."""
    known = [pycountry.currencies.get(alpha_3=code) for code in country.currencies()]
    own = _words(f"{country.demonym()} {country.name()}")
    return any(
        _words(said) <= _words(currency.name) | own and _words(said) & _words(currency.name)
        for currency in known
        if currency
    )


def _continent(country: CountryInfo, said: str) -> bool:
    continent = country.region()
    if continent == "Americas":
        continent = "South America" if country.info().get("intermediateregion") == "South America" else "North America"
    return next(one for one in _CONTINENTS if one.casefold() in said.casefold()) == continent


def _borders(country: CountryInfo, said: str) -> bool:
    other = _country(said)
    return other is not None and other.iso()["alpha3"] in country.borders()


@cache
def _seats() -> dict[str, str]:
    return {city.casefold(): country.name() for country in all_countries() for city in _capitals(country)}


def _lies_in(country: CountryInfo, said: str) -> bool:
    return _seats()[said.casefold()] == country.name()


_SEATS = "|".join(re.escape(city) for city in sorted(_seats(), key=len, reverse=True))

_PATTERNS: tuple[tuple[re.Pattern[str], Judge], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), judge)
    for pattern, judge in (
        (rf"\bcapital of (?:the country of )?{_OF} is {_SAID}", _capital),
        (rf"{_BEGIN}(?P<y>[^.,;:\"(\n]+?) is the capital of {_OF}(?=[.,;:\"\n]|$)", _capital),
        (rf"\bofficial language of {_OF} is {_SAID}", _language),
        (rf"{_BEGIN}(?P<y>[^.,;:\"(\n]+?) is the official language of {_OF}(?=[.,;:\"\n]|$)", _language),
        (rf"\bcurrency of {_OF} is {_SAID}", _currency),
        (rf"{_BEGIN}(?:the )?(?P<y>[^.,;:\"(\n]+?) is the official currency of {_OF}(?=[.,;:\"\n]|$)", _currency),
        (rf"\bborders {_OF} is {_SAID}", _borders),
        (
            rf"{_BEGIN}(?:the continent of |the country of )?{_OF} (?:is|lies)\b[^.\n]*? (?:in|of) (?!South Africa\b)"
            rf"(?P<y>(?:the )?(?:(?:{_PART})[- ]?)*(?:{'|'.join(_CONTINENTS)}))(?=[.,;:\"\n]|$)",
            _continent,
        ),
        (rf"\b(?P<y>{_SEATS}) (?:is a city|lies|is located)\b[^.\n]*? in {_OF}(?=[.,;:\"\n]|$)", _lies_in),
        (rf"\bcountry in which (?P<y>{_SEATS}) lies is {_OF}(?=[.,;:\"\n]|$)", _lies_in),
    )
)
