"""Kappa of models whose balance is known, and the bookkeeping around it."""

import json
import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer

from armillary.errors import UsageError
from armillary.methods.commit import BalanceProbe, CoMMITConfig, CoMMITController
from armillary.methods.commit.frozen import FrozenParts
from armillary.methods.commit.reading import snapshot
from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision
from armillary.models.vision import find_vision_anatomy
from armillary.training.components import Components, component_groups, component_schedule, vision_components

from .commit_toy import PRODUCT_BATCH, TWO, Batch, Modules, Product, loss_of, modules_batch

EACH_STEP = {"interval": 1, "first_probe": 0}


def step(controller: CoMMITController, optimizer: Optimizer, batch: Batch) -> BalanceProbe | None:
    optimizer.zero_grad()
    loss_of(controller.model, batch).backward()
    controller.before_step(batch)
    optimizer.step()
    return controller.after_step()


def kappa_of_product(rates: tuple[float, float], encoder: float, head: float, **settings: Any) -> float:
    """Kappa where the language model is the number that multiplies the encoder's."""
    model = Product(encoder, head)
    optimizer = SGD(component_groups(model, TWO, dict(zip(TWO, rates, strict=True))))
    config = CoMMITConfig(gamma=0.0, **EACH_STEP, **settings)
    probe = step(CoMMITController(model, config, TWO), optimizer, PRODUCT_BATCH)
    assert probe is not None and probe.log_kappa is not None and probe.tokens == 1
    return math.exp(probe.log_kappa)


@pytest.mark.parametrize("divergence", ["exact", "second_order"])
def test_kappa_has_its_closed_form(divergence: str) -> None:
    """(rate_X / rate_S)^2 (s / x)^4 as the rates go to 0; here encoder s = 2 and language model x = 1."""
    near = kappa_of_product((1e-3, 1e-3), encoder=2.0, head=1.0, divergence=divergence)
    assert near == pytest.approx(15.9985 if divergence == "exact" else 16, rel=2e-4 if divergence == "exact" else 1e-3)
    if divergence == "exact":
        assert kappa_of_product((1e-2, 1e-2), encoder=2.0, head=1.0) == pytest.approx(15.985, rel=1e-4)


def test_a_rate_acts_twice() -> None:
    plain = kappa_of_product((1e-4, 1e-4), encoder=2.0, head=1.0)
    assert kappa_of_product((1e-4, 3e-4), encoder=2.0, head=1.0) / plain == pytest.approx(8.99978, abs=2e-3)
    assert kappa_of_product((4e-4, 1e-4), encoder=2.0, head=1.0) == pytest.approx(1, abs=1e-3)


def test_exchanging_the_modules_inverts_kappa() -> None:
    one = kappa_of_product((1e-3, 2e-3), encoder=2.0, head=1.0)
    other = kappa_of_product((2e-3, 1e-3), encoder=1.0, head=2.0)
    assert one * other == pytest.approx(1, rel=1e-9)
    assert kappa_of_product((1e-3, 1e-3), encoder=1.5, head=1.5) == pytest.approx(1, rel=1e-12)


def test_rates_follow_the_balance() -> None:
    """On the model itself: control in mode integral brings kappa to 1, at gain 0 it stays at 16."""
    ends = {}
    for gamma in (0.0, 0.2):
        model = Product(2.0, 1.0)
        optimizer = SGD(component_groups(model, TWO, 1e-4))
        schedule = component_schedule(optimizer, lambda _: 1.0)
        config = CoMMITConfig(mode="integral", gamma=gamma, **EACH_STEP)
        controller = CoMMITController(model, config, TWO, optimizer=optimizer)
        for _ in range(12):
            step(controller, optimizer, PRODUCT_BATCH)
            schedule.step()
        ends[gamma] = controller.log_kappas[-1]
        for group in optimizer.param_groups:
            assert group["lr"] == pytest.approx(1e-4 * controller.multipliers[group["name"]])
    assert ends[0.0] == pytest.approx(math.log(16), abs=0.01)
    assert ends[0.2] == pytest.approx(0, abs=0.01)
    assert controller.multipliers["feature_encoder"] == pytest.approx(2, abs=0.01)


def test_a_probe_changes_nothing_of_the_training() -> None:
    weights, random = [], []
    for watched in (False, True):
        torch.manual_seed(3)
        model = Modules().train()
        optimizer = AdamW(component_groups(model, TWO, 1e-2))
        config = CoMMITConfig(gamma=0.0 if watched else 0.3, **EACH_STEP)
        controller = CoMMITController(model, config, TWO, optimizer=optimizer)
        for number in range(4):
            optimizer.zero_grad()
            loss_of(model, modules_batch(seed=number)).backward()
            if watched:
                controller.before_step(modules_batch(seed=number))
            optimizer.step()
            if watched:
                controller.after_step()
        weights.append(model.state_dict())
        random.append(torch.get_rng_state())
    assert len(controller.trace) == 4
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert torch.equal(*random)


def test_three_modules() -> None:
    names = ("vision", "audio", "text")
    components = {name: [f"^{name}"] for name in names}
    model = Modules(names).eval()
    optimizer = SGD(component_groups(model, components, {"vision": 1e-3, "audio": 1e-1, "text": 1e-1}))
    controller = CoMMITController(model, CoMMITConfig(**EACH_STEP), components, optimizer=optimizer)
    probe = step(controller, optimizer, modules_batch())
    assert probe is not None and probe.log_kappa is None and len(probe.changes) == 3
    assert min(probe.changes) == probe.changes[0]
    assert controller.multipliers["vision"] == max(controller.multipliers.values()) > 1
    assert controller.log_kappas == []


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_image_text_models(kind: str) -> None:
    """By definition: each change is the KL at the answer tokens when only this component has the new values."""
    tiny = tiny_vision(kind)
    model, batch = tiny.model, tiny.batch(2)
    components: Components = vision_components(model)
    optimizer = SGD(component_groups(model, components, 1e-3))
    controller = CoMMITController(model, CoMMITConfig(**EACH_STEP), optimizer=optimizer)
    assert controller.names == ("feature_encoder", "llm")
    old = snapshot(controller.parameters)
    probe = step(controller, optimizer, batch)
    assert probe is not None and probe.tokens == int((batch["labels"] != -100).sum())
    new = snapshot(controller.parameters)
    inputs = {name: value for name, value in batch.items() if name != "labels"}

    def log_p(values: dict[str, torch.Tensor]) -> torch.Tensor:
        model.load_state_dict(values, strict=False)
        return model(**inputs).logits[:, :-1][batch["labels"][:, 1:] != -100].double().log_softmax(-1)

    for name, change in zip(controller.names, probe.changes, strict=True):
        with torch.no_grad():
            before = log_p(old)
            after = log_p({key: (new if key in controller.parts[name] else old)[key] for key in old})
        expected = float((before.exp() * (before - after)).sum(-1).mean())
        assert change == pytest.approx(expected, rel=1e-3)


def test_a_frozen_vision_tower_runs_once_a_probe_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    probes, passes = [], []
    for once in (True, False):
        if not once:
            monkeypatch.setattr(FrozenParts, "once", lambda *_, **__: nullcontext())
        tiny = tiny_vision("llava")
        model, batch = tiny.model, tiny.batch(2)
        anatomy = find_vision_anatomy(model)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(anatomy.component(name) != "vision_tower")
        calls: list[int] = []
        tower = next(module for name, module in model.named_modules() if name.endswith("vision_tower"))
        inner = next(module for module in tower.modules() if not list(module.children()))
        inner.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        optimizer = SGD(component_groups(model, vision_components(model), 1e-3))
        controller = CoMMITController(model, CoMMITConfig(**EACH_STEP), optimizer=optimizer)
        for _ in range(3):
            probes.append(step(controller, optimizer, batch))
        passes.append(len(calls))
        assert "forward" not in vars(tower)
    # Beside the three steps' own passes and the first probe's four, all of which are checked there: one or three.
    assert passes == [3 + 4 + 2, 3 + 4 + 6]
    assert probes[:3] == probes[3:] and probes[0] != probes[1]


def test_when_probes_are_made_and_skipped() -> None:
    model, empty = Modules().eval(), {**modules_batch(), "labels": torch.full((4, 3), -100)}
    optimizer = SGD(component_groups(model, TWO, 1e-2))
    controller = CoMMITController(model, CoMMITConfig(interval=3, first_probe=5), TWO, optimizer=optimizer)
    for number in range(13):
        optimizer.zero_grad()
        loss_of(model, modules_batch()).backward()
        controller.before_step(empty if number == 9 else modules_batch())
        optimizer.step()
        controller.after_step()
    assert [probe.step for probe in controller.trace] == [6, 12]
    assert (controller.skipped, controller.step) == (1, 13)
    controller.before_step(None)
    for group in optimizer.param_groups:
        group["lr"] = 0.0  # warm-up: nothing moves
    controller.step = 15
    before = dict(controller.multipliers)
    assert step(controller, optimizer, modules_batch()) is None
    assert controller.skipped == 2 and controller.multipliers == before


def test_probes_that_are_not_finite_are_counted_and_told() -> None:
    model = Modules().eval()
    optimizer = SGD(component_groups(model, TWO, 1e-2))
    controller = CoMMITController(model, CoMMITConfig(**EACH_STEP), TWO, optimizer=optimizer)
    bad = {**modules_batch(), "features": torch.full((4, 3, 6), torch.inf)}

    def probe_bad() -> None:
        controller.before_step(bad)
        assert controller.after_step() is None

    for _ in range(4):
        probe_bad()
    assert step(controller, optimizer, modules_batch()) is not None
    multipliers = dict(controller.multipliers)
    for _ in range(4):
        probe_bad()
    with pytest.warns(UserWarning, match="5 probes of CoMMIT in a row gave no finite change"):
        probe_bad()
    assert (controller.invalid, controller.invalid_in_row) == (9, 5)
    assert controller.multipliers == multipliers and len(controller.trace) == 1


def test_components_that_cannot_be_balanced() -> None:
    model = tiny_vision("llava").model
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("language" in name or "lm_head" in name)
    with pytest.raises(
        UsageError, match="needs trainable parameters in both groups; only llm has any, feature_encoder is frozen"
    ):
        CoMMITController(model)
    frozen = Modules()
    frozen.encoder.requires_grad_(False)
    with pytest.raises(ValueError, match="'feature_encoder' has no trainable parameter"):
        CoMMITController(frozen, None, TWO)
    with pytest.raises(UsageError, match=r"in no component: head.weight, head.bias"):
        CoMMITController(Modules(), None, {"feature_encoder": ["^encoder"], "llm": ["^decoder"]})
    with pytest.raises(UsageError, match="no group named"):
        CoMMITController(Modules(), None, TWO, optimizer=SGD(Modules().parameters(), lr=1.0))


def test_the_state_goes_through_json() -> None:
    model = Modules().eval()
    optimizer = SGD(component_groups(model, TWO, {"feature_encoder": 1e-1, "llm": 1e-3}))
    first = CoMMITController(model, CoMMITConfig(**EACH_STEP), TWO, optimizer=optimizer)
    for _ in range(3):
        step(first, optimizer, modules_batch())
    second = CoMMITController(model, CoMMITConfig(**EACH_STEP), TWO, optimizer=optimizer)
    assert optimizer.param_groups[-1]["multiplier"] == 1
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == first.state_dict() and second.trace == first.trace
    assert optimizer.param_groups[-1]["multiplier"] == first.multipliers["llm"] > 1
    names = ("a", "b")
    other = CoMMITController(Modules(names), None, {name: [f"^{name}"] for name in names})
    with pytest.raises(UsageError, match="components feature_encoder, llm; this run has a, b"):
        other.load_state_dict(first.state_dict())


def test_only_trainable_parameters_are_kept() -> None:
    model = Modules()
    model.encoder.weight.requires_grad_(False)
    controller = CoMMITController(model, None, TWO)
    assert list(controller.parameters) == ["encoder.bias", "head.weight", "head.bias"]
