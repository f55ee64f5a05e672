"""Satisfied attributes as a reward: for TRL's GRPO trainer, and in the form of open-instruct's verifiers.

Both take the column ``attributes`` as ``build_ar_dataset`` writes it. Nothing is learned, so nothing can be fooled but
the checks themselves: keep an eye on the texts' quality beside the reward.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from armillary.attributes.attribute_set import AttributeSet, Judge
from armillary.errors import UsageError
from armillary.methods.ultragen.training_data import attributes_of

Completion = str | Sequence[Mapping[str, str]]
"""A text, or messages of which the last is the model's."""

Reward = Callable[..., list[float]]
"""``(prompts, completions, attributes, **columns) -> rewards``, one a completion."""


def reward_fn(
    prompts: Sequence[object], completions: Sequence[Completion], attributes: Sequence[object], **columns: object
) -> list[float]:
    """Share of its attributes that each completion satisfies (CSR), between 0 and 1; an empty completion gets 0.

    As TRL's GRPO trainer calls a reward function: give ``reward_funcs=reward_fn`` and rows with the columns prompt and
    attributes. Hard attributes alone are counted; ``reward_with`` takes a judge for the soft ones. UsageError where
    the lists differ in length or a row has no attributes.
    """
    return _rewards(completions, attributes, None)


def reward_with(judge: Judge) -> Reward:
    """``reward_fn`` with a judge for soft attributes."""

    def judged_reward_fn(
        prompts: Sequence[object], completions: Sequence[Completion], attributes: Sequence[object], **columns: object
    ) -> list[float]:
        return _rewards(completions, attributes, judge)

    return judged_reward_fn


def _rewards(completions: Sequence[Completion], attributes: Sequence[object], judge: Judge | None) -> list[float]:
    if len(completions) != len(attributes):
        raise UsageError(f"{len(completions)} completions came with attributes of {len(attributes)} rows.")
    return [
        score_of(completion_text(completion), _read(row), judge)
        for completion, row in zip(completions, attributes, strict=True)
    ]


def score_of(response: str, attributes: AttributeSet, judge: Judge | None = None) -> float:
    """The response's CSR; 0 for an empty one. UsageError where nothing in the set can be judged."""
    if not response.strip():
        return 0.0
    share = attributes.check(response, judge).csr
    if math.isnan(share):
        raise UsageError("none of a row's attributes could be judged; soft ones need reward_with(judge).")
    return share


def completion_text(completion: Completion) -> str:
    """What the model wrote: the text, or the content of the last message. UsageError for anything else."""
    if isinstance(completion, str):
        return completion
    last: object = completion[-1] if completion else None  # a caller may give anything
    if isinstance(last, Mapping) and isinstance(last.get("content"), str):
        return str(last["content"])
    raise UsageError(f"a completion is a text or a list of messages; got {completion!r:.80}.")


_read_json = lru_cache(maxsize=256)(attributes_of)


def _read(value: object) -> AttributeSet:
    # The rows of a group are the same text: read once and not for each of its completions.
    return _read_json(value) if isinstance(value, str) else attributes_of(value)


@dataclass(frozen=True, kw_only=True)
class VerificationResult:
    """What open-instruct's verifiers give back."""

    score: float
    cost: float = 0.0
    """Of a paid judge; programs cost nothing."""

    reasoning: str | None = None
    """Here the attributes that were not satisfied, each with what was measured."""


@dataclass(frozen=True, kw_only=True)
class AttributeVerifier:
    """Callable as ``open_instruct.ground_truth_utils.VerifierFunction``: prediction and label to a result.

    Put it under its name into that module's table of verifiers; the label of a row is its column ``attributes``.
    """

    name: str = "attributes"
    weight: float = 1.0
    judge: Judge | None = None

    def __call__(
        self, tokenized_prediction: Sequence[int], prediction: str, label: object, query: str | None = None
    ) -> VerificationResult:
        """The prediction's CSR; a thinking section, up to ``</think>``, is left out. Errors as ``reward_fn``."""
        answer, attributes = prediction.rpartition("</think>")[2].strip(), _read(label)
        score = score_of(answer, attributes, self.judge)
        verdicts = attributes.check(answer, self.judge).verdicts
        failed = [
            f"{attribute.text} ({verdict.measured})"
            for attribute, verdict in zip(attributes.attributes, verdicts, strict=True)
            if verdict.satisfied is False
        ]
        return VerificationResult(score=score, reasoning="; ".join(failed) or None)

    async def async_call(
        self, tokenized_prediction: Sequence[int], prediction: str, label: object, query: str | None = None
    ) -> VerificationResult:
        """The same in a thread, so that a slow judge holds nothing up."""
        return await asyncio.to_thread(self, tokenized_prediction, prediction, label, query)
