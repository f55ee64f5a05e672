"""Forms that can be seen: lists, headings, highlights, JSON, code, tables, links, placeholders, sections, a postscript
(catalogue 24 to 33). What stands in fenced code is no list, heading or highlight."""

import random
import re
from collections.abc import Callable, Iterable
from functools import cache

from armillary.attributes.attribute import AttributeKind, Verdict
from armillary.attributes.kinds.verdicts import at_least, counted, placed, text_of, texts_of, whole_of
from armillary.attributes.text_stats import NOT_JSON, Pair, TextStats
from armillary.attributes.wording import TEXT, TEXTS, Params, Wording, one_of, whole

_RULE = r"(?![^\S\n]*(?:[-*_][^\S\n]*){3,}$)"
BULLET = re.compile(rf"^{_RULE}[^\S\n]*[-*+\u2022][^\S\n]+(?=[^\n]*[^\W_])[^\n]+", re.MULTILINE)
"""A line with a list's mark and a letter or digit behind it; a rule of marks is none."""

NUMBERED = re.compile(r"^[^\S\n]*(\d{1,4})[.)][^\S\n]+(?=[^\n]*[^\W_])[^\n]+", re.MULTILINE)
HEADING = re.compile(r"^[^\S\n]{0,3}(#{1,6})[^\S\n]+(?=[^\n]*[^\W_])[^\n]+", re.MULTILINE)
TITLE = re.compile(r"<<[^<>\n]*[^<>\s][^<>\n]*>>")
HIGHLIGHT = re.compile(
    r"\*(?<![\w*\\]\*)(?:\*{1,2}(?![\s*])(?:[^*\n]|\*(?!\*))+?(?<!\s)\*{2,3}|(?![\s*])[^*\n]+(?<!\s)\*)(?![\w*])"
)
"""Text between one to three stars on either side: bold with something slanted within is one. What must not precede a
star is looked for behind it, so that the search is for the star; so for brackets below."""

TABLE = re.compile(r"^[^\n|]*\|[^\n]*\n(?=[^\n]*-)(?=[^\n]*\|)[-:|\t ]+$", re.MULTILINE)
"""A row with a bar, and under it one of dashes and bars."""

URL = re.compile(r"\bhttps?://(?:[\w-]+(?:\.[\w-]+)+|localhost)(?::\d{1,5})?(?:/[^\s<>\"'\[\](){}]*)?", re.IGNORECASE)
PLACEHOLDER = re.compile(r"\[(?<![\]!\\]\[)(?=[^\[\]\n]*[^\W\d_][^\[\]\n]*\])(?![xX]\])[^\[\]\n]+\](?![(\[:])")
"""Something with a letter in square brackets: not a link, a reference, a ticked box or the number of a note."""

SECTION = re.compile(r"^[^\w\n]*([^\W\d_]+)[^\S\n]+(\d{1,4})\b", re.MULTILINE)
"""A line that begins with a word and a number: "Section 2"."""

LABELS = (
    "section",
    "chapter",
    "part",
    "step",
    "day",
    "week",
    "lesson",
    "exercise",
    "question",
    "scene",
    "act",
    "phase",
)
"""Words that number sections when a text is read; an imported prompt may give any other."""

POSTSCRIPT = re.compile(r"^[^\w\n]*(P\.?[^\S\n]?(?:P\.?[^\S\n]?)?S\b\.?)", re.MULTILINE)

Pattern = re.Pattern[str]

_OF_LINES = (BULLET, NUMBERED, HEADING, SECTION)
"""Patterns that stand at the beginning of a line and within it: looked for there alone."""

_SIGNS = {HEADING: "#", TITLE: "<<", HIGHLIGHT: "*", TABLE: "|", URL: "://", PLACEHOLDER: "["}
"""What stands in every match of a pattern: where it is not, nothing is looked for."""


def _matches(stats: TextStats, pattern: Pattern) -> list[re.Match[str]]:
    """Where the pattern stands outside fenced code, computed once."""
    if (kept := stats.matches.get(pattern)) is not None:
        return kept
    text = stats.unfenced
    if _SIGNS.get(pattern, "") not in text:
        matches = []
    elif pattern in _OF_LINES:
        matches = [match for start in stats.line_starts if (match := pattern.match(text, start))]
    else:
        matches = list(pattern.finditer(text))
    stats.matches[pattern] = matches
    return matches


def _pairs(stats: TextStats, pattern: Pattern) -> list[Pair]:
    return [match.span() for match in _matches(stats, pattern)]


def headings(stats: TextStats) -> list[tuple[int, Pair]]:
    """Level and place of each heading."""
    pairs = _pairs(stats, HEADING)
    return [(len(stats.text[start:end].split(None, 1)[0]), (start, end)) for start, end in pairs]


def _measured(pattern: Pattern) -> Callable[[TextStats, random.Random], Iterable[Params]]:
    """``k`` is how often the pattern stands there, if at all."""

    def derived(stats: TextStats, draw: random.Random) -> Iterable[Params]:
        count = 0 if stats.is_document else len(_pairs(stats, pattern))
        return [{"k": count}] if count else []

    return derived


def _exactly(pattern: Pattern, noun: str) -> Callable[[Params, TextStats], Verdict]:
    def checked(params: Params, stats: TextStats) -> Verdict:
        pairs = _pairs(stats, pattern)
        return placed(len(pairs) == params["k"], stats, pairs, noun)

    return checked


def _enough(pattern: Pattern, noun: str) -> Callable[[Params, TextStats], Verdict]:
    return lambda params, stats: at_least(stats, _pairs(stats, pattern), params, noun)


def _is_counted(numbers: list[int]) -> bool:
    return numbers == list(range(1, len(numbers) + 1))


def _numbered_from_1(numbers: list[int], noun: str) -> str:
    return counted(len(numbers), noun) + ("" if _is_counted(numbers) else ", not numbered from 1 on")


def _item_numbers(stats: TextStats) -> list[int]:
    return [int(match[1]) for match in _matches(stats, NUMBERED)]


def _numbered(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    numbers = _item_numbers(stats)
    if numbers and _is_counted(numbers) and not stats.is_document:
        yield {"k": len(numbers)}


def _check_numbered(params: Params, stats: TextStats) -> Verdict:
    numbers = _item_numbers(stats)
    right = _is_counted(numbers) and len(numbers) == params["k"]
    return Verdict(right, lambda: _numbered_from_1(numbers, "item"), lambda: stats.spans(_pairs(stats, NUMBERED)))


def _headings(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if stats.is_document:
        return
    if _pairs(stats, TITLE):
        yield {}
    levels = [level for level, _ in headings(stats)]
    if levels:
        yield {"k": len(levels)}
        level = draw.choice(levels)
        yield {"k": levels.count(level), "level": level}


def _check_headings(params: Params, stats: TextStats) -> Verdict:
    if not params:
        pairs = _pairs(stats, TITLE)
        return placed(bool(pairs), stats, pairs, "title")
    pairs = [pair for level, pair in headings(stats) if level == params.get("level", level)]
    return placed(len(pairs) == params["k"], stats, pairs, "heading")


def _json(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    value = stats.json
    if isinstance(value, dict) and (keys := tuple(key for key in value if key.strip())):
        yield {"keys": keys}
    elif stats.is_document:
        yield {}


def _check_json(params: Params, stats: TextStats) -> Verdict:
    value = stats.json
    if value is NOT_JSON:
        return Verdict(False, "is no JSON")
    if "keys" not in params:
        return Verdict(True, "is JSON")
    missing = [key for key in texts_of(params, "keys") if not isinstance(value, dict) or key not in value]
    return Verdict(not missing, f"missing: {', '.join(missing)}" if missing else "is JSON with these keys")


def _blocks(stats: TextStats, what: str) -> list[Pair]:
    return stats.fences if what == "code" else _pairs(stats, TABLE)


def _code_or_table(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    for what in ("code", "table"):
        if not stats.is_document and (count := len(_blocks(stats, what))):
            yield {"what": what, "k": count}


def _check_code_or_table(params: Params, stats: TextStats) -> Verdict:
    what = text_of(params, "what")
    return at_least(stats, _blocks(stats, what), params, "block of code" if what == "code" else "table")


def _marked_sections(stats: TextStats, label: str) -> list[tuple[int, Pair]]:
    """Number and place of each line that begins with the label and a number."""
    if label.isalpha():
        marks = [
            (int(match[2]), match.span())
            for match in _matches(stats, SECTION)
            if match[1].casefold() == label.casefold()
        ]
    else:
        own = re.compile(rf"^[^\w\n]*{re.escape(label)}[^\S\n]*(\d{{1,4}})\b", re.MULTILINE | re.IGNORECASE)
        marks = [(int(match[1]), match.span()) for match in own.finditer(stats.unfenced)]
    return marks


def _sections(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if stats.is_document:
        return
    labels = dict.fromkeys(match[1].casefold() for match in _matches(stats, SECTION))
    for label in labels:
        numbers = [number for number, _ in _marked_sections(stats, label)]
        if label in LABELS and _is_counted(numbers) and len(numbers) > 1:
            yield {"label": label.capitalize(), "k": len(numbers)}


def _check_sections(params: Params, stats: TextStats) -> Verdict:
    marks = _marked_sections(stats, text_of(params, "label").strip())
    numbers = [number for number, _ in marks]
    right = _is_counted(numbers) and len(numbers) >= whole_of(params, "k")
    return Verdict(right, lambda: _numbered_from_1(numbers, "section"), lambda: stats.spans(pair for _, pair in marks))


def _letters_of(marker: str) -> str:
    return "".join(filter(str.isalnum, marker)).casefold()


def _postscript(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    match = POSTSCRIPT.match(stats.text, stats.paragraphs[-1][0])
    if match and not stats.is_document:
        yield {"marker": "P.P.S." if _letters_of(match[1]) == "pps" else "P.S."}


def _check_postscript(params: Params, stats: TextStats) -> Verdict:
    pattern = _postscript_of(text_of(params, "marker"))
    matches = [pattern.match(stats.text, start) for start in stats.line_starts] if pattern else []
    pairs = [match.span() for match in matches if match]
    return placed(bool(pairs), stats, pairs, "postscript")


@cache  # of the few markers that prompts ask for
def _postscript_of(marker: str) -> Pattern | None:
    """What a postscript begins with, at the beginning of a line; None of a marker without letters."""
    letters = _letters_of(marker)
    spaced = r"\.?[^\S\n]?".join(map(re.escape, letters))
    return re.compile(rf"[^\w\n]*{spaced}(?!\w)", re.IGNORECASE) if letters else None


def _kind(
    kind: str,
    wording: Wording,
    derived: Callable[[TextStats, random.Random], Iterable[Params]],
    checked: Callable[[Params, TextStats], Verdict],
) -> AttributeKind:
    return AttributeKind(
        id=kind, family="formats", priority="format", wording=wording, derived=derived, checked=checked
    )


KINDS = (
    _kind(
        "bullet_count",
        Wording("Use exactly {k}.", k=whole(0, "bullet point", "bullet points")),
        _measured(BULLET),
        _exactly(BULLET, "bullet point"),
    ),
    _kind(
        "numbered_list",
        Wording("Number exactly {k} from 1 on.", k=whole(1, "list item", "list items")),
        _numbered,
        _check_numbered,
    ),
    _kind(
        "headings",
        Wording(
            "Give the text a title in double angle brackets, as in <<title>>.",
            "Use exactly {k}, marked with #.", "Use exactly {k} of level {level}, marked with #.",
            k=whole(0, "heading", "headings"), level=whole(1),
        ),
        _headings,
        _check_headings,
    ),
    _kind(
        "highlights",
        Wording("Highlight at least {k} with stars, as in *this*.", k=whole(1, "passage", "passages")),
        _measured(HIGHLIGHT),
        _enough(HIGHLIGHT, "highlight"),
    ),
    _kind(
        "json_format",
        Wording("Write nothing but JSON.", "Write nothing but JSON, with these keys: {keys}.", keys=TEXTS),
        _json,
        _check_json,
    ),
    _kind(
        "code_or_table",
        Wording(
            "Include {what}, at least {k}.", k=whole(1),
            what=one_of({"code": "blocks of code between ``` lines", "table": "tables in Markdown"}),
        ),
        _code_or_table,
        _check_code_or_table,
    ),
    _kind(
        "hyperlink",
        Wording("Include at least {k} beginning with http.", k=whole(1, "link", "links")),
        _measured(URL),
        _enough(URL, "link"),
    ),
    _kind(
        "placeholders",
        Wording("Use at least {k} in square brackets, as in [name].", k=whole(1, "placeholder", "placeholders")),
        _measured(PLACEHOLDER),
        _enough(PLACEHOLDER, "placeholder"),
    ),
    _kind(
        "sections",
        Wording("Write at least {k}, marked {label} 1 and so on.", k=whole(1, "section", "sections"), label=TEXT),
        _sections,
        _check_sections,
    ),
    _kind(
        "postscript",
        Wording("Add a postscript that starts with {marker}.", marker=TEXT),
        _postscript,
        _check_postscript,
    ),
)  # fmt: skip
