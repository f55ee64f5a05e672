"""States of image tokens and their drift: definitions, what rounding must not do, and where they come from."""

import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.mdgd.config import chosen_layers
from armillary.methods.mdgd.drift import (
    drift_loss,
    image_token_mask,
    relative_drift,
    rms_normalised,
    visual_hidden_states,
    watch,
)
from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision


def states(seed: int, layers: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(6, 5, generator=generator, dtype=torch.float64) for _ in range(layers)]


def test_the_distances_follow_their_definitions() -> None:
    now, before = states(0), states(1)
    unit = [tuple(z / z.square().mean(1, keepdim=True).sqrt() for z in pair) for pair in zip(now, before, strict=True)]
    expected = {
        "l1": sum((x - y).abs().mean() for x, y in unit) / 2,
        "l2": sum((x - y).square().mean() for x, y in unit) / 2,
        "cosine": sum(1 - torch.nn.functional.cosine_similarity(x, y).mean() for x, y in unit) / 2,
    }
    for kind, value in expected.items():
        torch.testing.assert_close(drift_loss(now, before, kind), value)
    raw = sum((x - y).abs().mean() for x, y in zip(now, before, strict=True)) / 2
    torch.testing.assert_close(drift_loss(now, before, normalise=False), raw)
    torch.testing.assert_close(drift_loss([3 * x for x in now], before), expected["l1"])  # scale of rows is no drift


@pytest.mark.parametrize("kind", ["l1", "l2", "cosine"])
def test_rounding_gives_no_gradient_and_real_drift_does(kind: str) -> None:
    before = states(2, 1)
    noise = 1e-7 * states(3, 1)[0]
    for change, there in ((noise, False), (1e5 * noise, True)):
        now = (before[0] + change).requires_grad_(True)
        loss = drift_loss([now], before, kind, tolerance=1e-5)
        loss.backward()
        assert now.grad is not None and bool(now.grad.any()) == there and bool(loss > 0) == there
    now = (before[0] + noise).requires_grad_(True)
    drift_loss([now], before, "l1").backward()
    assert now.grad is not None and float(now.grad.norm()) > 1e-2  # what the tolerance is for


def test_no_tokens_and_zero_rows() -> None:
    nothing = torch.zeros(0, 5, requires_grad=True)
    drift_loss([nothing], [nothing.detach()]).backward()
    assert nothing.grad is not None
    zero = torch.zeros(2, 5, requires_grad=True)
    drift_loss([zero], [torch.ones(2, 5)]).backward()
    assert zero.grad is not None and bool(zero.grad.isfinite().all())
    assert torch.equal(rms_normalised(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_relative_drift() -> None:
    x = torch.tensor([[3.0, 4.0]])
    assert relative_drift(x, x) == 0 and relative_drift(2 * x, x, normalise=False) == pytest.approx(1)
    assert relative_drift(2 * x, x) == pytest.approx(0, abs=1e-9) and relative_drift(-x, x) == pytest.approx(2)
    for normalise in (True, False):
        assert relative_drift(x, 0 * x, normalise=normalise) == float("inf")
        assert relative_drift(0 * x, 0 * x, normalise=normalise) == 0


@pytest.mark.parametrize("size", [30.0, 1e3, 1e6])
def test_one_channel_of_one_token_hides_nothing(size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(24, 32, generator=generator)
    now = before + 0.15 * torch.randn(24, 32, generator=generator)
    plain = relative_drift(now[1:], before[1:])
    assert plain == pytest.approx(0.15, abs=0.02)
    for states in (now, before):
        states[0, 7] = size  # an attention sink, which stays as it is
    assert relative_drift(now, before) == plain > 5 * relative_drift(now, before, normalise=False) * (size > 100)


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_states_are_the_hidden_states_at_the_image_tokens(kind: str) -> None:
    toy = tiny_vision(kind, layers=3)
    batch = toy.batch(2, seed=1)
    mask = image_token_mask(toy.anatomy, batch)
    with torch.no_grad():
        whole = toy.model(**batch, output_hidden_states=True).hidden_states
    hooks = [len(layer._forward_hooks) for layer in toy.anatomy.layers]
    for layer, found in zip((0, 1), visual_hidden_states(toy.model, batch, (0, 1), toy.anatomy), strict=True):
        torch.testing.assert_close(found, whole[layer + 1][mask])
    assert [len(layer._forward_hooks) for layer in toy.anatomy.layers] == hooks


def test_gradients_flow_through_watched_states_and_hooks_go_also_on_errors() -> None:
    toy = tiny_vision()
    batch = toy.batch(2)
    layers = {0: toy.anatomy.layers[0]}
    with watch(layers, image_token_mask(toy.anatomy, batch)) as seen:
        toy.model(**batch)
    loss = seen.states([0])[0].square().sum()
    weight = toy.anatomy.layers[0].mlp.down_proj.weight
    assert bool(torch.autograd.grad(loss, weight)[0].any())
    with pytest.raises(RuntimeError, match="stop"), watch(layers, image_token_mask(toy.anatomy, batch)):
        raise RuntimeError("stop")
    assert not toy.anatomy.layers[0]._forward_hooks


def test_padding_is_no_image_and_a_mask_of_ones_own_counts() -> None:
    toy = tiny_vision()
    batch = toy.batch(2)
    own = {**batch, "image_token_mask": torch.zeros_like(batch["input_ids"])}
    assert not bool(image_token_mask(toy.anatomy, own).any())
    hidden = {**batch, "attention_mask": torch.zeros_like(batch["input_ids"])}
    assert not bool(image_token_mask(toy.anatomy, hidden).any())
    assert int(image_token_mask(toy.anatomy, batch).sum()) == 2 * toy.image_tokens


def test_layers_by_name_and_number() -> None:
    assert chosen_layers("all", 3) == (0, 1, 2) and chosen_layers("all_but_last", 3) == (0, 1)
    assert chosen_layers("last", 3) == (2,) and chosen_layers("2,0", 3) == (0, 2)
    assert chosen_layers("all_but_last", 1) == (0,)


def test_bad_input_is_one_sentence() -> None:
    toy = tiny_vision()
    batch = toy.batch(1)
    with pytest.raises(UsageError, match="as many layers"):
        drift_loss([], [])
    with pytest.raises(UsageError, match="l1, l2, cosine"):
        drift_loss(states(0), states(0), "l3")
    with pytest.raises(UsageError, match="of the reference"):
        drift_loss(states(0), [x[:2] for x in states(0)])
    with pytest.raises(UsageError, match="needs input_ids"):
        image_token_mask(toy.anatomy, {})
    with pytest.raises(UsageError, match="has shape"):
        image_token_mask(toy.anatomy, {**batch, "image_token_mask": torch.ones(1, 2)})
    with watch({0: toy.anatomy.layers[0]}, image_token_mask(toy.anatomy, batch)) as seen:
        pass
    with pytest.raises(UsageError, match="did not run"):
        seen.states([0])
