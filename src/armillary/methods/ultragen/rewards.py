"""Satisfied attributes as a reward: for TRL's GRPO trainer, and in the form of open-instruct's verifiers.

Both take the column ``attributes`` as ``build_ar_dataset`` writes it, or in any other form that ``armillary ultragen
check`` reads. Nothing is learned, so nothing can be fooled but
the checks themselves: keep an eye on the texts' quality beside the reward.
"""

import asyncio
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from armillary.attributes.attribute_set import AttributeSet, Judge
from armillary.errors import UsageError
from armillary.methods.ultragen.training_data import attributes_of, set_of_row

Completion = str | Sequence[Mapping[str, str]]
"""A text, or messages of which the last is the model's."""

BENCHMARK_COLUMNS = ("instruction_id_list", "kwargs", "hard_constraints", "soft_constraints")
"""Columns beside the prompt of which rows of IFEval, IFBench and ultrabench say their attributes."""

Reward = Callable[..., list[float]]
"""``(prompts, completions, attributes, **columns) -> rewards``, one a completion."""


def reward_fn(
    prompts: Sequence[object],
    completions: Sequence[Completion],
    attributes: Sequence[object] | None = None,
    **columns: object,
) -> list[float]:
    """Share of its attributes that each completion satisfies (CSR), between 0 and 1; an empty completion gets 0.

    As TRL's GRPO trainer calls a reward function: give ``reward_funcs=reward_fn`` and rows with the columns prompt and
    attributes. Rows without that column are read by their others, as ``armillary ultragen check`` does: those of
    IFEval and ultrabench, and prompts whose lines state attributes. Hard attributes alone are counted;
    ``reward_with`` takes a judge for the soft ones. UsageError where the lists differ in length or a row has no
    attributes.
    """
    return _rewards(prompts, completions, attributes, columns, None)


def reward_with(judge: Judge) -> Reward:
    """``reward_fn`` with a judge for soft attributes."""

    def judged_reward_fn(
        prompts: Sequence[object],
        completions: Sequence[Completion],
        attributes: Sequence[object] | None = None,
        **columns: object,
    ) -> list[float]:
        return _rewards(prompts, completions, attributes, columns, judge)

    return judged_reward_fn


def _rewards(
    prompts: Sequence[object],
    completions: Sequence[Completion],
    attributes: Sequence[object] | None,
    columns: Mapping[str, object],
    judge: Judge | None,
) -> list[float]:
    if attributes is not None and len(completions) != len(attributes):
        raise UsageError(f"{len(completions)} completions came with attributes of {len(attributes)} rows.")
    sets = list(map(_read, attributes)) if attributes is not None else _read_rows(prompts, len(completions), columns)
    if judge is None:
        _tell_of_unknown(sets)
    return [
        score_of(completion_text(completion), own, judge) for completion, own in zip(completions, sets, strict=True)
    ]


def _tell_of_unknown(sets: Sequence[AttributeSet]) -> None:
    """A warning where a sentence is of no known kind: it is taken as a soft attribute, and counts for nothing here."""
    imported = {each.text for own in sets for each in own.attributes if not each.hard and each.source == "imported"}
    if imported:
        sentences = "1 sentence is" if len(imported) == 1 else f"{len(imported)} sentences are"
        warnings.warn(
            f"{sentences} of no known kind, which only reward_with(judge) counts, such as {min(imported)!r:.80}.",
            stacklevel=4,
        )


def _read_rows(prompts: Sequence[object], count: int, columns: Mapping[str, object]) -> list[AttributeSet]:
    """The sets of rows by their columns; a group's rows are the same objects, and are read once."""
    if len(prompts) != count:
        raise UsageError(f"{count} completions came with {len(prompts)} prompts.")
    named: dict[str, Sequence[object]] = {}
    for name in BENCHMARK_COLUMNS:
        if isinstance(values := columns.get(name), list | tuple):
            named[name] = values
    sets: list[AttributeSet] = []
    before: dict[str, object] = {}
    for number, prompt in enumerate(prompts):
        row: dict[str, object] = {"prompt": prompt, **{name: values[number] for name, values in named.items()}}
        sets.append(sets[-1] if sets and row == before else set_of_row(row, f"row {number + 1} of the batch"))
        before = row
    return sets


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
