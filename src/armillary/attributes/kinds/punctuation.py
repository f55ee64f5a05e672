"""Single characters: marks that must not stand in the text, counts of marks and letters, quotations
(catalogue 17, 18, 22 and 23)."""

import random
import re
from collections.abc import Iterable

from armillary.attributes.attribute import AttributeKind, Verdict
from armillary.attributes.kinds.verdicts import at_least, is_related, rounded_relation, text_of, texts_of
from armillary.attributes.text_stats import Pair, TextStats
from armillary.attributes.wording import RELATION, TEXT, TEXTS, Params, Wording, whole

MARKS = {
    ",": "comma", ";": "semicolon", ":": "colon", "!": "exclamation mark", "?": "question mark",
    "(": "opening bracket", ")": "closing bracket", "\u2014": "dash", '"': "double quotation mark",
}  # fmt: skip
"""Marks whose absence can be asked for."""

ALIASES = {
    ",": ",\uff0c\u3001\u060c", ";": ";\uff1b\u061b", ":": ":\uff1a", "!": "!\uff01", "?": "?\uff1f\u061f",
    "(": "(\uff08", ")": ")\uff09", '"': '"\u201c\u201d\u201e',
}  # fmt: skip
"""Characters that are the same mark in another script or typeface."""

COUNTED = (",", ".", ";", ":", "!", "?", "(", "-")
"""Marks of which a number can be asked for."""

MARK_STEP, LETTER_STEP = 5, 10
"""Thresholds are multiples of these: letters are many, marks few."""

EXCLUDED = (1, 2)
"""Marks in each of the attributes that forbid."""

QUOTED = re.compile(r'"[^"\n]+"|[\u201c\u201e][^\u201c\u201d\u201e\n]+[\u201c\u201d]')
_OPENING, _CLOSING = '"\u201c\u201e', '"\u201c\u201d'


def _count(stats: TextStats, mark: str) -> int:
    # ``caseless`` folds case, and so does ``places``: a letter is itself in either.
    return sum(map(stats.caseless.count, ALIASES.get(mark, mark.casefold())))


def _places(stats: TextStats, mark: str) -> list[Pair]:
    signs = ALIASES.get(mark, mark)
    return [match.span() for match in re.finditer(f"[{re.escape(signs)}]", stats.text)]


def _excluded(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    absent = [mark for mark in MARKS if not _count(stats, mark)]
    drawn = draw.sample(absent, min(sum(EXCLUDED), len(absent)))
    for size in EXCLUDED:
        if len(drawn) >= size:
            yield {"marks": tuple(drawn[:size])}
            drawn = drawn[size:]


def _check_excluded(params: Params, stats: TextStats) -> Verdict:
    present = [mark for mark in texts_of(params, "marks") if _count(stats, mark)]
    if not present:
        return Verdict(True, "none stands there")
    return Verdict(
        False,
        lambda: f"stands there: {' '.join(present)}",
        lambda: stats.spans(pair for mark in present for pair in _places(stats, mark)),
    )


def _marks(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    present = [mark for mark in COUNTED if _count(stats, mark)]
    for mark in draw.sample(present, min(2, len(present))):
        yield {"mark": mark, **rounded_relation(_count(stats, mark), MARK_STEP)}


def _check_marks(params: Params, stats: TextStats) -> Verdict:
    mark = text_of(params, "mark")
    count = _count(stats, mark)
    return Verdict(is_related(count, params), lambda: f"{count} of {mark}", lambda: stats.spans(_places(stats, mark)))


def _letters(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    present = [sign for sign in stats.characters if sign.isalpha() and sign.casefold() == sign]
    for letter in draw.sample(present, min(2, len(present))):
        count = stats.characters[letter]
        ceiling = -(-count // LETTER_STEP) * LETTER_STEP
        if draw.random() < 0.5:
            yield {"letter": letter, "rel": "<=", "k": ceiling}
        else:
            yield {"letter": letter, **rounded_relation(count, LETTER_STEP)}


def _check_letters(params: Params, stats: TextStats) -> Verdict:
    letter = text_of(params, "letter").casefold()
    count = stats.caseless.count(letter) if len(letter) == 1 else 0
    return Verdict(is_related(count, params), lambda: f"{count} of the letter {letter}")


def _is_quoted(stats: TextStats) -> bool:
    return len(stats.text) > 1 and stats.text[0] in _OPENING and stats.text[-1] in _CLOSING


def _quotes(stats: TextStats) -> list[Pair]:
    if "quotes" not in stats.shared:
        stats.shared["quotes"] = [match.span() for match in QUOTED.finditer(stats.text)]
    pairs = stats.shared["quotes"]
    return pairs if isinstance(pairs, list) else []


def _quoted(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if stats.is_document:
        return
    if _is_quoted(stats):
        yield {}
    if count := len(_quotes(stats)):
        yield {"k": count}


def _check_quoted(params: Params, stats: TextStats) -> Verdict:
    if params:
        return at_least(stats, _quotes(stats), params, "quotation")
    quoted, size = _is_quoted(stats), len(stats.text)
    measured = "is quoted as a whole" if quoted else "is not quoted as a whole"
    return Verdict(quoted, measured, lambda: stats.spans([(0, 1), (size - 1, size)]))


def _forbids(params: Params) -> bool:
    return params["rel"] == "<=" or (params["rel"] == "=" and params["k"] == 0)


KINDS = (
    AttributeKind(
        id="punctuation_exclude",
        family="punctuation",
        priority="style",
        negative=lambda params: True,
        wording=Wording("Do not use any of these marks: {marks}.", marks=TEXTS),
        derived=_excluded,
        checked=_check_excluded,
    ),
    AttributeKind(
        id="punctuation_count",
        family="punctuation",
        priority="style",
        negative=_forbids,
        wording=Wording("Use the mark {mark} {rel} {k}.", mark=TEXT, rel=RELATION, k=whole(0, "time", "times")),
        derived=_marks,
        checked=_check_marks,
    ),
    AttributeKind(
        id="letter_count",
        family="punctuation",
        priority="style",
        negative=_forbids,
        wording=Wording(
            "Use the letter {letter} {rel} {k}.", letter=TEXT, rel=RELATION, k=whole(0, "time", "times")
        ),
        derived=_letters,
        checked=_check_letters,
    ),
    AttributeKind(
        id="quoted",
        family="punctuation",
        priority="format",
        wording=Wording(
            "Put the whole text in double quotation marks.", "Put at least {k} in double quotation marks.",
            k=whole(1, "passage", "passages"),
        ),
        derived=_quoted,
        checked=_check_quoted,
    ),
)  # fmt: skip
