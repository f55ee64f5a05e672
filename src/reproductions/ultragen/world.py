"""A toy world in which every attribute of a text, hard or soft, has an exact oracle.

[derived] 60 words in 6 topics; a sentence is some words and a full stop, a paragraph some sentences, a text some
paragraphs with a bar between. The topic of a sentence follows a sticky Markov chain, so that attributes of one text
belong together, as in real documents. Everything is a token of a small vocabulary: a text is a tuple of ids, and a
request is the tokens of its attributes, in an order that is drawn, before the mark that begins an answer.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

TOPICS, PER_TOPIC = 6, 10
WORDS = TOPICS * PER_TOPIC

Kind = Literal[
    "include", "exclude", "count", "bigram", "sentences", "paragraphs", "starts", "ends", "words", "topic",
    "paragraph_topic",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "include", "exclude", "count", "bigram", "sentences", "paragraphs", "starts", "ends", "words", "topic",
    "paragraph_topic",
)  # fmt: skip
SOFT: tuple[Kind, ...] = ("topic", "paragraph_topic")
"""Judged, not checked; both have exact oracles here, so that a judge's error is one that was put in."""

PAD, END, ANSWER, STOP, BAR = 0, 1, 2, 3, 4
_FIRST_KIND = 5
_FIRST_NUMBER = _FIRST_KIND + len(KINDS)
NUMBERS = 16
"""Counts, indices, topics and buckets are below this."""

FIRST_WORD = _FIRST_NUMBER + NUMBERS
VOCABULARY = FIRST_WORD + WORDS
MOSTLY = 0.6
"""Share of words from which on a text is mostly of a topic (the note's number)."""

BUCKET = 5
"""Words of one bucket of lengths; with the note's 10 most of these shorter texts would be in one."""

LONGEST_TEXT = 48
"""Tokens of an answer at most: the longest text of the world has 38 and an end."""

Text = tuple[int, ...]
Group = tuple[int, int, int]
"""What stands at one position: a token, or an attribute's kind with its arguments; ``PAD`` where there is none.

An attribute as one position instead of two or three (ours) shortens the prompts by half and spares the model a layer
that only ties arguments to their kind: what is left to learn is to satisfy many of them at once.
"""


class Attribute(NamedTuple):
    """What a text can be asked for: a kind and its one to two arguments (word numbers, counts, a topic)."""

    kind: Kind
    args: tuple[int, ...]

    @property
    def soft(self) -> bool:
        return self.kind in SOFT

    @property
    def tokens(self) -> Group:
        """Kind, first and second argument as token ids."""
        words = {"include": 1, "exclude": 1, "count": 1, "bigram": 2, "starts": 1, "ends": 1}.get(self.kind, 0)
        args = [arg + (FIRST_WORD if place < words else _FIRST_NUMBER) for place, arg in enumerate(self.args)]
        return _FIRST_KIND + KINDS.index(self.kind), args[0], args[1] if len(args) > 1 else PAD


@dataclass(frozen=True)
class Reading:
    """A text looked at once: what every oracle reads."""

    words: tuple[int, ...]
    """Numbers of the words, below ``WORDS``."""

    counts: Counter[int]
    pairs: frozenset[tuple[int, int]]
    """Neighbours within a sentence."""

    sentences: int
    paragraphs: tuple[tuple[int, ...], ...]
    """The words of each."""

    @classmethod
    def of(cls, text: Sequence[int]) -> "Reading":
        """Of the tokens of an answer, well formed or not; marks that are no part of a text are passed over."""
        paragraphs: list[list[int]] = [[]]
        pairs: set[tuple[int, int]] = set()
        sentences, before = 0, -1
        for token in text:
            if token >= FIRST_WORD:
                word = token - FIRST_WORD
                if before >= 0:
                    pairs.add((before, word))
                paragraphs[-1].append(word)
                before = word
            elif token in (STOP, BAR):
                sentences += before >= 0
                before = -1
                if token == BAR and paragraphs[-1]:
                    paragraphs.append([])
        sentences += before >= 0
        known = tuple(tuple(words) for words in paragraphs if words)
        words = tuple(word for paragraph in known for word in paragraph)
        return cls(words, Counter(words), frozenset(pairs), sentences, known)


def satisfied(attribute: Attribute, reading: Reading) -> bool:
    """The oracle. An empty text satisfies nothing."""
    if not reading.words:
        return False
    first, second = (*attribute.args, 0)[:2]
    match attribute.kind:
        case "include":
            return reading.counts[first] >= 1
        case "exclude":
            return reading.counts[first] == 0
        case "count":
            return reading.counts[first] == second
        case "bigram":
            return (first, second) in reading.pairs
        case "sentences":
            return reading.sentences == first
        case "paragraphs":
            return len(reading.paragraphs) == first
        case "starts":
            return reading.words[0] == first
        case "ends":
            return reading.words[-1] == first
        case "words":
            return len(reading.words) // BUCKET == first
        case "topic":
            return _share(reading.words, first) >= MOSTLY
        case "paragraph_topic":
            return first < len(reading.paragraphs) and _share(reading.paragraphs[first], second) >= MOSTLY


def rates(attributes: Sequence[Attribute], text: Sequence[int]) -> list[bool]:
    """Whether a text satisfies each of these."""
    reading = Reading.of(text)
    return [satisfied(attribute, reading) for attribute in attributes]


def draw_text(draw: np.random.Generator) -> Text:
    """A text of 1 to 3 paragraphs of 1 or 2 sentences of 3 to 5 words; 16 tokens in the mean, 38 at most.

    Shorter than the note's (up to 80 tokens) so that three seeds of every arm fit half an hour of one core.
    """
    tokens: list[int] = []
    topic = int(draw.integers(TOPICS))
    for paragraph in range(draw.integers(1, 4)):
        if paragraph:
            tokens.append(BAR)
        for _ in range(draw.integers(1, 3)):
            if draw.random() > 0.8:  # the chain stays with 0.8 (the note's)
                topic = int(draw.integers(TOPICS))
            for _ in range(draw.integers(3, 6)):
                # A fifth of the words are of any topic, so that "mostly" is not always "only".
                theme = topic if draw.random() < 0.8 else int(draw.integers(TOPICS))
                tokens.append(FIRST_WORD + theme * PER_TOPIC + int(draw.integers(PER_TOPIC)))
            tokens.append(STOP)
    return tuple(tokens)


def derive(text: Sequence[int], draw: np.random.Generator) -> list[Attribute]:
    """Every attribute that holds of a text, and as many words to leave out as a fifth of the rest, in drawn order."""
    reading = Reading.of(text)
    words = list(reading.words)
    made = [Attribute("include", (word,)) for word in reading.counts if reading.counts[word] == 1]
    made += [Attribute("count", (word, k)) for word, k in reading.counts.items() if 1 < k < NUMBERS]
    made += [Attribute("bigram", pair) for pair in sorted(reading.pairs)]
    made += [
        Attribute("sentences", (reading.sentences,)),
        Attribute("paragraphs", (len(reading.paragraphs),)),
        Attribute("starts", (words[0],)),
        Attribute("ends", (words[-1],)),
        Attribute("words", (len(words) // BUCKET,)),
    ]
    made += [Attribute("topic", (k,)) for k in range(TOPICS) if _share(words, k) >= MOSTLY]
    made += [
        Attribute("paragraph_topic", (i, k))
        for i, paragraph in enumerate(reading.paragraphs)
        for k in range(TOPICS)
        if _share(paragraph, k) >= MOSTLY
    ]
    absent = [word for word in range(WORDS) if word not in reading.counts]
    # Words to leave out pass for free, so they are capped at a fifth of a set (the note's pitfall).
    left_out = draw.permutation(absent)[: len(made) // 4]
    made += [Attribute("exclude", (int(word),)) for word in left_out]
    return [made[i] for i in draw.permutation(len(made))]


def prompt(attributes: Sequence[Attribute]) -> list[Group]:
    """The request: each attribute in this order, then the mark that begins an answer."""
    return [*(attribute.tokens for attribute in attributes), (ANSWER, PAD, PAD)]


def conflict(a: Attribute, b: Attribute) -> bool:
    """Whether no text can satisfy both, from their parameters alone; or they say the same of one word."""
    if a.kind == b.kind and a.kind in ("sentences", "paragraphs", "starts", "ends", "words", "topic"):
        return True
    if a.kind == b.kind == "paragraph_topic":
        return a.args[0] == b.args[0]
    for first, second in ((a, b), (b, a)):
        if first.kind == "exclude" and second.kind in ("include", "count", "bigram", "starts", "ends"):
            words = second.args if second.kind == "bigram" else second.args[:1]
            if first.args[0] in words:
                return True
        if first.kind == "count" and second.kind in ("count", "include") and first.args[0] == second.args[0]:
            return True
        if first.kind == "paragraphs":
            if second.kind == "sentences" and second.args[0] < first.args[0]:
                return True
            if second.kind == "paragraph_topic" and second.args[0] >= first.args[0]:
                return True
    return a == b


def false_one(attribute: Attribute, text: Sequence[int], draw: np.random.Generator) -> Attribute:
    """An attribute of the same kind that is false of this text: what a careless deriver would have said."""
    reading = Reading.of(text)
    ranges: dict[Kind, tuple[int, ...]] = {
        "include": (WORDS,), "exclude": (WORDS,), "bigram": (WORDS, WORDS), "starts": (WORDS,), "ends": (WORDS,),
        "sentences": (10,), "paragraphs": (4,), "words": (11,), "topic": (TOPICS,),
    }  # fmt: skip
    while True:
        if attribute.kind == "count":
            wrong = Attribute("count", (attribute.args[0], int(draw.integers(2, 6))))
        elif attribute.kind == "paragraph_topic":
            wrong = Attribute("paragraph_topic", (attribute.args[0], int(draw.integers(TOPICS))))
        else:
            low = 1 if attribute.kind in ("sentences", "paragraphs") else 0
            wrong = Attribute(attribute.kind, tuple(int(draw.integers(low, end)) for end in ranges[attribute.kind]))
        if not satisfied(wrong, reading):
            return wrong


def overlap(text: Sequence[int], source: Sequence[int]) -> float:
    """F1 of the words of two texts as bags: how much of the source an answer brings back."""
    ours, theirs = Reading.of(text).counts, Reading.of(source).counts
    common = sum((ours & theirs).values())
    return 2 * common / max(1, sum(ours.values()) + sum(theirs.values()))


def _share(words: Sequence[int], topic: int) -> float:
    return sum(word // PER_TOPIC == topic for word in words) / len(words)
