"""The rules of the Model-diff claims decide as they say, at both sides of each threshold; exact stages are exact."""

from dataclasses import replace

import numpy as np
import pytest

from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from reproductions.modeldiff.claims import CLAIMS, PAIRS, STEPS
from reproductions.modeldiff.scale import SCALES
from reproductions.modeldiff.stages import enumerated, tempered, wrong_weights


def about(value: float, width: float = 0.001) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=3)


GOOD = {
    **{f"{pair}/coverage": about(0.95) for pair in PAIRS},
    **{f"{pair}/bias of the total": about(0.0) for pair in PAIRS},
    **{f"{pair}/raw distance": about(0.1) for pair in PAIRS},
    **{f"{pair}/weighted distance": about(0.004) for pair in PAIRS},
    **{f"{pair}/overlap from A over overlap from B": about(1.0) for pair in PAIRS},
    "tempering/error of ln Z": about(0.01),
    "tempering/error of ln count": about(0.01),
    "tempering/distance": about(0.01),
    **{f"zoo/{what}, {far} minus {near}": about(0.1) for near, far in STEPS for what in ("spread", "private share")},
    "zoo/AUC of copies against independent models": about(1.0, 0.0),
    "zoo/verdicts for the better model": Interval(estimate=1.0, n=3),
    "zoo/verdicts with shuffled ratings": Interval(estimate=0.0, n=3),
    "zoo/precision, better minus worse": about(0.4),
    "hot/right over exact": about(1.0),
    "hot/wrong over exact": about(0.02),
    "hot/wrong distance minus right": about(0.01),
    **{
        f"effective samples/{where}": about(1.1)
        for where in ("independent tokens", "first-order Markov", "zoo", "real")
    },
    **{
        f"copies/spread, noise {size}": about(spread)
        for size, spread in (("0.003", 0.01), ("0.01", 0.04), ("0.03", 0.1), ("0.1", 0.4))
    },
}

REFUTED = {
    "exact": {"perturbed/coverage": about(0.8)},
    "weights-matter": {"perturbed/raw distance": about(0.01)},
    "one-overlap": {"independent/overlap from A over overlap from B": about(1.3)},
    "tempering": {"tempering/error of ln Z": about(0.1)},
    "kinship": {"zoo/spread, other seed minus fine-tuned": about(-0.1)},
    "copies": {"zoo/AUC of copies against independent models": about(0.7)},
    "ratings": {"zoo/precision, better minus worse": about(-0.1)},
    "exact-proposal": {"hot/right over exact": about(1.1)},
    "effective-samples": {"effective samples/real": about(4.0)},
    "noise-ladder": {"copies/spread, noise 0.03": about(0.02)},
}

UNSURE = {
    "exact": {"perturbed/coverage": about(0.92, 0.01)},
    "weights-matter": {"independent/raw distance": about(0.05, 0.02)},
    "one-overlap": {"perturbed/overlap from A over overlap from B": about(1.03)},
    "tempering": {"tempering/distance": about(0.04, 0.02)},
    "kinship": {"zoo/private share, other seed minus fine-tuned": about(0.1, 0.3)},
    "copies": {"zoo/AUC of copies against independent models": about(0.95, 0.02)},
    "ratings": {"zoo/verdicts with shuffled ratings": Interval(estimate=0.3, n=3)},
    "exact-proposal": {"hot/wrong distance minus right": about(0.0, 0.01)},
    "effective-samples": {"effective samples/zoo": about(2.1, 0.5)},
    "noise-ladder": {"copies/spread, noise 0.01": about(0.04, 0.2)},
}


def verdict(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.verdict for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    assert verdict(claim, {}) == "holds"
    assert verdict(claim, REFUTED[claim]) == "fails"
    assert verdict(claim, UNSURE[claim]) == "undecided"


def test_every_measure_is_needed_by_a_claim() -> None:
    assert set(GOOD) == {name for claim in CLAIMS for name in claim.names}


SMALL = replace(SCALES["laptop"], repeats=12, tempering_seeds=1)


def test_tables_are_counted_without_bias() -> None:
    known = enumerated("perturbed", SMALL, seed=0)
    total = np.array([run.total for run in known.runs])
    assert abs(total.mean() - 1) < 4 * total.std() / np.sqrt(len(total)) + 0.01
    histograms = known.histograms
    exact, weighted, raw = (np.array(part) for part in (histograms.exact, histograms.estimated, histograms.wrong))
    assert np.abs(weighted.mean(axis=0) - exact).sum() < np.abs(raw.mean(axis=0) - exact).sum()


def test_parallel_tempering_counts_the_same() -> None:
    run = tempered(SMALL, seed=0)[0]
    assert run.log_z_error < 0.05
    assert abs(run.total) < 0.05
    assert run.distance < 0.05
    assert not run.unmixed


def test_weights_of_the_wrong_temperature_lose_most_of_the_count() -> None:
    hot = wrong_weights(SMALL, seed=0)
    assert np.mean(hot.right) == pytest.approx(1, abs=0.05)
    assert np.mean(hot.wrong) < 0.1
