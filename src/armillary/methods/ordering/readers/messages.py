"""Conversations in which an assistant reasons: ``messages`` (OpenAI) and ``conversations`` (ShareGPT).

The steps are those of the last thing that the assistant said, its reasoning (``reasoning_content``, ``<think>``) taken
first; all before is the prompt. What is written in a format of its own (calculator traces, states and tactics,
numbered steps, equations) is read as that format; other texts are one step a paragraph, or a line where there is only
one paragraph, with edges as in ``prose``: inferred.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from armillary.methods.ordering.readers.calculator import CalculatorReader
from armillary.methods.ordering.readers.framing import key_of
from armillary.methods.ordering.readers.graph import linked
from armillary.methods.ordering.readers.in_place import in_place
from armillary.methods.ordering.readers.interface import Reader, Record
from armillary.methods.ordering.readers.numbered import NumberedReader
from armillary.methods.ordering.readers.prose import prose_suppliers
from armillary.methods.ordering.readers.scratchpad import ScratchpadReader
from armillary.methods.ordering.readers.state_tactic import StateTacticReader
from armillary.methods.ordering.readers.values import given_in
from armillary.methods.ordering.steps import Sample

TURNS = ("messages", "conversations", "conversation")
ASSISTANT = frozenset({"assistant", "gpt", "model"})
SAID = ("content", "value", "reasoning_content", "reasoning")
"""Fields of a turn that may hold its text."""

INSIDE: tuple[Reader, ...] = (StateTacticReader(), CalculatorReader(), NumberedReader(), ScratchpadReader())


class MessagesReader(Reader):
    """Rows of turns."""

    name = "messages"
    about = "turns of a conversation (OpenAI, ShareGPT): the assistant's last text, paragraph by paragraph (inferred)"

    def __call__(self, record: Record) -> Sample | None:
        """The sample; None for a row without turns or without a text of the assistant."""
        turns = None if isinstance(record, str) else turns_of(record)
        if isinstance(record, str) or not turns:
            return None
        last = max((place for place, (role, _) in enumerate(turns) if role in ASSISTANT), default=None)
        if last is None or not turns[last][1].strip():
            return None
        prompt = "\n".join(text for _, text in turns[:last])
        body = turns[last][1]
        row = {"prompt": prompt, "completion": body, "key": key_of(record)}
        return next((sample for reader in INSIDE if (sample := reader(row)) is not None), None) or _paragraphs(row)

    def rewritten(self, record: Record, sample: Sample) -> Record | None:
        """The turn with its steps in the new order; None where they stand partly in its reasoning."""
        read = self(record)
        if isinstance(record, str) or read is None:
            return None
        written, wanted = [step.text for step in read.steps], [step.text for step in sample.steps]
        field = next(name for name in TURNS if isinstance(record.get(name), list | tuple))
        turns = [*cast(Sequence[Mapping[str, object]], record[field])]
        last = max(place for place, turn in enumerate(turns) if str(turn.get("role", turn.get("from"))) in ASSISTANT)
        for name in SAID:
            spoken = turns[last].get(name)
            body = in_place(spoken, written, wanted) if isinstance(spoken, str) else None
            if body is not None:
                turns[last] = {**turns[last], name: body}
                return {**record, field: turns}
        return None


def turns_of(row: Mapping[str, object]) -> list[tuple[str, str]]:
    """Who speaks and what is said, for each turn; empty for a row without turns."""
    written = next((row[name] for name in TURNS if isinstance(row.get(name), list | tuple)), ())
    assert isinstance(written, Sequence)
    turns = []
    for turn in written:
        if not isinstance(turn, Mapping):
            return []
        role, content = turn.get("role", turn.get("from")), turn.get("content", turn.get("value"))
        if isinstance(content, list):  # parts of several kinds, of which texts alone are read
            content = "\n".join(str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)
        reasoning = turn.get("reasoning_content") or turn.get("reasoning")
        texts = [text for text in (reasoning, content) if isinstance(text, str) and text]
        turns.append((str(role), "\n\n".join(texts).replace("<think>", "").replace("</think>", "\n\n")))
    return turns


def _paragraphs(row: Mapping[str, str]) -> Sample | None:
    body = row["completion"]
    parts = [part.strip() for part in body.split("\n\n") if part.strip()]
    if len(parts) == 1:
        parts = [line.strip() for line in body.splitlines() if line.strip()]
    labels = [None] * len(parts)
    return linked(parts, prose_suppliers(parts, labels, given_in(row["prompt"])), prompt=row["prompt"], key=row["key"])
