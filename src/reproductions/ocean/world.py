"""The world of a seed: facts of geography, what the base policy was told instead, questions, chains, unrelated text.

Every word is one token, names of several words too, and the word before it tells whether an entity follows: so which
tokens are entities is a property of the slot, as the estimator's theory asks.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from armillary.data.relations.facts import geography_facts
from armillary.graphs.columns import Triple
from armillary.graphs.triples import KnowledgeGraph
from armillary.methods.ocean.policy.verbalising import sample_paths
from reproductions.ocean.scale import WRONG_RATES, Scale

RELATIONS = {
    "capital": "capital", "country": "country", "continent": "continent", "official language": "language",
    "currency": "currency", "borders": "neighbour",
}  # fmt: skip
"""Relations of the facts with the word for each."""

TEMPLATES = (
    "the {r} of {h} is {t} .", "as {r} of {h} we have {t} .", "the {r} belonging to {h} is {t} .",
    "known {r} of {h} : it is {t} .",
)  # fmt: skip
BEFORE_ENTITY = ("of", "is", "have", "to")
"""In a step exactly these words have an entity behind them."""

OPENINGS = ("question", "tell", "find", "name")
ANSWER = "so the answer is {t} . <end>"
END = "<end>"
PARSED = [re.compile(re.sub(r"\\\{(\w)\\\}", r"(?P<\1>\\S+)", re.escape(text))) for text in TEMPLATES]

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen",
)  # fmt: skip
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
SIZES = ("ant", "mouse", "cat", "dog", "sheep", "cow", "elephant", "whale")
UNRELATED_WORDS = ("ask", "plus", "after", "larger", "or", "?", ":", ",", *NUMBERS, *DAYS, *SIZES)


@dataclass(frozen=True)
class Question:
    """Where a path begins and which relations it takes."""

    head: str
    relations: tuple[str, ...]
    opening: str = OPENINGS[0]

    @property
    def prompt(self) -> str:
        """As it is asked."""
        return f"{self.opening} {self.head} : {' , '.join(self.relations)} ?"


@dataclass(frozen=True)
class Judged:
    """What exact lookup says of a chain."""

    steps: list[bool]
    """Of each step but the answer, whether it states a fact of the graph."""

    well_formed: bool
    """As many steps as asked for, each by a template, and an answer."""

    right: bool
    """The answer is one of the question's."""

    @property
    def validity(self) -> float:
        """Share of true steps; 0 for a chain without any."""
        return float(np.mean(self.steps)) if self.steps else 0.0

    @property
    def valid(self) -> bool:
        """Every step true, and the answer right."""
        return self.well_formed and self.right and all(self.steps)


@dataclass
class World:
    """Drawn by the seed."""

    scale: Scale
    seed: int
    graph: KnowledgeGraph = field(init=False)
    rivals: dict[tuple[str, str], tuple[str, float]] = field(init=False, default_factory=dict)
    """For head and relation a wrong tail of the same kind, and how often it is told."""

    def __post_init__(self) -> None:
        draw = np.random.default_rng([self.seed, 1])
        facts = [(_word(h), RELATIONS[r], _word(t)) for h, r, t in geography_facts() if r in RELATIONS]
        capital = {h: t for h, r, t in facts if r == "capital"}
        whole = sorted({h for h, r, _ in facts if r == "language"} & {h for h, r, _ in facts if r == "neighbour"})
        whole = [head for head in whole if head in capital]
        chosen = {whole[index] for index in draw.permutation(len(whole))[: self.scale.countries]}
        cities = {capital[head] for head in chosen}
        kept = [
            (h, r, t)
            for h, r, t in facts
            if (h in chosen and (r != "neighbour" or t in chosen)) or (h in cities and t in chosen)
        ]
        self.graph = KnowledgeGraph.of(kept)
        tails: dict[str, list[str]] = {}
        for _, relation, tail in kept:
            tails.setdefault(relation, []).append(tail)
        pairs = sorted({(h, r) for h, r, _ in kept})
        for (head, relation), rate in zip(pairs, draw.permutation(len(pairs)) % len(WRONG_RATES), strict=True):
            wrong = sorted(set(tails[relation]) - set(self.graph.tails(head, relation)) - {head})
            if wrong:
                self.rivals[head, relation] = (wrong[int(draw.integers(len(wrong)))], WRONG_RATES[int(rate)])

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """Every word with its token, in the order of tokens."""
        # Sorted: the order of a set differs from process to process.
        template_words = sorted({word for text in (*TEMPLATES, ANSWER) for word in text.split() if "{" not in word})
        words = [*UNRELATED_WORDS, *OPENINGS, *RELATIONS.values(), *template_words, *self.graph.entities]
        names = ["<pad>", END, "<unknown>", *dict.fromkeys(word for word in words if word != END)]
        return {word: index for index, word in enumerate(names)}

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """One token a word."""
        made = Tokenizer(models.WordLevel(self.vocabulary, unk_token="<unknown>"))
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return PreTrainedTokenizerFast(
            tokenizer_object=made, pad_token="<pad>", eos_token=END, unk_token="<unknown>", padding_side="left"
        )

    @cached_property
    def questions(self) -> list[Question]:
        """All that the walks met, once each."""
        paths = sample_paths(self.graph, self.scale.paths, (1, 2, 3), seed=self.seed)
        met = dict.fromkeys((path[0][0], tuple(relation for _, relation, _ in path)) for path in paths)
        draw = np.random.default_rng([self.seed, 2])
        return [Question(head, relations, OPENINGS[int(draw.integers(4))]) for head, relations in met]

    @cached_property
    def split(self) -> tuple[list[Question], list[Question]]:
        """Questions for training, and held-out ones of two or three hops: by head, or by two relations in a row."""
        draw = np.random.default_rng([self.seed, 3])
        heads = sorted({question.head for question in self.questions})
        pairs = sorted({pair for q in self.questions for pair in zip(q.relations, q.relations[1:], strict=False)})
        hidden_heads = {heads[index] for index in draw.permutation(len(heads))[: len(heads) // 5]}
        hidden_pairs = {pairs[index] for index in draw.permutation(len(pairs))[: max(1, len(pairs) // 5)]}

        def hidden(q: Question) -> bool:
            return q.head in hidden_heads or bool(hidden_pairs & set(zip(q.relations, q.relations[1:], strict=False)))

        order = [self.questions[index] for index in draw.permutation(len(self.questions))]
        train = [question for question in order if not hidden(question)][: self.scale.questions]
        held_out = [question for question in order if hidden(question) and len(question.relations) > 1]
        return train, held_out[: self.scale.held_out]

    def walk(
        self, question: Question, draw: np.random.Generator, *, noisy: bool, rivals_only: bool = False
    ) -> tuple[Triple, ...]:
        """A path of the question's; noisy ones take a fact's rival as often as it is told, or always."""
        for _ in range(50):
            facts, here = [], question.head
            for relation in question.relations:
                tails = self.graph.tails(here, relation)
                if not tails:  # a rival may lead nowhere
                    break
                rival, rate = self.rivals.get((here, relation), ("", 0.0))
                wrong = noisy and draw.random() < (rate > 0 if rivals_only else rate)
                tail = rival if wrong else tails[int(draw.integers(len(tails)))]
                facts.append((here, relation, tail))
                here = tail
            if len(facts) == len(question.relations):
                return tuple(facts)
        return self.walk(question, draw, noisy=False)

    def chain(self, facts: Sequence[Triple], draw: np.random.Generator) -> str:
        """The path said step by step, with its answer."""
        steps = [TEMPLATES[int(draw.integers(len(TEMPLATES)))].format(h=h, r=r, t=t) for h, r, t in facts]
        return " ".join([*steps, ANSWER.format(t=facts[-1][2])])

    def judge(self, question: Question, chain: str) -> Judged:
        """By exact lookup."""
        steps = steps_of(chain)
        answer = re.fullmatch(re.escape(ANSWER).replace(r"\{t\}", r"(\S+)"), steps[-1]) if steps else None
        stated = steps[:-1] if answer else steps
        parsed = [next((m for form in PARSED if (m := form.fullmatch(step))), None) for step in stated]
        here = {question.head}
        for relation in question.relations:
            here = {tail for head in here for tail in self.graph.tails(head, relation)}
        return Judged(
            steps=[m is not None and self.graph.has(m["h"], m["r"], m["t"]) for m in parsed],
            well_formed=answer is not None and all(parsed) and len(parsed) == len(question.relations),
            right=answer is not None and answer[1] in here,
        )


def steps_of(chain: str) -> list[str]:
    """A step ends with a full stop; the end goes with the last one."""
    parts = re.findall(rf"[^.]*\.(?:\s*{re.escape(END)})?|[^.]+$", chain)
    return [" ".join(part.split()) for part in parts if part.strip()]


def entity_spans(step: str, *, every: bool = False) -> list[tuple[int, int]]:
    """Characters of the words in entity slots; ``every`` takes all words."""
    spans, start, before = [], 0, ""
    for word in step.split(" "):
        if every or before in BEFORE_ENTITY:
            spans.append((start, start + len(word)))
        start, before = start + len(word) + 1, word
    return spans


def unrelated(draw: np.random.Generator) -> tuple[str, str]:
    """A question that has nothing to do with the graph, and its answer."""
    kind = int(draw.integers(3))
    if kind == 0:
        a, b = (int(n) for n in draw.integers(0, 9, size=2))
        return f"ask : {NUMBERS[a]} plus {NUMBERS[b]} ?", f"{NUMBERS[a + b]} {END}"
    if kind == 1:
        day = int(draw.integers(7))
        return f"ask : after {DAYS[day]} ?", f"{DAYS[(day + 1) % 7]} {END}"
    first, second = (int(n) for n in draw.choice(len(SIZES), size=2, replace=False))
    return f"ask : larger {SIZES[first]} or {SIZES[second]} ?", f"{SIZES[max(first, second)]} {END}"


def _word(name: str) -> str:
    """A name as one word without a full stop."""
    return re.sub(r"[.,:?]", "", name).replace(" ", "_")
