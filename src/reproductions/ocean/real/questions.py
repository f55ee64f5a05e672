"""Questions about capitals, countries, continents and currencies, with true chains said as a person would."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from armillary.data.relations.facts import CAPITAL, CONTINENT, COUNTRY, CURRENCY
from armillary.graphs import KnowledgeGraph
from armillary.graphs.columns import Triple
from armillary.methods.ocean.policy.answers import right_answers
from armillary.methods.ocean.policy.verbalising import VerbalisedPath, filled

INSTRUCTION = "Answer in one or two short sentences, step by step."
"""To the model, in place of its own long one."""

SENTENCES = {
    CAPITAL: "The capital of {head} is {tail}.",
    COUNTRY: "{head} is a city in {tail}.",
    CONTINENT: "{head} is in {tail}.",
    CURRENCY: "The currency of {head} is the {tail}.",
}

ASKED = {
    (CAPITAL,): "What is the capital of {0}?",
    (CONTINENT,): "Which continent is {0} in?",
    (COUNTRY,): "Which country is the city of {0} in?",
    (COUNTRY, CONTINENT): "Which continent is the city of {0} in?",
    (COUNTRY, CURRENCY): "Which currency is used in the country of the city of {0}?",
}
"""By the relations of a path, with its first entity; one or two hops."""


@dataclass(frozen=True)
class RealQuestion:
    """What is asked, and a true path to an answer."""

    text: str
    facts: tuple[Triple, ...]
    answers: tuple[str, ...]

    def path(self, prompt: str) -> VerbalisedPath:
        """The true chain behind a prompt, each step but the first with the blank before it."""
        steps, spans = [], []
        for place, (head, relation, tail) in enumerate(self.facts):
            step, own = filled((" " if place else "") + SENTENCES[relation], head, tail)
            steps.append(step)
            spans.append(own)
        return VerbalisedPath(
            facts=self.facts, questions=(prompt,), steps=tuple(steps), entity_spans=tuple(spans), answers=self.answers
        )


@dataclass(frozen=True)
class LoggedAnswer:
    """What the given model answered to a training question."""

    question: RealQuestion
    prompt: str
    text: str
    right: bool

    def path(self) -> VerbalisedPath:
        """The answer in the place of the true chain, to be learned as it is."""
        return VerbalisedPath(
            facts=self.question.facts, questions=(self.prompt,), steps=(self.text,), entity_spans=((),),
            answers=self.question.answers,
        )  # fmt: skip


def drawn_questions(graph: KnowledgeGraph, seed: int, train: int, held_out: int) -> tuple[list[RealQuestion], ...]:
    """Training and held-out questions, of other countries each; those of a kind are as many as of any other."""
    draw = np.random.default_rng([seed, 70])
    countries = sorted({head for head, relation, _ in graph if relation == CAPITAL})
    order = [countries[index] for index in draw.permutation(len(countries))]
    cut = round(len(order) * train / (train + held_out))
    return tuple(_drawn(graph, part, count, draw) for part, count in ((order[:cut], train), (order[cut:], held_out)))


def _drawn(
    graph: KnowledgeGraph, countries: Sequence[str], count: int, draw: np.random.Generator
) -> list[RealQuestion]:
    by_kind: list[list[RealQuestion]] = []
    for relations, text in ASKED.items():
        made = []
        for country in countries:
            head = country if relations[0] != COUNTRY else graph.tails(country, CAPITAL)[0]
            facts: list[Triple] = []
            here = head
            for relation in relations:
                tails = graph.tails(here, relation)
                if not tails:
                    break
                facts.append((here, relation, tails[0]))
                here = tails[0]
            if len(facts) == len(relations):
                made.append(RealQuestion(text.format(head), tuple(facts), right_answers(graph, facts)))
        by_kind.append([made[index] for index in draw.permutation(len(made))])
    turns = [kind[turn] for turn in range(max(map(len, by_kind))) for kind in by_kind if turn < len(kind)]
    return turns[:count]
