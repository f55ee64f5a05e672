"""Verdicts by passages: names and figures, exactly, and likeness by vectors that are known."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.ocean.chains.sources import Passages, figures, read_passages

TOWER = "The Eiffel Tower in Paris was built in 1889 by Gustave Eiffel's firm. It is 330 metres high."
VISITS = "Some 6.2 million people visit the tower, 75 % of them from abroad. Zürich has none."


class LetterEncoder:
    """How often each letter comes: cosine 1 for the same text."""

    def encode(self, texts: Sequence[str], /) -> NDArray[np.floating]:
        return np.array([[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,200 and 1200 and 1.2 thousand", ["1200", "1200", "1200"]),
        ("3.50 million, 0.5", ["3500000", "0.5"]),
        ("5 % or 5 percent or 5", ["5%", "5%", "5"]),
        ("the 12th of seven", ["12", "7"]),
        ("two million", ["2000000"]),
        ("one of the A4 pages", []),
        ("in -3 or \u22123", ["-3", "-3"]),
        ("1961.", ["1961"]),
    ],
)
def test_figures_count_by_their_value(text: str, values: list[str]) -> None:
    assert [value for _, value in figures(text)] == values


@pytest.mark.parametrize(
    ("step", "verdict", "reason"),
    [
        ("The Eiffel Tower was built in 1889.", "supported", "in one passage"),
        ("Gustave Eiffel built it.", "supported", "in one passage"),
        ("It is 300 metres high.", "unsupported", "in no passage is 300"),
        ("The Eiffel Tower is in Lyon.", "unsupported", "in no passage is Lyon"),
        ("6,200,000 people come.", "supported", "in one passage"),
        ("75 percent are from abroad.", "supported", "in one passage"),
        ("75 are from abroad.", "unsupported", "in no passage is 75"),
        ("In 1889 it had 6.2 million visitors.", "unsupported", "in the nearest passage is no 6.2 million"),
        ("ZURICH has none.", "supported", "in one passage"),
        ("Visitors like it.", "unknown", "no name or figure"),
    ],
)
def test_all_names_and_figures_in_one_passage(step: str, verdict: str, reason: str) -> None:
    made = Passages([(None, TOWER), (None, VISITS)]).check([step])[0]
    assert (made.verdict, reason in made.reason) == (verdict, True), made
    assert all(step[start:end].strip() for start, end in [*made.present, *made.missing])


def test_passages_of_a_prompt_are_for_it_alone() -> None:
    passages = Passages([("tower", TOWER), ("visits", VISITS)])
    assert passages.check(["It is from 1889."], "tower")[0].verdict == "supported"
    assert passages.check(["It is from 1889."], "visits")[0].verdict == "unsupported"
    assert passages.check(["It is from 1889."], "else")[0].reason == "there is no passage for this prompt"


def test_vectors_judge_only_what_has_nothing_to_look_for() -> None:
    passages = Passages([(None, "they like it much. " + TOWER)], None, LetterEncoder(), 0.99)
    like, figure, other = passages.check(["They like it much.", "They like it 7 times.", "zzz qqq"])
    assert like.verdict == "supported" and like.similarity == pytest.approx(1.0)
    assert figure.verdict == "unsupported" and other.verdict == "unknown"
    assert other.similarity is not None and other.similarity < 0.2


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"prompt": "a"}', "has no text"),
        ('{"text": " "}', "has no text"),
        ('{"text": ["a"]}', "has a text of type list"),
        ("", "has no rows"),
        ("{", "is not JSON"),
    ],
)
def test_wrong_passages_are_refused_in_a_sentence(tmp_path: Path, content: str, error: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(content)
    with pytest.raises(UsageError, match=re.escape(error)):
        read_passages(str(file))


def test_no_passage_and_no_cosine_are_refused() -> None:
    with pytest.raises(UsageError, match="there is no passage"):
        Passages([])
    with pytest.raises(UsageError, match="like must be a cosine"):
        Passages([(None, "a")], like=0.0)


@pytest.mark.parametrize("ending", [".txt", ".MD"])
def test_plain_text_is_a_passage_a_block(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"sources{ending}"
    file.write_bytes(f"{TOWER}\r\n \r\n\r\n{VISITS}\nMore.\n".encode())
    assert read_passages(str(file)) == [(None, TOWER), (None, f"{VISITS}\nMore.")]
    file.write_text(" \n\n")
    with pytest.raises(UsageError, match="holds no text; give passages with blank lines between"):
        read_passages(str(file))
