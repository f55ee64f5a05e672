"""Chains of thought as users have them: a prompt with steps or a text, who wrote it, and what is right."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast, get_args

from armillary.data.rows import list_of, read_rows, text_of
from armillary.errors import UsageError
from armillary.methods.ocean.chains.steps import split_steps
from armillary.methods.ocean.config import Logging, listed
from armillary.methods.ocean.rows import Span

COLUMNS = ("prompt", "steps", "text", "response", "model", "answer", "answers", "entity_spans", "logging")
FIELDS = "prompt and steps (a list) or text"


@dataclass(frozen=True, kw_only=True)
class WrittenChain:
    """One chain."""

    where: str
    """Its place in the file, in words."""

    prompt: str
    steps: tuple[str, ...]
    rule: str
    """How the steps were found: "given", "numbered" or "sentences"."""

    model: str = ""
    answers: tuple[str, ...] = ()
    """Any of them is right; empty where none is known."""

    entity_spans: tuple[tuple[Span, ...], ...] | None = None
    logging: Logging | None = None
    """Who wrote it, where the row says so."""


def read_written(path: str, limit: int | None = None) -> list[WrittenChain]:
    """The chains of a JSONL, CSV or parquet file, empty steps dropped.

    A row has prompt, and steps (a list of texts) or text (or response), which is split; if wanted model, answer (one
    text) or answers (several, any of which is right), logging, and with steps entity_spans (for each step pairs of
    character offsets). UsageError naming the row for what is missing or of another kind, for a chain without steps,
    and where some rows name a model and others don't.
    """
    chains = [_chain(where, row) for where, row in read_rows(path, COLUMNS, FIELDS)[:limit]]
    named = Counter(bool(chain.model) for chain in chains)
    if len(named) == 2:
        first = next(chain for chain in chains if not chain.model)
        raise UsageError(f"{first.where} names no model, and other rows do; name it in all rows or in none.")
    return chains


def _chain(where: str, row: Mapping[str, object]) -> WrittenChain:
    prompt = text_of(row.get("prompt"), "prompt", where)
    if prompt is None or not prompt.strip():
        raise UsageError(f"{where} has no prompt; give {FIELDS}.")
    spans: tuple[tuple[Span, ...], ...] | None = None
    if row.get("steps") is not None:
        given = _texts(where, row["steps"], "step")
        kept = [place for place, step in enumerate(given) if step.strip()]
        steps, rule = [given[place] for place in kept], "given"
        if row.get("entity_spans") is not None:
            own = _spans(where, given, list_of(row["entity_spans"], "entity_spans", where))
            spans = tuple(own[place] for place in kept)
    else:
        text = text_of(row.get("text", row.get("response")), "text", where)
        if text is None:
            raise UsageError(f"{where} has neither steps nor text; give {FIELDS}.")
        steps, rule = split_steps(text)
    if not steps:
        raise UsageError(f"{where} has no step with words in it; leave the row out, or give its steps.")
    logging = row.get("logging")
    if logging is not None:
        listed(f"{where}: logging", logging, get_args(Logging))
    return WrittenChain(
        where=where,
        prompt=prompt,
        steps=tuple(steps),
        rule=rule,
        model=text_of(row.get("model"), "model", where) or "",
        answers=_answers(where, row),
        entity_spans=spans,
        logging=cast(Logging | None, logging),
    )


def _texts(where: str, value: object, name: str) -> list[str]:
    """The texts of a list. UsageError for a null: what stood there is not known to be nothing."""
    texts = []
    for place, one in enumerate(list_of(value, f"{name}s", where), 1):
        text = text_of(one, name, where)
        if text is None:
            raise UsageError(f"{where} has null as {name} {place}; give its text, or leave it out.")
        texts.append(text)
    return texts


def _answers(where: str, row: Mapping[str, object]) -> tuple[str, ...]:
    if row.get("answers") is not None:
        return tuple(one for one in _texts(where, row["answers"], "answer") if one.strip())
    answer = text_of(row.get("answer"), "answer", where)
    return () if answer is None or not answer.strip() else (answer,)


def _spans(where: str, steps: Sequence[str], given: Sequence[object]) -> list[tuple[Span, ...]]:
    if len(given) != len(steps):
        raise UsageError(f"{where} has {len(steps)} steps and entity_spans for {len(given)}; give a list for each.")
    made = []
    for place, (step, spans) in enumerate(zip(steps, given, strict=True), 1):
        own: list[Span] = []
        for pair in spans if isinstance(spans, Sequence) and not isinstance(spans, str) else [spans]:
            ends = tuple(pair) if isinstance(pair, Sequence) else ()
            if len(ends) != 2 or not all(type(end) is int for end in ends) or not 0 <= ends[0] < ends[1] <= len(step):
                raise UsageError(
                    f"{where}, step {place}: an entity span is two offsets within the step's {len(step)} characters; "
                    f"got {pair!r:.40}."
                )
            if not step[ends[0] : ends[1]].strip():
                raise UsageError(f"{where}, step {place}: the entity span {pair!r:.40} holds blanks only.")
            own.append((ends[0], ends[1]))
        own.sort()
        if overlapping := [pair for pair in pairwise(own) if pair[1][0] < pair[0][1]]:
            one, other = overlapping[0]
            raise UsageError(
                f"{where}, step {place}: the entity spans {one} and {other} overlap; give each word once."
            )
        made.append(tuple(own))
    return made
