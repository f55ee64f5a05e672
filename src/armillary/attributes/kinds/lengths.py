"""Lengths: of the text, its sentences and its paragraphs (catalogue 1 to 7)."""

import random
import re
from collections.abc import Iterable

from armillary.attributes.attribute import AttributeKind, Verdict
from armillary.attributes.kinds.verdicts import around, bounded, counted, placed, text_of, whole_of
from armillary.attributes.text_stats import TextStats
from armillary.attributes.wording import NUMBER, TEXT, Params, Wording, whole

_HAS_WORD = re.compile(r"[^\W_]")

# UltraGen's released code sorts words into hundreds and sentences into tens.
WORD_BIN, SENTENCE_BIN = 100, 10
# Our own: paragraphs are a few dozen words long.
PARAGRAPH_BIN = 25
# Up to here the number of sentences is asked for exactly.
EXACT_SENTENCES = 5
# Characters and longest sentences are bounded by the next multiple of these.
CHARACTER_STEP, LONGEST_STEP = 100, 5
# Words by which the mean length of a sentence may differ.
MEAN_SLACK = 2


def _binned(count: int, width: int) -> Params:
    low = count // width * width
    return {"lo": low, "hi": low + width}


def _words(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    count = len(stats.words)
    if count >= WORD_BIN:
        yield _binned(count, WORD_BIN)
    elif count:
        # Of a short text the bin says next to nothing: a tenth to either side.
        yield {"lo": count * 9 // 10, "hi": -(-count * 11 // 10)}


def _check_words(params: Params, stats: TextStats) -> Verdict:
    count = stats.word_count
    return bounded(count, params, lambda: counted(count, "word"))


def _sentences(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    count = len(stats.sentences)
    if count:
        yield {"k": count} if count <= EXACT_SENTENCES else _binned(count, SENTENCE_BIN)


def _check_sentences(params: Params, stats: TextStats) -> Verdict:
    count = len(stats.sentences)
    if "k" in params:
        params = {"lo": params["k"], "hi": params["k"]}
    return bounded(count, params, lambda: counted(count, "sentence"))


def _paragraphs(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    # A row of stars between blank lines is a paragraph by the rule, but none that a writer would count.
    if all(_HAS_WORD.search(stats.text, *pair) for pair in stats.paragraphs):
        yield {"k": len(stats.paragraphs)}


def _check_paragraphs(params: Params, stats: TextStats) -> Verdict:
    if "separator" not in params:
        return placed(len(stats.paragraphs) == params["k"], stats, stats.paragraphs, "paragraph")
    pieces = [piece.strip() for piece in stats.text.split(text_of(params, "separator").strip())]
    if not all(pieces[1:-1]):
        return Verdict(False, "a paragraph between two separators is empty")
    count = sum(map(bool, pieces))
    return Verdict(count == params["k"], lambda: counted(count, "paragraph"))


def _characters(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    yield {"hi": -(-len(stats.text) // CHARACTER_STEP) * CHARACTER_STEP}


def _check_characters(params: Params, stats: TextStats) -> Verdict:
    return bounded(len(stats.text), params, lambda: counted(len(stats.text), "character"))


def _mean(stats: TextStats) -> float:
    return sum(stats.sentence_lengths) / len(stats.sentence_lengths)


def _mean_length(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if sum(stats.sentence_lengths):
        bounds = around(_mean(stats), MEAN_SLACK, 1)
        yield {"lo": max(0.0, bounds["lo"]), "hi": bounds["hi"]}


def _check_mean_length(params: Params, stats: TextStats) -> Verdict:
    if not stats.sentence_lengths:
        return Verdict(False, "no sentence")
    return bounded(_mean(stats), params, lambda: f"{_mean(stats):.2f} words a sentence")


def _longest(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if sum(stats.sentence_lengths):
        yield {"k": -(-max(stats.sentence_lengths) // LONGEST_STEP) * LONGEST_STEP}


def _check_longest(params: Params, stats: TextStats) -> Verdict:
    if not stats.sentence_lengths:
        return Verdict(False, "no sentence")
    most = whole_of(params, "k")
    longer = [pair for pair, length in zip(stats.sentences, stats.sentence_lengths, strict=True) if length > most]
    return Verdict(
        not longer,
        lambda: f"longest sentence: {counted(max(stats.sentence_lengths), 'word')}",
        lambda: stats.spans(longer),
    )


def _paragraph_words(stats: TextStats, draw: random.Random) -> Iterable[Params]:
    if stats.words:
        number = draw.randrange(len(stats.paragraphs))
        yield {"i": number + 1, **_binned(len(stats.words_within(stats.paragraphs[number])), PARAGRAPH_BIN)}


def _check_paragraph_words(params: Params, stats: TextStats) -> Verdict:
    number = whole_of(params, "i")
    if number > len(stats.paragraphs):
        return Verdict(False, f"only {counted(len(stats.paragraphs), 'paragraph')}")
    pair = stats.paragraphs[number - 1]
    count = len(stats.words_within(pair))
    met = whole_of(params, "lo") <= count <= whole_of(params, "hi")
    return Verdict(met, lambda: f"{counted(count, 'word')} in paragraph {number}", lambda: stats.spans([pair]))


KINDS = (
    AttributeKind(
        id="word_count",
        family="lengths",
        priority="structure",
        wording=Wording(
            "Write between {lo} and {hi} words.", "Write at least {lo} words.", "Write at most {hi} words.",
            lo=whole(), hi=whole(),
        ),
        derived=_words,
        checked=_check_words,
        needs_words=True,
    ),
    AttributeKind(
        id="sentence_count",
        family="lengths",
        priority="structure",
        wording=Wording(
            "Write exactly {k}.", "Write between {lo} and {hi} sentences.", "Write at least {lo} sentences.",
            "Write at most {hi} sentences.",
            k=whole(0, "sentence", "sentences"), lo=whole(), hi=whole(),
        ),
        derived=_sentences,
        checked=_check_sentences,
    ),
    AttributeKind(
        id="paragraph_count",
        family="lengths",
        priority="structure",
        wording=Wording(
            "Write exactly {k}, with a blank line between paragraphs.",
            "Write exactly {k}, with the separator {separator} between paragraphs.",
            k=whole(1, "paragraph", "paragraphs"), separator=TEXT,
        ),
        derived=_paragraphs,
        checked=_check_paragraphs,
    ),
    AttributeKind(
        id="char_count",
        family="lengths",
        priority="structure",
        wording=Wording(
            "Keep the text to at most {hi} characters.", "Write at least {lo} characters.",
            "Write between {lo} and {hi} characters.",
            lo=whole(), hi=whole(),
        ),
        derived=_characters,
        checked=_check_characters,
    ),
    AttributeKind(
        id="sentence_length_avg",
        family="lengths",
        priority="structure",
        wording=Wording("Let sentences have between {lo} and {hi} words on average.", lo=NUMBER, hi=NUMBER),
        derived=_mean_length,
        checked=_check_mean_length,
        needs_words=True,
    ),
    AttributeKind(
        id="sentence_length_max",
        family="lengths",
        priority="structure",
        wording=Wording("Let no sentence have more than {k}.", k=whole(1, "word", "words")),
        derived=_longest,
        checked=_check_longest,
        needs_words=True,
    ),
    AttributeKind(
        id="paragraph_words",
        family="lengths",
        priority="structure",
        wording=Wording(
            "Let paragraph {i} have between {lo} and {hi} words.", i=whole(1), lo=whole(), hi=whole(),
        ),
        derived=_paragraph_words,
        checked=_check_paragraph_words,
        needs_words=True,
    ),
)  # fmt: skip
