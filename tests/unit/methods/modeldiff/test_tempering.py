"""Parallel tempering against enumeration, on a table and on a tiny model; what has not mixed is refused."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.modeldiff.tempered_source import LoadedTempered
from armillary.methods.modeldiff.tempering import Redraw, TemperedChains, parallel_tempering
from armillary.models import LoadedModel, tiny
from armillary.numerics.reweighting import balance_log_weights, mbar
from armillary.scoring import token_nll

VOCABULARY, LENGTH = 6, 6
TEMPERATURES = (1.0, 1.5, 2.0, 3.0)


class MarkovTable:
    """A language model whose next token depends on the last two."""

    def __init__(self, seed: int = 1, spread: float = 1.0, error: float = 0.0) -> None:
        size = (VOCABULARY + 1, VOCABULARY + 1, VOCABULARY)  # row VOCABULARY: before the first token
        self.logits = np.random.default_rng(seed).normal(size=size) * spread
        self.error = error

    def rows(self, ids_NL: np.ndarray, place: int) -> np.ndarray:
        padded = np.concatenate([np.full((len(ids_NL), 2), VOCABULARY), ids_NL], axis=1)
        return self.logits[padded[:, place], padded[:, place + 1]]

    def term(self, ids_NL: np.ndarray, place: int, tau_N: np.ndarray) -> np.ndarray:
        scaled = self.rows(ids_NL, place) / tau_N[:, None]
        return scaled[np.arange(len(ids_NL)), ids_NL[:, place]] - np.log(np.exp(scaled).sum(1))

    def log_prob(self, ids_NL: np.ndarray, tau: float = 1.0) -> np.ndarray:
        tau_N = np.full(len(ids_NL), tau)
        return np.sum([self.term(ids_NL, place, tau_N) for place in range(ids_NL.shape[1])], axis=0) + self.error

    def redraw_suffix(
        self, ids_NL: np.ndarray, start_N: np.ndarray, tau_N: np.ndarray, uniforms_NL: np.ndarray
    ) -> Redraw:
        new_NL, ones_N, sums = ids_NL.copy(), np.ones(len(ids_NL)), np.zeros((3, len(ids_NL)))
        for place in range(ids_NL.shape[1]):
            upto = np.exp(self.rows(new_NL, place) / tau_N[:, None]).cumsum(1)
            drawn_N = (upto[:, :-1] <= uniforms_NL[:, place, None] * upto[:, -1:]).sum(1)
            redrawn_N = place >= start_N
            new_NL[:, place] = np.where(redrawn_N, drawn_N, ids_NL[:, place])
            q_new, q_old = self.term(new_NL, place, tau_N), self.term(ids_NL, place, tau_N)
            change = self.term(new_NL, place, ones_N) - self.term(ids_NL, place, ones_N)
            sums += np.where(redrawn_N, [q_new, q_old, change], 0.0)
        return Redraw(new_NL, *sums)


@pytest.fixture(scope="module")
def table() -> MarkovTable:
    return MarkovTable()


@pytest.fixture(scope="module")
def everything(table: MarkovTable) -> tuple[np.ndarray, np.ndarray]:
    """Every sequence and its NLL."""
    ids_XL = np.array(list(itertools.product(range(VOCABULARY), repeat=LENGTH)))
    return ids_XL, -table.log_prob(ids_XL)


@pytest.fixture(scope="module")
def chains(table: MarkovTable) -> TemperedChains:
    return parallel_tempering(table, length=LENGTH, temperatures=TEMPERATURES, seed=0)


def test_the_constants_are_the_enumerated_ones(
    chains: TemperedChains, everything: tuple[np.ndarray, np.ndarray]
) -> None:
    exact_K = [np.log(np.exp(-everything[1] / temperature).sum()) for temperature in TEMPERATURES]
    assert chains.log_z_K[0] == 0.0
    np.testing.assert_allclose(chains.log_z_K, exact_K, atol=0.03)
    assert chains.log_z_K[-1] > 5  # far from what a mistake in the temperature would leave


@pytest.mark.parametrize("quantiles", [(0.05, 0.5), (0.05, 0.95), (0.5, 0.8)])
def test_counts_are_the_enumerated_ones(
    chains: TemperedChains, everything: tuple[np.ndarray, np.ndarray], quantiles: tuple[float, float]
) -> None:
    low, high = np.quantile(chains.nll_N[chains.rung_N == 0], quantiles)
    exact = ((everything[1] >= low) & (everything[1] <= high)).sum()
    inside_N = (chains.nll_N >= low) & (chains.nll_N <= high)
    assert np.log((np.exp(chains.log_weights_N) * inside_N).mean()) == pytest.approx(np.log(exact), abs=0.05)


def test_every_rung_has_its_own_law(chains: TemperedChains, everything: tuple[np.ndarray, np.ndarray]) -> None:
    ids_XL, nll_X = everything
    for rung, temperature in enumerate(TEMPERATURES):
        p_X = np.exp(-nll_X / temperature - chains.log_z_K[rung])
        drawn_NL = chains.ids_NL[chains.rung_N == rung]
        for place in range(LENGTH):
            exact = np.bincount(ids_XL[:, place], weights=p_X)
            found = np.bincount(drawn_NL[:, place], minlength=VOCABULARY) / len(drawn_NL)
            np.testing.assert_allclose(found, exact, atol=0.03)


def test_at_temperature_one_every_redraw_is_accepted(chains: TemperedChains) -> None:
    assert chains.acceptance_K[0] == 1.0
    assert (chains.acceptance_K[1:] < 1.0).all()
    assert (chains.acceptance_K > 0.8).all()


def test_what_the_result_holds(chains: TemperedChains, table: MarkovTable) -> None:
    draws = chains.draws()
    kept = -(-300 // chains.thin)
    assert draws.ids_NL.shape == (kept * 64 * 4, LENGTH)
    assert np.bincount(chains.chain_N).tolist() == [kept * 4] * 64
    assert chains.thin >= chains.inefficiency_K.max() > chains.thin - 1
    assert chains.unmixed == ()
    assert chains.round_trips > 64
    np.testing.assert_allclose(draws.nll_N, -table.log_prob(draws.ids_NL), atol=1e-9)
    np.testing.assert_array_equal(chains.log_weights_N, balance_log_weights(draws.log_q_KN, np.bincount(draws.rung_N)))


def test_a_seed_gives_the_same_draws(table: MarkovTable) -> None:
    settings = {"length": 4, "temperatures": (1.0, 1.6), "chains": 16, "sweeps": 60, "burn_in": 20}
    first, again, other = (parallel_tempering(table, seed=seed, **settings) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.ids_NL, again.ids_NL)
    assert first.log_z_K.tolist() == again.log_z_K.tolist() != other.log_z_K.tolist()


def test_one_rung_is_plain_sampling(table: MarkovTable) -> None:
    alone = parallel_tempering(table, length=3, temperatures=(1.0,), chains=8, sweeps=50, burn_in=0, thin=2, seed=0)
    assert len(alone.ids_NL) == 25 * 8
    np.testing.assert_allclose(alone.log_weights_N, alone.nll_N, atol=1e-9)


def token_wise(table: MarkovTable, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Sequences drawn token by token at each temperature, with their exact log-probabilities at all of them."""
    generator = np.random.default_rng(7)
    start_N, zeros_NL = np.zeros(each, dtype=np.int64), np.zeros((each, LENGTH), dtype=np.int64)
    drawn = [
        table.redraw_suffix(zeros_NL, start_N, np.full(each, tau), generator.random((each, LENGTH))).ids_NL
        for tau in TEMPERATURES
    ]
    ids_NL = np.concatenate(drawn)
    return ids_NL, np.stack([table.log_prob(ids_NL, tau) for tau in TEMPERATURES])


def test_exact_densities_leave_mbar_nothing_to_find(table: MarkovTable) -> None:
    ids_NL, log_q_KN = token_wise(table, 1000)
    solved = mbar(-log_q_KN, [1000] * 4)
    assert (np.abs(solved.free_energies_K) <= 3.5 * solved.standard_errors_K).all()
    # Scored as if the whole sequence had been tempered, the hottest rung shows up, and only that one.
    log_q_KN[3] = table.log_prob(ids_NL) / TEMPERATURES[3]
    wrong = mbar(-log_q_KN, [1000] * 4)
    assert abs(wrong.free_energies_K[3]) > 1.0
    assert abs(wrong.free_energies_K[3]) > 20 * wrong.standard_errors_K[3]


def test_a_steep_ladder_is_refused() -> None:
    peaked = MarkovTable(spread=6.0)
    settings = {"length": LENGTH, "temperatures": (1.0, 40.0), "chains": 8, "sweeps": 60, "burn_in": 20, "seed": 0}
    with pytest.raises(NumericError, match="swap rate between temperatures 1 and 40 is 0"):
        parallel_tempering(peaked, **settings)
    told = parallel_tempering(peaked, allow_unmixed=True, **settings).unmixed
    assert any("round trips" in reason for reason in told)
    assert told[0].startswith("the swap rate")


def test_short_runs_are_refused(table: MarkovTable) -> None:
    with pytest.raises(NumericError, match=r"split R-hat of the NLL at temperature .* round trips"):
        parallel_tempering(table, length=LENGTH, temperatures=TEMPERATURES, chains=8, sweeps=6, burn_in=0, seed=0)


def test_a_model_that_contradicts_itself_is_refused() -> None:
    class Forgetful(MarkovTable):
        def redraw_suffix(self, *arguments: np.ndarray) -> Redraw:
            drawn = super().redraw_suffix(*arguments)
            return drawn._replace(log_p_change_N=drawn.log_p_change_N + 0.1)

    with pytest.raises(NumericError, match="log_prob and redraw_suffix disagree"):
        parallel_tempering(Forgetful(), length=3, chains=4, sweeps=20, burn_in=4, seed=0)
    with pytest.raises(NumericError, match="not finite"):
        parallel_tempering(MarkovTable(error=np.nan), length=3, chains=4, sweeps=20, burn_in=4, seed=0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"length": 0}, "length must be 1 or more"),
        ({"chains": 1}, "chains must be 2 or more"),
        ({"sweeps": 100}, "sweeps must be 104 or more"),
        ({"thin": 0}, '"auto" or 1 to 300'),
        ({"temperatures": (1.5, 2.0)}, "contain 1"),
        ({"temperatures": (1.0, -2.0)}, "positive"),
        ({"temperatures": (2.0, 1.0)}, "ascend"),
    ],
)
def test_settings_out_of_range_are_refused(table: MarkovTable, setting: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parallel_tempering(table, **{"length": 4, "seed": 0, **setting})  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma2"])
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return tiny(request.param)


def test_scores_of_a_model_are_token_nll(loaded: LoadedModel) -> None:
    ids_NL = np.random.default_rng(0).integers(3, 400, size=(7, 5))
    prefix = [1, 40, 50]
    rows = torch.tensor([prefix + row for row in ids_NL.tolist()])
    expected_N = -token_nll(loaded, rows)[:, 2:].double().sum(dim=1).numpy()
    for batch_size in (3, 256):
        found_N = LoadedTempered(loaded, prefix, batch_size=batch_size).log_prob(ids_NL)
        np.testing.assert_allclose(found_N, expected_N, atol=1e-4)


@pytest.mark.parametrize("batch_size", [4, 256])
def test_redrawn_suffixes_of_a_model(loaded: LoadedModel, batch_size: int) -> None:
    generator = np.random.default_rng(1)
    old_NL, start_N = generator.integers(3, 400, size=(10, 5)), np.arange(10) % 5
    tau_N, uniforms_NL = np.linspace(1, 3, 10), generator.random((10, 5))
    model = LoadedTempered(loaded, [1, 40], batch_size=batch_size)
    new = model.redraw_suffix(old_NL, start_N, tau_N, uniforms_NL)
    log_q_NL: list[np.ndarray] = []
    for ids_NL in (new.ids_NL, old_NL):
        rows = torch.tensor([[1, 40, *row] for row in ids_NL.tolist()])
        with torch.inference_mode():
            logits = loaded.model(rows).logits[:, 1:-1].double() / torch.tensor(tau_N)[:, None, None]
        log_q_NLV = logits.log_softmax(dim=2).numpy()
        log_q_NL.append(np.take_along_axis(log_q_NLV, ids_NL[:, :, None], axis=2)[:, :, 0])
        if ids_NL is new.ids_NL:
            upto_NLV = np.exp(log_q_NLV).cumsum(axis=2)
            by_hand_NL = (upto_NLV <= uniforms_NL[:, :, None]).sum(axis=2)
    redrawn_NL = np.arange(5) >= start_N[:, None]
    np.testing.assert_array_equal(new.ids_NL, np.where(redrawn_NL, by_hand_NL, old_NL))
    np.testing.assert_allclose(new.log_q_new_N, (log_q_NL[0] * redrawn_NL).sum(1), atol=1e-4)
    np.testing.assert_allclose(new.log_q_old_N, (log_q_NL[1] * redrawn_NL).sum(1), atol=1e-4)
    np.testing.assert_allclose(new.log_p_change_N, model.log_prob(new.ids_NL) - model.log_prob(old_NL), atol=1e-4)
    assert new.log_p_change_N[0] - (new.log_q_new_N[0] - new.log_q_old_N[0]) == pytest.approx(0.0, abs=1e-12)


def test_the_constants_of_a_model_are_the_enumerated_ones() -> None:
    loaded = tiny("llama")
    first_V = -token_nll(loaded, torch.tensor([[1, token] for token in range(1428)]))[:, 0].double()
    with torch.inference_mode():
        pairs = torch.stack([torch.ones(1428, dtype=torch.long), torch.arange(1428)], dim=1)
        second_VV = loaded.model(pairs).logits[:, -1].double().log_softmax(dim=1)
    log_p_VV = (first_V[:, None] + second_VV).numpy()
    temperatures = (1.0, 1.3, 2.0)
    chains = parallel_tempering(
        LoadedTempered(loaded, [1]), length=2, temperatures=temperatures, chains=32, sweeps=100, burn_in=10, seed=0
    )
    exact_K = [np.log(np.exp(log_p_VV / temperature).sum()) for temperature in temperatures]
    np.testing.assert_allclose(chains.log_z_K, exact_K, atol=0.05)
    assert chains.acceptance_K[0] == 1.0
    np.testing.assert_allclose(-log_p_VV[chains.ids_NL[:, 0], chains.ids_NL[:, 1]], chains.nll_N, atol=1e-3)


def test_banned_tokens_are_neither_drawn_nor_counted() -> None:
    loaded = tiny("llama")
    banned = list(range(0, 1428, 2))  # the filler of the first rows among them
    model = LoadedTempered(loaded, [1], banned_ids=banned)
    chains = parallel_tempering(model, length=3, temperatures=(1.0, 1.4), chains=8, sweeps=50, burn_in=10, seed=0)
    assert (chains.ids_NL % 2 == 1).all()
    singles = model.log_prob(np.arange(1428)[:, None])
    assert np.exp(singles).sum() == pytest.approx(1.0, abs=1e-5)
    assert (singles[::2] == -np.inf).all()


def test_adapters_refuse_what_they_cannot_do() -> None:
    loaded = tiny("llama")
    with pytest.raises(UsageError, match="prefix"):
        LoadedTempered(loaded, [])
    with pytest.raises(UsageError, match="batch_size"):
        LoadedTempered(loaded, [1], batch_size=0)
    with pytest.raises(UsageError, match="601 tokens; this model has 512"):
        LoadedTempered(loaded, [1]).log_prob(np.ones((1, 600), dtype=np.int64))


def test_tempering_needs_no_torch() -> None:
    code = "import sys, armillary.methods.modeldiff.tempering; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
