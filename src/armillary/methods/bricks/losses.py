"""Losses of texts by capability, and what a change of the model does to them, paired text by text.

Legend: N texts of a capability, R replicates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from armillary.errors import UsageError
from armillary.models import LoadedModel
from armillary.numerics.intervals import Array, Drawn, Interval, resampled
from armillary.runs.parts import Arrays, Store, kept, part_name
from armillary.scoring import sequence_nll

Texts = Mapping[str, Sequence[str]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Losses:
    """Negative log-likelihood of each text; every token but the first is scored."""

    nll: Mapping[str, Array]
    """By capability: summed over the text's tokens, nats, ``[N]``."""

    tokens: Mapping[str, NDArray[np.int64]]
    """Scored tokens of each text."""

    @property
    def sizes(self) -> dict[str, int]:
        """Number of texts by capability."""
        return {name: len(values) for name, values in self.nll.items()}

    def per_token(self, capability: str | None = None) -> float:
        """Nats per token over one capability's texts as one corpus, or over all texts."""
        chosen = list(self.nll) if capability is None else [capability]
        return float(sum(self.nll[name].sum() for name in chosen) / sum(self.tokens[name].sum() for name in chosen))


@dataclass(frozen=True, kw_only=True)
class LossEffect:
    """What a change costs on some texts, with paired bootstrap intervals over the texts."""

    delta_nll: Interval
    """Rise of the loss, nats per token."""

    relative_perplexity: Interval
    """(perplexity after - before) / before, of the texts as one corpus: ``exp(delta_nll) - 1``."""


def text_losses(
    loaded: LoadedModel,
    texts: Texts,
    *,
    max_tokens: int = 128,
    tokens_per_batch: int = 2048,
    store: Store | None = None,
    name: str = "base",
) -> Losses:
    """The loss of every text under the model as it is now (inside ``ablated``: of the changed model).

    ``store`` keeps each capability under ``name``, which must say what was changed. Raises as ``sequence_nll``;
    UsageError for no texts.
    """
    if not texts or not all(len(rows) for rows in texts.values()):
        raise UsageError("losses need at least one text of each capability.")
    nll, tokens = {}, {}

    def compute(rows: Sequence[str]) -> Arrays:
        scored = sequence_nll(loaded, rows, max_tokens=max_tokens, tokens_per_batch=tokens_per_batch)
        return {"nll": np.array(scored.nll), "tokens": np.array(scored.tokens)}

    for capability, rows in texts.items():
        part = part_name("losses", name, loaded.identity, list(rows), max_tokens)
        arrays = kept(store, part, partial(compute, rows))
        nll[capability], tokens[capability] = arrays["nll"], arrays["tokens"]
    return Losses(nll=nll, tokens=tokens)


def changes(before: Losses, after: Losses, drawn: Drawn, capabilities: Sequence[str]) -> Array:
    """Rise of the loss in each replicate, nats per token, ``[R]``: the texts of the capabilities as one corpus."""
    rise_R = sum(drawn[name] @ (after.nll[name] - before.nll[name]) for name in capabilities)
    tokens_R = sum(drawn[name] @ before.tokens[name] for name in capabilities)
    return np.asarray(rise_R / tokens_R)


def effect(before: Losses, after: Losses, capability: str | None = None, *, seed: int = 0) -> LossEffect:
    """What the change from ``before`` to ``after`` costs on one capability's texts, or on all texts as one corpus.

    Texts are paired and drawn within their capabilities. UsageError for a capability that was not measured.
    """
    if capability is not None and capability not in before.nll:
        raise UsageError(f"{capability!r} was not measured; {', '.join(before.nll)} were.")
    chosen = list(before.nll) if capability is None else [capability]
    sizes = {name: before.sizes[name] for name in chosen}

    def rise(drawn: Drawn) -> Array:
        return changes(before, after, drawn, chosen)

    return LossEffect(
        delta_nll=resampled(rise, sizes, seed=seed),
        relative_perplexity=resampled(lambda drawn: np.expm1(rise(drawn)), sizes, seed=seed),
    )
