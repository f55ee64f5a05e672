"""What makes two spellings equal, and which answer a text means."""

import pytest
from hypothesis import given, strategies as st

from armillary.data.sources import own_source
from armillary.errors import UsageError
from reproductions.icn.probes.probe import KnowledgeProbe, Matcher, normalised

WORDS = "bcdefghilmnoprstuvxyz"

PROBE = KnowledgeProbe(
    id="places",
    instruction="Please show me some places.",
    answers=(
        ("France", "French Republic"),
        ("Guinea",),
        ("Guinea-Bissau",),
        ("Côte d'Ivoire", "Ivory Coast"),
        ("the Netherlands", "Holland"),
        ("United States", "USA", "US"),
        ("Saint Lucia",),
    ),
    base="places",
    source=(own_source("places"),),
)


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        *[("apple", "apples"), ("glass", "glasses"), ("bus", "buses"), ("horse", "horses"), ("box", "boxes")],
        *[("berry", "berries"), ("collie", "collies"), ("pie", "pies"), ("fly", "flies"), ("monkey", "monkeys")],
        *[("potato", "potatoes"), ("mango", "mangos"), ("mango", "mangoes"), ("shoe", "shoes"), ("canoe", "canoes")],
        *[("church", "churches"), ("monarch", "monarchs"), ("dish", "dishes"), ("axe", "axes"), ("gas", "gases")],
        *[("wolf", "wolves"), ("olive", "olives"), ("knife", "knives"), ("mouse", "mice"), ("ox", "oxen")],
        *[("iris", "irises"), ("cactus", "cacti"), ("walrus", "walruses"), ("kiwi", "kiwis"), ("fireman", "firemen")],
        *[("pea", "peas"), ("bee", "bees"), ("lynx", "lynxes"), ("princess", "princesses"), ("foot", "feet")],
        *[("brass instrument", "brass instruments"), ("bird of prey", "birds of prey"), ("toe", "toes")],
    ],
)
def test_a_plural_equals_its_singular(singular: str, plural: str) -> None:
    assert normalised(singular) == normalised(plural)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *[("glass", "glaze"), ("Niger", "Nigeria"), ("bus", "bush"), ("Texas", "Tex"), ("Laos", "Las"), ("us", "u")],
        *[("Austria", "Australia"), ("pear", "peas"), ("bee", "beer"), ("man", "mane"), ("Guinea", "Guinea-Bissau")],
        *[("Iran", "Iraq"), ("toe", "to"), ("shoe", "show"), ("brie", "briar"), ("C", "C++ D")],
    ],
)
def test_different_words_stay_different(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Côte d'Ivoire", "cote d\u2019ivoire"),
        ("U.S.A.", "USA"),
        ("Washington, D.C.", "washington dc"),
        ("St. Lucia", "Saint Lucia"),
        ("Antigua & Barbuda", "Antigua and Barbuda"),
        ("The Bahamas", "Bahamas, The"),
        ("Tromsø", "Tromso"),
        ("Łódź", "Lodz"),
        ("Straße", "STRASSE"),
        ("duck-billed  platypus\n", "Duck Billed Platypus."),
    ],
)
def test_spellings_of_one_name_are_equal(one: str, other: str) -> None:
    assert normalised(one) == normalised(other) != ""


def test_nothing_is_left_of_punctuation_and_articles() -> None:
    assert {normalised(text) for text in ("", "  ", "...", "The", "a", '"', "— an?")} == {""}


@given(st.one_of(st.text(), st.text(WORDS + " .'", max_size=12), st.lists(st.text(WORDS, max_size=8)).map(" ".join)))
def test_the_normal_form_is_its_own(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)


@given(st.text(WORDS + " ", max_size=20))
def test_case_articles_and_punctuation_change_nothing(text: str) -> None:
    assert normalised(f' "The {text.upper()}!" ') == normalised(text)


@given(
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=9).filter(lambda word: not word.endswith(("s", "y")))
)
def test_an_added_s_changes_nothing(word: str) -> None:
    if not word.endswith(("u", "i")):  # "us" and "is" end singulars
        assert normalised(f"{word}s") == normalised(word)


@pytest.mark.parametrize(
    ("answer", "strict", "prefix"),
    [
        *[("France", 0, 0), ("FRANCE.", 0, 0), ("French republic", 0, 0), ("Ivory coast", 3, 3), ("US", 5, 5)],
        *[("Netherlands", 4, 4), ("the netherlands", 4, 4), ("U.S.", 5, 5), ("St. Lucia", 6, 6)],
        *[("France - Paris", None, 0), ("France (Europe)", None, 0), ("Guinea Bissau, Africa", None, 2)],
        *[("Guinea", 1, 1), ("Guinea pig", None, 1), ("Guinea-Bissau", 2, 2)],
        *[("Frances", 0, 0), ("Francesca", None, None), ("Franc", None, None), ("Paris, France", None, None)],
        *[("French", None, None), ("Germany", None, None), ("", None, None), ("the", None, None), ("!", None, None)],
    ],
)
def test_an_answer_means_what_it_spells(answer: str, strict: int | None, prefix: int | None) -> None:
    assert Matcher(PROBE).match(answer) == strict
    assert Matcher(PROBE, "strict").match(answer) == strict
    assert Matcher(PROBE, "prefix").match(answer) == prefix


@given(st.text(max_size=20))
def test_prefix_agrees_wherever_strict_finds_something(text: str) -> None:
    found = Matcher(PROBE).match(text)
    assert found is None or Matcher(PROBE, "prefix").match(text) == found


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(UsageError, match="variant is one of strict, prefix; got 'fuzzy'"):
        Matcher(PROBE, "fuzzy")  # type: ignore[arg-type]
