"""Paths as text, their worth to a reader, and chat models that write otherwise than asked."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from armillary.chat.chat_model import ChatModel, ChatSettings, Completion, Message, TokenCount
from armillary.errors import UsageError
from armillary.graphs.triples import KnowledgeGraph
from armillary.methods.ocean.policy import (
    ChatReader,
    Templates,
    consistency,
    is_right,
    right_answers,
    sample_paths,
    verbalise,
    verbalise_by_chat,
)

FACTS = [
    ("Louvre", "locatedIn", "Paris"), ("Paris", "capital_of", "France"), ("France", "language", "French"),
    ("Lyon", "capital_of", "France"), ("France", "borders", "Spain"), ("France", "borders", "Italy"),
    ("Prado", "locatedIn", "Madrid"), ("Madrid", "capital_of", "Spain"), ("Spain", "language", "Spanish"),
    ("Spain", "borders", "France"), ("Italy", "language", "Italian"), ("Spain", "borders", "Spain"),
]  # fmt: skip
GRAPH = KnowledgeGraph.of(FACTS)


class Said(ChatModel):
    """Answers by a function of the request."""

    name = "said"
    tokens = TokenCount()

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def complete_all(
        self, conversations: Sequence[Sequence[Message]], settings: ChatSettings = ChatSettings()
    ) -> list[Completion]:
        texts = [self.answer(turns[-1]["content"]) for turns in conversations]  # type: ignore[operator]
        return [Completion(text=text, prompt_tokens=0, completion_tokens=0) for text in texts]


def test_sampled_paths_are_paths_without_loops_of_each_length() -> None:
    paths = sample_paths(GRAPH, 31, (1, 2, 3), seed=3)
    assert sorted(map(len, paths)) == [1] * 11 + [2] * 10 + [3] * 10
    for path in paths:
        assert all(GRAPH.has(*fact) for fact in path)
        assert all(first[2] == second[0] for first, second in pairwise(path))
        met = [path[0][0], *(fact[2] for fact in path)]
        assert len(set(met)) == len(met)
    assert paths == sample_paths(GRAPH, 31, (1, 2, 3), seed=3) != sample_paths(GRAPH, 31, (1, 2, 3), seed=4)


def test_a_path_is_said_and_asked_for() -> None:
    path = (FACTS[0], FACTS[1], FACTS[2])
    templates = Templates(
        sentences={"capital_of": ["{tail} is ruled from {head}."]}, phrases={"capital_of": "the state of {head}"}
    )
    (said,) = verbalise(GRAPH, [path], templates, questions=3)
    assert said.steps == (
        "The located in of Louvre is Paris.", "France is ruled from Paris.", "The language of France is French.",
    )  # fmt: skip
    words = [[step[a:b] for a, b in spans] for step, spans in zip(said.steps, said.entity_spans, strict=True)]
    assert words == [["Louvre", "Paris"], ["France", "Paris"], ["France", "French"]]
    phrase = "the language of the state of the located in of Louvre"
    assert len(set(said.questions)) == 3 and all(phrase in question for question in said.questions)
    assert said.row()["answer"] == "French" and said.row()["prompt"] == said.questions[0]


def test_every_tail_is_right() -> None:
    assert right_answers(GRAPH, [FACTS[4]]) == ("Italy", "Spain")
    assert right_answers(GRAPH, [FACTS[4], FACTS[8]]) == ("Italian", "Spanish")
    assert is_right("It is the ÍTALIAN language.", ["Italian"]) and not is_right("Italianate", ["Italian"])


def test_the_reward_is_the_share_of_right_answers() -> None:
    paths = verbalise(GRAPH, [(FACTS[4],), (FACTS[2],)], questions=4)
    rewards = consistency(
        paths, lambda asked: ["Italy", "Spain", "Peru", "France", *(chain for _, chain in asked[4:])]
    )
    assert rewards.tolist() == [0.5, 1.0]
    with pytest.raises(UsageError, match="the reader gave 1 answers to 8 questions"):
        consistency(paths, lambda asked: ["Spain"])


def test_a_chat_model_writes_chains_and_reads_them() -> None:
    paths = [(FACTS[0], FACTS[1]), (FACTS[6], FACTS[7]), (FACTS[3],), (FACTS[2],)]

    def answer(request: str) -> str:
        if request.startswith("Write one"):
            if "Prado" in request:
                return "1. The Prado is in Madrid."  # a sentence too few
            if "Lyon" in request:
                return "It rules France."  # without the head
            if "Louvre" in request:
                return "1. The Louvre is in Paris.\n2) Paris is the capital of France, says Paris."
            return "- People in France speak French."
        if "By this text alone" in request:
            return "France" if "capital" in request else "no idea"
        if "Louvre" in request:
            return "* Whose capital has the Louvre?\nIs it France with the Louvre?\nWhere is it?"
        return "What do they speak in France?"

    result = verbalise_by_chat(GRAPH, paths, Said(answer))
    assert result.left_out == 2 and [path.facts for path in result.paths] == [paths[0], paths[3]]
    first = result.paths[0]
    assert first.questions == ("Whose capital has the Louvre?",)
    assert first.steps == ("The Louvre is in Paris.", "Paris is the capital of France, says Paris.")
    assert first.entity_spans == (((4, 10), (17, 22)), ((0, 5), (24, 30)))
    assert consistency(result.paths, ChatReader(Said(answer))).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"sentences": {"a": ["{head} only"]}}, r"'\{head\} only' must have \{tail\} once"),
        ({"sentences": {"a": ["{tail} {head} {head}"]}}, r"must have \{head\} once"),
        ({"phrases": {"a": "nothing"}}, r"'nothing' must have \{head\} once"),
        ({"questions": ["What?"]}, r"'What\?' must have \{phrase\} once"),
        ({"questions": []}, "at least one question"),
    ],
)
def test_templates_without_their_places_are_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Templates(**given)  # type: ignore[arg-type]
