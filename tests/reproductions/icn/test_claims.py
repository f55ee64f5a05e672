"""The rules of the ICN claims decide as they say, at both sides of each threshold."""

import pytest

from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from reproductions.icn.claims import CLAIMS
from reproductions.icn.scale import OPEN, PROBES, SCALES
from reproductions.icn.stages import problems


def about(value: float, width: float = 0.01) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=3)


GOOD = {
    "clusters/within minus between": about(0.4),
    "clusters/capital letters in two clusters": about(0.9),
    "spread/ratio to frequency-matched": about(5.0, 1.0),
    "ranks/top minus middle": about(0.2),
    "in-cluster/accuracy minus out, same ranks": about(-0.1),
    "in-cluster/permutation p": Interval(estimate=0.01),
    "lists/own fall minus foreign fall, 10": about(1.0),
    "lists/own fall, 10": about(3.0),
    "answers/navigation minus static": about(5.0),
    "answers/navigation": about(12.0),
    "answers/static": about(7.0),
    "open/distinct-2 minus static": about(0.1),
    "open/valid minus static": about(0.0),
    "chains/vote minus static": about(0.1),
    "chains/vote, navigation": about(0.5),
    "chains/vote, static": about(0.4),
    "training/head over blocks": about(0.2),
    "training/spearman": about(0.5),
    "training/spearman, shuffled keys": about(0.0),
}

REFUTED = {
    "clusters": {"clusters/within minus between": about(0.02)},
    "spread": {"spread/ratio to frequency-matched": about(0.8)},
    "top-better-than-middle": {"ranks/top minus middle": about(-0.1)},
    "spurious-in-cluster": {"in-cluster/accuracy minus out, same ranks": about(0.1)},
    "navigation": {"lists/own fall minus foreign fall, 10": about(-1.0)},
    "more-correct-answers": {"answers/navigation minus static": about(-1.0)},
    "diverse-texts": {"open/distinct-2 minus static": about(-0.1)},
    "self-consistency": {"chains/vote minus static": about(-0.1)},
    "fixed-keys": {"training/head over blocks": about(1.5)},
}

UNSURE = {
    "clusters": {"clusters/capital letters in two clusters": about(0.5)},
    "spread": {"spread/ratio to frequency-matched": about(1.5, 0.2)},
    "top-better-than-middle": {"ranks/top minus middle": about(0.1, 0.3)},
    "spurious-in-cluster": {"in-cluster/permutation p": Interval(estimate=0.2)},
    "navigation": {"lists/own fall minus foreign fall, 10": about(0.0, 0.5)},
    "more-correct-answers": {"answers/navigation minus static": about(0.5, 1.0)},
    "diverse-texts": {"open/valid minus static": about(-0.3)},
    "self-consistency": {"chains/vote, navigation": about(0.05), "chains/vote, static": about(0.05)},
    "fixed-keys": {"training/spearman": about(0.2)},
}


def verdict(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.verdict for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    assert verdict(claim, {}) == "holds"
    assert verdict(claim, REFUTED[claim]) == "fails"
    assert verdict(claim, UNSURE[claim]) == "undecided"


def test_scales_ask_for_what_is_there() -> None:
    for scale in SCALES.values():
        assert scale.probes <= len(PROBES) and scale.open_instructions <= len(OPEN)
        assert scale.rounds * scale.per_round >= 2 and scale.top < scale.ranks


def test_problems_have_their_answers() -> None:
    found = problems(60, seed=0)
    assert found == problems(60, seed=0) != problems(60, seed=1)
    assert len({question for question, _ in found}) > 50
    for question, answer in found[:3]:
        numbers = [int(word) for word in question.replace(",", " ").replace(".", " ").split() if word.isdigit()]
        a, b, c = numbers
        assert int(answer) in (a + b - c, a * b - c, a + b + c)
