"""Mending on the text itself, resolving suspects, and drawing sets without a signal again."""

from collections.abc import Sequence

import pytest

from armillary.attributes import Attribute, Catalogue
from armillary.attributes.attribute import soft
from armillary.errors import UsageError
from armillary.methods.ultragen.correction import is_uninformative, mended, redrawn, resolve

TEXT = """The harbour lay quiet, and the fog was thick. Marta counted the lights of the harbour twice.

Then the last ferry left. Nobody waved from the rail, and the fog closed behind it; the bell rang on."""
CATALOGUE = Catalogue.default()


def test_what_holds_stays_and_what_fails_is_measured_anew() -> None:
    derived = CATALOGUE.derive(TEXT)
    untouched = mended(TEXT, [*derived, soft("Keep it calm.")])
    assert (
        untouched.attributes == [*derived, soft("Keep it calm.")] and not untouched.replaced and not untouched.dropped
    )
    kinds = CATALOGUE.kinds
    paragraphs = kinds["paragraph_count"].attribute({"k": 7}, "imported")
    absent = kinds["keyword_include"].attribute({"w": "volcano"}, "imported")
    result = mended(TEXT, [paragraphs, absent])
    [(old, new)] = result.replaced
    assert old == paragraphs and new.kind == "paragraph_count" and CATALOGUE.check(new, TEXT).satisfied
    assert result.attributes == [new] and result.dropped == [absent], "a word that is not there can't be measured anew"
    with pytest.raises(UsageError, match="no kind 'rhyme'"):
        mended(TEXT, [Attribute(kind="rhyme", params={}, text="Rhyme.")])


def test_a_count_is_mended_with_its_own_word() -> None:
    counts = [each for each in CATALOGUE.derive(TEXT) if each.kind == "keyword_count"]
    for right in counts:
        wrong = CATALOGUE.kinds["keyword_count"].attribute({**right.params, "rel": "=", "k": 9})
        result = mended(TEXT, [wrong])
        for _, new in result.replaced:
            assert new.params["w"] == right.params["w"] and CATALOGUE.check(new, TEXT).satisfied


INCLUDE = CATALOGUE.kinds["keyword_include"].attribute({"w": "fog"})
EXCLUDE = CATALOGUE.kinds["keyword_exclude"].attribute({"words": ("fog",)})
CALM, WILD = soft("Keep it calm."), soft("Be wild.")


def never(attribute: Attribute, other: Attribute | None) -> bool | None:
    return None


def test_a_contradiction_is_the_solvers_first() -> None:
    torn = resolve(INCLUDE, [INCLUDE, CALM, EXCLUDE], never, lambda attribute: None)
    assert torn.action == "dropped" and torn.attribute in (INCLUDE, EXCLUDE) and torn.reason.startswith("the solver")
    assert len(torn.attributes) == 2 and CALM in torn.attributes


def test_what_is_impossible_alone_is_replaced_and_what_contradicts_is_dropped() -> None:
    def alone(attribute: Attribute, other: Attribute | None) -> bool | None:
        return other is not None

    calmer = soft("Keep it calmer.")
    replaced = resolve(CALM, [INCLUDE, CALM], alone, lambda attribute: calmer)
    assert replaced.action == "replaced" and replaced.attributes == [INCLUDE, calmer]
    assert resolve(CALM, [INCLUDE, CALM], alone, lambda attribute: None).attributes == [INCLUDE]

    def not_both(attribute: Attribute, other: Attribute | None) -> bool | None:
        return other not in (WILD, CALM)

    torn = resolve(CALM, [INCLUDE, CALM, WILD], not_both, lambda attribute: None)
    assert torn.action == "dropped" and torn.attribute == CALM and torn.attributes == [INCLUDE, WILD]
    hard = resolve(INCLUDE, [INCLUDE, WILD], not_both, lambda attribute: None)
    assert hard.attribute == WILD, "a program's verdict is surer than a judge's"
    kept = resolve(CALM, [INCLUDE, CALM], never, lambda attribute: None)
    assert kept.action == "kept" and kept.attributes == [INCLUDE, CALM]


def test_sets_without_a_signal_are_drawn_again_once() -> None:
    assert is_uninformative([0.1, 0.19]) and is_uninformative([0.96, 1.0])
    assert not is_uninformative([0.1, 0.2]) and not is_uninformative([0.9, 1.0]) and not is_uninformative([0.1, 1.0])
    scores = {"bad": [0.0, 0.1], "good": [1.0, 1.0], "fine": [0.4, 0.6], "bad'": [0.0, 0.3], "good'": [1.0, 0.99]}
    calls = []

    def scored(sets: Sequence[str]) -> list[list[float]]:
        calls.append([*sets])
        return [scores[name] for name in sets]

    names = ["bad", "fine", "good"]
    result = redrawn(names, scored, lambda place, attempt: f"{names[place]}'")
    assert result.sets == ["bad'", "fine", "good'"] and result.retried == [0, 2] and result.uninformative == [2]
    assert calls == [["bad", "fine", "good"], ["bad'", "good'"]], "one retry, of these alone"
    assert redrawn(names, scored, lambda place, attempt: "fine", retries=0).sets == names
    with pytest.raises(UsageError, match="without samples"):
        is_uninformative([])
    with pytest.raises(UsageError, match="retries"):
        redrawn(names, scored, lambda place, attempt: "fine", retries=-1)
