"""What is done with an attribute that nothing met: dropped, replaced, or kept since it is merely hard."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from armillary.attributes.attribute import Attribute
from armillary.attributes.conflicts import conflicts, repaired
from armillary.chat.chat_model import ChatModel, ChatSettings, user
from armillary.methods.ultragen.soft import prompts
from armillary.methods.ultragen.soft.replies import read_object

Possible = Callable[[Attribute, Attribute | None], bool | None]
"""Whether one text can have both attributes, or the first by itself; None where that is not known."""

Action = Literal["dropped", "replaced", "kept"]


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """A set after one suspect was looked into."""

    attributes: list[Attribute]
    action: Action
    """Of the suspect or, where it contradicts another one, of the one of lower priority."""

    attribute: Attribute
    """What was dropped, replaced or kept."""

    reason: str


def resolve(
    suspect: Attribute,
    attributes: Sequence[Attribute],
    possible: Possible,
    nearest: Callable[[Attribute], Attribute | None],
) -> Resolution:
    """The set with the suspect resolved.

    First the solver looks for a conflict; then ``possible`` is asked of the suspect by itself, which ``nearest`` (of
    the same kind, from a pool) replaces if it is not; then of the suspect beside each other attribute. Contradictions
    drop the later of two equal ones. What nobody can say anything against is kept: that it is hard is what a
    preference learns.
    """
    for conflict in conflicts(attributes):
        if suspect in (conflict.a, conflict.b):
            stays = repaired([conflict.a, conflict.b])
            loser = conflict.a if conflict.a not in stays else conflict.b
            return _without(loser, attributes, f"the solver: {conflict.reason}")
    if possible(suspect, None) is False:
        anew = nearest(suspect)
        if anew is None:
            return _without(suspect, attributes, "no text can have it, and the pool has none of its kind")
        changed = [anew if attribute == suspect else attribute for attribute in attributes]
        return Resolution(attributes=changed, action="replaced", attribute=suspect, reason="no text can have it")
    for other in attributes:
        if other != suspect and possible(suspect, other) is False:
            # A program's verdict is surer than a judge's, so that a soft attribute gives way.
            loser = other if suspect.hard and not other.hard else suspect
            return _without(loser, attributes, f"no text can have both {suspect.text!r} and {other.text!r}")
    return Resolution(
        attributes=[*attributes], action="kept", attribute=suspect, reason="nothing speaks against it: it is hard"
    )


def _without(loser: Attribute, attributes: Sequence[Attribute], reason: str) -> Resolution:
    rest = [attribute for attribute in attributes if attribute != loser]
    return Resolution(attributes=rest, action="dropped", attribute=loser, reason=reason)


@dataclass(frozen=True, kw_only=True)
class AskedPossible:
    """Asks a chat model whether requirements can be met together."""

    model: ChatModel
    settings: ChatSettings = ChatSettings(max_tokens=32)
    """The answer is one short object."""

    def __call__(self, attribute: Attribute, other: Attribute | None) -> bool | None:
        """The model's answer; None where it can't be read."""
        sentences = [attribute.text] if other is None else [attribute.text, other.text]
        reply = self.model.complete(user(prompts.numbered(sentences), prompts.CONTRADICTION), self.settings)
        answer = (read_object(reply.text) or {}).get("possible")
        return answer if isinstance(answer, bool) else None
