"""Files of IFEval, IFBench and ultrabench: read, written, read again; what can't be read is named."""

import json
from pathlib import Path

import pytest

from armillary.attributes.attribute import Attribute, soft
from armillary.attributes.interchange import (
    ifeval_row,
    read_ifbench,
    read_ifeval,
    read_ultrabench,
    strict_verdict,
    ultrabench_row,
    write_rows,
)
from armillary.attributes.interchange.benchmarks import RENAMED
from armillary.attributes.interchange.ifeval import READ, mapped, written
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.errors import UsageError

ARGUMENTS: dict[str, dict[str, object]] = {
    "keywords:existence": {"keywords": ["sea", "old town"]},
    "keywords:frequency": {"keyword": "sea", "frequency": 3, "relation": "less than"},
    "keywords:forbidden_words": {"forbidden_words": ["ship"]},
    "keywords:letter_frequency": {"letter": "Q", "let_frequency": 2, "let_relation": "at least"},
    "language:response_language": {"language": "de"},
    "length_constraints:number_sentences": {"num_sentences": 4, "relation": "at least"},
    "length_constraints:number_paragraphs": {"num_paragraphs": 3},
    "length_constraints:number_words": {"num_words": 50, "relation": "less than"},
    "length_constraints:nth_paragraph_first_word": {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "sea"},
    "detectable_content:number_placeholders": {"num_placeholders": 2},
    "detectable_content:postscript": {"postscript_marker": "P.P.S"},
    "detectable_format:number_bullet_lists": {"num_bullets": 3},
    "detectable_format:constrained_response": {},
    "detectable_format:number_highlighted_sections": {"num_highlights": 1},
    "detectable_format:multiple_sections": {"section_spliter": "Day", "num_sections": 2},
    "detectable_format:json_format": {},
    "detectable_format:title": {},
    "combination:two_responses": {},
    "combination:repeat_prompt": {"prompt_to_repeat": "Write it."},
    "startend:end_checker": {"end_phrase": "the end"},
    "startend:quotation": {},
    "change_case:capital_word_frequency": {"capital_frequency": 2, "capital_relation": "less than"},
    "change_case:english_capital": {},
    "change_case:english_lowercase": {},
    "punctuation:no_comma": {},
}


def ifeval_file(path: Path, ids: list[str], arguments: list[dict[str, object]]) -> Path:
    row = {"key": 7, "prompt": "Write.", "instruction_id_list": ids, "kwargs": arguments}
    path.write_text(json.dumps(row) + "\n")
    return path


def test_all_25_instructions_are_read_and_written_back_as_they_were(tmp_path: Path) -> None:
    assert set(ARGUMENTS) == set(READ) and len(READ) == 25
    padded = [{**given, "unused": None} for given in ARGUMENTS.values()]
    (prompt,) = read_ifeval(ifeval_file(tmp_path / "in.jsonl", list(ARGUMENTS), padded))
    assert prompt.key == 7 and prompt.unchecked == ()
    write_rows(tmp_path / "out.jsonl", [ifeval_row(prompt)])
    assert list(read_ifeval(tmp_path / "out.jsonl")) == [prompt]


@pytest.mark.parametrize("name", READ)
def test_an_attribute_is_written_as_the_instruction_that_it_came_from(name: str) -> None:
    attribute, *_ = mapped(name, ARGUMENTS[name]) or []
    back = written(attribute)
    assert back is not None and back[0] == name
    assert mapped(name, back[1]) == mapped(name, ARGUMENTS[name])
    assert Catalogue.default().parse(attribute.text) == attribute


def test_verdicts_are_ours_or_lm_evals(tmp_path: Path) -> None:
    ids = ["keywords:existence", "detectable_content:number_placeholders"]
    given: list[dict[str, object]] = [{"keywords": ["art"]}, {"num_placeholders": 1}]
    (prompt,) = read_ifeval(ifeval_file(tmp_path / "in.jsonl", ids, given))
    text = "They start here [1]."
    assert [verdict.satisfied for verdict in prompt.check(text)] == [False, False]
    assert [verdict.satisfied for verdict in prompt.check(text, strict_ifeval=True)] == [True, True]
    for strict in (False, True):
        assert [verdict.satisfied for verdict in prompt.check("  ", strict_ifeval=strict)] == [False, False]


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("keywords:colour", {}, "lm-eval has no IFEval instruction 'keywords:colour'"),
        ("keywords:frequency", {"keyword": "sea", "frequency": 0, "relation": "at least"}, "drawn? it at random"),
        ("keywords:letter_frequency", {"letter": "é", "let_frequency": 1, "let_relation": "at least"}, "at random"),
        ("length_constraints:number_words", {"num_words": 5, "relation": "over"}, "accepted are 'less than'"),
    ],
)
def test_strict_gives_no_verdict_that_lm_eval_would_draw(name: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message.replace("drawn?", "draw")):
        strict_verdict(name, given, "Some words.")


@pytest.mark.parametrize(
    ("ids", "arguments", "message"),
    [
        (["keywords:colour"], [{}], "line 1 of .*: no kind of attribute checks 'keywords:colour'"),
        (["keywords:existence"], [], "lists of one length"),
        (["keywords:existence"], [{}], "the argument 'keywords' is missing"),
        (["keywords:existence"], [{"keywords": "sea"}], "no list of texts"),
        (["startend:end_checker"], [{"end_phrase": " "}], "not blank"),
        (["keywords:frequency"], [{"keyword": "sea", "frequency": -1, "relation": "at least"}], "whole number"),
        (["keywords:frequency"], [{"keyword": "sea", "frequency": 0, "relation": "less than"}], "nothing meets"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, ids: list[str], arguments: list[dict[str, object]], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        list(read_ifeval(ifeval_file(tmp_path / "in.jsonl", ids, arguments)))


def test_unknown_ids_can_be_passed_over(tmp_path: Path) -> None:
    path = ifeval_file(tmp_path / "in.jsonl", ["words:palindrome", "punctuation:no_comma"], [{}, {}])
    (prompt,) = read_ifbench(path, on_unknown="skip")
    assert prompt.unchecked == ("words:palindrome",)
    assert [verdict.satisfied for verdict in prompt.check("Noon.")] == [None, True]


def test_ifbench_kinds(tmp_path: Path) -> None:
    ids = ["count:word_count_range", "count:keywords_multiple", "sentence:keyword", "format:options"]
    given: list[dict[str, object]] = [
        {"min_words": 71.0, "max_words": 73.0},
        {f"keyword{place}": word for place, word in enumerate(("a", "b", "c", "d", "e"), 1)},
        {"N": 2.0, "word": "sea"},
        {"options": "yes/no/maybe"},
    ]
    (prompt,) = read_ifbench(ifeval_file(tmp_path / "in.jsonl", ids, given))
    counted = [attribute.params["k"] for attribute in prompt.instructions[1].attributes]
    assert counted == [1, 2, 3, 5, 7] and len(prompt.attributes) == 8
    assert [verdict.satisfied for verdict in prompt.check("Yes. The sea, maybe.")][2:] == [True, True]


def test_ultrabench_is_read_and_written_back(tmp_path: Path) -> None:
    own: dict[str, dict[str, object]] = {
        "content:named_entity": {"entity_type": "PERSON"},
        "content:key_sentences": {"key_sentences": ["It rains."], "num_sentences": 1},
        "frequency:specific_number": {"target_number": 12},
        "format:include_hyperlink": {},
        "format:question_ending": {},
    }
    every = {**{name: ARGUMENTS[theirs] for name, theirs in RENAMED.items()}, **own}
    assert len(every) == 27
    row = {
        "key": "a",
        "hard_constraints": {
            "instruction_id_list": list(every),
            "kwargs": list(every.values()),
            "prompt": [f"Do {name}." for name in every],
        },
        "soft_constraints": {"prompt": ["Be kind."]},
    }  # fmt: skip
    write_rows(tmp_path / "in.jsonl", [row])
    (prompt,) = read_ultrabench(tmp_path / "in.jsonl")
    assert prompt.soft == (soft("Be kind."),) and prompt.prompt.startswith("Be kind.\nDo ")
    assert ultrabench_row(prompt) == row
    kinds = Catalogue.default().kinds
    attributes = [
        *(mapped("punctuation:no_comma", {}) or []),
        kinds["number_include"].attribute({"n": 12}),
        *prompt.soft,
    ]
    made = ultrabench_row(attributes, key="b")
    write_rows(tmp_path / "out.jsonl", [made])
    (again,) = read_ultrabench(tmp_path / "out.jsonl")
    assert list(again.attributes) == attributes


def test_what_a_benchmark_has_no_words_for_is_refused() -> None:
    attribute: Attribute = Catalogue.default().kinds["readability"].attribute({"lo": 1.0, "hi": 3.0})
    for write in (ifeval_row, ultrabench_row):
        with pytest.raises(UsageError, match=r"has no instruction for .*readability"):
            write([attribute])
