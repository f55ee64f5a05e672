"""The rules of the ICN claims decide as they say, at both sides of each threshold."""

import pytest
import torch

from armillary.models import tiny
from armillary.numerics.intervals import Interval
from armillary.records.claims import judge
from reproductions.icn.claims import CLAIMS
from reproductions.icn.fixed_keys import RATES, swapped_logits
from reproductions.icn.measures import over_classes
from reproductions.icn.scale import OPEN, PROBES, SCALES
from reproductions.icn.stages import ProbeStage
from reproductions.icn.texts import problems


def about(value: float, width: float = 0.01) -> Interval:
    return Interval(estimate=value, low=value - width, high=value + width, n=3)


RIVALS = ("static", "sampling", "list in one answer", "verbalised sampling")
GOOD = {name: about(0.0) for claim in CLAIMS for name in claim.names} | {
    "clusters/pairs together minus like ids": about(0.4),
    "clusters/within minus between": about(0.2),
    "spread/ratio to frequency-matched": about(5.0),
    "spread/in-cluster share": about(0.5),
    "ranks/accuracy": about(0.3),
    "ranks/top minus middle": about(0.2),
    "in-cluster/accuracy minus out, same ranks": about(-0.1),
    "lists/own fall minus same-class fall": about(1.0),
    "lists/foreign fall minus same-class fall": about(3.0),
    **{f"answers/navigation minus {rival}": about(5.0) for rival in RIVALS},
    "open/distinct-2 minus static": about(0.1),
    "chains/vote, static": about(0.4),
    **{f"training/rise of the target, {name}": about(6.0) for name in RATES},
    "training/rise of near keys minus those of other targets": about(1.0),
}

# Of each claim the measure that decides: a value that refutes, and one that lies across the limit.
SIDES = {
    "clusters": ("clusters/pairs together minus like ids", about(0.05), about(0.1)),
    "spread": ("spread/ratio to frequency-matched", about(1.5), about(2.0)),
    "top-better-than-middle": ("ranks/top minus middle", about(-0.1), about(0.0)),
    "spurious-in-cluster": ("in-cluster/accuracy minus out, same ranks", about(0.1), about(0.0)),
    "navigation": ("lists/own fall minus same-class fall", about(-1.0), about(0.0)),
    "more-correct-answers": ("answers/navigation minus list in one answer", about(-1.0), about(0.0)),
    "diverse-texts": ("open/distinct-2 minus static", about(-0.1), about(0.0)),
    "self-consistency": ("chains/vote minus static", about(-0.2), about(-0.1)),
    "fixed-keys": ("training/share of the keys, SGD 0.01", about(0.5), about(0.25)),
    "near-keys-rise": ("training/rise of near keys minus those of other targets", about(-1.0), about(0.0)),
}


def verdict(claim: str, changes: dict[str, Interval]) -> str:
    return next(result.outcome for result in judge(CLAIMS, GOOD | changes) if result.id == claim)


@pytest.mark.parametrize("claim", [claim.id for claim in CLAIMS])
def test_each_verdict_can_be_reached(claim: str) -> None:
    name, refuted, unsure = SIDES[claim]
    assert verdict(claim, {}) == "holds"
    assert verdict(claim, {name: refuted}) == "fails"
    assert verdict(claim, {name: unsure}) == "undecided: interval too wide"


def test_what_must_have_succeeded_first() -> None:
    assert verdict("more-correct-answers", {"ranks/accuracy": about(0.0)}) == "undecided: model too small"
    assert (
        verdict("navigation", {"lists/foreign fall minus same-class fall": about(0.0)}) == "undecided: control failed"
    )
    assert verdict("self-consistency", {"chains/vote, static": about(0.0)}) == "undecided: model too small"
    assert verdict("fixed-keys", {"training/rise of the target, SGD 0.01": about(1.0)}) == "undecided: control failed"


def test_intervals_over_classes() -> None:
    probes = [stored_probe("a"), stored_probe("a"), stored_probe("b")]
    mean = over_classes([1.0, 1.0, 4.0], probes)
    assert mean.estimate == 2.0 and mean.n == 2 and (mean.low, mean.high) == (1.0, 4.0)
    assert over_classes([1.0, 1.0, 4.0], probes, per=[1.0, 1.0, 2.0]).estimate == 1.5


def stored_probe(base: str) -> ProbeStage:
    return ProbeStage(
        id=base,
        base=base,
        answers=1,
        unreachable=0,
        gold=[],
        others=0.0,
        clusters=[],
        shuffled=[],
        lists={},
        plain_lists={},
    )


def test_the_change_of_logits_is_split_exactly() -> None:
    old, new = tiny(), tiny(seed=1)
    none, keys, queries, both = swapped_logits(old, new)
    assert torch.equal(none, swapped_logits(old, old)[3])
    weight, bias = new.anatomy.head.weight, old.anatomy.head.weight
    assert isinstance(weight, torch.Tensor) and isinstance(bias, torch.Tensor)
    # New keys on old queries and the reverse add up to both with what the two changes give together.
    together = both - keys - queries + none
    assert not torch.allclose(together, torch.zeros_like(together), atol=1e-4)
    assert torch.allclose(none + (keys - none) + (queries - none) + together, both)


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
