"""A user's own samples as rows of tokens, each step by itself, so that every order has the same tokens."""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import lgamma

from armillary.errors import UsageError
from armillary.methods.ordering.audit.sources import read_samples
from armillary.methods.ordering.measures import violations
from armillary.methods.ordering.orders import permutation
from armillary.methods.ordering.steps import Sample
from armillary.methods.ordering.training.rows import OrderedRows, joined_rows
from armillary.models.loaded import LoadedModel
from armillary.models.prompts import continuation_ids, prompt_rows

BREAK = "\n"
"""Behind the prompt and every step. Tokens never reach across it: a step has the same ones wherever it stands."""

MOST_READ = 100_000
"""Samples that are read at most: beyond it a small training sees no sample twice."""

LEAST_HELD_OUT, MOST_HELD_OUT = 5, 1000
"""Fewer give no interval worth the name; more are better learned than measured, step by step."""


def several_steps(path: str, format: str = "auto") -> list[Sample]:
    """The first ``MOST_READ`` samples of two steps or more. UsageError for fewer than two, and as ``read_samples``."""
    samples = list(islice((sample for sample in read_samples(path, format) if len(sample.steps) > 1), MOST_READ))
    if len(samples) < 2:
        raise UsageError(f"{path} holds {len(samples)} samples of two steps or more; an order needs both.")
    return samples


def split_samples(samples: Sequence[Sample], share: float, *, seed: int) -> tuple[list[Sample], list[Sample]]:
    """(learned, held out), without a sample's twin on the other side: equal prompts and steps are one sample.

    UsageError where fewer than ``LEAST_HELD_OUT`` would be held out, and for text that is no Unicode.
    """
    by_text: dict[str, Sample] = {}
    for sample in samples:
        texts = sorted(step.text for step in sample.steps)
        whole = "\0".join((sample.prompt, *texts))
        try:
            by_text.setdefault(hashlib.sha256(whole.encode()).hexdigest(), sample)
        except UnicodeEncodeError:
            raise UsageError(
                f"the sample {whole!r:.60} holds half a surrogate pair, which no tokenizer takes; mend it or drop it."
            ) from None
    distinct = list(by_text.values())
    count = min(round(share * len(distinct)), MOST_HELD_OUT)
    if count < LEAST_HELD_OUT or count >= len(distinct):
        raise UsageError(
            f"a share of {share} of {len(distinct)} different samples holds out {count}; {LEAST_HELD_OUT} are needed, "
            "and some to learn."
        )
    drawn = {*random.Random(f"held out {seed}").sample(range(len(distinct)), count)}
    return (
        [sample for index, sample in enumerate(distinct) if index not in drawn],
        [sample for index, sample in enumerate(distinct) if index in drawn],
    )


@dataclass(frozen=True)
class StepTokens:
    """A sample's tokens, each step by itself."""

    sample: Sample
    prompt: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]
    end: tuple[int, ...]

    @property
    def size(self) -> int:
        """Of the whole row."""
        return len(self.prompt) + sum(map(len, self.steps)) + len(self.end)


def step_tokens(loaded: LoadedModel, samples: Sequence[Sample], most_tokens: int) -> list[StepTokens]:
    """Those that have at most ``most_tokens`` tokens and fit the model, before any order is chosen, so that all orders
    keep the same ones. UsageError where none does."""
    end = loaded.tokenizer.eos_token_id
    ends = (end,) if isinstance(end, int) else ()
    room = min(most_tokens, loaded.max_positions or most_tokens)
    known: dict[str, tuple[int, ...]] = {}  # steps recur, and a call of the tokenizer is slow

    def ids(text: str) -> tuple[int, ...]:
        if text not in known:
            known[text] = tuple(continuation_ids(loaded, text + BREAK))
        return known[text]

    prompts = prompt_rows(loaded, [sample.prompt + BREAK for sample in samples])
    tokens = [
        StepTokens(sample, tuple(prompt), tuple(ids(step.text) for step in sample.steps), ends)
        for sample, prompt in zip(samples, prompts, strict=True)
    ]
    kept = [row for row in tokens if row.size <= room]
    if not kept:
        shortest = min(row.size for row in tokens)
        raise UsageError(f"no sample has at most {room} tokens (the shortest has {shortest}); raise --most-tokens.")
    return kept


def sample_rows(samples: Sequence[StepTokens], order: str, vocabulary: int, *, seed: int) -> OrderedRows:
    """Rows in one order; the parts are the steps' own numbers, as the samples have them, then the end."""
    most = max(len(sample.steps) for sample in samples)
    completions, parts = [], []
    for tokens in samples:
        places = permutation(tokens.sample, order, seed=seed)
        completions.append([*(token for at in places for token in tokens.steps[at]), *tokens.end])
        parts.append([*(at for at in places for _ in tokens.steps[at]), *(most for _ in tokens.end)])
    names = [*map(str, range(most)), "end"]
    return joined_rows([tokens.prompt for tokens in samples], completions, parts, names, vocabulary)


def unsupported(sample: Sample, order: str, *, seed: int) -> list[bool]:
    """For each step, in the order that the sample has, whether a support of it stands to its right in this order."""
    places = permutation(sample, order, seed=seed)
    moved = replace(sample, steps=tuple(sample.steps[at] for at in places))
    late = {places[step] for step, _ in violations(moved)}
    return [at in late for at in range(len(sample.steps))]


def own_surprise(sample: Sample, order: str) -> float:
    """Nats at most that the draw of an order itself costs: ln n! where steps are drawn anew, else 0.

    No model can foretell them; they are no loss of learning.
    """
    return lgamma(len(sample.steps) + 1) if order == "random" or order.startswith("swap:") else 0.0
