"""Logged chains of thought: a data set's rows, checked, and their tokens with step, entity and span of each."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast, get_args

from transformers import PreTrainedTokenizerBase

from armillary.errors import UsageError
from armillary.methods.ocean.config import Logging, listed
from armillary.models.prompts import framed_spans, templated

Span = tuple[int, int]
"""First character of an entity in its step, and the one after the last."""

COLUMNS = ("prompt", "steps", "entity_spans")

MOST_CUT = 0.1
"""Share of entity spans that may end inside a token: beyond it they belong to other texts or another tokenizer."""


@dataclass(frozen=True, kw_only=True)
class LoggedChain:
    """A prompt and the steps that were written behind it."""

    prompt: str
    steps: tuple[str, ...]
    """None of them empty."""

    entity_spans: tuple[tuple[Span, ...], ...]
    """For each step the entities in it, in order, without overlap."""

    answer: str | None = None
    """The right answer, for evaluation; not read in training."""

    logging: Logging = "base"
    """Who wrote the chain."""


def read_chains(
    rows: Iterable[Mapping[str, object]],
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    logged_by: Logging = "base",
) -> list[LoggedChain]:
    """The rows of a data set as chains; empty steps are dropped.

    Columns: prompt (a text, or messages, which need ``tokenizer`` with a chat template), steps (texts), entity_spans
    (for each step pairs of character offsets), and optionally answer and logging, for which ``logged_by`` stands in.
    UsageError naming the row for a missing column, a chain without steps, and spans outside of their step, empty, or
    overlapping.
    """
    chains = [_chain(index, row, tokenizer, logged_by) for index, row in enumerate(rows)]
    if not chains:
        raise UsageError("there is no chain; give rows with the columns prompt, steps and entity_spans.")
    return chains


def _chain(
    index: int, row: Mapping[str, object], tokenizer: PreTrainedTokenizerBase | None, logged_by: Logging
) -> LoggedChain:
    missing = [name for name in COLUMNS if name not in row]
    if missing:
        raise UsageError(f"row {index} has no column {missing[0]!r}; it has {', '.join(sorted(row)) or 'none'}.")
    steps, spans = row["steps"], row["entity_spans"]
    if isinstance(steps, str) or not isinstance(steps, Sequence) or not all(isinstance(step, str) for step in steps):
        raise UsageError(f"row {index}: steps must be a list of texts; got {steps!r:.60}.")
    if not isinstance(spans, Sequence) or len(spans) != len(steps):
        many = f"{len(spans)} lists" if isinstance(spans, Sequence) else repr(spans)
        raise UsageError(f"row {index}: entity_spans must have a list for each of the {len(steps)} steps; got {many}.")
    checked = [_spans(index, place, step, own) for place, (step, own) in enumerate(zip(steps, spans, strict=True))]
    kept = [place for place, step in enumerate(steps) if step.strip()]
    if not kept:
        raise UsageError(f"row {index} has no step with words in it; give chains of at least one step.")
    logging, answer = row.get("logging") or logged_by, row.get("answer")
    listed(f"row {index}: logging", logging, get_args(Logging))
    return LoggedChain(
        prompt=_prompt(index, row["prompt"], tokenizer),
        steps=tuple(steps[place] for place in kept),
        entity_spans=tuple(checked[place] for place in kept),
        answer=None if answer is None else str(answer),
        logging=cast(Logging, logging),
    )


def _prompt(index: int, prompt: object, tokenizer: PreTrainedTokenizerBase | None) -> str:
    if isinstance(prompt, str):
        return prompt
    if tokenizer is None or not isinstance(prompt, Sequence) or not prompt:
        raise UsageError(f"row {index}: prompt must be a text, or messages and a tokenizer; got {prompt!r:.60}.")
    return templated(tokenizer, cast(Sequence[Mapping[str, str]], prompt), type(tokenizer).__name__)


def _spans(index: int, place: int, step: str, spans: object) -> tuple[Span, ...]:
    pairs = [tuple(pair) for pair in cast(Sequence[Sequence[int]], spans or ())]
    where = f"row {index}, step {place}"
    for pair in pairs:
        if len(pair) != 2 or not 0 <= pair[0] < pair[1] <= len(step):
            raise UsageError(f"{where}: an entity span must lie within the step's {len(step)} characters; got {pair}.")
        if not step[pair[0] : pair[1]].strip():
            raise UsageError(f"{where}: the entity span {pair} holds blanks only.")
    ordered = cast(list[Span], sorted(pairs))
    for (_, end), (start, _) in pairwise(ordered):
        if start < end:
            raise UsageError(f"{where}: the entity span that begins at {start} overlaps the one that ends at {end}.")
    return tuple(ordered)


@dataclass(frozen=True, kw_only=True)
class ChainRow:
    """A chain behind its prompt, token by token."""

    input_ids: list[int]
    step_ids: list[int]
    """The number of each token's step; -1 on the prompt and between steps."""

    span_ids: list[int]
    """The number of each token's entity, counted over the chain; -1 elsewhere."""

    logging: Logging


@dataclass(frozen=True, kw_only=True)
class TokenRows:
    """Chains as tokens."""

    rows: list[ChainRow]
    spans: int
    """Entity spans in all."""

    widened: int
    """Those that ended inside a token, and were widened to whole tokens."""

    left_out: int
    """Rows longer than ``max_length``."""

    kept: list[int]
    """Which of the chains the rows are."""


def token_rows(
    tokenizer: PreTrainedTokenizerBase,
    chains: Sequence[LoggedChain],
    *,
    separator: str = "\n",
    max_length: int | None = None,
) -> TokenRows:
    """The chains as the tokenizer reads prompt and steps in one text, ``separator`` between all of them.

    A token belongs to the last step that it has characters of. A span that ends inside a token is widened to it, with
    a warning that counts them; UsageError for more than a tenth of all, for an entity without a token of its own, and
    where no row has at most ``max_length`` tokens.
    """
    written = [_written(chain, separator) for chain in chains]
    read = framed_spans(tokenizer, [text for text, _, _ in written])
    rows, widened = [], 0
    for index, (chain, (text, steps, entities), (ids, places)) in enumerate(zip(chains, written, read, strict=True)):
        step_ids, span_ids, cut = _numbered(index, text, steps, entities, places)
        rows.append(ChainRow(input_ids=ids, step_ids=step_ids, span_ids=span_ids, logging=chain.logging))
        widened += cut
    spans = sum(len(entities) for _, _, entities in written)
    if widened > MOST_CUT * spans:
        raise UsageError(
            f"{widened} of {spans} entity spans end inside a token, more than {MOST_CUT:.0%}; give offsets of "
            "whole names in these very steps."
        )
    if widened:
        warnings.warn(f"{widened} of {spans} entity spans end inside a token and were widened to it.", stacklevel=2)
    kept = [index for index, row in enumerate(rows) if max_length is None or len(row.input_ids) <= max_length]
    if not kept:
        shortest = min(len(row.input_ids) for row in rows)
        raise UsageError(f"no chain has at most {max_length} tokens, the shortest has {shortest}; raise max_length.")
    return TokenRows(
        rows=[rows[index] for index in kept], spans=spans, widened=widened, left_out=len(rows) - len(kept), kept=kept
    )


def _written(chain: LoggedChain, separator: str) -> tuple[str, list[Span], list[Span]]:
    """Prompt and steps as one text, and where steps and entities stand in it."""
    text = chain.prompt
    steps: list[Span] = []
    entities: list[Span] = []
    for step, spans in zip(chain.steps, chain.entity_spans, strict=True):
        text += separator
        steps.append((len(text), len(text) + len(step)))
        entities += [(len(text) + start, len(text) + end) for start, end in spans]
        text += step
    return text, steps, entities


def _numbered(
    index: int, text: str, steps: Sequence[Span], entities: Sequence[Span], places: Sequence[Span]
) -> tuple[list[int], list[int], int]:
    """Number of step and of entity of each token, and how many entities were widened."""
    step_ids, span_ids = [-1] * len(places), [-1] * len(places)
    for number, (start, end) in enumerate(steps):
        for token in _overlapping(places, start, end):
            step_ids[token] = number
    widened = 0
    for number, (start, end) in enumerate(entities):
        own = [token for token in _overlapping(places, start, end) if span_ids[token] < 0]
        if not own:
            raise UsageError(f"row {index}: the entity {text[start:end]!r} shares its only token with another.")
        for token in own:
            span_ids[token] = number
        before, after = text[places[own[0]][0] : start], text[end : places[own[-1]][1]]
        widened += bool(before.strip() or after.strip())  # that a token brings the blank before a word is no cut
    if max(step_ids) < 0 or step_ids[0] >= 0:
        fault = "no token in a step" if max(step_ids) < 0 else "nothing before its first step, not even a first token"
        raise UsageError(f"row {index} has {fault}; give a prompt and steps of words.")
    span_ids = [span if step >= 0 else -1 for span, step in zip(span_ids, step_ids, strict=True)]
    return step_ids, span_ids, widened


def _overlapping(places: Sequence[Span], start: int, end: int) -> list[int]:
    """Tokens with a character between these two; a token in front of the text has none."""
    return [index for index, (first, last) in enumerate(places) if first < end and last > start]
