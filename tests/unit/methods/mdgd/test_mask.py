"""Masks of exact size, and the optimiser that leaves masked weights alone."""

import math
import tempfile

import pytest
import torch
from torch import Tensor, nn

from armillary.errors import NumericError, UsageError
from armillary.methods.mdgd.masking import MaskedAdamW, ScoreSums, Shelf, kept_count, topk_indices, topk_mask

SHAPES = ((5, 4), (7,), (3, 2, 2))
RATE = {"lr": 1e-2, "weight_decay": 0.1, "betas": (0.8, 0.95), "eps": 1e-8}


@pytest.mark.parametrize("ratio", [0.1, 0.07, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(30,), (7, 9), (1,), ()])
def test_exactly_the_ceiling_of_entries_is_kept(ratio: float, shape: tuple[int, ...]) -> None:
    score = torch.randn(shape)
    mask = topk_mask(score, ratio)
    assert mask.shape == score.shape and int(mask.sum()) == kept_count(ratio, score.numel())
    assert score[mask].min() >= torch.cat([score[~mask], torch.tensor([-torch.inf])]).max()


def test_the_ceiling_is_of_the_decimal_that_was_written() -> None:
    assert math.ceil(0.07 * 100) == 8  # the product is a little above 7
    assert kept_count(0.07, 100) == 7 and kept_count(0.07, 101) == 8


def test_of_equal_scores_the_first_are_kept() -> None:
    assert topk_indices(torch.tensor([1.0, 2.0, 1.0, 1.0, 2.0]), 0.6).tolist() == [0, 1, 4]
    assert topk_indices(torch.zeros(4, 5), 0.25).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ratio", [0.0, -0.1, 1.5, 10])
def test_a_ratio_is_a_share(ratio: float) -> None:
    with pytest.raises(UsageError, match="share, above 0 and up to 1"):
        topk_mask(torch.zeros(3), ratio)


def test_nan_scores_are_refused() -> None:
    with pytest.raises(NumericError, match="1 of 2 mask scores are NaN"):
        topk_mask(torch.tensor([1.0, math.nan]), 0.5)


def test_scores_follow_their_definitions() -> None:
    like, pairs = torch.zeros(3), [(torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.0, 4.0, 1.0]))] * 2
    edited = torch.tensor([-1.0, 0.0, 2.0])
    for kind, expected in (("decoupled_magnitude", [2.0, 0.0, 4.0]), ("task_magnitude", [2.0, 4.0, 6.0])):
        sums = ScoreSums(kind, like, 0)
        for g, v in pairs:
            sums.add(g, v, edited)
        assert sums.score().tolist() == expected
    ratio = ScoreSums("ratio", like, 0)
    ratio.add(*pairs[0], edited)
    assert ratio.score().argsort(descending=True).tolist() == [0, 2, 1]
    random, again, other = (ScoreSums("random", like, seed).score() for seed in (1, 1, 2))
    assert torch.equal(random, again) and not torch.equal(random, other)
    assert torch.equal(ScoreSums("task_magnitude", like, 0).score(), like)


def network(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in SHAPES]


def train(parameters: list[nn.Parameter], optimiser: torch.optim.Optimizer, start: int, end: int) -> None:
    for step in range(start, end):
        generator = torch.Generator().manual_seed(step)
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator) + parameter.detach()
        optimiser.step()


def masks(parameters: list[nn.Parameter]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(9)
    return [topk_mask(torch.rand(p.shape, generator=generator), 0.3) for p in parameters]


def compact(parameters: list[nn.Parameter]) -> MaskedAdamW:
    indices = {p: m.reshape(-1).nonzero().reshape(-1) for p, m in zip(parameters, masks(parameters), strict=True)}
    return MaskedAdamW(parameters, indices, **RATE)


def test_compact_equals_dense_masked_adamw_and_moves_nothing_else() -> None:
    ours, dense = network(), network()
    start = [p.detach().clone() for p in ours]
    optimiser, stock = compact(ours), torch.optim.AdamW(dense, **RATE)
    train(ours, optimiser, 0, 50)
    for step in range(50):
        before = [p.detach().clone() for p in dense]
        generator = torch.Generator().manual_seed(step)
        for parameter, mask in zip(dense, masks(dense), strict=True):
            parameter.grad = (torch.randn(parameter.shape, generator=generator) + parameter.detach()) * mask
        stock.step()
        with torch.no_grad():  # stock AdamW decays every weight: put the masked ones back
            for parameter, mask, old in zip(dense, masks(dense), before, strict=True):
                parameter.copy_(torch.where(mask, parameter, old))
    for parameter, other, mask, old in zip(ours, dense, masks(ours), start, strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-6, atol=1e-6)
        assert torch.equal(parameter[~mask], old[~mask])
        assert not torch.equal(parameter[mask], old[mask])
        for name in ("exp_avg", "exp_avg_sq"):
            assert optimiser.state[parameter][name].shape == (int(mask.sum()),)


def test_saved_and_loaded_it_goes_on_the_same() -> None:
    straight, resumed = network(), network()
    optimiser = compact(straight)
    train(straight, optimiser, 0, 6)
    first = compact(resumed)
    train(resumed, first, 0, 3)
    later = MaskedAdamW(resumed, None, **RATE)
    later.load_state_dict(first.state_dict())
    assert all(later.index(p).dtype == torch.int32 for p in resumed)
    train(resumed, later, 3, 6)
    assert all(torch.equal(a, b) for a, b in zip(straight, resumed, strict=True))


def test_bad_input_is_one_sentence() -> None:
    parameters = network()
    waiting = MaskedAdamW(parameters, None, **RATE)
    parameters[0].grad = torch.zeros(SHAPES[0])
    with pytest.raises(UsageError, match="has no mask"):
        waiting.step()
    with pytest.raises(UsageError, match="parameter 1 of shape"):
        MaskedAdamW(parameters, {parameters[0]: torch.tensor([0])}, **RATE)
    with pytest.raises(UsageError, match="not saved by MaskedAdamW"):
        waiting.load_state_dict(torch.optim.AdamW(parameters).state_dict())
    turned = nn.Parameter(torch.zeros(3, 4).T)
    with pytest.raises(UsageError, match="not contiguous"):
        MaskedAdamW([turned], {turned: torch.tensor([0])}, **RATE)


def test_a_shelf_gives_back_what_was_put_in_last() -> None:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(3, 5, generator=generator)
    half, whole = first.bfloat16(), torch.arange(6.0).reshape(2, 3).T
    with tempfile.TemporaryFile() as file:
        shelf = Shelf(file)
        for key, value in (("a", first), (("b", 1), half), ("c", whole), ("a", -first)):
            shelf[key] = value
        got = [shelf.get(key) for key in ("a", ("b", 1), "c")]
        assert shelf.get("d") is None
    for value, expected in zip(got, (-first, half, whole), strict=True):
        assert value is not None and value.dtype == expected.dtype and torch.equal(value, expected)


def test_clipping_what_was_taken_is_clipping_a_masked_gradient() -> None:
    ours, dense = network(), network()
    optimiser = compact(ours)
    for parameter, other, mask in zip(ours, dense, masks(dense), strict=True):
        parameter.grad = parameter.detach().clone()
        other.grad = other.detach() * mask
        optimiser.take(parameter)
        assert parameter.grad is None
    expected = nn.utils.clip_grad_norm_(dense, 0.5)
    torch.testing.assert_close(optimiser.clip(0.5), expected)
    torch.testing.assert_close(optimiser.clip(), torch.tensor(0.5), rtol=1e-4, atol=0)
    optimiser.zero_grad()
    before = [parameter.detach().clone() for parameter in ours]
    optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, before, strict=True))
