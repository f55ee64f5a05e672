"""The divergence from kept tokens against enumeration: exact where all are kept, between its bounds else."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from armillary.diff.kept import LEAST, Crossed, Scored, compare, keep
from armillary.runs.parts import Parts


def scored(logits: torch.Tensor, ids: torch.Tensor, top: int) -> Scored:
    return Scored(offsets=np.array([0, len(ids)]), **keep(logits.clone(), ids, top))


def exact(p: torch.Tensor, q: torch.Tensor) -> np.ndarray:
    p_log, q_log = p.double().log_softmax(-1), q.double().log_softmax(-1)
    return (p_log.exp() * (p_log - q_log)).sum(-1).numpy()


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    p = 3 * torch.randn((40, 30), generator=generator)
    q = p + torch.randn((40, 30), generator=generator)
    ids = torch.randint(30, (40,), generator=generator)
    return p, q, ids


def test_with_every_token_kept_the_divergence_is_exact(pair: tuple[torch.Tensor, ...]) -> None:
    p, q, ids = pair
    columns = compare(q.clone(), scored(p, ids, 30), np.arange(40))
    for name in ("estimate", "lower", "upper"):
        np.testing.assert_allclose(columns[name], exact(p, q), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(columns["logprob"], q.log_softmax(-1)[range(40), ids], rtol=1e-5)
    assert columns["agrees"].tolist() == (p.argmax(-1) == q.argmax(-1)).float().tolist()


def test_the_bounds_hold_and_the_upper_is_the_exact_maximum(pair: tuple[torch.Tensor, ...]) -> None:
    p, q, ids = pair
    author = scored(p, ids, 5)
    columns = compare(q.clone(), author, np.arange(40))
    truth = exact(p, q)
    assert (columns["lower"] <= truth + 1e-5).all() and (truth <= columns["upper"] + 1e-5).all()
    # At a corner p is 0 or the limit (or the rest, once), so that entropy is given and the worst is a linear program.
    for row in range(10):
        kept = author.top_ids[row]
        rest = np.setdiff1d(np.arange(30), kept)
        limit, mass = np.exp(author.top_logprob[row, -1]), np.exp(author.tail[row])
        q_log = q[row].double().log_softmax(-1).numpy()[rest]
        worst = linprog(q_log, A_eq=np.ones((1, len(rest))), b_eq=[mass], bounds=[(0, limit)] * len(rest))
        tail = worst.x[worst.x > 1e-12]
        head_p = author.top_logprob[row].astype(float)
        head = (np.exp(head_p) * (head_p - q[row].double().log_softmax(-1).numpy()[kept])).sum()
        assert columns["upper"][row] == pytest.approx(head + (tail * np.log(tail)).sum() - worst.fun, rel=1e-4)


def test_the_estimate_has_no_bias_where_tokens_are_drawn_from_the_author() -> None:
    generator = torch.Generator().manual_seed(1)
    p, q = 2 * torch.randn((1, 20), generator=generator), 2 * torch.randn((1, 20), generator=generator)
    ids = torch.multinomial(p.softmax(-1)[0], 20_000, replacement=True, generator=generator)
    many_p, many_q = p.expand(20_000, -1).clone(), q.expand(20_000, -1).clone()
    estimate = compare(many_q, scored(many_p, ids, 4), np.arange(20_000))["estimate"].astype(float)
    error = estimate.std() / np.sqrt(len(estimate))
    assert abs(estimate.mean() - exact(p, q)[0]) < 4 * error < 0.05


def test_a_model_against_itself_has_no_divergence(pair: tuple[torch.Tensor, ...]) -> None:
    p, _, ids = pair
    columns = compare(p.clone(), scored(p, ids, 5), np.arange(40))
    np.testing.assert_allclose(columns["lower"], 0, atol=2e-6)
    np.testing.assert_allclose(columns["estimate"], 0, atol=2e-6)
    assert columns["agrees"].all()


def test_a_token_that_the_other_lacks_is_as_good_as_impossible(pair: tuple[torch.Tensor, ...]) -> None:
    p, q, ids = pair
    columns = compare(q[:, :20].clone(), scored(p, ids, 5), np.arange(40))
    assert all(np.isfinite(column).all() for column in columns.values())
    assert (columns["logprob"][(ids >= 20).numpy()] == LEAST).all()
    assert columns["lower"].max() > 10


def test_a_tail_of_nothing_is_no_trouble() -> None:
    p = torch.tensor([[0.0, -torch.inf, -torch.inf, -200.0]])
    author = scored(p, torch.tensor([0]), 2)
    assert author.tail[0] == -np.inf or author.tail[0] < -150
    columns = compare(torch.zeros((1, 4)), author, np.arange(1))
    assert columns["upper"][0] == pytest.approx(np.log(4), rel=1e-4)


def test_rows_are_joined_summed_and_kept_on_disk(tmp_path: Path) -> None:
    def block(lengths: list[int], first: float) -> Crossed:
        n = sum(lengths)
        values = np.arange(n, dtype=np.float32) + np.float32(first)
        offsets = np.cumsum([0, *lengths])
        return Crossed(offsets=offsets, logprob=values, estimate=values, lower=values, upper=values, agrees=values)

    joined = Crossed.joined([block([2, 0, 1], 0.0), block([1, 2], 3.0)])
    assert joined.sums(joined.logprob).tolist() == [1.0, 0.0, 2.0, 3.0, 9.0] and len(joined) == 5
    parts = Parts(tmp_path, "f")
    calls: list[int] = []

    def made() -> dict[str, np.ndarray]:
        calls.append(1)
        return joined.arrays()

    for _ in range(2):
        again = Crossed.of(parts.mapped("x", made))
        assert isinstance(again.logprob, np.memmap) and again.logprob.tolist() == joined.logprob.tolist()
    assert len(calls) == 1
    (file,) = tmp_path.rglob("logprob.npy")
    del again
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert Crossed.of(parts.mapped("x", made)).logprob.tolist() == joined.logprob.tolist() and len(calls) == 2
