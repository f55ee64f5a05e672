"""One relation's logit tables in, its result out: the fits, the controls, the precision of the weights."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.data import Relation
from armillary.errors import UsageError
from armillary.methods.lincorr import core
from armillary.methods.lincorr.config import LinCorrConfig
from armillary.methods.lincorr.result import (
    HITS,
    Direction,
    Gold,
    HitRate,
    RelationFit,
    RelationResult,
    Weights,
    WordExample,
    hit_at,
)
from armillary.methods.lincorr.tables import LogitTable
from armillary.methods.lincorr.words import halves
from armillary.numerics import Interval, LinearFit, RidgePath, pearson_columns
from armillary.numerics.intervals import percentile_interval

EXAMPLES = 12
"""Source words shown with their weights: what a reader takes in."""

FEW_GOLD = 10
"""Below so many source words with gold, one word moves a hit rate by more than a tenth."""


@dataclass(frozen=True, kw_only=True)
class RelationTables:
    """What is collected for one relation; all tables have the same subjects in the same rows."""

    relation: Relation
    model_name: str
    source: LogitTable
    target: LogitTable
    control: LogitTable | None
    """Random words under the target prompt."""

    gold: Gold
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def relation_tables(
    relation: Relation,
    model_name: str,
    tables: tuple[LogitTable, LogitTable, LogitTable | None],
    gold: Gold,
    config: LinCorrConfig,
) -> RelationTables:
    """Tables of source, target and control with the seeded split; UsageError when they are not of one collection."""
    source, target, control = tables
    if any(table is not None and table.collection != source.collection for table in (target, control)):
        raise UsageError("the tables of a relation must have the same subjects, space and model.")
    train, test = halves(len(source.subjects), seed=config.seed)
    return RelationTables(
        relation=relation,
        model_name=model_name,
        source=source,
        target=target,
        control=control,
        gold=gold,
        train=train,
        test=test,
    )


def fit_relation(tables: RelationTables, config: LinCorrConfig) -> RelationFit:
    """The map from source to target logits on the fitting half; UsageError for too few rows (see ``rows_note``)."""
    core.rows_note(len(tables.train), len(tables.source.words.ids), config.ridge)
    path = RidgePath(tables.source.rows(tables.train))
    return _bound(tables, core.solve(path, tables.target.rows(tables.train), config.ridge), config)


def measure(tables: RelationTables, config: LinCorrConfig) -> RelationResult:
    """Every score of one relation (the paper's own score is ``correlation_ols``).

    All intervals are over the same resamples of the test half, so that differences are paired. UsageError when
    ``config.ridge`` is 0 and there are too few rows; NumericError when all target logits are constant.
    """
    source, target = tables.source.rows(tables.train), tables.target.rows(tables.train)
    source_test, target_test = tables.source.rows(tables.test), tables.target.rows(tables.test)
    rows, sources = source.shape
    path = RidgePath(source)
    main = core.solve(path, target, config.ridge)
    ols = path.solve(target) if rows >= 2 * sources else None
    predicted = main.predict(source_test)
    per_token = pearson_columns(predicted, target_test)
    known = per_token[torch.isfinite(per_token)]
    excluded = len(per_token) - len(known)
    linked = sum(1 for right in tables.gold if right)
    notes = [core.rows_note(rows, sources, config.ridge)]
    if 0 < linked < FEW_GOLD:
        notes.append(f"only {linked} source tokens have a gold partner: hit rates are coarse")
    if ols is None:
        notes.append(f"least squares left out: {rows} fitting rows for {sources} source tokens")
    if excluded:
        notes.append(f"{excluded} target tokens have a constant logit and are left out of the mean")
    test = core.TestRows(len(tables.test), replicates=config.replicates, level=config.level, seed=config.seed)
    correlation = test.mean_correlation(predicted, target_test)
    baseline = test.mean_correlation(core.rank_one(source, target, source_test), target_test)
    control = None
    if tables.control is not None:
        control_fit = core.solve(path, tables.control.rows(tables.train), config.ridge)
        control = test.mean_correlation(control_fit.predict(source_test), tables.control.rows(tables.test))
    centred = core.solve(RidgePath(core.row_centred(source)), core.row_centred(target), config.ridge)
    centred_predicted = centred.predict(core.row_centred(source_test))
    fit = _bound(tables, main, config)
    return RelationResult(
        relation=tables.relation.id,
        group=tables.relation.group,
        model=tables.model_name,
        source_template=tables.source.template,
        target_template=tables.target.template,
        space=tables.source.space,
        chat_template=config.chat_template,
        fit_rows=rows,
        test_rows=len(tables.test),
        ridge=main.ridge,
        effective_dof=main.effective_dof,
        correlation=test.interval(correlation),
        correlation_ols=test.interval(test.mean_correlation(ols.predict(source_test), target_test)) if ols else None,
        spread=float(known.std(correction=0)) if len(known) else float("nan"),
        per_word=dict(zip(tables.target.words.labels, per_token.tolist(), strict=True)),
        excluded=excluded,
        r_squared=test.interval(test.mean_r_squared(predicted, target_test)),
        centred=test.interval(test.mean_correlation(centred_predicted, core.row_centred(target_test))),
        rank_one=test.interval(baseline),
        over_rank_one=test.interval(correlation, baseline),
        permuted=permuted_null(path, target, (source_test, target_test), main.ridge, config),
        random_domain=test.interval(control) if control else None,
        excess=test.interval(correlation, control) if control else None,
        hits=_hit_rates(tables, main, ols, config),
        examples=_examples(fit),
        notes=tuple(note for note in notes if note),
        source_words=tables.source.words.coverage(),
        target_words=tables.target.words.coverage(),
        fit=fit,
    )


def permuted_null(
    path: RidgePath, target: Tensor, test: tuple[Tensor, Tensor], ridge: float, config: LinCorrConfig
) -> Interval:
    """Mean test correlation of fits to shuffled targets, at the penalty of the real fit, and where such fits fall.

    A penalty chosen anew would shrink a meaningless map to one direction, which correlates strongly by luck: all
    tokens of a row rise and fall together.
    """
    fits = core.shuffled_fits(path, target, ridge, permutations=config.permutations, seed=config.seed)
    values = [float(pearson_columns(fit.predict(test[0]), test[1]).nanmean()) for fit in fits]
    how = f"central {config.level:.0%} of {len(values)} permutations of the fitting rows"
    return percentile_interval(float(np.mean(values)), values, len(values), config.level, how)


def restricted(tables: RelationTables, columns: Sequence[int]) -> RelationTables:
    """The same tables with only the given source columns: to compare kinds of source words."""
    words, kept = tables.source.words, sorted(columns)
    ids = tuple(words.ids[i] for i in kept)
    entries = {word: entry for word, entry in words.entries.items() if entry[0] in ids}
    table = replace(
        words,
        ids=ids,
        tokens=tuple(words.tokens[i] for i in kept),
        labels=tuple(words.labels[i] for i in kept),
        statuses=tuple(words.statuses[i] for i in kept),
        entries=entries,
    )
    source = replace(tables.source, words=table, values=tables.source.values[:, kept])
    return replace(tables, source=source, gold=tuple(tables.gold[i] for i in kept))


def _bound(tables: RelationTables, linear: LinearFit, config: LinCorrConfig) -> RelationFit:
    source, target = tables.source.rows(tables.train), tables.target.rows(tables.train)
    return RelationFit(
        relation=tables.relation.id,
        source_template=tables.source.template,
        target_template=tables.target.template,
        source=tables.source.words,
        target=tables.target.words,
        gold=tuple(tables.gold),
        linear=linear,
        standardized_ST=core.standardised_weight(linear.weight, source, target),
        space=tables.source.space,
        chat_template=config.chat_template,
        model=tables.source.model,
    )


def _hit_rates(
    tables: RelationTables, main: LinearFit, ols: LinearFit | None, config: LinCorrConfig
) -> tuple[HitRate, ...]:
    if not any(tables.gold):
        return ()
    source, target = tables.source.rows(tables.train), tables.target.rows(tables.train)
    fits = {"ridge": main, "ols": ols} if main.ridge else {"ols": main}
    rates = []
    for name, fit in fits.items():
        if fit is None:
            continue
        by_kind: dict[Weights, Tensor] = {
            "raw": fit.weight,
            "standardized": core.standardised_weight(fit.weight, source, target),
        }
        choices: dict[Direction, int] = {"influenced": target.shape[1], "influencing": source.shape[1]}
        rates += [
            hit_at(weight, tables.gold, n, direction=direction, weights=kind, fit=name, level=config.level)
            for kind, weight in by_kind.items()
            for direction, count in choices.items()
            for n in HITS
            if n < count
        ]
    return tuple(rates)


def _examples(fit: RelationFit) -> tuple[WordExample, ...]:
    """The source words with gold whose strongest standardized weight is largest; they show misses as well as hits."""
    linked = [i for i, right in enumerate(fit.gold) if right]
    strength = fit.standardized_ST.amax(dim=1)
    examples = []
    for i in sorted(linked, key=lambda i: -float(strength[i]))[:EXAMPLES]:
        top = torch.topk(fit.weight_ST[i], min(5, fit.weight_ST.shape[1]))
        pairs = tuple((fit.target.labels[int(j)], float(w)) for w, j in zip(top.values, top.indices, strict=True))
        gold = tuple(fit.target.labels[j] for j in sorted(fit.gold[i]))
        hit = int(top.indices[0]) in fit.gold[i]
        examples.append(WordExample(source=fit.source.labels[i], gold=gold, top=pairs, hit=hit))
    return tuple(examples)
