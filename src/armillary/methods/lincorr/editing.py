"""Teach the model one source fact by gradient steps, see which target logits follow, and put the weights back.

The paper gives neither optimiser, rate nor number of steps (arXiv 2502.04520, Tables 5 and 6); the protocol is ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.lincorr.gradient import (
    Part,
    chosen_parameters,
    last_hidden,
    prompts_of,
    refuse_other_model,
    restored,
    values_of,
)
from armillary.methods.lincorr.result import RelationFit
from armillary.models import LoadedModel
from armillary.numerics import Interval, binomial, bootstrap, bootstrap_mean, paired_difference
from armillary.numerics.correlation import spearman
from armillary.training.checkpoints import only_trainable

Optimiser = Literal["adam", "sgd"]
Array = NDArray[np.float64]

SHUFFLES = 20
"""Shuffles of W that the null of an edit is averaged over: more cost time, fewer leave them noisy."""

PENALTY = 1.0
"""On the squared logistic slope (of a regressor of unit spread): keeps it finite where the outcome is separable."""


@dataclass(frozen=True, kw_only=True)
class EditOutcome:
    """One source word taught to a few subjects, and what became of the target, as plain data."""

    source: str
    """The word that was taught."""

    gold: tuple[str, ...]
    """Targets that are right for it."""

    steps: int
    """Updates made; 0 when the model said the word already."""

    probability: float
    """Lowest probability of the word over the subjects, after the updates."""

    failed: bool
    """True when that is below the threshold: the edit did not take."""

    before: tuple[str, ...]
    """Most likely target word of each subject before the edit."""

    after: tuple[str, ...]
    """The same after it: the generalised target."""

    most_raised: tuple[str, ...]
    """Target word whose logit rose most."""

    success: float
    """Share of subjects whose ``after`` is gold."""

    success_before: float
    success_by_rise: float
    """Share of subjects whose ``most_raised`` is gold."""

    agreement: float
    """Spearman over targets of predicted and measured change, mean over subjects; NaN when nothing changed."""

    agreement_permuted: float
    """The same with rows and columns of W shuffled: nothing of the map is left."""

    weight_reference: float
    """Largest weight of the source word on a gold target (W_ref)."""

    weight_generalised: float
    """Weight on the generalised target, mean over subjects (W_gen)."""

    weight_largest: float
    """Largest weight of the source word on any target (W_max)."""

    agreement_same_tokens: float
    """Spearman of the measured change with that of the *same target words under the source prompt*: the simplest
    forecast, which needs no map."""

    agreement_taught_row: float
    """... with the taught word's row of W alone."""

    agreement_others: float | None = None
    """... with the mean change that the other edits made: what any edit does. None before ``beside_others``."""

    agreement_own: float | None = None
    """``agreement`` after the mean of the other edits is taken from predicted and measured change alike."""

    agreement_same_tokens_own: float | None = None
    """``agreement_same_tokens`` after the same."""

    standardized_reference: float
    """W_ref in units of the usual spread of source and target."""

    generalised_rank: float
    """Share of targets with a smaller weight than the generalised one, mean over subjects: 0.5 by chance."""

    @property
    def took(self) -> bool:
        """Whether the word had to be taught and was learned."""
        return self.steps > 0 and not self.failed


@dataclass(frozen=True, kw_only=True, eq=False)
class LogitEdit(EditOutcome):
    """The outcome of an edit with the changes behind it. K subjects, S sources, T targets."""

    source_change: NDArray[np.float64]
    """Measured change of the source values ``[K, S]``."""

    target_change: NDArray[np.float64]
    """Measured change of the target values ``[K, T]``."""

    predicted_change: NDArray[np.float64]
    """``source_change @ W``, ``[K, T]``."""

    same_token_change: NDArray[np.float64]
    """Measured change of the target words' values under the *source* prompt, ``[K, T]``."""

    def outcome(self) -> EditOutcome:
        """The outcome alone, without the changes: what a record keeps."""
        return EditOutcome(**{field.name: getattr(self, field.name) for field in fields(EditOutcome)})


def edit_and_trace(
    loaded: LoadedModel,
    fit: RelationFit,
    source_word: str,
    subjects: Sequence[str],
    *,
    learning_rate: float = 5e-5,
    max_steps: int = 30,
    optimiser: Optimiser = "adam",
    parameters: Part = "ffn-last-half",
    threshold: float = 0.5,
    seed: int = 0,
) -> LogitEdit:
    """Train until every subject's source prompt gives ``source_word`` with probability ``threshold``, then compare.

    Loss: mean over subjects of ``-log p(word | source prompt)`` over the whole vocabulary. The weights are put back
    bit for bit, also after an error. UsageError for a word outside the source domain or without gold, or a fit of
    another model; NumericError when the loss is not finite.
    """
    refuse_other_model(loaded, fit)
    column = fit.source.column(source_word)
    if not fit.gold[column]:
        raise UsageError(f"{source_word!r} has no gold target, so its edit can't be judged.")
    if not subjects or max_steps < 1 or not 0 < threshold < 1 or not learning_rate > 0:
        raise UsageError(
            f"an edit needs a subject, max_steps of 1 or more, a threshold between 0 and 1 and a positive rate; got "
            f"{len(subjects)} subjects, {max_steps}, {threshold} and {learning_rate}."
        )
    prompts = prompts_of(loaded, fit, subjects)
    chosen = chosen_parameters(loaded, parameters)
    optimisers: dict[str, Callable[..., torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    if optimiser not in optimisers:
        raise UsageError(f"the optimiser must be 'adam' or 'sgd'; got {optimiser!r}.")
    with restored(chosen), only_trainable(loaded.model, chosen):
        before = _read(loaded, fit, prompts)
        update = optimisers[optimiser](chosen, lr=learning_rate)
        steps, probability = _teach(loaded, prompts[0], fit.source.ids[column], update, max_steps, threshold)
        after = _read(loaded, fit, prompts)
    return _compared(
        fit, source_word, before, after, steps=steps, probability=probability, threshold=threshold, seed=seed
    )


@torch.enable_grad()
def _teach(
    loaded: LoadedModel,
    prompts: Sequence[str],
    token: int,
    update: torch.optim.Optimizer,
    max_steps: int,
    threshold: float,
) -> tuple[int, float]:
    """Updates made, and the lowest probability of the token after them."""
    for step in range(max_steps + 1):
        logits_BV = loaded.masked(loaded.anatomy.logits(last_hidden(loaded, prompts)).float())
        log_p_B = logits_BV[:, token] - logits_BV.logsumexp(dim=-1)
        lowest = float(log_p_B.detach().exp().min())
        if not np.isfinite(lowest):
            raise NumericError(f"the edit diverged at step {step}: the loss is not finite; use a smaller rate.")
        if lowest >= threshold or step == max_steps:
            return step, lowest
        update.zero_grad(set_to_none=True)
        (-log_p_B.mean()).backward()
        update.step()
    raise AssertionError("the last step returns")


Values = tuple[Tensor, Tensor, Tensor]
"""Of the source words ``[K, S]``, of the target words ``[K, T]``, and of these under the source prompt ``[K, T]``."""


@torch.no_grad()
def _read(loaded: LoadedModel, fit: RelationFit, prompts: tuple[list[str], list[str]]) -> Values:
    """Values in float64 on the host."""
    hidden_source, hidden_target = (last_hidden(loaded, texts) for texts in prompts)
    source = values_of(loaded, hidden_source, fit.source.ids, fit.space)
    target = values_of(loaded, hidden_target, fit.target.ids, fit.space)
    same = values_of(loaded, hidden_source, fit.target.ids, fit.space)
    return source.double().cpu(), target.double().cpu(), same.double().cpu()


def _compared(
    fit: RelationFit,
    word: str,
    before: Values,
    after: Values,
    *,
    steps: int,
    probability: float,
    threshold: float,
    seed: int,
) -> LogitEdit:
    """What the values before and after say of the edit of one source word."""
    column = fit.source.column(word)
    source, target, same = (new - old for new, old in zip(after, before, strict=True))
    weight, weight_T = fit.weight_ST, fit.weight_ST[column]
    generator = np.random.default_rng(seed)
    permuted = []
    for _ in range(SHUFFLES):
        rows = weight[torch.from_numpy(generator.permutation(weight.shape[0]))]
        columns = torch.from_numpy(generator.permutation(weight.shape[1]))
        permuted.append(_agreement((source @ rows)[:, columns], target))
    gold, labels = sorted(fit.gold[column]), fit.target.labels
    top_before, top_after, raised = (x.argmax(dim=1).tolist() for x in (before[1], after[1], target))

    def right(columns: list[int]) -> float:
        return sum(column in gold for column in columns) / len(columns)

    ranks = [int((weight_T < weight_T[j]).sum()) / (len(labels) - 1) for j in top_after]
    return LogitEdit(
        source=word,
        gold=tuple(labels[j] for j in gold),
        steps=steps,
        probability=probability,
        failed=probability < threshold,
        before=tuple(labels[j] for j in top_before),
        after=tuple(labels[j] for j in top_after),
        most_raised=tuple(labels[j] for j in raised),
        success=right(top_after),
        success_before=right(top_before),
        success_by_rise=right(raised),
        source_change=source.numpy(),
        target_change=target.numpy(),
        predicted_change=(source @ weight).numpy(),
        same_token_change=same.numpy(),
        agreement=_agreement(source @ weight, target),
        agreement_permuted=float(np.mean(permuted)),
        agreement_same_tokens=_agreement(same, target),
        agreement_taught_row=_agreement(source[:, [column]] @ weight[[column]], target),
        weight_reference=float(weight_T[gold].max()),
        weight_generalised=float(weight_T[top_after].mean()),
        weight_largest=float(weight_T.max()),
        standardized_reference=float(fit.standardized_ST[column][gold].max()),
        generalised_rank=float(np.mean(ranks)),
    )


def _agreement(predicted: Tensor, measured: Tensor) -> float:
    return float(np.mean([spearman(p, m) for p, m in zip(predicted, measured, strict=True)]))


# Many edits together: does a taught fact carry over, where, and does the map foretell it.


def beside_others(edits: Sequence[LogitEdit]) -> list[LogitEdit]:
    """The edits with what the *other* edits did to the same subjects as one more forecast, and without it.

    Only edits that took take part; where fewer than two did, all come back as they are. UsageError when the edits are
    of different subjects or relations, as far as their shapes tell.
    """
    took = [edit for edit in edits if edit.took]
    if len({edit.target_change.shape for edit in took}) > 1:
        raise UsageError("edits can only be compared over the same subjects and target words.")
    if len(took) < 2:
        return list(edits)
    names = ("target_change", "predicted_change", "same_token_change")
    sums = [sum(getattr(edit, name) for edit in took) for name in names]

    def with_others(edit: LogitEdit) -> LogitEdit:
        own = [torch.from_numpy(getattr(edit, name)) for name in names]
        others = [(torch.from_numpy(total) - mine) / (len(took) - 1) for total, mine in zip(sums, own, strict=True)]
        target, predicted, same = (mine - shared for mine, shared in zip(own, others, strict=True))
        return replace(
            edit,
            agreement_others=_agreement(others[0], own[0]),
            agreement_own=_agreement(predicted, target),
            agreement_same_tokens_own=_agreement(same, target),
        )

    return [with_others(edit) if edit.took else edit for edit in edits]


@dataclass(frozen=True, kw_only=True)
class SpilloverResult:
    """What the edits that took give together; an edit is the unit that is resampled."""

    edits: int
    """Edits that took: counted below."""

    failed: int
    """Edits that did not reach the threshold."""

    untouched: int
    """Words that the model said already, so that nothing was trained."""

    chance: float
    """Share of the target words that is right, mean over edits."""

    success: Interval
    """Share of subjects that give a right target after the edit, bootstrap over edits."""

    success_majority: Interval
    """Share of edits in which more than half of the subjects do, exact binomial."""

    success_before: Interval
    success_by_rise: Interval
    """Share of subjects whose most raised target is right."""

    agreement: Interval
    """Spearman of predicted and measured change over targets, mean over edits."""

    agreement_permuted: Interval
    agreement_same_tokens: Interval
    agreement_taught_row: Interval
    agreement_others: Interval | None
    """The simple forecasts (see ``EditOutcome``); None where ``beside_others`` was not asked."""

    over_same_tokens: Interval
    """``agreement - agreement_same_tokens``, paired: what the map adds to what needs no map."""

    over_taught_row: Interval
    over_others: Interval | None
    agreement_own: Interval | None
    """``agreement`` after what all edits share is taken out."""

    agreement_same_tokens_own: Interval | None

    slope: Interval | None
    """Logistic slope of success on the standardised W_ref, per standard deviation over edits; None when all edits end
    alike."""

    wrong: int
    """Edits whose most frequent outcome is a wrong target."""

    wrong_above_reference: Interval | None
    """Of these, the share in which the weight of the wrong targets exceeds W_ref: foretold by the map."""

    wrong_rank: Interval | None
    """Of these, the mean rank of the wrong target among the row's weights: 0.5 by chance, 1 for the largest."""


def combine_edits(
    edits: Sequence[EditOutcome], targets: int, *, level: float = 0.95, seed: int = 0
) -> SpilloverResult:
    """Aggregate edits of one relation with ``targets`` target tokens; UsageError when fewer than two of them took."""
    untouched = [edit for edit in edits if edit.steps == 0]
    failed = [edit for edit in edits if edit.steps and edit.failed]
    took = [edit for edit in edits if edit.took]
    if len(took) < 2:
        raise UsageError(
            f"only {len(took)} of {len(edits)} edits took ({len(failed)} failed, {len(untouched)} were known "
            "already); use a larger learning rate or more steps."
        )
    how = f"bootstrap over {len(took)} edits"

    def column(name: str) -> Array:
        return np.array([getattr(edit, name) for edit in took], dtype=np.float64)

    def mean(name: str) -> Interval:
        values = column(name)
        return bootstrap_mean(values[np.isfinite(values)], seed=seed, level=level, how=how)

    def over(forecast: str) -> Interval:
        both = column("agreement"), column(forecast)
        kept = np.isfinite(both[0]) & np.isfinite(both[1])
        return paired_difference(both[0][kept], both[1][kept], seed=seed, level=level, how=f"paired {how}")

    shared = np.isfinite(column("agreement_others")).any()
    success = column("success")
    majority = int((success > 0.5).sum())
    wrong = [edit for edit in took if edit.success < 0.5]
    above = sum(edit.weight_generalised > edit.weight_reference for edit in wrong)
    wrong_how = f"bootstrap over {len(wrong)} edits that ended wrong"
    ranks = [edit.generalised_rank for edit in wrong]
    return SpilloverResult(
        edits=len(took),
        failed=len(failed),
        untouched=len(untouched),
        chance=float(np.mean([len(edit.gold) / targets for edit in took])),
        success=mean("success"),
        success_majority=binomial(majority, len(took), level=level),
        success_before=mean("success_before"),
        success_by_rise=mean("success_by_rise"),
        agreement=mean("agreement"),
        agreement_permuted=mean("agreement_permuted"),
        agreement_same_tokens=mean("agreement_same_tokens"),
        agreement_taught_row=mean("agreement_taught_row"),
        agreement_others=mean("agreement_others") if shared else None,
        over_same_tokens=over("agreement_same_tokens"),
        over_taught_row=over("agreement_taught_row"),
        over_others=over("agreement_others") if shared else None,
        agreement_own=mean("agreement_own") if shared else None,
        agreement_same_tokens_own=mean("agreement_same_tokens_own") if shared else None,
        slope=logistic_slope(column("standardized_reference"), success, level=level, seed=seed),
        wrong=len(wrong),
        wrong_above_reference=binomial(above, len(wrong), level=level) if wrong else None,
        wrong_rank=bootstrap_mean(ranks, seed=seed, level=level, how=wrong_how) if wrong else None,
    )


def logistic_slope(x_N: Array, share_N: Array, *, level: float = 0.95, seed: int = 0) -> Interval | None:
    """Slope of ``logit P(success)`` on ``x`` in its standard deviations, bootstrap over rows.

    None when ``x`` or the outcome is the same everywhere. Outcomes may be shares; the slope is lightly penalised.
    """
    if np.ptp(x_N) == 0 or np.ptp(share_N) == 0:
        return None
    unit = (x_N - x_N.mean()) / x_N.std()
    how = f"penalised logistic regression, bootstrap over {len(x_N)} edits"
    return bootstrap(lambda rows: slopes(unit[rows], share_N[rows]), len(x_N), seed=seed, level=level, how=how)


def slopes(x_RN: Array, y_RN: Array) -> Array:
    """Of every replicate the logistic slope, by Newton's method; a faint penalty keeps the intercept finite."""
    slope, intercept = np.zeros(len(x_RN)), np.zeros(len(x_RN))
    # Steps are clipped: one from where the curve is flat would overshoot.
    for _ in range(30):
        p = 1 / (1 + np.exp(-np.clip(slope[:, None] * x_RN + intercept[:, None], -30, 30)))
        w = p * (1 - p)
        gradient = ((y_RN - p) * x_RN).sum(1) - PENALTY * slope, (y_RN - p).sum(1) - 1e-3 * intercept
        a, b, c = (w * x_RN**2).sum(1) + PENALTY, (w * x_RN).sum(1), w.sum(1) + 1e-3
        determinant = a * c - b**2
        slope = slope + np.clip((c * gradient[0] - b * gradient[1]) / determinant, -2, 2)
        intercept = intercept + np.clip((a * gradient[1] - b * gradient[0]) / determinant, -2, 2)
    return slope
