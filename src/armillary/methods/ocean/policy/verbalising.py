"""Paths of a graph as questions and chains of sentences, by templates."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from armillary.errors import UsageError
from armillary.graphs.columns import Triple
from armillary.graphs.triples import KnowledgeGraph
from armillary.graphs.walks import random_walks
from armillary.methods.ocean.policy.answers import right_answers

SENTENCES = ("The {relation} of {head} is {tail}.",)
PHRASE = "the {relation} of {head}"
QUESTIONS = (
    "What is {phrase}?", "Tell me {phrase}.", "Do you know {phrase}?", "Name {phrase}.", "I am looking for {phrase}.",
    "Which one is {phrase}?", "Please find {phrase}.", "Can you say what {phrase} is?", "I wonder what {phrase} is.",
    "Give {phrase}.",
)  # fmt: skip
"""Ten, as many as the paper has written for each path."""


@dataclass(frozen=True, kw_only=True)
class Templates:
    """How facts are said and asked for.

    ``sentences`` of a relation have {head} and {tail}, its ``phrase`` has {head}: what the tail is called by its head.
    Relations that are not named are said by their name, ``birthPlace`` as "birth place". UsageError for a template
    without its places.
    """

    sentences: Mapping[str, Sequence[str]] = field(default_factory=lambda: MappingProxyType({}))
    phrases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    questions: Sequence[str] = QUESTIONS

    def __post_init__(self) -> None:
        wanted = [
            *(("{head}", text) for texts in self.sentences.values() for text in texts),
            *(("{tail}", text) for texts in self.sentences.values() for text in texts),
            *(("{head}", text) for text in self.phrases.values()),
            *(("{phrase}", text) for text in self.questions),
        ]
        for place, text in wanted:
            if text.count(place) != 1:
                raise UsageError(f"the template {text!r} must have {place} once.")
        if not self.questions or not all(self.sentences.values()):
            raise UsageError("give at least one question, and at least one sentence for each relation that is named.")

    def sentences_of(self, relation: str) -> Sequence[str]:
        """Templates with {head} and {tail}."""
        own = self.sentences.get(relation)
        return own if own else [text.replace("{relation}", _words(relation)) for text in SENTENCES]

    def phrase(self, head: str, relations: Sequence[str]) -> str:
        """What the end of a path is called by its beginning: "the capital of the country of Louvre"."""
        text = head
        for relation in relations:
            template = self.phrases.get(relation) or PHRASE.replace("{relation}", _words(relation))
            text = template.replace("{head}", text)
        return text


@dataclass(frozen=True, kw_only=True)
class VerbalisedPath:
    """A path as a chain of thought: from its first entity to its last."""

    facts: tuple[Triple, ...]
    questions: tuple[str, ...]
    """Each begins at the first entity and has the last as an answer."""

    steps: tuple[str, ...]
    entity_spans: tuple[tuple[tuple[int, int], ...], ...]
    """Of each step, the characters of head and tail."""

    answers: tuple[str, ...]
    """Every entity that the path's relations lead to from its first one: all are right."""

    def row(self, question: int = 0) -> dict[str, object]:
        """As a row for ``OceanTrainer``."""
        return {
            "prompt": self.questions[question],
            "steps": list(self.steps),
            "entity_spans": [list(spans) for spans in self.entity_spans],
            "answer": self.facts[-1][2],
        }


def sample_paths(
    graph: KnowledgeGraph, count: int, hops: Sequence[int] = (1, 2, 3), *, seed: int = 0, degree_aware: bool = False
) -> list[tuple[Triple, ...]]:
    """``count`` random paths, as many of each number of hops, in an order of the seed's own.

    No path meets an entity twice. Errors as ``random_walks``.
    """
    paths: list[tuple[Triple, ...]] = []
    for index, length in enumerate(hops):
        share = count // len(hops) + (index < count % len(hops))
        if share:
            paths += random_walks(graph, share, length, seed + index, degree_aware=degree_aware)
    order = np.random.default_rng(seed).permutation(len(paths))
    return [paths[place] for place in order]


def verbalise(
    graph: KnowledgeGraph,
    paths: Sequence[tuple[Triple, ...]],
    templates: Templates = Templates(),
    *,
    questions: int = 10,
    seed: int = 0,
) -> list[VerbalisedPath]:
    """Each path with sentences and up to ``questions`` questions drawn from the templates by the seed."""
    draw = np.random.default_rng(seed)
    made = []
    for facts in paths:
        steps, spans = [], []
        for head, relation, tail in facts:
            choices = templates.sentences_of(relation)
            step, places = filled(choices[int(draw.integers(len(choices)))], head, tail)
            steps.append(step)
            spans.append(places)
        phrase = templates.phrase(facts[0][0], [relation for _, relation, _ in facts])
        forms = draw.permutation(len(templates.questions))[:questions]
        made.append(
            VerbalisedPath(
                facts=facts,
                questions=tuple(templates.questions[form].replace("{phrase}", phrase) for form in forms),
                steps=tuple(steps),
                entity_spans=tuple(spans),
                answers=right_answers(graph, facts),
            )
        )
    return made


def filled(template: str, head: str, tail: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The sentence, and where head and tail stand in it, in order."""
    text, spans = "", []
    for part in re.split(r"(\{head\}|\{tail\})", template):
        word = {"{head}": head, "{tail}": tail}.get(part)
        if word is not None:
            spans.append((len(text), len(text) + len(word)))
        text += part if word is None else word
    return text, tuple(spans)


def _words(relation: str) -> str:
    """``birthPlace`` and ``birth_place`` as "birth place"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", relation).replace("_", " ").replace("-", " ").strip().lower()
