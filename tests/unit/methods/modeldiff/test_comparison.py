"""Truth tests of the comparison: enumerated tables, exact identities, invariances, and what it refuses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from armillary.errors import InsufficientSamplesError, NumericError, UsageError
from armillary.methods.modeldiff import CompareConfig, Comparison, Draws, InputSpace, compare, reliability
from armillary.methods.modeldiff.tempered_source import TemperedSource
from armillary.methods.modeldiff.window import drawn_pilot
from armillary.models import LoadedModel
from armillary.models.tiny_models import tiny
from copies import with_tokens_exchanged
from reproductions.modeldiff.known_models import GridModel, KnownPair, TableModel, TemperedTable, known_grid
from reproductions.modeldiff.stages import exact_windows

LENGTH = 5
A = TableModel.random(5, LENGTH, seed=1)
B = A.perturbed(0.8, seed=2)
KNOWN = KnownPair.of_tables(A, B)
WINDOWS = exact_windows(KNOWN)
SPACE = InputSpace(length=LENGTH, window=WINDOWS)


def compared(a: Any = A, b: Any = B, space: InputSpace = SPACE, seeds: Any = None, **settings: Any) -> Comparison:
    config = CompareConfig(**{"samples": 12_000, "replicates": 200, "block": 4000, **settings})
    return compare(a, b, space, config, seeds=seeds)


@pytest.fixture(scope="module")
def result() -> Comparison:
    return compared()


def exact_bins(result: Comparison, side: Any) -> np.ndarray:
    bins = result.bins
    edges = bins.width * (np.arange(-bins.half, bins.half) + 0.5)
    return KNOWN.log_histogram(side, edges, WINDOWS[side])


@pytest.mark.parametrize("side", ["a", "b"])
def test_counts_are_the_enumerated_ones(result: Comparison, side: Any) -> None:
    exact = exact_bins(result, side)
    curve = result.curve(side, unit="log count")
    filled = exact - KNOWN.log_size(side, WINDOWS[side]) > math.log(0.03)
    assert filled.sum() >= 4
    assert np.abs(curve.value[filled] - exact[filled]).max() < 0.25
    covered = (curve.low <= exact) & (exact <= curve.high)
    assert covered[filled].mean() >= 0.8
    assert result.log_total[side].estimate == pytest.approx(KNOWN.log_size(side, WINDOWS[side]), abs=0.06)
    assert result.log_overlap[side].estimate == pytest.approx(KNOWN.log_overlap(WINDOWS["a"], WINDOWS["b"]), abs=0.1)


def test_without_weights_the_histogram_is_another(result: Comparison) -> None:
    """Sensitivity: the same samples, only counted, are far from the exact histogram."""
    exact = np.exp(exact_bins(result, "a") - KNOWN.log_size("a", WINDOWS["a"]))
    index = result.bins.index(result.a.difference_N[result.a.inside_N])
    plain = np.bincount(index, minlength=len(exact)) / result.a.inside_N.sum()
    weighed = result.curve("a").value
    assert np.abs(plain - exact).sum() > 2 * np.abs(weighed - exact).sum()


def test_several_temperatures_give_the_same_counts() -> None:
    mixed = compared(
        TableModel(A.logits, LENGTH, (1.0, 1.3, 0.8)),
        TableModel(B.logits, LENGTH, (1.0, 1.3, 0.8)),
        temperatures=(1.0, 1.3, 0.8),
    )
    for side in ("a", "b"):
        assert mixed.log_total[side].estimate == pytest.approx(KNOWN.log_size(side, WINDOWS[side]), abs=0.06)


def test_parallel_tempering_gives_the_same_counts() -> None:
    ladders = [
        TemperedSource(scorer=table, model=TemperedTable(table), length=LENGTH, chains=32, sweeps=300)
        for table in (A, B)
    ]
    found = compared(*ladders)
    assert len(np.unique(found.a.unit_N)) == 32, "one run of the ladders for all samples and none for the pilot"
    assert len(found.a.own_N) >= 12_000
    for side in ("a", "b"):
        total = found.log_total[side]
        assert total.estimate == pytest.approx(KNOWN.log_size(side, WINDOWS[side]), abs=0.06)
        assert total.low is not None
        assert total.upper - total.lower < 0.3


def test_draws_of_a_chain_count_for_what_they_add() -> None:
    """Effective samples by the variance of the count over repeated runs: chains have fewer than draws."""
    generator = np.random.default_rng(0)
    chains, sweeps, stay = 64, 200, 0.9
    told, totals = [], []
    for _ in range(60):
        fresh = generator.random((chains, sweeps)) < 0.3
        kept = generator.random((chains, sweeps)) < stay
        state = fresh.copy()
        for sweep in range(1, sweeps):
            state[:, sweep] = np.where(kept[:, sweep], state[:, sweep - 1], fresh[:, sweep])
        inside_N = state.T.reshape(-1)
        log_weight_N = np.zeros(chains * sweeps)
        rests = reliability(log_weight_N, inside_N, np.tile(np.arange(chains), sweeps))
        independent = reliability(log_weight_N, inside_N)
        told.append(rests.effective / independent.effective)
        totals.append(inside_N.sum())
    true = 0.3 * 0.7 * chains * sweeps / np.var(totals)
    assert np.mean(told) == pytest.approx(true, rel=0.5) and np.mean(told) < 0.1
    alone = reliability(log_weight_N, inside_N, np.arange(chains * sweeps))
    assert alone.effective == independent.effective


def test_coverage_of_the_intervals_in_repeated_runs() -> None:
    exact = KNOWN.log_size("a", WINDOWS["a"])
    hits = []
    for seed in range(120):
        total = compared(samples=800, seeds={"a": 2 * seed, "b": 2 * seed + 1}).log_total["a"]
        hits.append(total.lower <= exact <= total.upper)
    # 95 % less three standard errors of 120 runs, less a little for the percentile interval.
    assert 0.87 <= np.mean(hits) <= 1.0


def test_a_uniform_model_is_counted_exactly() -> None:
    uniform = TableModel(np.zeros(4), 6)
    found = compared(uniform, uniform, InputSpace(length=6), samples=100)
    for side in ("a", "b"):
        total = found.log_total[side]
        assert total.estimate == pytest.approx(6 * math.log(4), abs=1e-9)
        assert (total.low, total.high) == pytest.approx((total.estimate, total.estimate), abs=1e-9)
    assert found.log_rho_ab.tolist() == found.log_rho_ba.tolist()
    assert len(found.log_rho_ab) == 1


@pytest.mark.parametrize(("make", "atol"), [(lambda: GridModel.independent(50, 64, seed=3), 0.12)])
def test_a_space_too_large_to_enumerate(make: Callable[[], GridModel], atol: float) -> None:
    a = make()
    b = a.perturbed(2, seed=4)
    known = known_grid(a, b)
    windows = exact_windows(known)
    found = compared(a, b, InputSpace(length=64, window=windows), samples=8000)
    for side in ("a", "b"):
        assert found.log_total[side].estimate == pytest.approx(known.log_size(side, windows[side]), abs=atol)
    effective = found.reliability["a"].effective
    assert effective == pytest.approx(8000 * known.effective_share("a", windows["a"]), rel=0.15)


def test_importance_identities() -> None:
    found = compared(samples=20_000).identities()
    probabilities = np.exp(-KNOWN.nll_a_P)
    divergence = float((probabilities * (KNOWN.nll_b_P - KNOWN.nll_a_P)).sum())
    assert found["a"]["mean_exponential"] == pytest.approx(1.0, abs=0.05)
    assert found["b"]["mean_exponential"] == pytest.approx(1.0, abs=0.05)
    assert found["a"]["divergence"] == pytest.approx(divergence, abs=0.02)
    assert found["a"]["divergence"] > 0
    assert found["b"]["divergence"] > 0


def test_plain_histograms_of_the_two_directions_differ_by_the_exponential() -> None:
    """P_B(D) = e^D P_A(D) for unweighted samples at temperature 1."""
    found = compared(samples=40_000)
    bins = found.bins
    shares = [
        np.bincount(bins.index(one.difference_N), minlength=2 * bins.half + 1) / len(one.own_N)
        for one in (found.a, found.b)
    ]
    filled = (shares[0] > 0.02) & (shares[1] > 0.02)
    assert filled.sum() >= 3
    # The exponential is not constant over a bin.
    apart = np.log(shares[1][filled] / shares[0][filled]) - bins.centres_D[filled]
    assert np.abs(apart).max() < bins.width / 2 + 0.15


def test_both_directions_agree_on_the_overlap() -> None:
    found = compared(samples=20_000).log_overlap
    assert found["a"].estimate == pytest.approx(found["b"].estimate, abs=0.06)


def test_a_model_against_itself() -> None:
    found = compared(A, A, InputSpace(length=LENGTH, window=WINDOWS["a"]))
    assert (found.a.difference_N == 0).all()
    assert found.overlap_share["a"].estimate == 1.0
    assert found.log_overlap["a"] == found.log_total["a"]
    assert found.spread("a").deviation.estimate == 0.0


def test_swapping_the_models_mirrors_the_result(result: Comparison) -> None:
    swapped = compared(
        B, A, InputSpace(length=LENGTH, window={"a": WINDOWS["b"], "b": WINDOWS["a"]}), seeds={"a": 1, "b": 0}
    )
    assert (swapped.log_rho_ab == result.log_rho_ba[::-1]).all()
    assert (swapped.log_rho_ba == result.log_rho_ab[::-1]).all()
    assert swapped.spread("a").mean.estimate == pytest.approx(-result.spread("b").mean.estimate)
    np.testing.assert_allclose(swapped.curve("a").low, result.curve("b").low[::-1])


def test_curves_are_shares_and_multiples(result: Comparison) -> None:
    assert result.curve("a").value.sum() == pytest.approx(1)
    assert result.curve("b", weighting="profile").value.sum() == pytest.approx(1)
    in_overlaps = result.curve("a", unit="overlap").value.sum()
    assert in_overlaps == pytest.approx(1 / result.overlap_share["a"].estimate)
    with pytest.raises(UsageError, match="no counts"):
        result.curve("a", weighting="profile", unit="overlap")


def test_disagreement_beyond_a_threshold(result: Comparison) -> None:
    found = result.agreement(0.5)
    inside = (KNOWN.nll_a_P >= WINDOWS["a"][0]) & (KNOWN.nll_a_P <= WINDOWS["a"][1])
    exact = (inside & (KNOWN.nll_a_P - KNOWN.nll_b_P <= -0.5)).sum()
    assert math.exp(found.private_a.estimate) == pytest.approx(exact, rel=0.2)
    assert found.share_a.estimate == pytest.approx(exact / inside.sum(), abs=0.06)
    assert found.shared_a.estimate == pytest.approx(found.shared_b.estimate, abs=0.2)
    with pytest.raises(UsageError, match="above 0"):
        result.agreement(0)


def test_saved_and_loaded(result: Comparison, tmp_path: Any) -> None:
    result.save(tmp_path / "run.npz")
    again = Comparison.load(tmp_path / "run.npz")
    assert again.table() == result.table()
    assert (again.log_rho_ab == result.log_rho_ab).all()
    (tmp_path / "other.npz").write_bytes(b"no archive")
    with pytest.raises(UsageError, match="no saved comparison"):
        Comparison.load(tmp_path / "other.npz")


def test_a_killed_comparison_goes_on() -> None:
    kept: dict[str, Any] = {}
    made: list[str] = []

    def store(name: str, compute: Callable[[], Any]) -> Any:
        if name not in kept:
            if len(made) == 3:
                raise KeyboardInterrupt
            made.append(name)
            kept[name] = compute()
        return kept[name]

    config = CompareConfig(samples=900, block=300, replicates=50)
    with pytest.raises(KeyboardInterrupt):
        compare(A, B, SPACE, config, store=store)
    done = list(made)
    made.clear()
    resumed = compare(A, B, SPACE, config, store=store)
    assert not set(done) & set(made)
    assert resumed.table() == compare(A, B, SPACE, config).table()


def test_too_few_samples_are_told_with_the_number_that_would_do() -> None:
    few = compared(samples=40).reliability["a"]
    assert not few.enough
    assert few.wanted is None or few.wanted > 40
    assert "not enough" in few.sentence()
    many = compared(samples=6000).reliability["a"]
    assert many.enough
    assert many.sentence().endswith("enough.")


def test_an_empty_window_names_the_quantiles() -> None:
    found = compared(space=InputSpace(length=LENGTH, window=(100.0, 120.0)), samples=50)
    with pytest.raises(InsufficientSamplesError, match="quantiles"):
        _ = found.log_total


def test_no_overlap_leaves_the_absolute_counts() -> None:
    window = {"a": (5.0, 6.0), "b": (9.0, 12.0)}
    found = compared(space=InputSpace(length=LENGTH, window=window), samples=400)
    assert found.log_total["a"].estimate > 0
    assert found.overlap_share["a"].estimate == 0
    with pytest.raises(UsageError, match="no overlap"):
        found.curve("a", unit="overlap")


class Forbidding:
    """Gives the sequences that begin with token 0 no probability."""

    def score(self, ids_NL: np.ndarray) -> np.ndarray:
        return np.where(ids_NL[:, 0] == 0, np.inf, B.score(ids_NL))

    def sample(self, n: int, *, seed: int) -> Draws:
        return B.sample(n, seed=seed)


def test_probability_zero_is_counted_in_the_outermost_bin() -> None:
    found = compared(A, Forbidding(), samples=1500)
    assert np.isneginf(found.a.difference_N).any()
    assert found.curve("a").value.sum() == pytest.approx(1)
    assert found.curve("a").value[0] > 0
    impossible = found.spread("a").impossible
    assert np.isfinite(found.spread("a").mean.estimate) and impossible is not None
    assert impossible.lower <= np.isinf(found.a.difference_N[found.a.inside_N]).mean() + 0.1
    assert "have probability 0 under the other model" in str(found.table())
    assert found.spread("b").impossible is None


class Lost:
    """Draws what it says it can't draw."""

    def score(self, ids_NL: np.ndarray) -> np.ndarray:
        return A.score(ids_NL)

    def sample(self, n: int, *, seed: int) -> tuple[Any, Any]:
        drawn = A.sample(n, seed=seed)
        return drawn.ids_NL, np.full(n, -np.inf)


@pytest.mark.parametrize(
    ("score", "draw", "words"),
    [
        (lambda nll: -nll, None, r"gave \(40,\) numbers for 40 sequences, 40 of them NaN or below 0; score must give"),
        (lambda nll: nll[:-1], None, r"gave \(39,\) numbers for 40 sequences"),
        (lambda nll: nll[:, None], None, r"gave \(40, 1\) numbers for 40 sequences"),
        (lambda nll: nll * np.nan, None, "40 of them NaN"),
        (lambda nll: nll + np.inf, None, "probability 0 to every sequence that it drew itself"),
        (None, lambda log_q: -log_q, "must have a finite one under its own proposal, of 0 or less"),
        (None, lambda log_q: log_q[:-1], r"one log-probability a sequence: 40, not \(39,\)"),
    ],
)
def test_an_engine_that_gives_something_else_is_refused(score: Any, draw: Any, words: str) -> None:
    class Engine:
        def score(self, ids_NL: Any) -> Any:
            return A.score(ids_NL) if score is None else score(A.score(ids_NL))

        def sample(self, n: int, *, seed: int) -> tuple[Any, Any]:
            drawn = A.sample(n, seed=seed)
            log_q_N = drawn.log_q_KN[drawn.rung_N, np.arange(n)]
            return drawn.ids_NL, log_q_N if draw is None else draw(log_q_N)

    with pytest.raises((NumericError, UsageError), match=words):
        compare(Engine(), Engine(), InputSpace(length=LENGTH), samples=40, pilot=40)


def test_unreachable_support_is_refused() -> None:
    with pytest.raises(NumericError, match="own proposal"):
        compared(Lost(), B)


def test_a_plain_pair_is_a_proposal() -> None:
    class Plain(Lost):
        def sample(self, n: int, *, seed: int) -> tuple[Any, Any]:
            drawn = A.sample(n, seed=seed)
            return drawn.ids_NL, drawn.log_q_KN[0]

    np.testing.assert_allclose(compared(Plain(), B).log_rho_ab, compared().log_rho_ab)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InputSpace(length=0), "length must be 1"),
        (lambda: InputSpace(window=(5.0, 2.0)), "low < high"),
        (lambda: InputSpace(window={"a": (1.0, 2.0)}), 'one for "b"'),
        (lambda: CompareConfig(samples=1), "samples must be 2"),
        (lambda: CompareConfig(temperatures=(1.5,)), "must contain 1"),
        (lambda: CompareConfig(temperatures=(1.0, -2.0)), "positive"),
        (lambda: CompareConfig(weighting="other"), "weighting must be one of"),  # type: ignore[arg-type]
        (lambda: CompareConfig(bin_width=0), "bin_width"),
    ],
)
def test_settings_out_of_range_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny("llama")


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2", "opt"])
def test_what_is_sampled_is_what_is_scored(kind: str) -> None:
    loaded = tiny(kind)
    found = compared(loaded, loaded, InputSpace(length=6), samples=64, pilot=32, temperatures=(1.0, 1.4))
    np.testing.assert_allclose(found.a.own_N, found.a.other_N, atol=1e-3)
    assert np.abs(found.a.difference_N).max() < 1e-3
    assert found.a.log_q_KN is not None
    np.testing.assert_allclose(found.a.log_q_KN[0], -found.a.own_N)


def test_a_batch_changes_nothing(model: LoadedModel) -> None:
    other = tiny("llama", seed=1)
    space = InputSpace(length=4, window=(5.0, 40.0))
    wide = compared(model, other, space, samples=50, batch_size=64)
    narrow = compared(model, other, space, samples=50, batch_size=7)
    assert (wide.a.ids_NL == narrow.a.ids_NL).all()
    np.testing.assert_allclose(wide.a.other_N, narrow.a.other_N, atol=1e-4)


def test_examples_tell_both_models_apart_by_token(model: LoadedModel) -> None:
    found = compared(model, tiny("llama", seed=1), InputSpace(length=4), samples=200, pilot=60)
    examples = found.examples((-math.inf, math.inf), 5)
    assert len(examples) == 5
    for one in examples:
        assert len(one.tokens) == len(one.token_differences) == 4
        assert sum(one.token_differences) == pytest.approx(one.difference, abs=1e-3)
    assert all(one.difference <= -2 for one in found.examples((-100, -2), 3, side="a"))


def test_a_prefix_is_not_scored_and_end_tokens_can_be_left_out(model: LoadedModel) -> None:
    space = InputSpace(length=4, prefix="Paris is in", ban_eos=True)
    found = compared(model, model, space, samples=100, pilot=40)
    assert found.a.ids_NL.shape == (100, 4)
    assert not (found.a.ids_NL == model.tokenizer.eos_token_id).any()
    assert np.isfinite(found.a.other_N).all()


def test_what_a_model_cannot_do_is_refused(model: LoadedModel) -> None:
    with pytest.raises(UsageError, match="positions"):
        compared(model, model, InputSpace(length=600))
    with pytest.raises(UsageError, match="vocabular"):
        compared(model, with_tokens_exchanged(tiny("gemma3")))
    half = tiny("llama")
    half.model.bfloat16()
    with pytest.raises(UsageError, match="half_precision"):
        compared(half, half)


def test_padded_rows_of_the_vocabulary_are_left_out() -> None:
    plain = tiny("llama")
    padded = tiny("llama", vocabulary=plain.anatomy.vocabulary_size + 40)
    found = compared(padded, plain, InputSpace(length=3), samples=100, pilot=40)
    assert found.a.ids_NL.max() < plain.anatomy.vocabulary_size
    assert np.isfinite(found.a.other_N).all()


def test_the_pilot_has_a_seed_of_its_own() -> None:
    pilot = drawn_pilot({"a": A, "b": B}, InputSpace(length=LENGTH), CompareConfig(pilot=2000), {"a": 5, "b": 6})
    for (low, high), side in zip(pilot.windows, ("a", "b"), strict=True):
        assert low == pytest.approx(WINDOWS[side][0], abs=0.4)
        assert high == pytest.approx(WINDOWS[side][1], abs=0.2)
