"""What is cut from a list of answers, for which reason, and what is never called right."""

import pytest

from armillary.methods.icn.report import answers_section
from armillary.methods.icn.result import Answer
from armillary.methods.icn.validity import Form, checked, class_list, reason

PROMPT = "Please show me some planets and moons."


def answer(text: str, *, complete: bool = True, duplicate_of: int | None = None) -> Answer:
    return Answer(
        text=text, token=0, tokens=(0,), token_text="", rank=1, round=0, logit=0.0, logprob=-1.0,
        complete=complete, duplicate_of=duplicate_of,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Mars", None),
        ("The Democratic Republic of the Congo", None),
        ("US", None),
        ("Ivory Coast (Côte d'Ivoire)", None),
        ("I'm a space explorer", "speaks of itself, the reader or the list"),
        ("Here are some planets", "speaks of itself, the reader or the list"),
        ("Well, I\u2019m sure", "speaks of itself, the reader or the list"),
        ("Mars is the red planet", "a sentence, not a name"),
        ("Look at the sky tonight!", "a sentence, not a name"),
        ("the largest of all that go around a star", "a sentence, not a name"),
        ("planets", "repeats the prompt"),
        ("...", "has no word"),
        ("2019-01-01", "has no letter"),
    ],
)
def test_form_of_a_name(text: str, why: str | None) -> None:
    assert reason(PROMPT, answer(text), "name") == why


def test_what_is_no_name_may_be_a_sentence_or_anything() -> None:
    for form, why in (("sentence", None), ("any", None), ("name", "speaks of itself, the reader or the list")):
        assert reason(PROMPT, answer("I like Mars very much."), form) == why  # type: ignore[arg-type]
    assert reason(PROMPT, answer("Mars"), "sentence") == "no whole sentence"
    assert reason(PROMPT, answer("Jup", complete=False), "name") == "cut off before its end"
    assert reason("Please show me some prime numbers.", answer("17"), "name") is None
    forms: tuple[Form, ...] = ("name", "sentence", "any")
    assert {reason(PROMPT, answer("Mars", duplicate_of=0), form) for form in forms} == {"same as an earlier one"}


def test_a_list_of_the_class() -> None:
    noun, names = class_list("Please show me some European countries.")
    assert noun == "countries" and names is not None and "france" in names and "paris" not in names
    assert class_list(PROMPT) == ("", None)
    outcome = checked("Name countries.", [answer("The Netherlands"), answer("Oz")], "name")
    assert outcome.listed == (True, False) and outcome.reasons == (None, None)


def test_the_report_says_what_was_cut_and_what_is_unknown() -> None:
    summary = answers_section(PROMPT, [answer("Mars"), answer("I'm a space explorer"), answer("Io")], "name").summary
    assert summary.startswith("2 different answers that have the form of a name, of 3") and "not checked" in summary
    assert "the list: 1)" in summary
    countries = answers_section("Name countries.", [answer("Peru"), answer("Oz")], "name").summary
    assert countries.endswith("1 of them are in the packaged list of countries, which may lack rare ones.")
