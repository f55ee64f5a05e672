"""Does a map that was fitted before fine-tuning still hold after it: the same weights, the tuned model's logits."""

from dataclasses import dataclass
from typing import Any

from armillary.errors import UsageError
from armillary.methods.lincorr import core
from armillary.methods.lincorr.config import LinCorrConfig
from armillary.methods.lincorr.fit import RelationFit
from armillary.methods.lincorr.measurement import RelationTables, permuted_null
from armillary.numerics import Interval, RidgePath


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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        names = ("before", "after", "drop", "refitted", "permuted")
        return {"relation": self.relation, **{name: getattr(self, name).to_dict() for name in names}}


def transfer(fit: RelationFit, before: RelationTables, after: RelationTables, config: LinCorrConfig) -> TransferResult:
    """Score ``fit`` on the tuned model's tables (``recollect`` reads them), on the subjects left out of the fit.

    UsageError when the two models are the same (the slip in the paper's published notebook), when the fit is of
    another model than ``before``, or when subjects, prompts or tokens differ.
    """
    if before.source.model == after.source.model:
        raise UsageError(f"the two models have equal weights (fingerprint {after.source.model}); nothing was tuned.")
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
