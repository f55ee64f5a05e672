"""A model that is asked in words and answers in words, wherever it runs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypedDict, runtime_checkable

from armillary.errors import UsageError


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """How an answer is drawn: part of what it is kept under."""

    max_tokens: int = 512
    """Tokens of the longest answer."""

    temperature: float = 0.0
    """0 takes the likeliest token each time."""

    top_p: float = 1.0
    """Draw among the likeliest tokens that have this probability together."""

    seed: int = 0
    """Of the draws; another seed is another answer, and is kept as such."""

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens must be 1 or more, got {self.max_tokens}.")
        if not 0 <= self.temperature <= 10 or not 0 < self.top_p <= 1:
            raise UsageError(
                f"temperature must be between 0 and 10 and top_p above 0 and at most 1, got {self.temperature} and "
                f"{self.top_p}."
            )


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What a model answered, and what it cost."""

    text: str
    prompt_tokens: int | None
    """None where an endpoint does not say."""

    completion_tokens: int | None
    cached: bool = False
    """Read from the disk; its tokens were paid for earlier."""

    ended: bool = True
    """False where it was cut off at ``max_tokens``."""


@runtime_checkable
class ChatModel(Protocol):
    """Answers conversations. ``armillary.chat.Endpoint`` and ``armillary.chat.LocalChat`` are two."""

    @property
    def name(self) -> str: ...

    def complete(self, messages: Sequence[Message], settings: ChatSettings = ChatSettings()) -> Completion:
        """The answer to one conversation. Raises as ``complete_all``."""
        return self.complete_all([messages], settings)[0]

    def complete_all(
        self, conversations: Sequence[Sequence[Message]], settings: ChatSettings = ChatSettings()
    ) -> list[Completion]:
        """The answers to many, in their order, batched or side by side."""
        ...

    @property
    def tokens(self) -> "TokenCount": ...


@dataclass(frozen=True, kw_only=True)
class TokenCount:
    """Tokens of the answers that a model has made so far; those read from the disk count nothing."""

    prompt: int = 0
    completion: int = 0
    requests: int = 0
    """Answers that were made."""

    cached: int = 0
    """Answers that were read from the disk."""

    untold: int = 0
    """Answers of which an endpoint did not say how many tokens they took."""

    def __str__(self) -> str:
        counts = f"{self.prompt:,} prompt and {self.completion:,} completion tokens in {self.requests:,} answers"
        read = f", {self.cached:,} more read from the disk" if self.cached else ""
        return counts + read + (f"; of {self.untold:,} the endpoint told no tokens" if self.untold else "")

    def plus(self, completion: Completion) -> "TokenCount":
        """With one more answer."""
        if completion.cached:
            return TokenCount(**{**vars(self), "cached": self.cached + 1})
        known = completion.prompt_tokens is not None and completion.completion_tokens is not None
        return TokenCount(
            prompt=self.prompt + (completion.prompt_tokens or 0),
            completion=self.completion + (completion.completion_tokens or 0),
            requests=self.requests + 1,
            cached=self.cached,
            untold=self.untold + (not known),
        )


def user(content: str, system: str | None = None) -> list[Message]:
    """A conversation of one request, with what the model is told before it."""
    first: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    return [*first, {"role": "user", "content": content}]


def checked_messages(messages: Sequence[Message]) -> list[Message]:
    """The conversation; UsageError where it is empty or a turn has no role or no text."""
    if not messages:
        raise UsageError("a conversation has at least one message; got none.")
    for message in messages:
        given: Mapping[str, object] = message
        if given.get("role") not in ("system", "user", "assistant") or not isinstance(given.get("content"), str):
            raise UsageError(
                f"a message is an object with role (system, user or assistant) and content, not {message!r:.120}."
            )
    return [*messages]


_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?\s*```\s*$", re.DOTALL)


def unfenced(text: str) -> str:
    """An answer without the code fence that many models put around JSON."""
    fenced = _FENCE.match(text)
    return fenced[1] if fenced else text
