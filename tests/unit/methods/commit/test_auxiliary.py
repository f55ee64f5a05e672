"""The regulariser: zero at its snapshot, right by finite differences away from it, and of one component at a time."""

from typing import Any

import pytest
import torch

from armillary.methods.commit import CoMMITConfig, CoMMITController
from armillary.methods.commit.reading import snapshot
from armillary.methods.commit.trainer import auxiliary_gain, movements
from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision

from .commit_toy import TWO, Modules, loss_of, modules_batch

BATCH = {name: value.double() if value.is_floating_point() else value for name, value in modules_batch().items()}


def controlled(moved: float, **settings: Any) -> CoMMITController:
    """A controller whose snapshot was taken before all parameters moved by about so much."""
    model = Modules().double()
    controller = CoMMITController(model, CoMMITConfig(aux_weight=0.01, **settings), TWO)
    controller.reference = snapshot(controller.parameters)
    with torch.no_grad():
        for parameter in controller.parameters.values():
            parameter.add_(moved * torch.randn_like(parameter))
    return controller


def moved_by(controller: CoMMITController) -> dict[str, torch.Tensor]:
    return dict(movements(controller, BATCH))


@pytest.mark.parametrize("divergence", ["exact", "second_order"])
def test_at_the_snapshot_it_is_flat(divergence: str) -> None:
    controller = controlled(0.0, divergence=divergence)
    for value in moved_by(controller).values():
        value.backward()
        assert abs(value.item()) < 1e-12
    gradients = [parameter.grad for parameter in controller.parameters.values()]
    assert all(gradient is not None and gradient.abs().max() < 1e-12 for gradient in gradients)


@pytest.mark.parametrize("divergence", ["exact", "second_order"])
def test_gradients_are_the_finite_differences(divergence: str) -> None:
    controller = controlled(0.2, divergence=divergence)
    size = 1e-6
    for name, value in moved_by(controller).items():
        parameters = list(controller.parts[name].values())
        found = torch.autograd.grad(value, parameters)
        for parameter, gradient in zip(parameters, found, strict=True):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter.view(-1)[3] += sign * size
                    ends.append(moved_by(controller)[name].item())
                    parameter.view(-1)[3] -= sign * size
            assert float(gradient.view(-1)[3]) == pytest.approx((ends[0] - ends[1]) / (2 * size), rel=1e-4, abs=1e-9)


def test_each_term_belongs_to_one_component() -> None:
    controller = controlled(0.2)
    for name, value in moved_by(controller).items():
        controller.model.zero_grad()
        value.backward()
        for other, part in controller.parts.items():
            for parameter in part.values():
                assert (parameter.grad is not None and bool(parameter.grad.any())) == (other == name)


def test_it_is_the_weighted_sum_up_to_the_cap() -> None:
    controller = controlled(0.2, aux_cap=1e6)
    controller.ema = (0.5, -0.5)
    values, loss = moved_by(controller), loss_of(controller.model.eval(), BATCH)
    kappa = torch.tensor(1.0).exp()
    expected = (kappa * values["feature_encoder"] + values["llm"]) / (1 + kappa)
    torch.testing.assert_close(auxiliary_gain(controller, BATCH, loss), expected.float())
    capped = controlled(5.0, aux_cap=0.05)
    gain = auxiliary_gain(capped, BATCH, loss)
    assert gain is not None and gain.item() == pytest.approx(0.05)
    gain.backward()
    assert not any(bool(parameter.grad.any()) for parameter in capped.parameters.values())  # type: ignore[union-attr]


def test_the_gate_drops_what_opposes_the_task() -> None:
    controller = controlled(0.2, aux_gate=True, aux_cap=1e6)
    total = sum(moved_by(controller).values())
    assert isinstance(total, torch.Tensor)
    half = 0.5 * total.detach().float()
    along = auxiliary_gain(controller, BATCH, -sum(moved_by(controller).values()))  # type: ignore[arg-type]
    torch.testing.assert_close(along, half)
    assert auxiliary_gain(controller, BATCH, sum(moved_by(controller).values())) is None  # type: ignore[arg-type]
    one = moved_by(controller)
    kept = auxiliary_gain(controller, BATCH, one["llm"] - one["feature_encoder"])
    torch.testing.assert_close(kept, 0.5 * one["feature_encoder"].float())


def test_the_gate_passes_over_what_a_batch_of_text_does_not_reach() -> None:
    controller = controlled(0.2, aux_gate=True, aux_cap=1e6)
    reached = moved_by(controller)["llm"]
    for parameter in controller.parts["feature_encoder"].values():
        parameter.requires_grad_(False)  # as where the encoder is not run at all
    found = auxiliary_gain(controller, BATCH, -reached)
    assert found is not None and bool(torch.isfinite(found))


def test_no_term_without_a_snapshot_or_answers() -> None:
    controller = controlled(0.2)
    empty = {**BATCH, "labels": torch.full_like(BATCH["labels"], -100)}
    loss = loss_of(controller.model, BATCH)
    assert auxiliary_gain(controller, empty, loss) is None
    controller.reference = None
    assert auxiliary_gain(controller, BATCH, loss) is None


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_image_text_models(kind: str) -> None:
    tiny = tiny_vision(kind)
    controller = CoMMITController(tiny.model.train())
    controller.reference = snapshot(controller.parameters)
    with torch.no_grad():
        for parameter in controller.parameters.values():
            parameter.add_(0.01 * torch.randn_like(parameter))
    for name, value in movements(controller, tiny.batch(2)):
        tiny.model.zero_grad()
        value.backward()
        assert value.item() > 1e-8
        moving = {n for n, p in tiny.model.named_parameters() if p.grad is not None and bool(p.grad.any())}
        assert moving and moving <= set(controller.parts[name])
    assert tiny.model.training
