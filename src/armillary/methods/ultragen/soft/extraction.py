"""Soft attributes of texts, stated by a chat model: an open list, or one sentence a slot."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, get_args

from armillary.attributes.attribute import Attribute, soft
from armillary.chat.chat_model import ChatModel, ChatSettings, user
from armillary.chat.opening import open_chat
from armillary.errors import UsageError
from armillary.methods.ultragen.soft import prompts
from armillary.methods.ultragen.soft.replies import read_lines, read_slots

Style = Literal["open", "slots"]

LEAK = 6
"""Words in a row that an attribute and its text must not share: such an attribute hands over the text."""

TRIES = 3
"""Replies that are asked for until one has the form (released: up to three)."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What was drawn from one text."""

    attributes: list[Attribute]
    leaked: list[str]
    """Sentences that share a run of ``LEAK`` words with the text; they are no attributes."""

    unparsed: int
    """Replies that had not the form that was asked for."""


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """Draws soft attributes by asking ``model``; a function of a text, as ``AttributeSet.from_text`` wants it.

    Replies are kept where the model keeps its answers (``cache=`` of an endpoint or a local model).
    """

    model: ChatModel
    style: Style = "open"
    most: int = 8
    """Attributes of one text at most; of the style "slots" there are five slots."""

    settings: ChatSettings = ChatSettings(max_tokens=768, temperature=0.7)
    """The sampling of most chat services; the seed goes up by one for each further try."""

    def __post_init__(self) -> None:
        if self.style not in get_args(Style):
            raise UsageError(f"style must be one of {', '.join(get_args(Style))}; got {self.style!r}.")
        if self.most < 1:
            raise UsageError(f"most must be 1 or more, got {self.most}.")

    def __call__(self, text: str) -> list[Attribute]:
        """The attributes of one text; none of an empty one."""
        return self.extract([text])[0].attributes

    def extract(self, texts: Sequence[str]) -> list[Extraction]:
        """What each text gives, in order; the texts are asked about together."""
        system = (
            prompts.OPEN.format(most=self.most)
            if self.style == "open"
            else prompts.SLOTTED.format(slots=prompts.slots_listed())
        )
        kept: dict[int, Extraction] = {
            index: Extraction(attributes=[], leaked=[], unparsed=0)
            for index, text in enumerate(texts)
            if not text.strip()
        }
        unparsed = [0] * len(texts)
        for attempt in range(TRIES):
            missing = [index for index in range(len(texts)) if index not in kept]
            if not missing:
                break
            settings = replace(self.settings, seed=self.settings.seed + attempt)
            conversations = [user(prompts.fenced(texts[index]), system) for index in missing]
            for index, reply in zip(missing, self.model.complete_all(conversations, settings), strict=True):
                sentences = self._sentences(reply.text)
                if sentences is None:
                    unparsed[index] += 1
                    continue
                leaked = [sentence for _, sentence in sentences if leaks(sentence, texts[index])]
                attributes = [soft(sentence, slot) for slot, sentence in sentences if sentence not in leaked]
                kept[index] = Extraction(attributes=attributes[: self.most], leaked=leaked, unparsed=unparsed[index])
        return [
            kept.get(index) or Extraction(attributes=[], leaked=[], unparsed=unparsed[index])
            for index in range(len(texts))
        ]

    def _sentences(self, reply: str) -> list[tuple[str, str]] | None:
        """Slot and sentence of each statement; None for a reply without the form."""
        if self.style == "open":
            return [("", line) for line in read_lines(reply)] or None
        slots = read_slots(reply, prompts.SLOTS)
        return None if slots is None else [*slots.items()]


@dataclass(frozen=True, kw_only=True)
class ExtractorChoice:
    """Which chat model states soft attributes, in words that a command line and another process can carry."""

    model: str | None = None
    """Name of the endpoint's model, or of a local one; None for hard attributes alone."""

    url: str | None = None
    style: Style = "open"
    cache: str | None = None


@cache
def opened_extractor(choice: ExtractorChoice) -> Extractor | None:
    """The extractor, opened once a process; None where none was chosen. Raises as ``open_chat``."""
    if choice.model is None:
        return None
    return Extractor(model=open_chat(choice.model, choice.url, choice.cache), style=choice.style)


def rewritten(model: ChatModel, text: str, attribute: Attribute, settings: ChatSettings) -> Attribute | None:
    """The attribute stated anew so that the text supports it; None where the reply is none or hands over the text."""
    asked_about = f"{prompts.fenced(text)}\n\nRequirement: {attribute.text}"
    lines = read_lines(model.complete(user(asked_about, prompts.REWRITE), settings).text)
    if len(lines) != 1 or leaks(lines[0], text):
        return None
    return replace(attribute, text=lines[0])


def leaks(sentence: str, text: str, words: int = LEAK) -> bool:
    """Whether a sentence shares a run of ``words`` words with the text, letters' case and punctuation aside."""
    runs = []
    for given in (sentence, text):
        tokens = _WORD.findall(given.casefold())
        runs.append({tuple(tokens[at : at + words]) for at in range(len(tokens) - words + 1)})
    return not runs[0].isdisjoint(runs[1])
