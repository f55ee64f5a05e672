"""Facts to edit: what is asked, what is answered now and what shall be answered. Needs no torch."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, padded_batches, run_body

CAPITAL = "The capital of {} is"
CAPITAL_PARAPHRASES = (
    "The capital city of {} is called",
    "The name of the capital of {} is",
    "The government of {} sits in its capital,",
)
"""Ours; the slot stands inside a sentence, so that a subject is never the first token."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """Another subject of the same question, whose answer an edit must not change."""

    subject: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One fact and its wanted new answer; a wrong one raises UsageError in one sentence.

    An answer follows its prompt after one space: "The capital of France is" and "Paris".
    """

    subject: str
    prompt: str
    """Text with one ``{}`` for the subject, without white space at its end."""

    target_true: str
    target_new: str
    paraphrases: tuple[str, ...] = ()
    """The same question in other words, each with one ``{}``."""

    neighbours: tuple[Neighbour, ...] = ()
    """Asked with ``prompt``."""

    def __post_init__(self) -> None:
        for text in (self.prompt, *self.paraphrases):
            if text.count("{}") != 1 or text != text.rstrip():
                raise UsageError(
                    f"a prompt needs exactly one {{}} for the subject and no white space at its end; got {text!r}."
                )
        for word in (self.subject, self.target_true, self.target_new, *(one.answer for one in self.neighbours)):
            if not word or word != word.strip():
                raise UsageError(f"subjects and answers are text without white space around it; got {word!r}.")
        if self.target_new == self.target_true:
            raise UsageError(f"the new answer for {self.subject!r} is the old one, {self.target_true!r}.")
        if any(one.subject == self.subject for one in self.neighbours):
            raise UsageError(f"{self.subject!r} is its own neighbour; name other subjects.")
        if any(one.answer == self.target_new for one in self.neighbours):
            raise UsageError(
                f"a neighbour of {self.subject!r} is rightly answered {self.target_new!r}, the new answer itself, so "
                "it can't show whether the edit spreads; leave it out."
            )

    @classmethod
    def from_prompt(cls, prompt: str, subject: str, target_true: str, target_new: str) -> "Fact":
        """The fact of a written-out prompt, in which the subject stands once; UsageError otherwise."""
        if not subject or prompt.count(subject) != 1:
            raise UsageError(f"the subject {subject!r} must stand exactly once in the prompt {prompt!r}.")
        return cls(
            subject=subject,
            prompt=prompt.replace(subject, "{}"),
            target_true=target_true,
            target_new=target_new,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


def capital_facts(
    count: int | None = None, *, seed: int = 0, neighbours: int = 10, countries: Sequence[str] | None = None
) -> tuple[Fact, ...]:
    """Facts "The capital of X is Y", each with the capital of another country as its new answer.

    Countries (of GeoNames, by their common names; all, or those given) are shuffled by ``seed`` and ``count`` of them
    taken; the new answer and the neighbours are drawn from the others. Left out are countries whose name shares a word
    with the capital, where the prompt gives the answer away. UsageError for more facts or neighbours than there are,
    an unknown country, or a missing data package.
    """
    capitals = _capitals()
    unknown = [country for country in countries or () if country not in capitals]
    if unknown:
        raise UsageError(f"no capital is known for {unknown[0]!r}; known are countries such as {min(capitals)!r}.")
    names = sorted(countries or capitals)
    wanted = len(names) if count is None else count
    if not 1 <= wanted <= len(names):
        raise UsageError(f"count must be 1 to {len(names)}, the countries there are; got {count}.")
    if not 0 <= neighbours < len(capitals) - 1:
        raise UsageError(f"neighbours must be 0 to {len(capitals) - 2}; got {neighbours}.")
    generator = np.random.default_rng(seed)
    chosen = [names[index] for index in generator.permutation(len(names))[:wanted]]
    return tuple(_capital_fact(country, capitals, neighbours, generator) for country in chosen)


def _capital_fact(country: str, capitals: dict[str, str], neighbours: int, generator: np.random.Generator) -> Fact:
    others = [other for other in sorted(capitals) if other != country]
    drawn = [others[index] for index in generator.permutation(len(others))[: neighbours + 1]]
    return Fact(
        subject=country,
        prompt=CAPITAL,
        target_true=capitals[country],
        target_new=capitals[drawn[0]],
        paraphrases=CAPITAL_PARAPHRASES,
        neighbours=tuple(Neighbour(subject=other, answer=capitals[other]) for other in drawn[1:]),
    )


def _capitals() -> dict[str, str]:
    """Country -> capital, each capital once."""
    from armillary.data.relations import places

    found: dict[str, str] = {}
    for country in places.countries().values():
        name, capital = country.names[0], country.capital
        shared = set(name.casefold().split()) & set(capital.casefold().split())
        if capital and not shared and capital not in found.values():
            found[name] = capital
    return found


# Facts as token rows: where the subject ends, which tokens are the answer, and how likely answers are.
#
# Legend: B rows, T tokens, N answers.

PREFIXES: tuple[str, ...] = (
    "",
    "Here is a fact. ",
    "I read this in a book yesterday. ",
    "The teacher wrote it on the board: ",
    "As everybody knows by now, ",
    "It was a quiet morning in the library. ",
)
"""What stands before an edited prompt when keys are averaged; ours, the paper of the method samples them."""


@dataclass(frozen=True, kw_only=True)
class FactRow:
    """One prompt as tokens."""

    ids: tuple[int, ...]
    subject: int
    """Place of the last token of the subject."""

    answer: int
    """Place of the first token of the answer; the length of the row where no answer was appended."""


def fact_row(
    loaded: LoadedModel, text: str, subject: str, answer: str | None = None, *, end: int | None = None
) -> FactRow:
    """The row of a written-out prompt, followed by a space and the answer where one is given.

    ``end`` is the character after the subject; None takes the last place where the subject stands. UsageError, with
    the tokens, when the subject is not in the text, when its last token goes on past its end, or when the prompt's
    tokens change once the answer follows.
    """
    prompt = encode(loaded, [text])[0]
    at = text.rfind(subject) if subject else -1
    if at < 0:
        raise UsageError(f"the subject {subject!r} is not in {text!r}, whose tokens are {_tokens(loaded, prompt)}.")
    place = _token_ending(loaded, text, at + len(subject) if end is None else end, subject, prompt)
    ids = prompt if answer is None else _answered(loaded, text, prompt, answer)
    return FactRow(ids=tuple(ids), subject=place, answer=len(prompt))


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

    said: NDArray[np.bool_]
    """True where every token of the answer is the likeliest one: what greedy decoding would say, ``[n]``."""

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
    logprobs, said = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
    first = np.zeros(len(rows), dtype=np.int64)
    for batch in padded_batches(rows, tokens_per_batch):
        ids_BT, mask_BT = pad([rows[index] for index in batch], device=loaded.device)
        hidden_BTD = run_body(loaded, ids_BT, None if bool(mask_BT.all()) else mask_BT)
        for place, index in enumerate(batch):
            start, stop = len(openings[index]), len(rows[index])
            logits_NV = loaded.anatomy.logits(hidden_BTD[place, start - 1 : stop - 1]).float()
            target_N = ids_BT[place, start:stop]
            chosen_N = logits_NV.log_softmax(dim=-1).gather(1, target_N[:, None])
            best_N = logits_NV.argmax(dim=-1)
            logprobs[index] = float(chosen_N.double().sum())
            said[index], first[index] = bool((best_N == target_N).all()), int(best_N[0])
    return Answers(logprobs=logprobs, said=said, first=first)


def base_answers_right(loaded: LoadedModel, facts: Sequence[Fact]) -> list[bool]:
    """For each fact whether greedy decoding gives its true answer: only such facts can show what an edit does."""
    prompts = [fact.prompt.replace("{}", fact.subject) for fact in facts]
    return [bool(one) for one in score_answers(loaded, prompts, [fact.target_true for fact in facts]).said]


def _answered(loaded: LoadedModel, text: str, prompt: list[int], answer: str) -> list[int]:
    row = encode(loaded, [f"{text} {answer}"])[0]
    if row[: len(prompt)] != prompt or len(row) == len(prompt):
        raise UsageError(
            f"the tokens of {text!r} change once {answer!r} follows: {_tokens(loaded, prompt)} become "
            f"{_tokens(loaded, row)}; end the prompt at the end of a word."
        )
    return row


def _token_ending(loaded: LoadedModel, text: str, end: int, subject: str, row: list[int]) -> int:
    if not loaded.tokenizer.is_fast:
        raise UsageError(f"the tokenizer of {loaded.name} can't say where a word ends; a fast tokenizer is needed.")
    spans: list[tuple[int, int]] = loaded.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    place = max(index for index, (start, stop) in enumerate(spans) if start < end and stop > start)
    if spans[place][1] > end:
        raise UsageError(
            f"the last token of {subject!r} goes on past the subject in {text!r}: {_tokens(loaded, row)}; "
            "put a space or a sign after it."
        )
    return place


def _tokens(loaded: LoadedModel, row: list[int]) -> list[str]:
    return [str(loaded.tokenizer.decode([token])) for token in row]
