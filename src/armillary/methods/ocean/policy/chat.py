"""A chat model as verbaliser, writer of questions and reader; what it writes otherwise than asked is left out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from armillary.chat.chat_model import ChatModel, ChatSettings, user
from armillary.graphs.columns import Triple
from armillary.graphs.triples import KnowledgeGraph
from armillary.methods.ocean.policy.answers import is_right, right_answers
from armillary.methods.ocean.policy.verbalising import VerbalisedPath

SAY = (
    "Write one short English sentence for each of these facts, in the same order, one sentence a line and nothing "
    "else. Write every name exactly as it stands here.\n\n{facts}"
)
ASK = (
    "Here is a chain of facts:\n\n{facts}\n\nWrite {count} different questions that start from {head} and whose "
    "answer is {tail}. Mention {head} in each and never {tail}. One question a line and nothing else."
)
READ = "{chain}\n\nBy this text alone: {question} Answer with the name only."
"""Words of the three requests (ours)."""


@dataclass(frozen=True, kw_only=True)
class ChatVerbalised:
    """What a chat model made of paths."""

    paths: list[VerbalisedPath]
    left_out: int
    """Paths whose sentences or questions were not as asked for."""


def verbalise_by_chat(
    graph: KnowledgeGraph,
    paths: Sequence[tuple[Triple, ...]],
    chat: ChatModel,
    *,
    questions: int = 10,
    settings: ChatSettings = ChatSettings(),
) -> ChatVerbalised:
    """Each path as the chat model says it, with its questions.

    A path is left out, and counted, unless there is a sentence for each fact with head and tail in it, and at least
    one question that names the path's beginning and not its end. Errors as the chat model's.
    """
    facts_of = ["\n".join(f"({head}, {relation}, {tail})" for head, relation, tail in path) for path in paths]
    sentences_of = chat.complete_all([user(SAY.format(facts=facts)) for facts in facts_of], settings)
    questions_of = chat.complete_all(
        [
            user(ASK.format(facts=facts, count=questions, head=path[0][0], tail=path[-1][2]))
            for facts, path in zip(facts_of, paths, strict=True)
        ],
        settings,
    )
    made = []
    for path, sentences, written in zip(paths, sentences_of, questions_of, strict=True):
        steps = _lines(sentences.text)
        spans = [_spans(step, fact) for step, fact in zip(steps, path, strict=False)]
        own = [
            line for line in _lines(written.text) if is_right(line, [path[0][0]]) and not is_right(line, [path[-1][2]])
        ][:questions]
        if len(steps) == len(path) and all(spans) and own:
            made.append(
                VerbalisedPath(
                    facts=path,
                    questions=tuple(own),
                    steps=tuple(steps),
                    entity_spans=tuple(places for places in spans if places),
                    answers=right_answers(graph, path),
                )
            )
    return ChatVerbalised(paths=made, left_out=len(paths) - len(made))


@dataclass(frozen=True)
class ChatReader:
    """Answers questions by the chain that it is given; a ``Reader``."""

    chat: ChatModel
    settings: ChatSettings = ChatSettings(max_tokens=32)  # a name, and some words around it

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> list[str]:
        """The answers, in order. Errors as the chat model's."""
        requests = [user(READ.format(chain=chain, question=question)) for question, chain in pairs]
        return [completion.text for completion in self.chat.complete_all(requests, self.settings)]


def _lines(text: str) -> list[str]:
    """Lines with words, without numbers or marks of a list in front."""
    plain = (re.sub(r"^\s*(?:\d+[.)]|[-*•])\s+", "", line).strip() for line in text.splitlines())
    return [line for line in plain if line]


def _spans(step: str, fact: Triple) -> tuple[tuple[int, int], ...]:
    """Where head and tail stand in the sentence as whole words, in order; empty where one does not."""
    spans: list[tuple[int, int]] = []
    for name in sorted((fact[0], fact[2]), key=len, reverse=True):  # the longer one may hold the other
        places = [match.span() for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", step)]
        free = [p for p in places if all(p[1] <= start or end <= p[0] for start, end in spans)]
        if not free:
            return ()
        spans.append(free[0])
    return tuple(sorted(spans))
