"""Facts as token rows: where the subject ends, which tokens are the answer, and how likely answers are.

Legend: B rows, T tokens, N answers, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.bricks.editing.facts import Fact
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, padded_batches, run_body
from armillary.models.prompts import token_spans

PREFIXES: tuple[str, ...] = (
    "",
    "Here is a fact. ",
    "I read this in a book yesterday. ",
    "The teacher wrote it on the board: ",
    "As everybody knows by now, ",
    "It was a quiet morning in the library. ",
)
"""What stands before an edited prompt when keys are averaged; ours, where the paper samples them from the model. More
make a key less of one context's, and each costs a forward in every step of the search for a value."""


@dataclass(frozen=True, kw_only=True)
class FactRow:
    """One prompt as tokens."""

    ids: tuple[int, ...]
    subject: int
    """Index of the last token of the subject."""

    answer: int
    """Index of the first token of the answer; the length of the row where no answer was appended."""


def fact_row(
    loaded: LoadedModel, text: str, subject: str, answer: str | None = None, *, end: int | None = None
) -> FactRow:
    """The row of a written-out prompt, followed by a space and the answer where one is given.

    ``end`` is the character after the subject; None takes the last place where the subject stands. UsageError, with
    the tokens, when the subject is not in the text, when its last token goes on past its end, or when the prompt's
    tokens change once the answer follows.
    """
    prompt = encode(loaded, [text])[0]
    start = text.rfind(subject) if subject else -1
    if start < 0:
        raise UsageError(f"the subject {subject!r} is not in {text!r}, whose tokens are {_tokens(loaded, prompt)}.")
    last = _token_ending(loaded, text, start + len(subject) if end is None else end, subject, prompt)
    ids = prompt if answer is None else _answered(loaded, text, prompt, answer)
    return FactRow(ids=tuple(ids), subject=last, answer=len(prompt))


def fact_rows(
    loaded: LoadedModel, fact: Fact, prefixes: Sequence[str] = PREFIXES, *, answer: str | None = None
) -> list[FactRow]:
    """The fact's prompt after each prefix, so that its key does not depend on one context. UsageError for none."""
    if not prefixes:
        raise UsageError("give at least one prefix; '' stands for the bare prompt.")
    before, after = fact.prompt.split("{}")
    return [
        fact_row(
            loaded,
            f"{prefix}{before}{fact.subject}{after}",
            fact.subject,
            answer,
            end=len(prefix) + len(before) + len(fact.subject),
        )
        for prefix in prefixes
    ]


@dataclass(frozen=True, kw_only=True, eq=False)
class Answers:
    """How a model sees given answers."""

    logprobs: NDArray[np.float64]
    """Log-probability of each whole answer after its prompt, nats, ``[n]``."""

    greedy: NDArray[np.bool_]
    """True where every token of the answer is the likeliest one: what greedy decoding would write, ``[n]``."""

    first: NDArray[np.int64]
    """Likeliest first token after each prompt, ``[n]``."""


@torch.inference_mode()
def score_answers(
    loaded: LoadedModel, prompts: Sequence[str], answers: Sequence[str], *, tokens_per_batch: int = 2048
) -> Answers:
    """Each answer after its prompt, read together; sums of log-probabilities are float64.

    UsageError for lists of two lengths or a prompt whose tokens change once the answer follows.
    """
    if len(prompts) != len(answers):
        raise UsageError(f"each prompt needs one answer; got {len(prompts)} prompts and {len(answers)} answers.")
    openings = encode(loaded, prompts)
    rows = [
        _answered(loaded, text, opening, answer)
        for text, opening, answer in zip(prompts, openings, answers, strict=True)
    ]
    logprobs, is_greedy = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
    first = np.zeros(len(rows), dtype=np.int64)
    for batch in padded_batches(rows, tokens_per_batch):
        ids_BT, mask_BT = pad([rows[index] for index in batch], device=loaded.device)
        hidden_BTD = run_body(loaded, ids_BT, None if bool(mask_BT.all()) else mask_BT)
        for row, index in enumerate(batch):
            start, stop = len(openings[index]), len(rows[index])
            logits_NV = loaded.masked(loaded.anatomy.logits(hidden_BTD[row, start - 1 : stop - 1]).float())
            target_N = ids_BT[row, start:stop]
            chosen_N = logits_NV.log_softmax(dim=-1).gather(1, target_N[:, None])
            best_N = logits_NV.argmax(dim=-1)
            logprobs[index] = float(chosen_N.double().sum())
            is_greedy[index], first[index] = bool((best_N == target_N).all()), int(best_N[0])
    return Answers(logprobs=logprobs, greedy=is_greedy, first=first)


def base_answers_right(loaded: LoadedModel, facts: Sequence[Fact]) -> list[bool]:
    """For each fact whether greedy decoding gives its true answer: only such facts can show what an edit does."""
    prompts = [fact.prompt.replace("{}", fact.subject) for fact in facts]
    answers = score_answers(loaded, prompts, [fact.target_true for fact in facts])
    return [bool(right) for right in answers.greedy]


def _answered(loaded: LoadedModel, text: str, prompt: list[int], answer: str) -> list[int]:
    row = encode(loaded, [f"{text} {answer}"])[0]
    if row[: len(prompt)] != prompt or len(row) == len(prompt):
        raise UsageError(
            f"the tokens of {text!r} change once {answer!r} follows: {_tokens(loaded, prompt)} become "
            f"{_tokens(loaded, row)}; end the prompt at the end of a word."
        )
    return row


def _token_ending(loaded: LoadedModel, text: str, end: int, subject: str, row: list[int]) -> int:
    spans = token_spans(loaded, text)
    last = max(index for index, (start, stop) in enumerate(spans) if start < end and stop > start)
    if spans[last][1] > end:
        raise UsageError(
            f"the last token of {subject!r} goes on past the subject in {text!r}: {_tokens(loaded, row)}; "
            "put a space or a sign after it."
        )
    return last


def _tokens(loaded: LoadedModel, row: list[int]) -> list[str]:
    return [str(loaded.tokenizer.decode([token])) for token in row]
