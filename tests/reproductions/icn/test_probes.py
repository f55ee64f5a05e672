"""Shipped probes: what is right for them and what isn't, and what a probe refuses."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import pytest

from armillary.data import sources_of
from armillary.data.relations import places
from armillary.data.sources import own_source
from armillary.errors import UsageError
from reproductions.icn.probes.places import TERRITORIES, country_spellings
from reproductions.icn.probes.probe import KnowledgeProbe, Matcher, distinct, normalised
from reproductions.icn.probes.shipped import BUILDERS, probe

# Id -> (number of answers, or None where it depends on the version of a package; members; no members).
KNOWN: dict[str, tuple[int | None, list[str], list[str]]] = {
    "countries": (197, ["France", "Ivory Coast", "Czech Republic", "Timor-Leste"], ["Paris", "Europe", "Greenland"]),
    "european-countries": (46, ["the Netherlands", "Holland", "UK", "Kosovo"], ["Egypt", "Faroe Islands", "Turkey"]),
    "african-countries": (54, ["Côte d'Ivoire", "Swaziland", "DR Congo"], ["Réunion", "France", "Kinshasa"]),
    "cities": (None, ["Oxford", "New York", "Zurich", "Vaduz", "Bombay"], ["France", "Jamaica", "Armenia"]),
    "cities-in-india": (None, ["Mumbai", "Bombay", "Agra"], ["Karachi", "London"]),
    "cities-in-the-united-states": (None, ["Chicago", "New York City", "Washington"], ["Paris", "Toronto"]),
    "us-states": (50, ["Texas", "North Dakota", "Washington"], ["Puerto Rico", "District of Columbia", "Chicago"]),
    "us-states-that-begin-with-m": (8, ["Maine", "Montana"], ["Texas", "New Mexico"]),
    "us-states-that-begin-with-n": (8, ["New York", "Nevada"], ["Maine"]),
    "languages": (None, ["French", "Mandarin", "Farsi", "Bengali", "British English"], ["Latin America", "France"]),
    "official-languages-of-european-countries": (None, ["Irish", "Maltese"], ["Basque", "Zulu"]),
    "official-languages-of-african-countries": (None, ["Swahili", "isiXhosa", "French"], ["Danish", "Basque"]),
    "mammals": (1145, ["dog", "humpback whales", "Vampire bat"], ["eagle", "mammal", "shark"]),
    "primates": (104, ["gorillas", "lemur"], ["dog", "primate"]),
    "rodents": (135, ["mice", "beaver"], ["rabbit"]),
    "birds": (852, ["sparrow", "penguins"], ["bat", "bird"]),
    "birds-of-prey": (79, ["bald eagle", "owls"], ["duck"]),
    "water-birds": (278, ["pelican", "swans"], ["sparrow"]),
    "fruits": (199, ["apples", "strawberries", "kiwis", "Tomato"], ["carrot", "fruit"]),
    "berries": (21, ["blueberry", "raspberries"], ["banana"]),
    "citrus-fruits": (19, ["lemons", "grapefruit"], ["apple"]),
    "vegetables": (182, ["potatoes", "broccoli", "brussels sprouts", "peas"], ["banana", "beef"]),
    "root-vegetables": (24, ["carrots", "beet"], ["lettuce"]),
    "leafy-vegetables": (32, ["spinach", "lettuce"], ["carrot"]),
    "colors": (107, ["red", "navy blue", "gray", "grey"], ["round", "color"]),
    "shades-of-red": (16, ["crimson", "scarlet"], ["blue", "red"]),
    "shades-of-brown": (18, ["chocolate", "tan"], ["blue"]),
    "musical-instruments": (161, ["piano", "drums", "violins"], ["hammer"]),
    "string-instruments": (46, ["guitar", "violin"], ["flute"]),
    "wind-instruments": (75, ["flute", "trumpet"], ["guitar"]),
    "sports": (218, ["soccer", "tennis", "karate", "table tennis"], ["chess", "sport"]),
    "water-sports": (29, ["swimming", "sailing"], ["tennis"]),
    "court-sports": (18, ["tennis", "basketball"], ["swimming"]),
    "occupations": (2214, ["doctor", "firefighters", "teacher", "plumber"], ["tree", "worker"]),
    "kinds-of-scientists": (121, ["physicist", "chemist"], ["plumber"]),
    "kinds-of-health-professionals": (82, ["nurse", "surgeons"], ["plumber"]),
    "chemical-elements": (118, ["iron", "aluminum", "Sulphur", "tungsten"], ["water", "steel"]),
    "chemical-elements-that-are-metals": (92, ["gold", "mercury"], ["carbon", "oxygen", "silicon"]),
    "chemical-elements-that-begin-with-c": (12, ["carbon", "cesium"], ["iron"]),
}


def one(**changes: Any) -> KnowledgeProbe:
    """A small right probe with some fields changed."""
    fields: dict[str, Any] = {
        "id": "pets",
        "instruction": "Please show me some pets.",
        "answers": (("cat",), ("dog", "hound")),
        "base": "pets",
        "source": (own_source("pets"),),
    }
    return KnowledgeProbe(**(fields | changes))


def test_every_shipped_probe_is_known_here() -> None:
    assert set(BUILDERS) == set(KNOWN)
    bases = [id for id in BUILDERS if probe(id).base == id]
    assert len(bases) >= 8
    for base in bases:
        assert sum(probe(id).base == base for id in BUILDERS) == 3


@pytest.mark.parametrize(("id", "known"), KNOWN.items(), ids=list(KNOWN))
def test_members_are_right_and_others_wrong(id: str, known: tuple[int | None, list[str], list[str]]) -> None:
    shipped, (count, members, others) = probe(id), known
    assert shipped.id == id
    assert shipped.instruction.startswith("Please show me some ") and shipped.instruction.endswith(".")
    assert len(shipped.answers) == count if count else len(shipped.answers) >= 8
    matcher = Matcher(shipped)
    assert [word for word in members if matcher.match(word) is None] == []
    assert [word for word in others if matcher.match(word) is not None] == []
    assert shipped.note
    assert all(source["name"] and source["licence"] and source["version"] for source in sources_of(shipped))


@pytest.mark.parametrize("id", KNOWN)
def test_no_spelling_means_two_answers(id: str) -> None:
    meaning: dict[str, int] = {}
    for index, answer in enumerate(probe(id).answers):
        for spelling in answer:
            assert meaning.setdefault(normalised(spelling), index) == index


@pytest.mark.parametrize("id", KNOWN)
def test_a_restriction_is_part_of_its_base(id: str) -> None:
    narrow, base = probe(id), probe(probe(id).base)
    assert set(narrow.answers) <= set(base.answers)
    assert base.base == base.id
    assert narrow is base or len(narrow.answers) < len(base.answers)


def test_two_countries_of_one_short_name_are_still_two() -> None:
    match = Matcher(probe("countries")).match
    assert match("Congo") == match("Democratic Republic of the Congo") != match("Republic of the Congo")
    assert match("Korea") == match("South Korea") != match("North Korea")
    assert None not in {match("Congo"), match("Republic of Congo"), match("Korea"), match("North Korea")}
    assert match("Guinea") != match("Guinea-Bissau") != match("Equatorial Guinea")


def test_territories_are_known_to_iso_and_no_countries() -> None:
    assert set(places.countries()) > TERRITORIES
    assert not TERRITORIES & set(country_spellings())


def test_shared_spellings_stay_with_the_answer_that_is_called_so() -> None:
    given: Mapping[str, tuple[str, ...]] = {
        "first": ("Alpha", "Beta", "the beta"),
        "second": ("Beta", "Gamma"),
        "third": ("Delta", "Gammas"),
        "fourth": ("Alphas", "!"),
    }
    assert distinct(given) == {"first": ("Alpha",), "second": ("Beta", "Gamma"), "third": ("Delta",)}
    assert distinct({}) == {}


def test_an_unknown_probe_gives_near_names() -> None:
    with pytest.raises(UsageError, match=r"no probe is called 'contries'; did you mean countries"):
        probe("contries")
    with pytest.raises(UsageError, match=r"known are countries, european-countries"):
        probe("zzzzzzzz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answers": ()}, "there are no answers"),
        ({"answers": (("cat",), ())}, r"one spelling or more; got \(\)"),
        ({"answers": ("cat", "dog")}, "one spelling or more; got 'cat'"),
        ({"answers": (("cat", " the! "),)}, "' the! ' is empty without punctuation and articles"),
        ({"answers": (("cat",), ("dog", "Cats"))}, "'Cats' is a spelling of two answers"),
        ({"instruction": " "}, "the instruction is empty"),
        ({"id": "My pets"}, "lower-case words and dashes, such as us-states; got 'My pets'"),
    ],
)
def test_a_wrong_probe_is_refused(changes: dict[str, Any], message: str) -> None:
    assert one().answers == (("cat",), ("dog", "hound"))
    with pytest.raises(UsageError, match=message):
        one(**changes)


def test_wordnets_licence_goes_with_its_words() -> None:
    classes = (files("reproductions.icn.probes") / "wordnet_classes.toml").read_text("utf-8")
    licence = [line[1:].strip() for line in classes.splitlines() if line.startswith("#")]
    assert "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved." in licence
    assert "Permission to use, copy, modify and distribute this software and" in licence
    assert licence[-1] == "Princeton University and LICENSEE agrees to preserve same."
    assert {source["licence"] for source in sources_of(probe("mammals"))} == {"WordNet 3.0 licence"}
    for entry in tomllib.loads(classes).values():
        assert entry["below"] and entry["synsets"]
