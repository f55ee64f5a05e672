"""The equations of Vector-ICL against closed forms and their own symmetries."""

import numpy as np
import pytest
import torch

from armillary.errors import NumericError, UsageError
from armillary.methods.vector_icl import core
from armillary.methods.vector_icl.answers import decode_digits, encode_digits, first_integer
from armillary.methods.vector_icl.embedding import TokenStatistics
from armillary.methods.vector_icl.projector import Projector


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_gated_projection_is_the_sum_of_the_equation() -> None:
    v, gain, into, gate, up, down = drawn(3, 5), drawn(5), drawn(4, 5), drawn(6, 4), drawn(6, 4), drawn(4, 6)
    found = core.gated_projection(v, gain, into, gate, up, down)
    for row in range(3):
        u = into @ (v[row] / (v[row].square().mean() + 1e-6).sqrt() * gain)
        g = gate @ u
        assert found[row].tolist() == pytest.approx((u + down @ (g * g.sigmoid() * (up @ u))).tolist(), rel=1e-12)


def test_parameter_counts_are_those_of_the_official_projectors() -> None:
    def count(kind: str) -> int:
        return sum(p.numel() for p in Projector(7, 5, kind=kind).parameters())  # type: ignore[arg-type]

    assert (count("linear"), count("mlp")) == (5 * 7, 7 + 5 * 7 + 3 * 5 * 5)


def test_the_random_weights_are_the_seeds_and_leave_the_global_generator() -> None:
    before = torch.get_rng_state()
    one, same, other = (Projector(7, 5, seed=seed).into.weight for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert float(one.detach().abs().max()) <= 7**-0.5 + 1e-6


def test_ridge_start_finds_an_orthogonal_map() -> None:
    targets = drawn(40, 6)
    q = torch.linalg.qr(drawn(6, 6, seed=1))[0]
    vectors = (targets - targets.mean(0)) @ q.T + 3.0
    start = core.ridge_start(vectors, targets, centre=drawn(6, seed=2), norm=2.35, ridge=0.0)
    assert torch.allclose(start.weight, q.T, atol=1e-9)
    slots = start.project(vectors)
    assert torch.allclose(slots.mean(0), drawn(6, seed=2), atol=1e-9)
    assert float(core.centred_norm(slots)) == pytest.approx(2.35, rel=1e-9)


def test_ridge_start_with_few_rows_is_the_ridge_solution() -> None:
    x, y, penalty = drawn(6, 9), drawn(6, 4, seed=1), 0.7
    xc, yc = x - x.mean(0), y - y.mean(0)
    wanted = torch.linalg.solve(xc.T @ xc + penalty * torch.eye(9, dtype=torch.float64), xc.T @ yc)
    start = core.ridge_start(x, y, centre=torch.zeros(4, dtype=torch.float64), norm=1.0, ridge=penalty)
    assert torch.allclose(start.weight.T, wanted, atol=1e-9)


def test_a_linear_read_out_is_fitted_by_the_map_that_made_it() -> None:
    """``y = C W* v`` with squared loss, C of full column rank: gradient steps find W* itself."""
    wanted, read_out, vectors = drawn(4, 6), drawn(9, 4, seed=1), drawn(40, 6, seed=2)
    targets = vectors @ wanted.T @ read_out.T
    projector = Projector(6, 4, dtype=torch.float64)
    optimiser = torch.optim.LBFGS(projector.parameters(), lr=1, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = (projector(vectors) @ read_out.T - targets).square().mean()
        value.backward()
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    assert torch.allclose(projector.into.weight, wanted, atol=1e-3)


def test_ridge_start_refuses_targets_without_variation() -> None:
    with pytest.raises(NumericError, match="same point"):
        core.ridge_start(drawn(5, 3), torch.ones(5, 2), centre=torch.zeros(2), norm=1.0, ridge=0.1)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
@pytest.mark.parametrize("ridge", [False, True])
def test_matched_slots_have_the_tokens_mean_and_spread(kind: str, ridge: bool) -> None:
    vectors, tokens = drawn(30, 7) * 5 + 2, TokenStatistics(mean_D=drawn(4, seed=3), norm=2.0)
    projector = Projector(7, 4, kind=kind, norm="match", dtype=torch.float64)  # type: ignore[arg-type]
    if ridge:
        projector.start_from_ridge(vectors, drawn(30, 4, seed=4), tokens)
    else:
        projector.fit_scale(vectors, tokens)
    slots = projector(vectors).detach()
    assert torch.allclose(slots.mean(0), tokens.mean_D, atol=1e-9)
    assert float(core.centred_norm(slots)) == pytest.approx(2.0, rel=1e-9)


def test_idf_weights_rare_tokens_more() -> None:
    found = core.idf_weights([[1, 1, 2], [1], [1, 3]])
    assert found == pytest.approx({1: np.log(2), 2: np.log(4), 3: np.log(4)})


def test_label_probabilities() -> None:
    scores = drawn(4, 3)
    found = core.label_probabilities(scores)
    assert found.sum(1).tolist() == pytest.approx([1.0] * 4)
    assert torch.allclose(found, core.label_probabilities(scores + 7.0))
    assert torch.allclose(core.label_probabilities(scores, prior=scores[0])[0], torch.full((3,), 1 / 3).double())
    longer = core.label_probabilities(scores, lengths=[1, 2, 4])
    assert torch.allclose(longer, (scores / torch.tensor([1, 2, 4])).softmax(-1))


def test_digit_vectors() -> None:
    [row] = encode_digits([128])
    assert row.nonzero()[:, 0].tolist() == [0, 10, 20, 30, 40, 50, 60, 71, 82, 98]
    values = [0, 7, 128, 9_999_999_999]
    assert decode_digits(encode_digits(values)) == values
    assert encode_digits(np.array([5, 6]), digits=3).shape == (2, 30)


@pytest.mark.parametrize("bad", [10**10, -1, 3.0, True, "7"])
def test_digit_vectors_refuse(bad: object) -> None:
    with pytest.raises(UsageError, match="number 1 is"):
        encode_digits([1, bad])


def test_the_first_integer_is_read_at_the_end_too() -> None:
    assert first_integer("function(A, B): 123") == 123
    assert first_integer("12, then 7") == 12
    assert first_integer("abc") is None
