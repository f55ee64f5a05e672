"""Who says whether a text has its soft attributes: a chat model, or an oracle that knows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, Protocol, get_args

from armillary.attributes.attribute import Attribute
from armillary.chat.chat_model import ChatModel, ChatSettings, user
from armillary.chat.opening import open_chat
from armillary.errors import UsageError
from armillary.methods.ultragen.soft import prompts
from armillary.methods.ultragen.soft.replies import read_verdicts

Compat = Literal["", "all_false"]

TRIES = 3
"""Replies that are asked for until every requirement has a verdict (released: up to three)."""

Question = tuple[str, Sequence[Attribute]]
"""A response and what to judge of it."""


class SoftJudge(Protocol):
    """Judges many responses together; called with one, it is a judge as ``AttributeSet.check`` takes it."""

    def __call__(self, response: str, attributes: Sequence[Attribute]) -> Sequence[bool | None]: ...

    def judge(self, questions: Sequence[Question]) -> list[list[bool | None]]:
        """For each response a verdict an attribute; None where the judge gave none that can be read."""
        ...


@dataclass(frozen=True, kw_only=True)
class ChatJudge:
    """All attributes of a response in one numbered question; what is missing in the reply is asked for again.

    A requirement that has no verdict after ``TRIES`` replies is asked about by itself, and then stays without one: it
    counts as unparsed, not as failed. ``compat="all_false"`` does as the released benchmark does: the whole reply must
    be right, and after ``TRIES`` replies that are not, all of it counts as failed.
    """

    model: ChatModel
    strict: bool = True
    """Partly met is not met (released); False accepts what is met in the main."""

    compat: Compat = ""
    settings: ChatSettings = ChatSettings(max_tokens=512, temperature=0.1)
    """Temperature as released. The seed goes up by one for each further try."""

    def __post_init__(self) -> None:
        if self.compat not in get_args(Compat):
            raise UsageError(f"compat must be empty or all_false; got {self.compat!r}.")

    def __call__(self, response: str, attributes: Sequence[Attribute]) -> list[bool | None]:
        """The verdicts on one response."""
        return self.judge([(response, attributes)])[0]

    def judge(self, questions: Sequence[Question]) -> list[list[bool | None]]:
        """The verdicts on many, asked for together. Raises what the model raises."""
        verdicts: list[list[bool | None]] = [[None] * len(attributes) for _, attributes in questions]
        for attempt in range(TRIES):
            open_ones = self._open(verdicts)
            if not open_ones:
                break
            for (index, items), reply in zip(open_ones, self._ask(questions, open_ones, attempt), strict=True):
                given = read_verdicts(reply, len(items))
                if self.compat == "all_false" and None in given:
                    continue
                for item, verdict in zip(items, given, strict=True):
                    verdicts[index][item] = verdict
        if self.compat == "all_false":
            return [[bool(verdict) for verdict in row] for row in verdicts]
        alone = [(index, [item]) for index, items in self._open(verdicts) for item in items]
        for (index, items), reply in zip(alone, self._ask(questions, alone, TRIES), strict=True):
            verdicts[index][items[0]] = read_verdicts(reply, 1)[0]
        return verdicts

    def _open(self, verdicts: Sequence[Sequence[bool | None]]) -> list[tuple[int, list[int]]]:
        """Responses with the attributes of theirs that have no verdict yet."""
        rows = [
            (index, [item for item, verdict in enumerate(row) if verdict is None])
            for index, row in enumerate(verdicts)
        ]
        return [(index, items) for index, items in rows if items]

    def _ask(self, questions: Sequence[Question], wanted: Sequence[tuple[int, list[int]]], attempt: int) -> list[str]:
        system = prompts.JUDGE.format(measure=prompts.STRICT if self.strict else prompts.LOOSE)
        conversations = []
        for index, items in wanted:
            response, attributes = questions[index]
            sentences = prompts.numbered([attributes[item].text for item in items])
            conversations.append(user(f"{prompts.fenced(response)}\n\nRequirements:\n{sentences}", system))
        settings = replace(self.settings, seed=self.settings.seed + attempt)
        return [reply.text for reply in self.model.complete_all(conversations, settings)] if conversations else []


@dataclass(frozen=True, kw_only=True)
class OracleJudge:
    """Knows the truth: ``rule`` says of a response and an attribute whether it has it. For worlds made by hand."""

    rule: Callable[[str, Attribute], bool]

    def __call__(self, response: str, attributes: Sequence[Attribute]) -> list[bool | None]:
        """What is true of one response."""
        return [self.rule(response, attribute) for attribute in attributes]

    def judge(self, questions: Sequence[Question]) -> list[list[bool | None]]:
        """What is true of many."""
        return [self(response, attributes) for response, attributes in questions]


@dataclass(frozen=True, kw_only=True)
class JudgeChoice:
    """Which chat model judges, in words that a command line and another process can carry."""

    model: str | None = None
    """Name of the endpoint's model, or of a local one; None for no judge."""

    url: str | None = None
    """Address of the endpoint; None for a local model."""

    strict: bool = True
    compat: Compat = ""
    cache: str | None = None
    """Folder of answers that were given."""


@cache
def opened_judge(choice: JudgeChoice) -> ChatJudge | None:
    """The judge, opened once a process; None where none was chosen. Raises as ``open_chat``."""
    if choice.model is None:
        if choice.url is not None:
            raise UsageError("an endpoint needs the name of its model; give --judge MODEL with --judge-url.")
        return None
    model = open_chat(choice.model, choice.url, choice.cache)
    return ChatJudge(model=model, strict=choice.strict, compat=choice.compat)
