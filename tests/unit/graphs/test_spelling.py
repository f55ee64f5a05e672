"""Folded texts keep the places of the given one, and words end where they do in each script."""

import unicodedata
from itertools import pairwise

from hypothesis import example, given, settings, strategies as st

from armillary.graphs.spelling import folded, word_edges

TEXTS = st.text(
    st.one_of(
        st.sampled_from("ae o\u0301\u0308\u0327\u1100\u1161\u11a8\u09c7\u09be\u212b\u0130'\u2019 "),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
@example("\u1100\u1161\u11a8 e\u0301\u0301")
@example("\u0301e")
def test_a_folded_text_is_the_composed_one_and_knows_its_places(text: str) -> None:
    fold = folded(text)
    plain = unicodedata.normalize("NFC", text)
    assert len(fold.text) == len(plain)
    assert unicodedata.normalize("NFC", fold.text).isascii() == fold.text.isascii()
    for place, character in enumerate(plain):
        start, end = fold.given(place, place + 1)
        assert character in unicodedata.normalize("NFC", text[start:end])
    if plain:
        assert fold.given(0, len(plain)) == (0, len(text))


def test_lower_case_never_moves_a_place() -> None:
    """All letters with cases stand in the first two planes."""
    letters = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    assert [letter for letter in letters if len(letter.lower()) != 1] == ["\u0130"]
    assert folded("\u0130").text.lower() == "i"


def words(text: str) -> list[str]:
    places = [place for place, edge in enumerate(word_edges(text)) if edge]
    return [text[start:stop] for start, stop in pairwise(places)]


def test_words_of_several_scripts() -> None:
    assert words("France's E-5") == ["France", "'", "s", " ", "E", "-", "5"]
    assert words("cafe\u0301 na\u00efve x_1") == ["cafe\u0301", " ", "na\u00efve", " ", "x_1"]
    assert words("\u041c\u043e\u0441\u043a\u0432\u0430!") == ["\u041c\u043e\u0441\u043a\u0432\u0430", "!"]
    assert words("\u4e2d\u56fdParis\u7684") == ["\u4e2d", "\u56fd", "Paris", "\u7684"]
    assert words("\u0e17\u0e35\u0e48") == ["\u0e17\u0e35\u0e48"]  # marks stay with their letter
    assert words("") == [] and words("a") == ["a"]
