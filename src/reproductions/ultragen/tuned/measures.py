"""The quantities that the claims on the tuned model are judged by; intervals are over prompts, of one training."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from armillary.methods.ultragen.analyse.position import PlacedVerdicts, logistic_slopes
from armillary.methods.ultragen.evaluation import EvaluatedSet, ScoredResponse
from armillary.methods.ultragen.quality import TextQuality
from armillary.methods.ultragen.sampling import expected_best
from armillary.numerics.intervals import Interval, bootstrap_mean, paired_difference, percentile_interval
from reproductions.ultragen.scale import TUNED_BEST_OF, TunedScale
from reproductions.ultragen.tuned.answers import Asked, ModelResult, Reading
from reproductions.ultragen.tuned.making import Trained

Array = NDArray[np.float64]

MODELS = ("untuned", "ar", "gpo")
REPLICATES = 500
"""Of the bootstrap of slopes, as ``position_bias`` has."""

DEGENERATE = 2
"""Times by which repetition may grow: the note's bound, beyond which no gain is called one."""

QUALITIES: Mapping[str, Callable[[TextQuality], float]] = {
    "repeated 4-grams": lambda quality: quality.repeated,
    "distinct-1": lambda quality: quality.distinct_1,
    "distinct-2": lambda quality: quality.distinct_2,
    "words": lambda quality: quality.words,
}


def tuned_measures(
    results: Mapping[str, ModelResult],
    readings: Mapping[str, Reading],
    training: Mapping[str, Trained],
    scale: TunedScale,
) -> dict[str, Interval]:
    """Every measure by name; ``results`` and ``readings`` by ``MODELS``, ``training`` by its stage."""
    measured = {
        f"{stage}/{name.rpartition('/')[2]}": value
        for stage, own in training.items()
        for name, value in own.measures.items()
    }
    for name in MODELS:
        measured |= {
            f"{name}/{what}": value for what, value in _of_model(results[name], readings[name], scale).items()
        }
    before, ar, gpo = (results[name] for name in MODELS)
    dense = str(scale.dense)
    for count in scale.counts[1:]:
        measured[f"ar/beyond untuned, {count}"] = _paired(csr(ar.local[str(count)]), csr(before.local[str(count)]))
        measured[f"ar/asked for beyond untuned, {count}"] = _paired(
            asked_for(ar.local[str(count)]), asked_for(before.local[str(count)])
        )
        measured[f"ar/follows beyond untuned, {count}"] = _paired(
            follows(ar.local[str(count)]), follows(before.local[str(count)])
        )
    measured["ar/beyond the best of 4 of untuned"] = _paired(csr(ar.local[dense]), best(before.local[dense]))
    measured["ar/best of 4 beyond untuned's"] = _paired(best(ar.local[dense]), best(before.local[dense]))
    measured["ar/nats below untuned's"] = _paired(np.array(before.nats), np.array(ar.nats))
    measured["ar/overlap beyond untuned"] = _paired(overlap(ar.local[dense]), overlap(before.local[dense]))
    measured["ar/match beyond untuned"] = _paired(_known(readings["ar"].match), _known(readings["untuned"].match))
    selective = [[read.selectivity or np.nan for read in own.attention] for own in (ar, before)]
    measured["ar/selectivity beyond untuned"] = _paired(np.array(selective[0]), np.array(selective[1]))
    measured |= _positions(before, ar, scale)
    measured["gpo/global beyond ar"] = _paired(csr(gpo.wide), csr(ar.wide))
    measured["gpo/global follows beyond ar"] = _paired(follows(gpo.wide), follows(ar.wide))
    measured["gpo/global beyond the best of 4 of ar"] = _paired(csr(gpo.wide), best(ar.wide))
    measured["gpo/local beyond ar"] = _paired(csr(gpo.local[dense]), csr(ar.local[dense]))
    for name, other in (("ar", before), ("gpo", ar)):
        for what, answers, earlier in (
            ("", results[name].local[dense], other.local[dense]),
            ("global, ", results[name].wide, other.wide),
        ):
            more = [_quality(own, QUALITIES["repeated 4-grams"]) for own in (answers, earlier)]
            measured[f"{name}/{what}repeated beyond twice"] = _paired(more[0], DEGENERATE * more[1])
    return measured


def csr(answers: Asked) -> Array:
    """Share met of each prompt's attributes, mean over its answers."""
    return _by_prompt(answers.sets, lambda response: response.csr)


def best(answers: Asked) -> Array:
    """Share met by the best of ``TUNED_BEST_OF`` answers to each prompt."""
    return expected_best(np.array([[one.csr for one in own.responses] for own in answers.sets]), TUNED_BEST_OF)


def asked_for(answers: Asked) -> Array:
    """Share met of each prompt's attributes without those that forbid; NaN where all do."""

    def share(response: ScoredResponse) -> float:
        met = [
            bool(satisfied)
            for satisfied, negative in zip(response.satisfied, response.negative, strict=True)
            if satisfied is not None and not negative
        ]
        return float(np.mean(met)) if met else np.nan

    return _by_prompt(answers.sets, share)


def follows(answers: Asked) -> Array:
    """By how much each prompt's own answers meet more of its attributes than the answer to the next prompt does."""
    margins: Array = csr(answers) - np.array(answers.swapped, np.float64)
    return margins


def overlap(answers: Asked) -> Array:
    """Word F1 with each prompt's source."""
    return _by_prompt(answers.sets, lambda response: response.quality.f1 or 0.0)


def slope_replicates(prompts: Sequence[EvaluatedSet], counts_RP: Array) -> Array:
    """Slope of the log-odds over the place with an effect for each kind, for each row of prompts' weights, ``[R]``.

    Answers to one prompt are weighed together. Kinds that always or never pass tell nothing of it and are left out;
    all zeros where none is left.
    """
    placed: list[tuple[PlacedVerdicts, int]] = [
        (response.placed, prompt) for prompt, own in enumerate(prompts) for response in own.responses
    ]
    rows = [
        (rank / (len(verdicts.kinds) - 1), kind, passed, prompt)
        for verdicts, prompt in placed
        for rank, (kind, passed) in enumerate(zip(verdicts.kinds, verdicts.satisfied, strict=True))
        if passed is not None
    ]
    passed_by_kind: dict[str, set[bool]] = {}
    for _, kind, passed, _ in rows:
        passed_by_kind.setdefault(kind, set()).add(passed)
    telling = [row for row in rows if len(passed_by_kind[row[1]]) == 2]
    if not telling:
        return np.zeros(len(counts_RP))
    _, kinds_O = np.unique([row[1] for row in telling], return_inverse=True)
    owners_O = np.array([row[3] for row in telling])
    return logistic_slopes(
        np.array([row[0] for row in telling]),
        np.array([float(row[2]) for row in telling]),
        kinds_O,
        counts_RP[:, owners_O],
    )


def _positions(before: ModelResult, ar: ModelResult, scale: TunedScale) -> dict[str, Interval]:
    """Slopes at the many attributes before and after, on the same resampled prompts."""
    many = [str(count) for count in scale.counts[1:]]
    joined = [
        [
            EvaluatedSet(id="", responses=[one for own in sets for one in own.responses])
            for sets in zip(*(result.local[count].sets for count in many), strict=True)
        ]
        for result in (before, ar)
    ]
    prompts = len(joined[0])
    drawn = np.random.default_rng(0).multinomial(prompts, np.full(prompts, 1 / prompts), size=REPLICATES)
    counts = np.concatenate([np.ones((1, prompts)), drawn.astype(np.float64)])
    slopes = [slope_replicates(own, counts) for own in joined]
    how = f"bootstrap over {prompts} prompts"
    values = {
        "untuned/slope": slopes[0],
        "ar/slope": slopes[1],
        "ar/smaller slope": np.abs(slopes[0]) - np.abs(slopes[1]),
    }
    return {
        name: percentile_interval(float(value[0]), value[1:], prompts, 0.95, how) for name, value in values.items()
    }


def _of_model(result: ModelResult, reading: Reading, scale: TunedScale) -> dict[str, Interval]:
    """What one model meets, and what its answers are like."""
    measured = {}
    kinds = {**{f"{count} attributes": result.local[str(count)] for count in scale.counts}, "global": result.wide}
    for what, answers in kinds.items():
        measured[what] = _mean(csr(answers))
        measured[f"{what}, without what forbids"] = _mean(asked_for(answers))
        measured[f"{what}, another prompt's answer"] = _mean(np.array(answers.swapped))
    for what in (f"{scale.dense} attributes", "global"):
        measured[f"{what}, best of {TUNED_BEST_OF}"] = _mean(best(kinds[what]))
    dense = result.local[str(scale.dense)]
    for name, of in QUALITIES.items():
        measured[name] = _mean(_quality(dense, of))
        measured[f"global, {name}"] = _mean(_quality(result.wide, of))
    measured["overlap with the source"] = _mean(overlap(dense))
    measured["match with the source"] = _mean(_known(reading.match))
    measured["match with another source"] = _mean(_known(reading.match_other))
    measured["nats a token for the reader"] = _mean(_known(reading.nats))
    measured["nats of held-out texts"] = _mean(np.array(result.nats))
    measured["selectivity"] = _mean(np.array([read.selectivity or np.nan for read in result.attention]))
    measured["attention to an attribute"] = _mean(np.array([np.mean(read.shares) for read in result.attention]))
    return measured


def _quality(answers: Asked, of: Callable[[TextQuality], float]) -> Array:
    return _by_prompt(answers.sets, lambda response: of(response.quality))


def _by_prompt(sets: Sequence[EvaluatedSet], of: Callable[[ScoredResponse], float]) -> Array:
    return np.array([np.mean([of(response) for response in own.responses]) for own in sets], np.float64)


def _known(values: Sequence[float | None]) -> Array:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _mean(values: Array) -> Interval:
    known = values[np.isfinite(values)]
    return bootstrap_mean(known, seed=0, how=f"bootstrap over {len(known):,} prompts")


def _paired(first: Array, second: Array) -> Interval:
    known = np.isfinite(first) & np.isfinite(second)
    return paired_difference(first[known], second[known], seed=0, how=f"paired bootstrap over {known.sum()} prompts")
