"""Keywords: words that must stand in the text, how often, in which order and sentence, and those that must not
(catalogue 8 to 12 and 16)."""

import random
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise

from armillary.attributes.attribute import AttributeKind, Places, Verdict
from armillary.attributes.candidates import Candidate, CorpusWords, candidates, stem
from armillary.attributes.kinds.verdicts import EXACT, counted, is_related, placed, text_of, texts_of, whole_of
from armillary.attributes.text_stats import TextStats
from armillary.attributes.wording import RELATION, TEXT, TEXTS, Params, Wording, whole

MOST = 60
"""Keywords of a text that are considered: more than a set of a hundred attributes may hold."""

EXCLUDED = (1, 1, 1, 2, 3)
"""Words in each of the attributes that forbid: as many attributes as a fifth of a set of 25."""

ORDERED = (2, 4)
"""Keywords of an order, least and most."""

MOST_NUMBERS, MOST_SENTENCES = 3, 2
"""Attributes of these kinds that one text gives."""

INTEGER = re.compile(r"(?<![\w.,+])\d{1,9}(?![\w%]|[.,]\d)")
"""Whole numbers: not the parts of "3.5", "1,000" or "x86"."""


def _best(stats: TextStats, corpus: CorpusWords) -> list[Candidate]:
    # Four kinds read them; they are kept with the analysis, which lives as long as one text is looked at.
    key = ("candidates", id(corpus))
    if key not in stats.shared:
        stats.shared[key] = candidates(stats, corpus, MOST)
    kept = stats.shared[key]
    return kept if isinstance(kept, list) else []


def _check_include(params: Params, stats: TextStats) -> Verdict:
    keywords = texts_of(params, "words") if "words" in params else (text_of(params, "w"),)
    missing = [keyword for keyword in keywords if not stats.count(keyword)]
    if missing:
        return Verdict(False, lambda: f"missing: {', '.join(missing)}")

    def spans() -> Places:
        return stats.spans(pair for keyword in keywords for pair in stats.find(keyword))

    return Verdict(True, lambda: counted(len(spans()), "match", "matches"), spans)


def _check_count(params: Params, stats: TextStats) -> Verdict:
    pairs = stats.find(text_of(params, "w"))
    return placed(is_related(len(pairs), params), stats, pairs, "match", "matches")


def _excluded(stats: TextStats, draw: random.Random, frequent: Mapping[str, str]) -> Iterable[Params]:
    """``frequent``: words that may be forbidden, each with its stem."""
    if stats.words_unknown:
        return
    stems = {stem(word) for word in stats.counts}
    absent = [word for word, own in frequent.items() if own not in stems]
    # Hyphens join words, so that "time" is no word of "real-time": but who reads it would say that it stands there.
    joined = " ".join(word for word in stats.counts if "-" in word)
    absent = [word for word in absent if word not in joined]
    drawn = draw.sample(absent, min(sum(EXCLUDED), len(absent)))
    # A tokenizer may cut a word in two that still stands there.
    drawn = [word for word in drawn if not stats.count(word)]
    for size in EXCLUDED:
        if len(drawn) >= size:
            yield {"words": tuple(drawn[:size])}
            drawn = drawn[size:]


def _check_exclude(params: Params, stats: TextStats) -> Verdict:
    words = [word for word in texts_of(params, "words") if stats.count(word)]
    if not words:
        return Verdict(True, "none stands there")
    return Verdict(
        False,
        lambda: f"stands there: {', '.join(words)}",
        lambda: stats.spans(pair for word in words for pair in stats.find(word)),
    )


def _ordered(stats: TextStats, draw: random.Random, corpus: CorpusWords) -> Iterable[Params]:
    best = _best(stats, corpus)
    if len(best) < ORDERED[0]:
        return
    drawn = draw.sample(best, min(len(best), draw.randint(*ORDERED)))
    firsts = {stats.find(candidate.keyword)[0][0]: candidate.keyword for candidate in drawn}
    if len(firsts) >= ORDERED[0]:
        yield {"words": tuple(firsts[start] for start in sorted(firsts))}


def _check_order(params: Params, stats: TextStats) -> Verdict:
    places = [(word, stats.find(word)) for word in texts_of(params, "words")]
    missing = [word for word, pairs in places if not pairs]
    if missing:
        return Verdict(False, lambda: f"missing: {', '.join(missing)}")
    starts = [pairs[0][0] for _, pairs in places]
    rising = all(first < second for first, second in pairwise(starts))

    def measured() -> str:
        seen = sorted(zip(starts, [word for word, _ in places], strict=True))
        return f"order: {', '.join(word for _, word in seen)}"

    return Verdict(rising, measured, lambda: stats.spans(pairs[0] for _, pairs in places))


def _numbers(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    present = list(dict.fromkeys(int(number) for number in INTEGER.findall(stats.text)))
    for number in draw.sample(present, min(len(present), MOST_NUMBERS)):
        yield {"n": number}


def _check_number(params: Params, stats: TextStats) -> Verdict:
    pairs = [match.span() for match in INTEGER.finditer(stats.text) if int(match[0]) == params["n"]]
    return placed(bool(pairs), stats, pairs, "match", "matches")


def _in_sentences(stats: TextStats, draw: random.Random, corpus: CorpusWords) -> Iterable[Params]:
    best = _best(stats, corpus)
    by_sentence: dict[int, str] = {}
    for candidate in draw.sample(best, len(best)):
        start, end = stats.find(candidate.keyword)[0]
        number = next((at for at, pair in enumerate(stats.sentences) if pair[0] <= start and end <= pair[1]), None)
        if number is not None:
            by_sentence.setdefault(number, candidate.keyword)
        if len(by_sentence) == MOST_SENTENCES:
            break
    for number, keyword in by_sentence.items():
        yield {"i": number + 1, "w": keyword}


def _check_in_sentence(params: Params, stats: TextStats) -> Verdict:
    number, keyword = whole_of(params, "i"), text_of(params, "w")
    if number > len(stats.sentences):
        return Verdict(False, lambda: f"only {counted(len(stats.sentences), 'sentence')}")
    start, end = stats.sentences[number - 1]
    pairs = [pair for pair in stats.find(keyword) if start <= pair[0] and pair[1] <= end]
    if pairs:
        return Verdict(True, lambda: f"stands in sentence {number}", lambda: stats.spans(pairs))
    return Verdict(False, lambda: f"not in sentence {number}", lambda: stats.spans([(start, end)]))


def _check_sentences_shown(params: Params, stats: TextStats) -> Verdict:
    spoken = " ".join(stats.text.split())
    present = sum(" ".join(sentence.split()) in spoken for sentence in texts_of(params, "sentences"))
    return Verdict(present >= whole_of(params, "k"), lambda: f"{present} of them stand there")


def kinds(corpus: CorpusWords) -> tuple[AttributeKind, ...]:
    """The kinds of this family, their keywords weighed and their forbidden words drawn by this corpus."""
    frequent = {word: stem(word) for word in corpus.frequent()}
    return (
        AttributeKind(
            id="keyword_include",
            family="keywords",
            priority="content",
            keyword=True,
            wording=Wording("Include {w}.", "Include all of these: {words}.", w=TEXT, words=TEXTS),
            derived=lambda stats, draw: [
                {"w": candidate.keyword} for candidate in _best(stats, corpus) if candidate.count == 1
            ],
            checked=_check_include,
        ),
        AttributeKind(
            id="keyword_count",
            family="keywords",
            priority="content",
            keyword=True,
            negative=lambda params: params["rel"] == "<=" or (params["rel"] == "=" and params["k"] == 0),
            wording=Wording("Use {w} {rel} {k}.", w=TEXT, rel=RELATION, k=whole(0, "time", "times")),
            derived=lambda stats, draw: [
                {"w": each.keyword, "rel": "=" if each.count <= EXACT else ">=", "k": each.count}
                for each in _best(stats, corpus)
                if each.count > 1
            ],
            checked=_check_count,
        ),
        AttributeKind(
            id="keyword_exclude",
            family="keywords",
            priority="content",
            negative=lambda params: True,
            wording=Wording("Do not use any of these: {words}.", words=TEXTS),
            derived=lambda stats, draw: _excluded(stats, draw, frequent),
            checked=_check_exclude,
        ),
        AttributeKind(
            id="keyword_order",
            family="keywords",
            priority="content",
            keyword=True,
            wording=Wording("Mention these for the first time in this order: {words}.", words=TEXTS),
            derived=lambda stats, draw: _ordered(stats, draw, corpus),
            checked=_check_order,
        ),
        AttributeKind(
            id="number_include",
            family="keywords",
            priority="content",
            keyword=True,
            wording=Wording("Include the number {n}.", n=whole()),
            derived=_numbers,
            checked=_check_number,
        ),
        AttributeKind(
            id="sentence_contains",
            family="keywords",
            priority="position",
            keyword=True,
            wording=Wording("Let sentence {i} contain {w}.", i=whole(1), w=TEXT),
            derived=lambda stats, draw: _in_sentences(stats, draw, corpus),
            checked=_check_in_sentence,
        ),
        AttributeKind(
            id="key_sentences",
            family="keywords",
            priority="content",
            keyword=True,
            wording=Wording("Include at least {k} of these sentences: {sentences}.", k=whole(1), sentences=TEXTS),
            checked=_check_sentences_shown,
        ),
    )
