"""What an edit did: to the fact, its paraphrases, other subjects and free generation, and to unrelated text.

Efficacy, generalisation and locality are those of ROME: p(new) > p(old) on the prompt and on paraphrases, and
p(right) > p(new) for neighbouring subjects. The last two compare whole answers, not first tokens.
Legend: F facts, S shares, R replicates, N positions, T tokens, D hidden size, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from armillary.errors import NumericError, UsageError
from armillary.methods.bricks.editing.answers import score_answers
from armillary.methods.bricks.editing.facts import Fact
from armillary.methods.bricks.low_rank import applied
from armillary.methods.bricks.payloads import LowRank
from armillary.models import LoadedModel
from armillary.models.batches import encode, pad, padded_batches, run_body
from armillary.numerics.intervals import Interval, binomial, bootstrap, bootstrap_mean
from armillary.scoring import CachedPrompts, greedy
from armillary.scoring.decoding import end_tokens
from armillary.scoring.nll import CHUNK_ELEMENTS


@dataclass(frozen=True, kw_only=True)
class FactReading:
    """How a model sees a fact; log-probabilities of whole answers in nats."""

    new: tuple[float, ...]
    """The new answer after the prompt, then after each paraphrase."""

    true: tuple[float, ...]
    """The true answer after the same."""

    neighbour_new: tuple[float, ...]
    neighbour_true: tuple[float, ...]
    """Each neighbour's own answer."""

    neighbour_top: tuple[int, ...]
    """Likeliest first token for each neighbour."""

    generated: str
    """Greedy continuation of the prompt."""


def read_fact(loaded: LoadedModel, fact: Fact, *, new_tokens: int = 12) -> FactReading:
    """The model as it is, an applied edit included."""
    prompts = [text.replace("{}", fact.subject) for text in (fact.prompt, *fact.paraphrases)]
    around = [fact.prompt.replace("{}", neighbour.subject) for neighbour in fact.neighbours]
    own = [neighbour.answer for neighbour in fact.neighbours]
    count, near = len(prompts), len(around)
    scored = score_answers(
        loaded,
        [*prompts, *prompts, *around, *around],
        [fact.target_new] * count + [fact.target_true] * count + [fact.target_new] * near + own,
    )
    values = scored.logprobs.tolist()
    cached = CachedPrompts(loaded)
    hidden_1D = cached.read(encode(loaded, [prompts[0]]))
    tokens = greedy(cached, hidden_1D, [0], max_new_tokens=new_tokens, stop_ids=end_tokens(loaded))[0]
    return FactReading(
        new=tuple(values[:count]),
        true=tuple(values[count : 2 * count]),
        neighbour_new=tuple(values[2 * count : 2 * count + near]),
        neighbour_true=tuple(values[2 * count + near :]),
        neighbour_top=tuple(scored.first[2 * count + near :].tolist()),
        generated=str(loaded.tokenizer.decode(tokens, skip_special_tokens=True)),
    )


@dataclass(frozen=True, kw_only=True)
class FactOutcome:
    """One fact before and after an edit."""

    fact: Fact
    before: FactReading
    after: FactReading

    @property
    def generation_right(self) -> bool:
        """True where free generation begins with the new answer."""
        return self.after.generated.strip().startswith(self.fact.target_new)

    @property
    def largest_off_target(self) -> float:
        """Largest change in log-probability of a neighbour's own answer, with its sign, nats; 0 without neighbours."""
        pairs = zip(self.after.neighbour_true, self.before.neighbour_true, strict=True)
        return max((after - before for after, before in pairs), key=abs, default=0.0)


def edit_outcome(loaded: LoadedModel, facts: Sequence[Fact], payload: LowRank) -> tuple[FactOutcome, ...]:
    """Each fact before and after the one change; the model is as before when this returns."""
    before = [read_fact(loaded, fact) for fact in facts]
    with applied(loaded, payload):
        after = [read_fact(loaded, fact) for fact in facts]
    return tuple(
        FactOutcome(fact=fact, before=old, after=new) for fact, old, new in zip(facts, before, after, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class EditScores:
    """Shares over facts, each with its interval; None where no fact has paraphrases or neighbours."""

    efficacy: Interval
    efficacy_before: Interval
    """The same without the edit: what is there to be gained."""

    generalisation: Interval | None
    locality: Interval | None
    unchanged: Interval | None
    """Share of neighbours whose likeliest next token is the same as before."""

    generation: Interval
    """Share of facts whose new answer is what the model writes freely."""

    score: Interval | None
    """Harmonic mean of efficacy, generalisation and locality."""

    largest_off_target: float
    """Of all facts, nats."""

    facts: int


def score_edits(outcomes: Sequence[FactOutcome], *, seed: int = 0) -> EditScores:
    """The shares of a set of edited facts. Facts are resampled, with all their prompts; UsageError for no fact."""
    if not outcomes:
        raise UsageError("scores need at least one edited fact.")
    before, after = [outcome.before for outcome in outcomes], [outcome.after for outcome in outcomes]
    hit = [bool(reading.new[0] > reading.true[0]) for reading in after]
    hit_before = [bool(reading.new[0] > reading.true[0]) for reading in before]
    general = [_share(np.greater, reading.new[1:], reading.true[1:]) for reading in after]
    local = [_share(np.greater, reading.neighbour_true, reading.neighbour_new) for reading in after]
    same = [_share(np.equal, old.neighbour_top, new.neighbour_top) for old, new in zip(before, after, strict=True)]
    return EditScores(
        efficacy=binomial(sum(hit), len(hit)),
        efficacy_before=binomial(sum(hit_before), len(hit)),
        generalisation=_mean(general, seed),
        locality=_mean(local, seed),
        unchanged=_mean(same, seed),
        generation=binomial(sum(outcome.generation_right for outcome in outcomes), len(hit)),
        score=_harmonic([float(right) for right in hit], general, local, seed),
        largest_off_target=max((outcome.largest_off_target for outcome in outcomes), key=abs),
        facts=len(outcomes),
    )


def _share(holds: np.ufunc, first: Sequence[float], second: Sequence[float]) -> float:
    """Share of pairs of which the relation holds; NaN for no pair."""
    return float(np.mean(holds(np.array(first), np.array(second)))) if len(first) else float("nan")


def _mean(values: Sequence[float], seed: int) -> Interval | None:
    known = [value for value in values if value == value]
    return bootstrap_mean(known, seed=seed, how=f"bootstrap over {len(known)} facts") if known else None


def _harmonic(hit: list[float], general: list[float], local: list[float], seed: int) -> Interval | None:
    columns_FS = np.array([hit, general, local]).T
    columns_FS = columns_FS[np.isfinite(columns_FS).all(axis=1)]
    if not len(columns_FS):
        return None

    def statistic(indices_RN: NDArray[np.int64]) -> NDArray[np.float64]:
        means_RS = columns_FS[indices_RN].mean(axis=1)
        with np.errstate(divide="ignore"):
            harmonic_R: NDArray[np.float64] = 3 / (1 / means_RS).sum(axis=1)
        return harmonic_R

    return bootstrap(statistic, len(columns_FS), seed=seed, how=f"bootstrap over {len(columns_FS)} facts")


@dataclass(frozen=True, kw_only=True)
class SideEffects:
    """Means over texts, each text the mean of its positions, bootstrap over texts."""

    divergence: Interval
    """KL(base || changed) of the next token, nats."""

    nll_change: Interval
    """Change of NLL, nats per token: above 0 is worse."""

    same_top: Interval
    """Share of positions whose likeliest next token stays the same."""

    largest_divergence: float
    """Of all positions, nats."""

    worst_text: str
    """The text it is in."""


@torch.inference_mode()
def side_effects(
    loaded: LoadedModel,
    change: LowRank,
    texts: Sequence[str],
    *,
    max_tokens: int = 128,
    tokens_per_batch: int = 2048,
    seed: int = 0,
) -> SideEffects:
    """The change against the base on every position of some texts, both read in the same pass over the texts.

    UsageError for a text of fewer than two tokens; NumericError where logits are not finite.
    """
    rows = encode(loaded, texts, max_tokens=max_tokens, least=2)
    means: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * len(rows)
    largest, worst = -1.0, 0
    for batch in padded_batches(rows, tokens_per_batch):
        ids_BT, mask_BT = pad([rows[index] for index in batch], device=loaded.device)
        mask = None if bool(mask_BT.all()) else mask_BT
        base_BTD = run_body(loaded, ids_BT, mask)
        with applied(loaded, change):
            changed_BTD = run_body(loaded, ids_BT, mask)
        for row, index in enumerate(batch):
            stop = len(rows[index]) - 1
            compared_N3 = _compared(loaded, base_BTD[row, :stop], changed_BTD[row, :stop], ids_BT[row, 1 : stop + 1])
            if not bool(compared_N3.isfinite().all()):
                raise NumericError(f"the model gave NaN or infinite logits within the text {texts[index][:60]!r}.")
            kl, nll, same = compared_N3.mean(dim=0).tolist()
            means[index] = (kl, nll, same)
            if float(compared_N3[:, 0].max()) > largest:
                largest, worst = float(compared_N3[:, 0].max()), index
    divergence, nll_change, same_top = (
        bootstrap_mean(list(column), seed=seed, how=f"bootstrap over {len(rows)} texts")
        for column in zip(*means, strict=True)
    )
    return SideEffects(
        divergence=divergence,
        nll_change=nll_change,
        same_top=same_top,
        largest_divergence=largest,
        worst_text=texts[worst],
    )


def _compared(loaded: LoadedModel, base_ND: Tensor, changed_ND: Tensor, target_N: Tensor) -> Tensor:
    """``[n, 3]`` float64: KL, change of NLL, 1 where the likeliest token is the same; by chunks of the head."""
    size = max(1, CHUNK_ELEMENTS // (4 * loaded.anatomy.vocabulary_size))
    parts = []
    for base, changed, target in zip(base_ND.split(size), changed_ND.split(size), target_N.split(size), strict=True):
        # The head itself may not be part of the change: payloads of edits name FFN writes.
        old_NV = loaded.anatomy.logits(base).float().log_softmax(dim=-1)
        new_NV = loaded.anatomy.logits(changed).float().log_softmax(dim=-1)
        kl_N = (old_NV.exp() * (old_NV - new_NV)).sum(dim=-1)
        nll_N = (old_NV - new_NV).gather(1, target[:, None])[:, 0]
        same_N = old_NV.argmax(dim=-1) == new_NV.argmax(dim=-1)
        parts.append(torch.stack([kl_N.double(), nll_N.double(), same_N.double()], dim=1))
    return torch.cat(parts).cpu()
