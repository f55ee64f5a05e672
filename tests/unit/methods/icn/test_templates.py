"""Prompts as data: byte for byte, replaceable, and wrong files told in one sentence."""

from pathlib import Path

import pytest

from armillary.errors import UsageError
from armillary.methods.icn.templates import NUMBERED_LIST, WAYS, FirstTokens, ListTemplate, load_template, template
from armillary.models import tiny
from armillary.scoring.decoding import end_tokens


def test_the_numbered_list_byte_for_byte() -> None:
    base = NUMBERED_LIST.base("Please show me some {odd} leagues.")
    assert base == 'Please show me some {odd} leagues.\n\nAnswer:\n1. "'
    assert NUMBERED_LIST.listed(base, []) == base
    assert NUMBERED_LIST.listed(base, ["a"]) == base + 'a"\n2. "'
    assert NUMBERED_LIST.listed(base, ["a", "b c"]) == base + 'a"\n2. "b c"\n3. "'


def test_answers_cannot_break_out_of_the_list() -> None:
    assert NUMBERED_LIST.listed("", ['say "no"\nor  {number}']) == "say 'no' or {number}\"\n2. \""
    assert WAYS.listed("", ["one\ntwo # three"]) == "one\ntwo   three\n### Way 2:\n* **Step 1:**\n"


def test_ways_byte_for_byte() -> None:
    assert WAYS.base("1+1?") == (
        "1+1?\n\nPlease show me some different ways to solve this problem.\n\n"
        "Here are different ways to solve the problem:\n### Way 1:\n* **Step 1:**\n"
    )
    assert WAYS.read_out("1+1?", "Add.").endswith('* **Step 1:**\nAdd.\n\n**Final Answer (Only Number):** "')


def test_tasks_have_templates() -> None:
    assert template("probe") is NUMBERED_LIST and template("cot") is WAYS
    with pytest.raises(UsageError, match="the tasks are probe, open, cot"):
        template("rhyme")


GOOD = 'before = "{instruction}\\n"\nopening = "- "\nclosing = "\\n"\nstop = "\\n"\none_line = true\n'


def test_a_template_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "list.toml"
    path.write_text(GOOD)
    assert load_template(path) == ListTemplate(before="{instruction}\n", opening="- ", closing="\n", stop="\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("before = ", "not valid TOML"),
        (GOOD + 'colour = "red"\n', "unknown fields: colour; accepted: before"),
        ('before = "{instruction}"\n', "lacks closing, opening, stop"),
        (GOOD.replace("true", '"yes"'), "one_line must be true or false"),
        (GOOD.replace("{instruction}", "{question}"), "no {instruction}"),
        (GOOD.replace('stop = "\\n"', 'stop = ""'), "stop` is empty"),
    ],
)
def test_wrong_files(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=told):
        load_template(path)


def test_a_missing_file_and_a_template_that_reads_nothing_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="could not be read"):
        load_template(tmp_path / "none.toml")
    with pytest.raises(UsageError, match="readout"):
        NUMBERED_LIST.read_out("1+1?", "Add.")


def test_an_answer_stops_at_every_token_that_holds_the_stop_text_or_ends_a_text() -> None:
    loaded = tiny()
    spelled = {token: loaded.tokenizer.convert_ids_to_tokens(token) for token in loaded.known_ids}
    for stop in ('"', "e"):
        holding = {token for token, text in spelled.items() if stop in text}
        assert holding, "the tiny vocabulary has such tokens"
        assert set(FirstTokens(loaded, stop).stop_ids) == holding | set(end_tokens(loaded))
