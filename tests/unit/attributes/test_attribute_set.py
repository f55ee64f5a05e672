"""Sets: caps, order, the instruction read back, and the share that a response satisfies."""

import ast
import inspect
import math
import pickle
import textwrap
from collections.abc import Sequence

import pytest

from armillary.attributes.attribute import Attribute, Span, Verdict, soft
from armillary.attributes.attribute_set import OPENING, AttributeSet
from armillary.attributes.kinds.catalogue import Catalogue, CatalogueSettings
from armillary.attributes.round_trip import round_trip
from armillary.errors import UsageError

CATALOGUE = Catalogue.default()
TEXT = inspect.cleandoc(textwrap.__doc__ or "") + "\n\n" + inspect.cleandoc(ast.__doc__ or "")


def made(kind: str, **params: str | int) -> Attribute:
    return CATALOGUE.kind(kind).attribute(params)


HARD = (made("keyword_include", w="red"), made("word_count", hi=3), made("keyword_include", w="blue"),
        made("question_ending"))  # fmt: skip
SOFT = (soft("It is kind."), soft("It is brief.", slot="style"))


def judge(response: str, attributes: Sequence[Attribute]) -> list[bool | None]:
    return [attribute.text == "It is kind." for attribute in attributes]


def test_three_of_four_hard_and_one_of_two_soft() -> None:
    report = AttributeSet(attributes=(SOFT[0], *HARD, SOFT[1])).check("Red, blue.", judge)
    assert (report.hard, report.soft, report.csr) == (3 / 4, 1 / 2, 4 / 6)
    assert (report.satisfied, report.judged, report.unparsed) == (4, 6, 0)
    assert report.per_kind["keyword_include"] == (2, 2)
    assert str(report) == "4 of 6 attributes met (67%)"
    assert [verdict.satisfied for verdict in report.verdicts] == [True, True, True, True, False, False]


def test_what_nobody_judged_is_counted_and_never_false() -> None:
    attributes = AttributeSet(attributes=(*HARD, *SOFT))
    report = attributes.check("Red, blue.")
    assert (report.csr, report.soft, report.unparsed) == (3 / 4, None, 2)
    report = attributes.check("Red, blue.", lambda response, softs: [None, True])
    assert (report.csr, report.soft, report.unparsed) == (4 / 5, 1.0, 1)
    unjudged = AttributeSet(attributes=SOFT).check("Red.")
    assert math.isnan(unjudged.csr)
    assert str(unjudged) == "0 of 0 attributes met; 2 not judged"
    with pytest.raises(UsageError, match="1 answers to 2 attributes"):
        attributes.check("Red.", lambda response, softs: [True])


def test_a_blank_response_has_nothing() -> None:
    forbidding = CATALOGUE.kind("keyword_exclude").attribute({"words": ("red",)})
    report = AttributeSet(attributes=(forbidding, *HARD, *SOFT)).check(" \n", judge)
    assert (report.csr, report.hard, report.soft, report.satisfied) == (0, 0, 0, 0)
    assert report.verdicts[0].satisfied is True
    assert not any(verdict.satisfied for verdict in report.verdicts[1:])


def test_bad_input_is_told() -> None:
    with pytest.raises(UsageError, match="empty"):
        AttributeSet(attributes=())
    with pytest.raises(UsageError, match="n is 0"):
        AttributeSet.from_text(TEXT, n=0)
    with pytest.raises(UsageError, match="accepted are shuffled"):
        AttributeSet(attributes=HARD).ordered("sorted")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="only soft ones are not"):
        Attribute(kind="soft", params={}, text="Be kind.")
    with pytest.raises(UsageError, match=r"named_entity needs a tagger: give Catalogue.default"):
        CATALOGUE.check(made("named_entity", type="ORG"), "Text.")
    for row in ({"kind": "soft"}, {"kind": "word_count", "text": "", "params": {"lo": {}}}):
        with pytest.raises(UsageError):
            Attribute.from_json(row)


@pytest.mark.parametrize("n", [1, 5, 10, 45, 200])
def test_caps_hold_of_every_set(n: int) -> None:
    attributes = AttributeSet.from_text(TEXT, n=n, seed=3).attributes
    kinds = CATALOGUE.kinds
    assert len(attributes) <= n
    assert n > 45 or len(attributes) == n
    assert len(set(attributes)) == len(attributes)
    assert sum(kinds[each.kind].keyword for each in attributes) <= 0.6 * len(attributes)
    assert sum(kinds[each.kind].negative(each.params) for each in attributes) <= 0.2 * len(attributes)
    assert AttributeSet(attributes=attributes).check(TEXT).csr == 1


def test_the_seed_and_the_text_fix_the_set() -> None:
    first = AttributeSet.from_text(TEXT, seed=1)
    anew = pickle.loads(pickle.dumps(Catalogue.default(CatalogueSettings())))
    assert AttributeSet.from_text(TEXT, seed=1, hard=anew) == first
    assert AttributeSet.from_text(TEXT, seed=2).attributes != first.attributes
    one_kind = CATALOGUE.derive(TEXT, kinds=["paragraph_words"])
    assert one_kind == [each for each in CATALOGUE.derive(TEXT) if each.kind == "paragraph_words"]
    assert pickle.loads(pickle.dumps(first)) == first


def test_soft_ones_are_eight_of_forty_five() -> None:
    def extractor(text: str) -> list[Attribute]:
        return [soft(f"It has property {number}.") for number in range(20)]

    attributes = AttributeSet.from_text(TEXT, soft=extractor).attributes
    assert sum(not each.hard for each in attributes) == 8
    assert len(attributes) == 45


def test_the_instruction_is_read_back_in_every_order() -> None:
    attributes = AttributeSet(attributes=(*HARD, *SOFT), id="x")
    for order in ("shuffled", "soft_first", "hard_first"):
        lines = attributes.render(order, seed=1).split("\n")
        ordered = attributes.ordered(order, seed=1)
        assert lines == [OPENING, *(each.text for each in ordered)]
        assert [each.text for each in AttributeSet.parse("\n".join(lines)).attributes] == lines[1:]
        assert set(ordered) == set(attributes.attributes)
    assert [each.hard for each in attributes.ordered("soft_first")] == [False, False, True, True, True, True]
    assert attributes.ordered(seed=1) != attributes.ordered(seed=2)
    assert AttributeSet.parse(attributes.render()).check("Red, blue.").hard == 3 / 4


def docstrings() -> list[str]:
    """Docstrings of the standard library that happen to be loaded: real prose with lists, code and numbers."""
    import argparse
    import collections
    import logging
    import pathlib
    import subprocess

    modules = (argparse, ast, collections, inspect, logging, pathlib, subprocess, textwrap)
    members = [value for module in modules for value in (module, *vars(module).values())]
    texts = [inspect.cleandoc(doc) for member in members if isinstance(doc := getattr(member, "__doc__", None), str)]
    # Long ones take long; those of a few sentences have every form too.
    return list(dict.fromkeys(text for text in texts if 40 < len(text) < 250))[:200]


def test_real_texts_go_round() -> None:
    texts = docstrings()
    trip = round_trip(texts)
    assert trip.texts == len(texts) > 120
    assert trip.failures == 0, (trip.unmet[:1], trip.misread[:1], trip.conflicting[:1])
    assert trip.rate == 1
    assert len(trip.derived) >= 27


def test_a_verdict_tells_what_it_saw_when_it_is_asked() -> None:
    asked_for: list[str] = []

    def measured() -> str:
        asked_for.append("measured")
        return "3 words"

    verdict = Verdict(True, measured, lambda: (Span(start=0, end=3),))
    assert not asked_for
    assert (verdict.measured, verdict.measured, asked_for) == ("3 words", "3 words", ["measured"])
    assert verdict == Verdict(True, "3 words", (Span(start=0, end=3),)) == pickle.loads(pickle.dumps(verdict))
    assert verdict != Verdict(True, "3 words") and len({verdict, Verdict(True, "3 words")}) == 2
    assert repr(Verdict(None, "x")) == "Verdict(satisfied=None, measured='x', spans=())"
