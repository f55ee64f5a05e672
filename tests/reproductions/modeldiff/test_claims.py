"""Exact stages of the Model-diff reproduction are exact, what is wrong on purpose is seen, measures are named."""

from dataclasses import replace

import numpy as np
import pytest

from armillary.numerics.intervals import Interval
from reproductions.modeldiff import measures, stages
from reproductions.modeldiff.claims import CLAIMS, PAIRS
from reproductions.modeldiff.scale import SCALES

SMALL = replace(
    SCALES["laptop"], pairs=2, repeats=1, draws=20_000, tempering_pairs=1, table_samples=500, replicates=50
)


@pytest.mark.parametrize("kind", PAIRS)
def test_tables_are_counted_without_bias_in_both_directions(kind: str) -> None:
    pairs = stages.counted(kind, SMALL, seed=0)
    assert len({pair.total[0] for pair in pairs}) == len(pairs), "pairs share their tables or draws"
    for pair in pairs:
        assert pair.total[0] != pair.total[1]
        assert pair.total == pytest.approx([1, 1], abs=0.06)
        assert np.abs(np.subtract(pair.plain_total, 1)).min() > 0.2
    sides = [side for pair in pairs for side in pair.histograms]
    weighed, plain = (
        np.mean([side.distance(getattr(side, which)) for side in sides]) for which in ("estimated", "wrong")
    )
    assert weighed < plain


def test_coverage_is_counted_for_both_kinds_of_windows() -> None:
    results = stages.covered("perturbed", replace(SMALL, pairs=1), seed=0)
    figures = {f"{figure}, {windows}" for figure in ("bins", "totals", "overlap shares")
               for windows in ("given", "by pilot")}  # fmt: skip
    assert set(results[0].shares) == figures | {"totals, pilot held fixed"}
    assert results[0].shares["bins, given"] > 0.5


def test_parallel_tempering_counts_the_same() -> None:
    run = stages.tempered(SMALL, seed=0)[0]
    assert run.log_z_error < 0.05
    assert run.total == pytest.approx(1, abs=0.05)
    assert run.distance < 0.05 and abs(run.plain_total - 1) > 0.2


def test_weights_of_the_wrong_temperature_lose_most_of_the_count() -> None:
    for pair in stages.hot(SMALL, seed=0):
        assert pair.right == pytest.approx(1, abs=0.1)
        assert pair.wrong < 0.1


def test_a_table_has_all_inputs_in_common_with_itself_by_default() -> None:
    shares = stages.itself(SMALL, seed=0)
    assert len(shares) == 4
    assert all(share.lower == share.estimate == share.upper == 1.0 for share in shares)


def test_an_auc_counts_pairs_in_the_right_order() -> None:
    derivations = dict.fromkeys(measures.DERIVATIONS, 0.1)
    families = [
        derivations | {"other seed": 0.2, "stranger 1 base": 0.3},
        derivations | {"fine-tuned": 0.9, "other seed": 0.3, "stranger 0 base": 0.3},
    ]
    areas = measures._areas(families)
    copies = areas["copies against independent models"]
    assert (copies.low, copies.high) == (1 - 1 / len(derivations), 1.0)
    assert areas["fine-tuned alone"].estimate == 0.5
    # A tie counts half.
    assert areas["other seed against strangers"].estimate == 0.75


def test_every_measure_of_the_claims_on_tables_is_made() -> None:
    counted = {kind: stages.counted(kind, SMALL, seed=1) for kind in PAIRS}
    named: dict[str, Interval] = {}
    for kind, pairs in counted.items():
        named |= measures._counted(pairs, kind)
    for claim in CLAIMS:
        if claim.id in ("weights-matter", "one-overlap"):
            assert set(claim.names) <= set(named)
