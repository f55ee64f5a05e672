"""Case: of all letters, of headings, and words in capitals (catalogue 20 and 21)."""

import random
from collections.abc import Iterable

from armillary.attributes.attribute import AttributeKind, Verdict
from armillary.attributes.english import FUNCTION_WORDS
from armillary.attributes.kinds.formats import headings
from armillary.attributes.kinds.verdicts import counted, is_related, rounded_relation, text_of
from armillary.attributes.text_stats import Pair, TextStats
from armillary.attributes.wording import RELATION, Params, Wording, one_of, whole

STEP = 5
"""Thresholds above the exact ones are multiples of this."""


def _wrongly_cased(case: str, stats: TextStats) -> list[Pair]:
    """Words that are not in this case, or heading words that begin small."""
    if case == "upper":
        return [pair for pair, word in zip(stats.pairs, stats.words, strict=True) if word.upper() != word]
    if case == "lower":
        return [pair for pair, word in zip(stats.pairs, stats.words, strict=True) if word.lower() != word]
    wrong = []
    for _, pair in headings(stats):
        for place in stats.words_within(pair):
            if stats.words[place][0].islower() and stats.folded[place] not in FUNCTION_WORDS:
                wrong.append(stats.pairs[place])
    return wrong


def _is_cased(case: str, stats: TextStats) -> bool:
    if case == "upper":
        return stats.text.isupper()
    if case == "lower":
        return stats.text.islower()
    return bool(headings(stats)) and not _wrongly_cased(case, stats)


def _casing(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if stats.is_document:
        return
    case = next((case for case in ("upper", "lower", "title_headings") if _is_cased(case, stats)), None)
    if case is not None:
        yield {"case": case}


def _check_casing(params: Params, stats: TextStats) -> Verdict:
    case = text_of(params, "case")
    if _is_cased(case, stats):
        return Verdict(True, "all are so")

    def measured() -> str:
        wrong = len(_wrongly_cased(case, stats))
        return counted(wrong, "word") + " not so" if wrong else "nothing has a case"

    return Verdict(False, measured, lambda: stats.spans(_wrongly_cased(case, stats)))


def _capitals(stats: TextStats) -> list[int]:
    """Places among the words of those in capitals."""
    if "capitals" not in stats.shared:
        stats.shared["capitals"] = [
            place
            for place, word in enumerate(stats.words)
            if word.isupper() and len(word) > 1 and sum(map(str.isalpha, word)) > 1
        ]
    places = stats.shared["capitals"]
    return places if isinstance(places, list) else []


def _caps_words(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if count := len(_capitals(stats)):
        yield rounded_relation(count, STEP)


def _check_caps_words(params: Params, stats: TextStats) -> Verdict:
    places = _capitals(stats)
    return Verdict(
        is_related(len(places), params),
        lambda: counted(len(places), "word") + " in capitals",
        lambda: stats.spans(stats.pairs[place] for place in places),
    )


KINDS = (
    AttributeKind(
        id="casing",
        family="casing",
        priority="format",
        wording=Wording(
            "Write {case}.",
            case=one_of({
                "upper": "everything in capital letters", "lower": "everything in small letters",
                "title_headings": "headings in title case",
            }),
        ),
        derived=_casing,
        checked=_check_casing,
    ),
    AttributeKind(
        id="caps_words",
        family="casing",
        priority="style",
        negative=lambda params: params["rel"] == "<=" or (params["rel"] == "=" and params["k"] == 0),
        wording=Wording("Write {rel} {k} in capitals.", rel=RELATION, k=whole(0, "word", "words")),
        derived=_caps_words,
        checked=_check_caps_words,
        needs_words=True,
    ),
)  # fmt: skip
