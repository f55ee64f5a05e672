"""The equations of CoMMIT against enumeration, closed forms and their own symmetries."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from armillary.errors import UsageError
from armillary.methods.commit import core
from armillary.methods.commit.config import CoMMITConfig

LOG_16 = math.log(16)


def logits(seed: int, rows: int = 5, vocabulary: int = 7) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


def test_kl_is_the_sum_over_the_vocabulary() -> None:
    reference, moved = logits(0), logits(1)
    p, q = reference.double().softmax(-1), moved.double().softmax(-1)
    pairs = zip(p.tolist(), q.tolist(), strict=True)
    expected = [sum(a * math.log(a / b) for a, b in zip(*pair, strict=True)) for pair in pairs]
    assert core.kl64(reference, moved).tolist() == pytest.approx(expected, rel=1e-12)
    assert core.kl64(reference, reference).tolist() == [0.0] * 5


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 1000), st.floats(-12, 1))
def test_kl_is_never_negative(seed: int, size: float) -> None:
    reference = logits(seed)
    moved = reference + 10**size * logits(seed + 1)
    assert (core.kl64(reference, moved) >= 0).all()
    assert (core.kl64_second_order(reference, moved) >= 0).all()


def test_plain_float32_would_have_gone_below_zero() -> None:
    reference = logits(0, rows=200)
    moved = reference + 1e-4 * logits(1, rows=200)
    log_p, log_q = reference.log_softmax(-1), moved.log_softmax(-1)
    plain = (log_p.exp() * (log_p - log_q)).sum(-1)
    assert (plain <= 0).any()
    assert (core.kl64(reference, moved) > 0).all()


def test_second_order_meets_kl_for_small_changes() -> None:
    reference, direction = logits(0).double(), logits(1).double()
    ratios = []
    for size in (1.0, 1e-1, 1e-2, 1e-3, 1e-5):
        moved = reference + size * direction
        ratios.append(core.kl64_second_order(reference, moved).sum() / core.kl64(reference, moved).sum())
    errors = [abs(float(ratio) - 1) for ratio in ratios]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.01 and errors[-1] < 1e-4


@pytest.mark.parametrize("measure", [core.kl64, core.kl64_second_order])
def test_divergence_ignores_the_order_of_tokens_and_a_shift(measure: "type") -> None:
    reference, moved = logits(0).double(), logits(1).double()
    order = torch.randperm(7)
    expected = measure(reference, moved)
    torch.testing.assert_close(measure(reference[:, order], moved[:, order]), expected)
    torch.testing.assert_close(measure(reference + 5, moved - 7), expected)


def test_words_that_are_ruled_out() -> None:
    reference, moved = torch.tensor([[0.0, 1.0, -torch.inf]]), torch.tensor([[0.5, 1.0, -torch.inf]])
    torch.testing.assert_close(core.kl64(reference, moved), core.kl64(reference[:, :2], moved[:, :2]))
    assert core.kl64(torch.zeros(1, 3), reference).isinf().all()
    assert core.kl64(torch.full((1, 3), torch.nan), reference).isnan().all()


def test_lags_sum_to_zero_and_give_kappa() -> None:
    found = core.lags([1.0, 16.0])
    assert sum(found) == pytest.approx(0)
    assert core.log_kappa(found) == pytest.approx(LOG_16)
    assert core.log_kappa(core.lags([16.0, 1.0])) == pytest.approx(-LOG_16)
    assert core.lags([3.0, 3.0]) == (0.0, 0.0)
    for bad in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match=str(bad)):
            core.lags([1.0, bad])


@pytest.mark.parametrize("kappa", [0.2, 1.0, 3.0])
def test_multipliers_of_two(kappa: float) -> None:
    found, gamma = core.lags([1.0, kappa]), 0.2
    assert core.multipliers("balance", found, gamma, 100) == pytest.approx((kappa**gamma, kappa**-gamma))
    expected = max(1, kappa ** (2 * gamma)), max(1, kappa ** (-2 * gamma))
    assert core.multipliers("lift", found, gamma, 100) == pytest.approx(expected)
    assert core.integrated((2.0, 3.0), found, gamma, 100) == pytest.approx((2 * kappa**gamma, 3 * kappa**-gamma))
    assert core.push_weights(found, 2) == pytest.approx((kappa / (1 + kappa), 1 / (1 + kappa)))


@pytest.mark.parametrize("mode", ["lift", "balance"])
def test_multipliers_at_their_ends(mode: core.Mode) -> None:
    assert core.multipliers(mode, core.lags([1e-13, 1e3]), 0.0, 10) == (1.0, 1.0)
    assert core.multipliers(mode, core.lags([2.0, 2.0]), 1.0, 10) == (1.0, 1.0)
    slow, fast = core.multipliers(mode, core.lags([1e-300, 1e300]), 1.0, 10)
    assert (slow, fast) == (10.0, 1.0 if mode == "lift" else 0.1)
    with pytest.raises(UsageError, match="integral"):
        core.multipliers("integral", (0.0, 0.0), 0.1, 10)


def test_multipliers_of_three() -> None:
    changes = (1.0, 4.0, 16.0)
    found = core.lags(changes)
    expected = [max(1.0, (4.0 / change) ** (4 * 0.1)) for change in changes]
    assert core.multipliers("lift", found, 0.1, 100) == pytest.approx(expected)
    turned = core.multipliers("lift", core.lags(changes[::-1]), 0.1, 100)
    assert turned[::-1] == pytest.approx(expected)
    assert sum(core.push_weights(found, 3)) == pytest.approx(1)
    assert core.push_weights(None, 3) == pytest.approx((1 / 3,) * 3)


def controlled(mode: core.Mode, gamma: float, ema: float, start: float, probes: int) -> list[float]:
    """Log kappa at each probe where it follows ``start + 2 log m_X - 2 log m_S`` exactly."""
    values, past, found = (1.0, 1.0), None, []
    for _ in range(probes):
        found.append(start + 2 * math.log(values[1]) - 2 * math.log(values[0]))
        now = (found[-1] / 2, -found[-1] / 2)
        past = core.smoothed(past, now, ema)
        values = (
            core.integrated(values, now, gamma, 1e9)
            if mode == "integral"
            else core.multipliers(mode, past, gamma, 1e9)
        )
    return found


@pytest.mark.parametrize("mode", ["balance", "lift"])
@pytest.mark.parametrize(("gamma", "rest"), [(0.25, 1.3863), (0.5, 0.9242), (1.0, 0.5545)])
def test_proportional_control_rests_where_the_formula_says(mode: core.Mode, gamma: float, rest: float) -> None:
    assert controlled(mode, gamma, 0.9, LOG_16, 300)[-1] == pytest.approx(rest, abs=1e-4)
    assert rest == pytest.approx(LOG_16 / (1 + 4 * gamma), abs=1e-4)


def test_proportional_control_without_smoothing() -> None:
    assert controlled("balance", 0.2, 0.0, LOG_16, 300)[-1] == pytest.approx(1.5403, abs=1e-4)
    turns = controlled("balance", 0.25, 0.0, LOG_16, 20)
    assert turns[2::2] == pytest.approx(turns[:-2:2]) and turns[0] != pytest.approx(turns[1])
    for gamma, ema in ((0.5, 0.0), (1.0, 0.0), (1.0, 0.5)):
        assert max(map(abs, controlled("balance", gamma, ema, LOG_16, 14)[-2:])) > 10


def test_integral_control() -> None:
    assert controlled("integral", 0.1, 0.9, 2.773, 4)[1:] == pytest.approx([1.664, 0.998, 0.599], abs=1e-3)
    assert controlled("integral", 0.25, 0.9, 2.773, 3)[1:] == pytest.approx([0, 0], abs=1e-12)
    assert controlled("integral", 0.5, 0.9, 2.773, 4) == pytest.approx([2.773, -2.773, 2.773, -2.773])
    assert abs(controlled("integral", 0.6, 0.9, 2.773, 12)[-1]) > 20


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({"mode": "balance", "gamma": 0.25, "ema": 0.0}, r"gamma < 0.25 at ema = 0.0"),
        ({"mode": "lift", "gamma": 5.0, "ema": 0.9}, r"gamma < 4.75 at ema = 0.9"),
        ({"mode": "integral", "gamma": 0.5}, r"gamma < 0.5, got 0.5"),
        ({"mode": "balance", "gamma": math.nan}, "gamma"),
        ({"gamma": -0.1}, "gamma must be 0 or more, got -0.1"),
        ({"ema": 1.0}, "ema"),
        ({"mode": "up"}, "lift, balance, integral"),
        ({"divergence": "js"}, "exact, second_order"),
        ({"interval": 0}, "interval"),
        ({"aux_weight": math.nan}, "aux_weight"),
        ({"aux_cap": 0.0}, "aux_cap"),
        ({"clip": 0.5}, "clip"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, object], bound: str) -> None:
    with pytest.raises(UsageError, match=bound):
        CoMMITConfig(**settings)  # type: ignore[arg-type]


def test_settings_go_round() -> None:
    config = CoMMITConfig(mode="balance", gamma=0.24, ema=0.0, aux_weight=0.01)
    assert CoMMITConfig(**config.to_dict()) == config
    CoMMITConfig(mode="integral", gamma=0.49)
