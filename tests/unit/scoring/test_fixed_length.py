"""Sequences of one length: what is drawn has the probability it is said to have, at every temperature."""

import math
from collections.abc import Callable

import pytest
import torch

from armillary.errors import UsageError
from armillary.models import LoadedModel
from armillary.models.tiny_models import tiny
from armillary.scoring.fixed_length import draw_fixed_length, fixed_length_nll

TEMPERATURES = (1.0, 1.5, 0.7)
KINDS = ["llama", "gemma2", "qwen3", "gpt_neox", "gpt2", "opt"]


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return tiny("llama")


@torch.no_grad()
def by_hand(loaded: LoadedModel, prefix: list[int], ids_NL: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probability of each token by the model's own forward pass."""
    rows = torch.cat([torch.tensor([prefix]).expand(len(ids_NL), -1), ids_NL], dim=1)
    logits = loaded.model(input_ids=rows).logits.double()[:, len(prefix) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(2, ids_NL[..., None])[..., 0]


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_are_the_models_own(kind: str) -> None:
    loaded = tiny(kind)
    prefix = [1, 7, 9]
    drawn = draw_fixed_length(loaded, prefix, [0, 1, 2, 0], length=5, temperatures=TEMPERATURES, seed=0, batch_size=3)
    for rung, temperature in enumerate(TEMPERATURES):
        expected = by_hand(loaded, prefix, drawn.ids_NL, temperature)
        torch.testing.assert_close(drawn.log_q_KNL[rung], expected, atol=2e-5, rtol=0)
    nll = fixed_length_nll(loaded, prefix, drawn.ids_NL, batch_size=3)
    torch.testing.assert_close(-nll.double(), by_hand(loaded, prefix, drawn.ids_NL, 1.0), atol=2e-5, rtol=0)


def test_one_temperature_and_several_agree(model: LoadedModel) -> None:
    alone = draw_fixed_length(model, [1], [0] * 20, length=4, seed=3)
    among = draw_fixed_length(model, [1], [0] * 20, length=4, temperatures=(1.0, 2.0), seed=3)
    assert (alone.ids_NL == among.ids_NL).all()
    torch.testing.assert_close(alone.log_q_KN[0], among.log_q_KN[0], atol=1e-5, rtol=0)


def test_first_tokens_follow_the_softmax_of_their_temperature(model: LoadedModel) -> None:
    n = 4000
    drawn = draw_fixed_length(model, [1], [1] * n, length=1, temperatures=(1.0, 0.5), seed=0, batch_size=1000)
    with torch.no_grad():
        share = (model.model(input_ids=torch.tensor([[1]])).logits[0, -1].double() / 0.5).softmax(-1)
    seen = torch.bincount(drawn.ids_NL[:, 0], minlength=len(share)) / n
    error = (share * (1 - share) / n).sqrt()
    top = share.topk(20).indices
    assert ((seen - share)[top].abs() < 4.5 * error[top]).all()


def test_the_batch_size_changes_nothing(model: LoadedModel) -> None:
    one, other = (draw_fixed_length(model, [1, 5], [0] * 11, length=4, seed=1, batch_size=size) for size in (11, 4))
    assert (one.ids_NL == other.ids_NL).all()
    torch.testing.assert_close(one.log_q_KNL, other.log_q_KNL, atol=1e-5, rtol=0)


def test_banned_tokens_have_no_probability(model: LoadedModel) -> None:
    banned = list(range(0, model.anatomy.vocabulary_size, 2))
    drawn = draw_fixed_length(model, [1], [0] * 30, length=3, seed=0, banned=banned)
    assert (drawn.ids_NL % 2 == 1).all()
    nll = fixed_length_nll(model, [1], drawn.ids_NL, banned=banned)
    torch.testing.assert_close(-nll.double(), drawn.log_q_KNL[0], atol=2e-5, rtol=0)
    assert (nll.double() < fixed_length_nll(model, [1], drawn.ids_NL).double()).all()
    even = torch.full((1, 3), 2)
    assert fixed_length_nll(model, [1], even, banned=banned).sum() == math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: draw_fixed_length(m, [], [0], length=2, seed=0), "token to begin with"),
        (lambda m: draw_fixed_length(m, [1], [0], length=0, seed=0), "length must be 1"),
        (lambda m: draw_fixed_length(m, [1], [0], length=600, seed=0), "positions"),
        (lambda m: draw_fixed_length(m, [1], [0], length=2, temperatures=(0.0,), seed=0), "temperatures"),
        (lambda m: fixed_length_nll(m, [], torch.ones(1, 2, dtype=torch.long)), "token to begin with"),
    ],
)
def test_settings_out_of_range_are_refused(
    model: LoadedModel, call: Callable[[LoadedModel], object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        call(model)
