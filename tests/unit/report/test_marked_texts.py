"""Texts with numbered notes: cut where marks begin and end, nothing of the text lost or let through."""

import re
from collections.abc import Callable
from html import unescape

import pytest
from hypothesis import given, strategies as st

from armillary.errors import UsageError
from armillary.records import Figure
from armillary.records.sections import MarkedNote, MarkedPiece, MarkedText, MarkedTexts, marked_pieces
from armillary.report.marked_texts import WITHOUT_PLACE, markup


def figure(text: str, marks: list[tuple[int, int, int]], notes: int, prompt: str = "") -> Figure:
    row = MarkedText(
        title="1 of 3", pieces=marked_pieces(text, marks), prompt=prompt,
        notes=[MarkedNote(text=f"note {index}", detail=f"seen {index}") for index in range(notes)],
    )  # fmt: skip
    return Figure(title="t", alt="texts", data=MarkedTexts(rows=[row]))


@given(
    st.text(max_size=20).flatmap(
        lambda text: st.tuples(
            st.just(text),
            st.lists(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)), st.integers(0, 3)), max_size=6),
        )
    )
)
def test_pieces_are_the_text_and_each_stretch_has_the_notes_that_cover_it(
    case: tuple[str, list[tuple[int, int, int]]],
) -> None:
    text, drawn = case
    marks = [(min(start, end), max(start, end), note) for start, end, note in drawn]
    pieces = marked_pieces(text, marks)
    assert "".join(piece.text for piece in pieces) == text
    place = 0
    for piece in pieces:
        for offset in range(len(piece.text)):
            covering = {note for start, end, note in marks if start <= place + offset < end}
            assert set(piece.notes) == covering
        place += len(piece.text)
    assert {note for piece in pieces for note in piece.notes} == {note for _, _, note in marks}


def test_marks_are_numbered_as_they_stand_and_the_rest_is_told_below() -> None:
    shown = markup(figure("one two three", [(8, 13, 0), (0, 7, 2), (4, 7, 1)], 10, prompt="do\nthis"))
    text = re.search(r'<p class="text" dir="auto">(.*?)</p>', shown, re.DOTALL)
    assert text is not None and re.sub(r"<sup>.*?</sup>|<.*?>", "", text[1]) == "one two three"
    assert re.findall(r"<mark>(.*?)(?:<sup>(.*?)</sup>)?</mark>", text[1]) == [
        ("one ", ""), ("two", "1, 2"), ("three", "3"),
    ]  # fmt: skip
    placed = re.findall(r"<li><b>(\d)</b><span>\s*(note \d)", shown)
    assert placed == [("1", "note 2"), ("2", "note 1"), ("3", "note 0")]
    assert f"{7 - WITHOUT_PLACE} more of these" in shown and "seen 9" in shown
    assert "do\nthis" in shown and "more of these" not in markup(figure("x", [], WITHOUT_PLACE + 1))


def test_an_empty_text_is_told_and_a_mark_without_length_has_its_number() -> None:
    assert "(no text)" in markup(figure(" \n", [], 1))
    assert re.search(r"end<mark><sup>1</sup></mark>", markup(figure("end", [(3, 3, 0)], 1)))


def test_hostile_words_stay_words(make_figures: Callable[[str, bool], list[Figure]], hostile: str) -> None:
    shown = markup(next(made for made in make_figures(hostile, False) if made.kind == "marked"))
    assert "<script>" not in shown and "<img" not in shown and not {"\x00", "\u202e", "\u2028", "\ud800"} & set(shown)
    assert "<script>alert(1)</script>" in unescape(shown)


def test_wrong_marks_are_refused() -> None:
    with pytest.raises(UsageError, match="outside a text of 3"):
        marked_pieces("abc", [(1, 4, 0)])
    with pytest.raises(UsageError, match="names note 2"):
        MarkedText(title="", pieces=[MarkedPiece(text="a", notes=[2])], notes=[MarkedNote(text="x")])
