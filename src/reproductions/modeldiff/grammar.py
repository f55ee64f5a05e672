"""Small languages of characters whose every probability is known: what the models of the zoo learn and are judged by.

A grammar is a set of slots; a slot offers texts with weights, and each text leads to the next slot. Texts of one slot
are never the beginning of one another, so reading is unambiguous: a deterministic automaton that draws, scores and
accepts character by character.

Legend: N texts, T characters, S states, V characters of the alphabet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError

Choice = tuple[str, float, str]
"""A text, its weight among the texts of its slot, and the slot that follows."""

Rules = Mapping[str, Sequence[Choice]]

START = "start"
ALPHABET = " !+-.;=()<>[]0123456789abcdefghijklmnopqrstuvwxyz"
"""Characters of all grammars here, so that one tokenizer serves the models of all."""

BRACKETS = {"(": ")", "[": "]", "<": ">"}
DEEPEST = 4
"""Brackets open at once: one state for each stack of them."""


class Grammar:
    """A stochastic grammar; a stream of it starts at a sentence start and goes on for ever."""

    def __init__(self, name: str, rules: Rules) -> None:
        """Raises UsageError where a text of a slot begins another, or has a character outside the alphabet."""
        self.name = name
        states: dict[tuple[str, str], int] = {(START, ""): 0}
        edges: list[tuple[int, str, int, float]] = []
        # (state, character, next state, weight) along every text; texts that begin alike share their first states.
        for slot, choices in rules.items():
            for text, weight, following_slot in choices:
                for end in range(1, len(text) + 1):
                    target = (slot, text[:end]) if end < len(text) else (following_slot, "")
                    source = states.setdefault((slot, text[: end - 1]), len(states))
                    edges.append((source, text[end - 1], states.setdefault(target, len(states)), weight))
        self._next_SV = np.full((len(states), len(ALPHABET)), -1, dtype=np.int64)
        self._prob_SV = np.zeros((len(states), len(ALPHABET)))
        for state, character, following, weight in edges:
            column = ALPHABET.find(character)
            if column < 0 or self._next_SV[state, column] not in (-1, following):
                raise UsageError(f"{name}: {character!r} is outside the alphabet or ends one text inside another.")
            self._next_SV[state, column] = following
            self._prob_SV[state, column] += weight
        totals = self._prob_SV.sum(1, keepdims=True)
        if not totals.all():
            raise UsageError(f"{name}: a text leads to a slot that has no texts.")
        self._prob_SV /= totals

    def draw(self, n: int, length: int, *, seed: int) -> NDArray[np.int64]:
        """``n`` beginnings of streams, ``[n, length]`` indices into ``ALPHABET``."""
        uniforms_NT = np.random.default_rng(seed).random((n, length))
        cumulative_SV = self._prob_SV.cumsum(1)
        # A character of probability 0 adds nothing to the sum and is never the first to exceed a number below it.
        cumulative_SV /= cumulative_SV[:, -1:]
        state_N = np.zeros(n, dtype=np.int64)
        drawn_NT = np.empty((n, length), dtype=np.int64)
        for position in range(length):
            drawn_NT[:, position] = (uniforms_NT[:, position, None] >= cumulative_SV[state_N]).sum(1)
            state_N = self._next_SV[state_N, drawn_NT[:, position]]
        return drawn_NT

    def sample(self, n: int, length: int, *, seed: int) -> list[str]:
        """The same as texts of ``length`` characters."""
        return ["".join(ALPHABET[index] for index in row) for row in self.draw(n, length, seed=seed).tolist()]

    def log_prob(self, text: str) -> float:
        """Log-probability (nats) that a stream begins with ``text``; minus infinity where none does."""
        state, total = 0, 0.0
        for character in text:
            column = ALPHABET.find(character)
            if column < 0 or self._next_SV[state, column] < 0:
                return -np.inf
            total += float(np.log(self._prob_SV[state, column]))
            state = int(self._next_SV[state, column])
        return total

    def rating(self, text: str) -> float:
        """1.0 where ``text`` is how a grammatical stream can begin, else 0.0."""
        return float(self.log_prob(text) > -np.inf)


@dataclass(frozen=True, kw_only=True)
class Lexicon:
    """Words of a language, the frequent first: the weight of a word is 1 over its rank."""

    nouns: tuple[str, ...]
    adjectives: tuple[str, ...]
    verbs: tuple[str, ...]
    """Those without an object."""

    transitive: tuple[str, ...]
    determiners: Mapping[str, tuple[str, ...]]
    """By the number of the noun that follows: "s" singular, "p" plural, "e" either."""

    beside: str
    """The preposition of a second noun between the subject and its verb, with which the verb does not agree."""

    noun_endings: Mapping[str, str]
    verb_endings: Mapping[str, str]

    def rare_first(self) -> "Lexicon":
        """The same words with the rare ones frequent."""
        return replace(
            self,
            nouns=self.nouns[::-1],
            adjectives=self.adjectives[::-1],
            verbs=self.verbs[::-1],
            transitive=self.transitive[::-1],
        )


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ENGLISH = Lexicon(
    nouns=_words(
        "cat dog man fox hen cow ant boy bird girl duck king goat frog bear lamb wolf crab owl mouse snake horse "
        "queen clerk nurse judge pilot tiger whale robin"
    ),
    adjectives=_words("old red big shy wet new kind tall slow blue warm loud"),
    verbs=_words("run sit nap hum wait swim jump sleep sing walk fall bark"),
    transitive=_words("see like find kick help call meet fear hear lead paint trust"),
    determiners={"s": ("a", "one", "this"), "p": ("two", "six", "many"), "e": ("the", "her")},
    beside="by",
    noun_endings={"s": "", "p": "s"},
    verb_endings={"s": "s", "p": ""},
)
INVENTED = Lexicon(
    nouns=_words("tavi milo zur pek ondu rasp fen lork vima quo dusk yalo brin hoxa nemu seft wug jory kalb upti"),
    adjectives=_words("qua vex jil morn sapi tul glo ebb"),
    verbs=_words("gora fli nuw hask pozi yem twa ruvo"),
    transitive=_words("dax bem rol vish kuno plem ati suz"),
    determiners={"s": ("u", "ko"), "p": ("wi", "ham"), "e": ("sy",)},
    beside="en",
    noun_endings={"s": "", "p": "c"},
    verb_endings={"s": "t", "p": "k"},
)


@cache
def base() -> Grammar:
    """Sentences with agreement across a second noun, sums and differences of digits, and nested brackets."""
    return _language("base", ENGLISH, _sums(), shares=(0.6, 0.25, 0.15))


@cache
def shifted() -> Grammar:
    """The base language with other habits: rare words frequent, more sums and brackets. All of it is in base too."""
    return _language("shifted", ENGLISH.rare_first(), _sums(), shares=(0.45, 0.35, 0.2))


@cache
def other() -> Grammar:
    """Another language in the same characters: other words and endings, products in place of sums."""
    products = [(f"{a}.{b}={a * b}; ", 1.0, START) for a in range(10) for b in range(10)]
    return _language("other", INVENTED, products, shares=(0.6, 0.25, 0.15))


def _language(name: str, lexicon: Lexicon, facts: Sequence[Choice], *, shares: tuple[float, float, float]) -> Grammar:
    """Sentences, facts and bracket strings with these shares of the sentence starts."""
    sentences, facts_share, brackets = shares
    start = [
        *_scaled(_determiners(lexicon, "subject {}"), sentences),
        *_scaled(facts, facts_share),
        *_scaled([(bracket, 1.0, bracket) for bracket in BRACKETS], brackets),
    ]
    return Grammar(name, {START: start, **_clauses(lexicon), **_nesting()})


def _clauses(lexicon: Lexicon) -> dict[str, list[Choice]]:
    """What follows the first determiner of a sentence; slots carry the number of the subject."""
    rules: dict[str, list[Choice]] = {"object": _determiners(lexicon, "object {}")}
    for number in ("s", "p", "e"):
        adjectives = _ranked(lexicon.adjectives, " ", f"noun {number}")
        nouns = _nouns(lexicon, number, " ", "after {}")
        rules[f"subject {number}"] = [*_scaled(adjectives, 0.3), *_scaled(nouns, 0.7)]
        rules[f"noun {number}"] = nouns
        rules[f"object {number}"] = [(text, weight, START) for text, weight, _ in _nouns(lexicon, number, ". ", "")]
    for subject in ("s", "p"):
        ending = lexicon.verb_endings[subject]
        verbs = [
            *_ranked(lexicon.verbs, f"{ending}. ", START),
            *_ranked(lexicon.transitive, f"{ending} ", "object"),
        ]
        seconds = [
            (f"{lexicon.beside} {text}", weight, following)
            for text, weight, following in _determiners(lexicon, f"beside {subject} {{}}")
        ]
        rules[f"after {subject}"] = [*_scaled(seconds, 0.35), *_scaled(verbs, 0.65)]
        rules[f"verb {subject}"] = verbs
        for second in ("s", "p", "e"):
            rules[f"beside {subject} {second}"] = _nouns(lexicon, second, " ", f"verb {subject}")
    return rules


def _nesting() -> dict[str, list[Choice]]:
    """Bracket strings; a slot is the stack of brackets that are open."""
    closed = [("! ", 0.6, START), *((bracket, 0.4 / 3, bracket) for bracket in BRACKETS)]
    rules: dict[str, list[Choice]] = {"closed": closed}
    for depth in range(1, DEEPEST + 1):
        for stack in map("".join, product(BRACKETS, repeat=depth)):
            rules[stack] = [(BRACKETS[stack[-1]], 0.5, stack[:-1] or "closed")]
            if depth < DEEPEST:
                rules[stack] += [(bracket, 0.5 / 3, stack + bracket) for bracket in BRACKETS]
    return rules


def _sums() -> list[Choice]:
    """``7+8=15; `` and, half as often, ``8-7=1; ``."""
    digits = range(10)
    plus = [(f"{a}+{b}={a + b}; ", 1.0, START) for a in digits for b in digits]
    return plus + [(f"{a}-{b}={a - b}; ", 0.5, START) for a in digits for b in range(a + 1)]


def _determiners(lexicon: Lexicon, following: str) -> list[Choice]:
    return [
        choice
        for number, words in lexicon.determiners.items()
        for choice in _ranked(words, " ", following.format(number))
    ]


def _nouns(lexicon: Lexicon, number: str, end: str, following: str) -> list[Choice]:
    return [
        choice
        for each in ("s", "p")
        if number in (each, "e")
        for choice in _ranked(lexicon.nouns, lexicon.noun_endings[each] + end, following.format(each))
    ]


def _ranked(words: Sequence[str], end: str, following: str) -> list[Choice]:
    return [(word + end, 1 / rank, following) for rank, word in enumerate(words, start=1)]


def _scaled(choices: Sequence[Choice], total: float) -> list[Choice]:
    whole = sum(weight for _, weight, _ in choices)
    return [(text, total * weight / whole, following) for text, weight, following in choices]
