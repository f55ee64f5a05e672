"""Self-consistency: what is read out of a path, and the vote."""

import pytest

from armillary.errors import UsageError
from armillary.methods.icn.chains import letter_parser, number_parser, official_parser, solve, vote
from armillary.methods.icn.templates import NUMBERED_LIST
from armillary.models import tiny
from armillary.records.plain import plain


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3.5", "3.5"),
        ("1,000", "1000"),
        ("$1,234.50 in all", "1234.5"),
        ("-7", "-7"),
        ("12 or 13", "12"),
        ("007", "7"),
        ("-0.0", "0"),
        (".5", "0.5"),
        ("+4", "4"),
        ("1,23", "1"),
        ("none", None),
        ("", None),
    ],
)
def test_numbers(text: str, number: str | None) -> None:
    assert number_parser(text) == number


def test_the_official_parser_joins_digits() -> None:
    assert official_parser("12 or 13") == "1213" and official_parser("3.5") == "35" and official_parser("x") is None


def test_letters() -> None:
    assert letter_parser("the answer is (C)") == "C" and letter_parser("BAD") is None


def test_votes() -> None:
    assert vote(["1", "2", "2", None]) == ("2", False)
    assert vote(["3", "1", "1", "3"]) == ("3", True)
    assert vote([None, None, "5"]) == ("5", False)
    assert vote([None]) == (None, False)


def test_solving_takes_paths_and_reads_answers_out() -> None:
    loaded = tiny()
    settings = {"rounds": 3, "max_new_tokens": 6}
    one, other = solve(loaded, ["red 1", "blue"], **settings)
    assert len(one.paths) == len(one.answers) == 3
    assert solve(loaded, ["red 1"], **settings)[0] == one
    static = solve(loaded, ["red 1"], navigate=False, **settings)[0]
    assert static.paths[0] == one.paths[0] and static.paths != one.paths
    always = solve(loaded, ["blue"], parser=lambda text: "4", **settings)[0]
    assert (always.vote, always.tie) == ("4", False) and always.paths == other.paths
    assert plain(one)["question"] == "red 1"


def test_a_list_is_no_chain_of_thought() -> None:
    with pytest.raises(UsageError, match="readout"):
        solve(tiny(), ["red"], template=NUMBERED_LIST)
