"""Where the sentences of a text begin and end."""

import re

_SHORT = (
    "mr mrs ms dr prof sr jr st mt vs eg ie cf al approx dept est inc ltd co corp gen col capt lt sgt rev hon gov sen "
    "rep jan feb apr jun jul aug sept oct nov dec"
)
ABBREVIATIONS = frozenset(_SHORT.split())
"""Words that a full stop makes short: behind them it ends no sentence."""

NUMBERED = frozenset({"no", "nos", "nr", "fig", "figs", "eq", "vol", "vols", "ch", "sec", "pp", "p", "art", "ed"})
"""Words that are short for something numbered: a full stop behind them ends no sentence if a digit follows."""

_MARKS, _FULL_WIDTH = ".!?\u2026\u061f\u0964\u0965", "\u3002\uff01\uff1f"
_END = re.compile(
    # The first character before what it is, so that the search is for one of these.
    rf"[{_MARKS}{_FULL_WIDTH}\n](?:(?<=[{_MARKS}])[{_MARKS}]*(?P<mark>)[\"'\u201d\u2019\u00bb)\]*_]*\s+"
    rf"|(?<=[{_FULL_WIDTH}])[{_FULL_WIDTH}]*[\u300d\u300f\uff09\u201d]*\s*|(?<=\n)\s*)"
)
"""What may end a sentence; the empty group ``mark`` stands behind marks of scripts with spaces."""

_LAST_WORD = re.compile(r"[^\W\d_][\w.]*\Z|\d+\Z")
_INITIALS = re.compile(r"[^\W\d_](?:\.[^\W\d_])*\Z")
_BLOCK_LINE = re.compile(r"[^\S\n]*(?:#{1,6}[^\S\n]|[-*+\u2022][^\S\n]|\d{1,3}[.)][^\S\n]|\||>|```)")
_HAS_WORD = re.compile(r"[^\W_]")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Spans of the sentences, white space around them left out.

    One ends behind . ! ? or … (with the quotes and brackets that close there) where white space and no small letter
    follow, but not behind an abbreviation or an initial; and where a paragraph, a heading or an item of a list ends.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _END.finditer(text):
        if match.end() < len(text) and _ends(text, match):
            _add(spans, text, start, match.end())
            start = match.end()
    _add(spans, text, start, len(text))
    return spans


def _add(spans: list[tuple[int, int]], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    if _HAS_WORD.search(piece):
        kept = piece.strip()
        lead = start + piece.index(kept)
        spans.append((lead, lead + len(kept)))


def _ends(text: str, match: re.Match[str]) -> bool:
    here, follows = match.start(), text[match.end()]
    if "\n" in match[0]:
        gap = match[0][match[0].index("\n") :]
        line = text.rfind("\n", 0, match.start() + match[0].index("\n")) + 1
        if gap.count("\n") > 1:
            return True
        if _BLOCK_LINE.match(text, line) or _BLOCK_LINE.match(text, text.rfind("\n", 0, match.end()) + 1):
            return True
    if match["mark"] is None:
        return match[0][0] != "\n"
    if follows.islower() or follows in ",;:)":
        return False
    if text[here : match.end("mark")] != ".":
        return True
    word = _LAST_WORD.search(text, max(0, here - 20), here)
    if word is None:
        return True
    last = word[0].casefold()
    if last.isdigit():
        # "1. First" at the start of a line numbers it.
        before = word.start()
        while before and text[before - 1] in " \t":
            before -= 1
        return before > 0 and text[before - 1] != "\n"
    if _INITIALS.fullmatch(word[0]) and last != "i":
        return False
    return last not in ABBREVIATIONS and not (last in NUMBERED and follows.isdigit())
