"""Responses to instructions: K of each from one reading of its prompt, and what tuning is to be compared with.

Two baselines cost no training: the best of K responses at the same sampling budget, and an outline written first.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.methods.ultragen.config import SEPARATOR, SamplingConfig
from armillary.models.loaded import LoadedModel
from armillary.models.prompts import chat_text, prompt_rows
from armillary.numerics.intervals import Interval, bootstrap_mean
from armillary.scoring.sampling import sample

Sampler = Callable[[Sequence[str], int, int], list[list[str]]]
"""``sampler(requests, k, seed)``: k responses to each request, in the requests' order."""


def prompt_text(loaded: LoadedModel, request: str) -> str:
    """The request in the model's own chat template, or for a model without one with a paragraph's end behind it."""
    return chat_text(loaded, request) if loaded.tokenizer.chat_template else request + SEPARATOR


def require_room(loaded: LoadedModel, requests: Sequence[str], max_new_tokens: int) -> None:
    """UsageError, with the number of tokens, where a request and its response don't fit into the model's positions."""
    limit = loaded.max_positions
    if limit is None:
        return
    for request, row in zip(
        requests, prompt_rows(loaded, [prompt_text(loaded, one) for one in requests]), strict=True
    ):
        if len(row) + max_new_tokens > limit:
            lines = len(request.splitlines())
            raise UsageError(
                f"a prompt of {lines} lines has {len(row):,} tokens, and with {max_new_tokens:,} new ones that is "
                f"more than the {limit:,} positions of {loaded.name}; give fewer attributes or less max_new_tokens."
            )


def responses(
    loaded: LoadedModel,
    requests: Sequence[str],
    k: int = 1,
    *,
    config: SamplingConfig | None = None,
    seed: int = 0,
    label: str | None = None,
) -> list[list[str]]:
    """``k`` responses to each request; a prompt is read once for all responses of a batch.

    The same for the same seed whatever the batch size is. UsageError before anything is drawn where a prompt leaves no
    room for the response.
    """
    config = config or SamplingConfig()
    if not requests:
        return []
    require_room(loaded, requests, config.max_new_tokens)
    drawn = sample(
        loaded,
        [prompt_text(loaded, request) for request in requests],
        num_samples=k,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        seed=seed,
        batch_size=config.batch_size,
        label=label,
    )
    return [drawn.texts[start : start + k] for start in range(0, len(drawn.texts), k)]


def sampler_of(loaded: LoadedModel, config: SamplingConfig | None = None, label: str | None = None) -> Sampler:
    """The model as a function of requests, number of responses and seed, as ``build_preferences`` takes it."""

    def draw(requests: Sequence[str], k: int, seed: int) -> list[list[str]]:
        return responses(loaded, requests, k, config=config, seed=seed, label=label)

    return draw


OUTLINE = (
    "Plan a text that satisfies every requirement below. Do not write the text yet: list its paragraphs in order, and "
    "for each say which requirements it takes care of."
)
WRITE = "Now write the text itself, following this outline and satisfying every requirement:"
"""Words of the two requests (ours)."""


def outline_then_write(
    loaded: LoadedModel,
    requests: Sequence[str],
    *,
    config: SamplingConfig | None = None,
    outline_tokens: int = 160,
    seed: int = 0,
    label: str | None = None,
) -> list[str]:
    """One response to each request, written behind an outline that the same model made first: prompting alone.

    The outline has at most ``outline_tokens`` (about 120 words), and no more than the text may have. Errors as
    ``responses``.
    """
    config = config or SamplingConfig()
    plans = SamplingConfig(
        max_new_tokens=min(outline_tokens, config.max_new_tokens),
        temperature=config.temperature,
        top_p=config.top_p,
        batch_size=config.batch_size,
    )
    asked_for_outline = [f"{OUTLINE}\n\n{request}" for request in requests]
    outlines = responses(loaded, asked_for_outline, config=plans, seed=seed, label=label)
    second = [
        f"{request}\n\n{WRITE}\n\n{outline.strip()}" for request, (outline,) in zip(requests, outlines, strict=True)
    ]
    # Another seed: the same uniform numbers would tie the text's draw to the outline's.
    return [text for (text,) in responses(loaded, second, config=config, seed=seed + 1, label=label)]


# The best of K, from K scored responses a set.

Scores = NDArray[np.float64]
"""Scores of the responses, ``[sets, K]``."""


def expected_best(scores_SK: Scores, k: int) -> NDArray[np.float64]:
    """For each set the expected best score of ``k`` responses drawn from its K without replacement, ``[sets]``.

    The mean over all choices of ``k``: sorted ascending, response i is the best of those that lie below it in
    ``C(i, k-1)`` of ``C(K, k)`` choices. No draw is wasted and none is added. UsageError unless 1 <= k <= K.
    """
    scores = np.asarray(scores_SK, np.float64)
    if scores.ndim != 2 or not 1 <= k <= scores.shape[1]:
        raise UsageError(f"the best of k needs scores [sets, K] with 1 <= k <= K; got {scores.shape} and k={k}.")
    drawn = scores.shape[1]
    weights = np.array([math.comb(index, k - 1) for index in range(drawn)], np.float64) / math.comb(drawn, k)
    best: NDArray[np.float64] = np.sort(scores, axis=1) @ weights
    return best


@dataclass(frozen=True, kw_only=True)
class BestOf:
    """What rejection sampling reaches with so many responses a prompt."""

    k: int
    csr: Interval
    """Mean over sets of the expected best score, with a bootstrap interval over sets."""


def best_of_curve(scores_SK: Scores, *, seed: int = 0) -> list[BestOf]:
    """Rejection sampling at every budget from one response to K."""
    scores = np.asarray(scores_SK, np.float64)
    return [
        BestOf(
            k=k, csr=bootstrap_mean(expected_best(scores, k), seed=seed, how=f"bootstrap over {len(scores):,} sets")
        )
        for k in range(1, scores.shape[1] + 1)
    ]
