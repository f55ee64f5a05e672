"""Positions: how the text, a paragraph and the last sentence begin or end (catalogue 13 to 15 and 19)."""

import random
from collections.abc import Iterable

from armillary.attributes.attribute import AttributeKind, Places, Verdict
from armillary.attributes.kinds.punctuation import ALIASES
from armillary.attributes.kinds.verdicts import counted, text_of, whole_of
from armillary.attributes.text_stats import TextStats, fold
from armillary.attributes.wording import TEXT, Params, Wording, whole

LONGEST_START, LONGEST_END = 3, 4
"""Words of a phrase at the start and at the end, at most."""


def _literally(stats: TextStats, phrase: str, *, at_end: bool) -> Verdict:
    """Character by character: of phrases without words, and of scripts in which words are not known."""
    text, wanted = stats.text.casefold(), TextStats(phrase).text.casefold()
    shown = stats.text[-len(wanted) :] if at_end else stats.text[: len(wanted)]
    met = text.endswith(wanted) if at_end else text.startswith(wanted)
    return Verdict(met, f'{"ends" if at_end else "starts"} with "{shown}"')


def _starts(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if not stats.words or stats.words_unknown or stats.is_document:
        return
    size = draw.randint(1, min(LONGEST_START, len(stats.words)))
    phrase = " ".join(stats.text[stats.pairs[0][0] : stats.pairs[size - 1][1]].split())
    if stats.words_of(phrase) == stats.folded[:size]:
        yield {"phrase": phrase}


def _check_starts(params: Params, stats: TextStats) -> Verdict:
    phrase = text_of(params, "phrase")
    words = stats.words_of(phrase)
    if stats.words_unknown or not words:
        return _literally(stats, phrase, at_end=False)
    size = len(words)

    def spans() -> Places:
        first = stats.pairs[:size]
        return stats.spans([(first[0][0], first[-1][1])] if first else [])

    return Verdict(stats.folded[:size] == words, lambda: f'starts with "{" ".join(stats.words[:size])}"', spans)


def _ends(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if not stats.words or stats.words_unknown or stats.is_document:
        return
    size = draw.randint(1, min(LONGEST_END, len(stats.words)))
    phrase = " ".join(stats.text[stats.pairs[-size][0] : stats.pairs[-1][1]].split())
    if stats.words_of(phrase) == stats.folded[-size:]:
        # So that it says no other than that the text ends with a question.
        last = stats.text[-1]
        yield {"phrase": phrase + (last if last in ALIASES["?"] and phrase[-1] != last else "")}


def _check_ends(params: Params, stats: TextStats) -> Verdict:
    phrase = text_of(params, "phrase")
    words = stats.words_of(phrase)
    if stats.words_unknown or not words:
        return _literally(stats, phrase, at_end=True)
    size = len(words)

    def spans() -> Places:
        last = stats.pairs[-size:]
        return stats.spans([(last[0][0], last[-1][1])] if last else [])

    return Verdict(stats.last_words(size) == words, lambda: f'ends with "{" ".join(stats.words[-size:])}"', spans)


def _paragraph_starts(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    number = draw.randrange(len(stats.paragraphs))
    within = stats.words_within(stats.paragraphs[number])
    if within and not stats.is_document:
        word = stats.words[within.start]
        if stats.words_of(word) == [stats.folded[within.start]]:
            yield {"i": number + 1, "w": word}


def _check_paragraph_starts(params: Params, stats: TextStats) -> Verdict:
    number, words = whole_of(params, "i"), stats.words_of(text_of(params, "w"))
    count = len(stats.paragraphs)
    if number > count or params.get("k", count) != count:
        return Verdict(False, lambda: counted(count, "paragraph"))
    start, end = stats.paragraphs[number - 1]
    pairs = stats.words_from(start, max(1, len(words)))
    if not pairs or pairs[0][0] >= end:
        return Verdict(False, f"paragraph {number} has no word")
    first = [stats.text[slice(*pair)] for pair in pairs]
    begins = bool(words) and list(map(fold, first)) == words
    return Verdict(begins, f'paragraph {number} starts with "{first[0]}"', lambda: stats.spans(pairs[:1]))


def _check_question(params: Params, stats: TextStats) -> Verdict:
    last = len(stats.text) - 1
    return Verdict(
        stats.text[last] in ALIASES["?"],
        f"ends with {stats.text[last]}",
        lambda: stats.spans([(last, last + 1)]),
    )


KINDS = (
    AttributeKind(
        id="starts_with",
        family="positions",
        priority="position",
        wording=Wording("Start with {phrase}.", phrase=TEXT),
        derived=_starts,
        checked=_check_starts,
    ),
    AttributeKind(
        id="ends_with",
        family="positions",
        priority="position",
        wording=Wording("End with {phrase}.", phrase=TEXT),
        derived=_ends,
        checked=_check_ends,
    ),
    AttributeKind(
        id="paragraph_starts",
        family="positions",
        priority="position",
        wording=Wording(
            "Start paragraph {i} with the word {w}.", "Write exactly {k} and start paragraph {i} with the word {w}.",
            i=whole(1), w=TEXT, k=whole(1, "paragraph", "paragraphs"),
        ),
        derived=_paragraph_starts,
        checked=_check_paragraph_starts,
        needs_words=True,
    ),
    AttributeKind(
        id="question_ending",
        family="positions",
        priority="position",
        wording=Wording("End with a question."),
        derived=lambda stats, draw: [{}] if stats.text[-1] in ALIASES["?"] else [],
        checked=_check_question,
    ),
)  # fmt: skip
