"""Removing the drift component: exact identities, a quadratic solved by hand, and what one direction can't cover."""

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from armillary.errors import UsageError
from armillary.methods.mdgd.core import decouple, decouple_, project_out

TENSORS = ((6, 5), (7,), (2, 3, 4))


def gradients(seed: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in TENSORS]


def flat(tensors: list[Tensor | None]) -> Tensor:
    return torch.cat([x.reshape(-1) for x in tensors if x is not None]).double()


def by_hand(g: Tensor, v: Tensor, mode: str) -> Tensor:
    """The same in float64, for one vector."""
    g, v = g.double(), v.double()
    dot = float(g @ v)
    return g if mode == "conflict" and dot >= 0 else g - dot / float(v @ v) * v


@pytest.mark.parametrize("mode", ["full", "conflict"])
@pytest.mark.parametrize("scope", ["tensor", "global", "row"])
def test_equals_the_slow_formula(mode: str, scope: str) -> None:
    for seed in range(4):
        g, v = gradients(seed), gradients(seed + 100)
        edited, _ = decouple(g, v, mode=mode, scope=scope)
        if scope == "global":
            expected = by_hand(flat(g), flat(v), mode)
        elif scope == "tensor":
            expected = torch.cat([by_hand(a.reshape(-1), b.reshape(-1), mode) for a, b in zip(g, v, strict=True)])
        else:
            rows = [
                (a.reshape(len(a), -1) if a.dim() > 1 else a[None], b.reshape(len(b), -1) if b.dim() > 1 else b[None])
                for a, b in zip(g, v, strict=True)
            ]
            expected = torch.cat([by_hand(x, y, mode) for a, b in rows for x, y in zip(a, b, strict=True)])
        torch.testing.assert_close(flat(edited), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([torch.float32, torch.float64]), st.floats(1e-3, 1e3))
def test_identities_of_the_full_removal(seed: int, dtype: torch.dtype, factor: float) -> None:
    g, v = gradients(seed, dtype)[0], gradients(seed + 1, dtype)[0]
    kept = project_out(g, v)
    size_g, size_v = float(g.double().norm()), float(v.double().norm())
    assert abs(float((kept.double() * v.double()).sum())) <= 1e-6 * size_g * size_v
    torch.testing.assert_close(project_out(kept, v), kept)
    assert float(kept.norm() ** 2 + (g - kept).norm() ** 2) == pytest.approx(size_g**2, rel=1e-5)
    torch.testing.assert_close(project_out(g, factor * v), kept, rtol=1e-4, atol=1e-5)
    assert float((kept * g).sum()) == pytest.approx(float(kept.square().sum()), rel=1e-4, abs=1e-6)  # still descends
    assert float(project_out(3 * v, v).norm()) <= 1e-5 * size_v


def test_no_visual_gradient_leaves_the_task_gradient_bit_for_bit() -> None:
    g = gradients(0, torch.float32)
    for nothing in ([torch.zeros_like(x) for x in g], [1e-13 * torch.ones_like(x) / x.numel() for x in g], [None] * 3):
        for scope in ("tensor", "global", "row"):
            edited, statistics = decouple(g, nothing, scope=scope)
            assert all(a is not None and torch.equal(a, b) for a, b in zip(edited, g, strict=True))
            assert float(statistics.removed) == 0


def test_conflict_touches_only_what_raises_the_drift() -> None:
    g = torch.tensor([1.0, 2.0, 3.0])
    helping, harming = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([-1.0, 0.0, 0.0])
    assert torch.equal(project_out(g, helping, "conflict"), g)
    assert torch.equal(project_out(g, harming, "conflict"), torch.tensor([0.0, 2.0, 3.0]))
    assert torch.equal(project_out(g, helping, "full"), torch.tensor([0.0, 2.0, 3.0]))
    assert torch.equal(project_out(g, harming, "none"), g)


@pytest.mark.parametrize("scope", ["tensor", "row"])
def test_a_finer_scope_is_orthogonal_as_a_whole(scope: str) -> None:
    g, v = gradients(3), gradients(4)
    edited, _ = decouple(g, v, scope=scope)
    assert abs(float(flat(edited) @ flat(v))) < 1e-12


def test_statistics_are_those_of_the_whole_vectors() -> None:
    g, v = gradients(5), gradients(6)
    cosine = float(torch.nn.functional.cosine_similarity(flat(g), flat(v), dim=0))
    removed = {}
    for scope in ("global", "tensor", "row"):
        edited, statistics = decouple(g, v, scope=scope)
        told = statistics.to_dict()
        removed[scope] = told["removed"]
        assert told["cosine"] == pytest.approx(cosine)
        assert told["removed"] == pytest.approx(1 - float(flat(edited).norm() / flat(g).norm()) ** 2)
        assert told["task_norm"] == pytest.approx(float(flat(g).norm()))
        assert told["visual_norm"] == pytest.approx(float(flat(v).norm()))
    assert removed["global"] == pytest.approx(cosine**2)
    assert removed["global"] < removed["tensor"] < removed["row"]
    signs = [float((a * b).sum()) < 0 for a, b in zip(g, v, strict=True)]
    assert decouple(g, v)[1].to_dict()["conflicting"] == pytest.approx(sum(signs) / 3)


def test_alignment_adds_the_true_gradient_after_the_projection() -> None:
    g, v = gradients(7), gradients(8)
    plain, _ = decouple(g, v)
    aligned, _ = decouple(g, v, align_weight=0.5)
    torch.testing.assert_close(flat(aligned), flat(plain) + 0.5 * flat(v))
    only, _ = decouple([None, g[1], None], [v[0], None, None], align_weight=2.0)
    torch.testing.assert_close(only[0], 2 * v[0])
    assert only[1] is g[1] and only[2] is None


def test_the_random_control_is_repeatable_and_goes_elsewhere() -> None:
    g, v = gradients(9), gradients(10)
    first, told = decouple(g, v, random_seed=1)
    again, _ = decouple(g, v, random_seed=1)
    other, _ = decouple(g, v, random_seed=2)
    assert torch.equal(flat(first), flat(again)) and not torch.equal(flat(first), flat(other))
    assert abs(float(flat(first) @ flat(v))) > 1e-3  # not orthogonal to the drift
    assert 0 < float(told.removed) < 1
    assert torch.equal(flat(decouple(g, [torch.zeros_like(x) for x in v], random_seed=1)[0]), flat(g))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    g, v = gradients(11, dtype)[0], gradients(12, dtype)[0]
    kept = project_out(g, v)
    assert kept.dtype == dtype
    torch.testing.assert_close(kept, project_out(g.float(), v.float()).to(dtype))


def test_in_place_equals_the_function() -> None:
    g, v = gradients(13), gradients(14)
    parameters = [nn.Parameter(torch.zeros_like(x)) for x in [*g, g[0]]]
    for parameter, gradient in zip(parameters, g, strict=False):
        parameter.grad = gradient.clone()
    held = parameters[0].grad
    statistics = decouple_(parameters, [*v, v[0]], mode="full", align_weight=0.3)
    expected, told = decouple([*g, None], [*v, v[0]], mode="full", align_weight=0.3)
    assert parameters[0].grad is held  # a communication buffer must stay where it is
    torch.testing.assert_close(flat([p.grad for p in parameters]), flat(expected))
    assert statistics.to_dict() == told.to_dict()


def test_bad_input_is_one_sentence() -> None:
    g = gradients(0)
    for wrong, words in (({"mode": "half"}, "full, conflict, none"), ({"scope": "layer"}, "tensor, global, row")):
        with pytest.raises(UsageError, match=words):
            decouple(g, g, **wrong)
    with pytest.raises(UsageError, match="3 task gradients and 2"):
        decouple(g, g[:2])
    with pytest.raises(UsageError, match="one shape"):
        decouple(g[:1], g[1:2])


def descend(a: Tensor, seen: int, *, hessian: Tensor, eta: float, steps: int, mode: str, align: float) -> Tensor:
    """SGD on ``1/2 (x-a)' H (x-a)`` from 0, drift ``1/2 |first seen coordinates|^2``; the drift after each step."""
    x, drifts = torch.zeros_like(a), []
    for _ in range(steps):
        visual = torch.zeros_like(a)
        visual[:seen] = x[:seen]
        edited, _ = decouple([hessian * (x - a)], [visual], mode=mode, align_weight=align)
        assert edited[0] is not None
        x = x - eta * edited[0]
        drifts.append(0.5 * x[:seen].square().sum())
    return torch.stack([*drifts, (x[seen:] - a[seen:]).norm()])


def test_isotropic_quadratic_has_its_closed_form() -> None:
    a = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole, eta, steps = float(0.5 * a[:4].square().sum()), 0.1, 200
    run = {"hessian": torch.ones_like(a), "eta": eta, "steps": steps}
    plain = descend(a, 4, mode="none", align=0.0, **run)
    assert float(plain[-2]) == pytest.approx(whole * (1 - (1 - eta) ** steps) ** 2)
    full = descend(a, 4, mode="full", align=0.0, **run)
    # After the first step, which nothing can be removed from, the drift stays; all else is learned.
    torch.testing.assert_close(full[:-1], torch.full((steps,), eta**2 * whole, dtype=torch.float64))
    assert float(full[-1]) < 1e-8
    for weight in (0.5, 1.0):
        aligned = descend(a, 4, mode="none", align=weight, **run)
        assert float(aligned[-2]) == pytest.approx(whole / (1 + weight) ** 2, rel=1e-6)
    both = descend(a, 4, mode="full", align=1.0, **(run | {"steps": 20}))
    expected = [whole * (eta * (1 - eta) ** t) ** 2 for t in range(20)]
    torch.testing.assert_close(both[:-1], torch.tensor(expected, dtype=torch.float64))
    # Later the drift's gradient is rounding noise, its direction chance, and drift comes back: by one step at most.
    late = descend(a, 4, mode="full", align=1.0, **run)
    assert float(late[20:-1].max()) <= eta**2 * whole * (1 + 1e-9)


def test_one_direction_leaks_where_the_task_is_steeper_in_some() -> None:
    a = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    hessian = torch.ones_like(a)
    hessian[:2] = torch.tensor([4.0, 2.0])
    drifts = descend(a, 4, hessian=hessian, eta=0.1, steps=200, mode="full", align=0.0)
    share = float(drifts[-2] / (0.5 * a[:4].square().sum()))
    first = float(drifts[0] / (0.5 * a[:4].square().sum()))
    assert first < share < 1
    plain = descend(a, 4, hessian=hessian, eta=0.1, steps=200, mode="none", align=0.0)
    assert share < 0.5 * float(plain[-2] / (0.5 * a[:4].square().sum()))
