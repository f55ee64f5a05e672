"""Does a map that was fitted before fine-tuning still hold after it: the same weights, the tuned model's logits."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from armillary.errors import UsageError
from armillary.methods.lincorr import core
from armillary.methods.lincorr.config import LinCorrConfig
from armillary.methods.lincorr.measurement import RelationTables, fit_relation, permuted_null, restricted
from armillary.methods.lincorr.result import RelationFit, hits
from armillary.methods.lincorr.words import Status
from armillary.numerics import Interval, RidgePath, bootstrap_mean
from armillary.numerics.intervals import percentile_interval


@dataclass(frozen=True, kw_only=True)
class TransferResult:
    """Correlations of one relation on the same test subjects, before and after."""

    relation: str
    before: Interval
    """The fit on the model that it was fitted on."""

    after: Interval
    """The same fit, not refitted, on the tuned model."""

    drop: Interval
    """``before - after``, paired."""

    refitted: Interval
    """A new fit on the tuned model: what it still has to give."""

    permuted: Interval
    """The floor: fits to shuffled targets of the first model, applied to the tuned one."""


def transfer(fit: RelationFit, before: RelationTables, after: RelationTables, config: LinCorrConfig) -> TransferResult:
    """Score ``fit`` on the tuned model's tables (``recollect`` reads them), on the subjects left out of the fit.

    UsageError when the two models are the same (the slip in the paper's published notebook), when the fit is of
    another model than ``before``, or when subjects, prompts or tokens differ.
    """
    if before.source.model == after.source.model:
        raise UsageError(f"the two models are the same ({after.source.model}); nothing was tuned.")
    if fit.model != before.source.model:
        raise UsageError("the fit belongs to another model than the tables before tuning.")
    for old, new in ((before.source, after.source), (before.target, after.target)):
        if old.words.tokens != new.words.tokens:
            raise UsageError("the two models name the answer tokens differently, so a map can't be carried over.")
        if (old.subjects, old.template, old.space) != (new.subjects, new.template, new.space):
            raise UsageError("the two models must be read with the same subjects, prompts and space.")
    train, test = before.train, before.test
    rows = core.TestRows(len(test), replicates=config.replicates, level=config.level, seed=config.seed)
    source_after, target_after = after.source.rows(test), after.target.rows(test)
    first = rows.mean_correlation(fit.predict(before.source.rows(test)), before.target.rows(test))
    later = rows.mean_correlation(fit.predict(source_after), target_after)
    refit = core.solve(RidgePath(after.source.rows(train)), after.target.rows(train), config.ridge)
    path = RidgePath(before.source.rows(train))
    return TransferResult(
        relation=fit.relation,
        before=rows.interval(first),
        after=rows.interval(later),
        drop=rows.interval(first, later),
        refitted=rows.interval(rows.mean_correlation(refit.predict(source_after), target_after)),
        permuted=permuted_null(
            path, before.target.rows(train), (source_after, target_after), fit.linear.ridge, config
        ),
    )


# Do whole words serve better as source tokens than first words of phrases or pieces of words (paper's Table 18).

N = 5
"""The N of hit@N, as in the paper's Table 18."""


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """One kind of source token: how well it predicts, and how precise its weights are."""

    status: Status
    words: tuple[str, ...]
    correlation: Interval
    """Of the map from these source tokens alone."""

    behind: Interval | None
    """Correlation of whole words less this kind's, paired over subjects; None where there are no whole words."""

    hit_rate: Interval
    """hit@5 over its words."""

    gains: tuple[float, ...]
    """Of each word, its hit (0 or 1) less the share of the other words' answers that its row hits as well."""

    excess: Interval
    """Mean of the gains, bootstrap over words: what the map's favourite answers do not explain."""


def by_completeness(tables: RelationTables, config: LinCorrConfig, *, least: int = 8) -> Mapping[Status, Completeness]:
    """Correlation and influenced hit@5 by kind of source token, with equally many tokens of each kind.

    The tables must be collected with ``policy="first"``. Only tokens with gold take part; a kind with fewer than
    ``least`` of them is left out, the others are cut by seed to the smallest kind's number, so that the number of
    regressors can't make the difference. UsageError when fewer than two kinds are left.
    """
    kinds: dict[Status, list[int]] = {}
    for column, status in enumerate(tables.source.words.statuses):
        if tables.gold[column]:
            kinds.setdefault(status, []).append(column)
    kinds = {status: columns for status, columns in kinds.items() if len(columns) >= least}
    if len(kinds) < 2:
        raise UsageError(
            f"at least two kinds of source words with {least} tokens that have gold are needed; got {len(kinds)}. "
            "Collect with policy='first'."
        )
    size = min(len(columns) for columns in kinds.values())
    generator = np.random.default_rng(config.seed)
    by_kind = {
        status: restricted(tables, generator.permutation(columns)[:size].tolist())
        for status, columns in sorted(kinds.items())
    }
    rows = core.TestRows(len(tables.test), replicates=config.replicates, level=config.level, seed=config.seed)
    fits = {status: fit_relation(chosen, config) for status, chosen in by_kind.items()}
    measured = tables.target.rows(tables.test)
    correlations = {
        status: rows.mean_correlation(fits[status].predict(chosen.source.rows(chosen.test)), measured)
        for status, chosen in by_kind.items()
    }
    whole = correlations.get("whole")

    def of_kind(status: Status) -> Completeness:
        table_LL = hits(fits[status].weight_ST, by_kind[status].gold, N).astype(np.float64)
        how = f"bootstrap over {len(table_LL)} source tokens"
        hit_rate, gains = table_LL.diagonal(), table_LL.diagonal() - table_LL.mean(axis=1)
        mean = partial(bootstrap_mean, seed=config.seed, level=config.level, how=how)
        return Completeness(
            status=status,
            words=by_kind[status].source.words.labels,
            correlation=rows.interval(correlations[status]),
            behind=rows.interval(whole, correlations[status]) if whole and status != "whole" else None,
            hit_rate=mean(hit_rate),
            gains=tuple(gains.tolist()),
            excess=mean(gains),
        )

    return {status: of_kind(status) for status in by_kind}


def whole_word_advantage(kinds: Mapping[Status, Completeness], other: Status, config: LinCorrConfig) -> Interval:
    """Excess hit@5 of whole words minus another kind's, bootstrap over words of both; UsageError if one lacks."""
    if "whole" not in kinds or other not in kinds:
        raise UsageError(
            f"both 'whole' and {other!r} source words are needed; there are {', '.join(kinds) or 'none'}."
        )
    a, b = (np.array(kinds[kind].gains) for kind in ("whole", other))
    generator = np.random.default_rng(config.seed)
    drawn_a = a[generator.integers(len(a), size=(config.replicates, len(a)))].mean(axis=1)
    drawn_b = b[generator.integers(len(b), size=(config.replicates, len(b)))].mean(axis=1)
    how = f"bootstrap over {len(a)} and {len(b)} source tokens"
    estimate = float(a.mean() - b.mean())
    return percentile_interval(estimate, drawn_a - drawn_b, len(a) + len(b), config.level, how)
