"""Passing over frozen parts changes no probe, spares what it says, and gives up where a part is not what it seems."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from torch.optim import SGD

from armillary.methods.commit import BalanceProbe, CoMMITConfig, CoMMITController, CoMMITTrainer
from armillary.methods.commit.frozen import FrozenParts
from armillary.models.tiny_vision_models import tiny_vision
from armillary.models.vision import find_vision_anatomy
from armillary.training.components import component_groups, vision_components

from .commit_toy import TWO, loss_of, modules_batch
from .test_trainer import arguments, collate, rows

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT

EACH_STEP = CoMMITConfig(gamma=0.0, interval=1, first_probe=0)


def upper_half(kind: str) -> tuple[Any, list[dict[str, Tensor]]]:
    """An image-text model of which the connector and the last layer (or an adapter in it) are trained, and batches."""
    tiny = tiny_vision("llava" if kind in ("adapter", "checkpoints") else kind)
    model: Any = tiny.model
    if kind == "adapter":
        torch.manual_seed(0)
        last = len(find_vision_anatomy(model).layers) - 1
        model = get_peft_model(model, LoraConfig(r=2, target_modules=rf".*language_model.*\.{last}\..*(q|v)_proj"))
    inner = model.base_model.model if kind == "adapter" else model
    anatomy = find_vision_anatomy(inner)
    last_layer = {id(value) for value in anatomy.layers[-1].parameters()}
    for name, value in inner.named_parameters():
        trained = value.requires_grad if kind == "adapter" else id(value) in last_layer
        value.requires_grad_(trained or anatomy.component(name) == "connector")
    if kind == "checkpoints":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train(), [tiny.batch(2, seed=seed) for seed in range(2)]


def first_layer(model: Any) -> nn.Module:
    inner = model.base_model.model if hasattr(model, "peft_config") else model
    return find_vision_anatomy(inner).layers[0]


def counted(module: nn.Module) -> list[int]:
    """One entry for each time that the module's inner parts run."""
    calls: list[int] = []
    inner = next(part for part in module.modules() if not list(part.children()))
    inner.register_forward_hook(lambda *_: calls.append(1))
    return calls


def trained(
    model: nn.Module, components: Any, loss: Callable[[int], Tensor], batch: Callable[[int], Any], steps: int = 2
) -> tuple[list[BalanceProbe | None], CoMMITController]:
    optimizer = SGD(component_groups(model, components, 1e-3))
    controller = CoMMITController(model, EACH_STEP, components)
    probes = []
    for number in range(steps):
        optimizer.zero_grad()
        controller.listen()
        loss(number).backward()
        controller.before_step(batch(number))
        optimizer.step()
        probes.append(controller.after_step())
    return probes, controller


@pytest.mark.parametrize("kind", ["llava", "gemma3", "qwen2_vl", "adapter", "checkpoints"])
def test_probes_are_bit_for_bit_those_of_whole_readings(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma ties its head to its embedding; with checkpoints each layer runs again in the backward pass."""
    found, passes = [], []
    untrained, batches = upper_half(kind)
    for whole in (False, True):
        if whole:
            monkeypatch.setattr(FrozenParts, "once", lambda *_, **__: nullcontext())
        model = copy.deepcopy(untrained)
        calls = counted(first_layer(model))

        def loss(number: int, model: Any = model) -> Tensor:
            value: Tensor = model(**batches[number]).loss
            return value

        probes, controller = trained(model, vision_components(model), loss, batches.__getitem__)
        found.append(probes)
        passes.append(len(calls))
        assert not controller.frozen.failed and not controller.frozen._kept
        assert not first_layer(model)._forward_hooks and "forward" not in vars(first_layer(model))
    assert found[0] == found[1] and None not in found[0]
    own = 4 if kind == "checkpoints" else 2
    # Beside the steps' own: four in the first probe, where all is checked or differs, then one or three.
    assert passes == [own + 4 + 1, own + 4 + 3]


class Stack(nn.Module):
    """Frozen eyes, a trained encoder, a frozen trunk, a trained head."""

    def __init__(self, trunk: nn.Module) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.eyes = nn.Sequential(nn.Linear(6, 6), nn.Tanh())
        self.encoder, self.trunk, self.head = nn.Linear(6, 6), trunk, nn.Linear(6, 6)
        for value in self.parameters():
            nn.init.normal_(value, generator=generator)
        for part in (self.eyes, trunk):
            part.requires_grad_(False)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(self.trunk(self.encoder(self.eyes(features))))
        return logits


class Peeks(nn.Linear):
    """Reads a weight that is trained elsewhere."""

    elsewhere: Callable[[], Tensor]

    def forward(self, given: Tensor) -> Tensor:
        return super().forward(given) * self.elsewhere().sum()


class Spoils(nn.Module):
    """Writes into what a frozen part gave."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.inner.requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(()))  # trained, so that this is no frozen part itself

    def forward(self, given: Tensor) -> Tensor:
        out: Tensor = self.inner(given)
        return out.mul_(1.5).sin() * self.scale


class Swings(nn.Linear):
    """Other numbers at each call in training, though nothing random is drawn."""

    calls = 0

    def forward(self, given: Tensor) -> Tensor:
        self.calls += self.training
        return super().forward(given) * (1 + self.calls * self.training)


def stack(kind: str) -> Stack:
    plain = nn.Linear(6, 6)
    trunks: dict[str, Callable[[], nn.Module]] = {
        "plain": lambda: plain,
        "dropout": lambda: nn.Sequential(plain, nn.Dropout(0.5)),
        "norm": lambda: nn.Sequential(plain, nn.Flatten(0, 1), nn.BatchNorm1d(6), nn.Unflatten(0, (4, 3))),
        "peeks": lambda: Peeks(6, 6),
        "spoils": Spoils,
        "swings": lambda: Swings(6, 6),
    }
    made = Stack(trunks[kind]())
    if isinstance(made.trunk, Peeks):
        made.trunk.elsewhere = lambda: made.head.weight
    if isinstance(made.trunk, Spoils):
        made.trunk.scale.requires_grad_(True)
    return made.train()


# What the first checks find, by part and kind of reading. The nudge of the rounding stands within the eyes, which must
# run again; where a check failed before in the first probe, the floor is read with every part anyway.
BEFORE, ROUNDING = "before the step", "rounding"
FOUND: dict[str, dict[tuple[str, str], bool | None]] = {
    "plain": {("trunk", BEFORE): True, ("trunk", "llm"): True, ("eyes", ROUNDING): False},
    "dropout": {("trunk", BEFORE): None, ("trunk", "llm"): True, ("eyes", ROUNDING): False},
    "norm": {("trunk", BEFORE): False, ("trunk", "llm"): True, ("eyes", ROUNDING): None},
    "peeks": {("trunk", BEFORE): True, ("trunk", "llm"): False, ("eyes", ROUNDING): None},
    "spoils": {("trunk.inner", BEFORE): None, ("trunk.inner", "llm"): None, ("eyes", ROUNDING): False},
    "swings": {("trunk", BEFORE): False, ("trunk", "llm"): True, ("eyes", ROUNDING): None},
}


@pytest.mark.parametrize("kind", FOUND)
def test_parts_that_are_not_what_they_seem_run_again(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    components = {"feature_encoder": ["^encoder"], "llm": ["^head", "^trunk"]} if kind == "spoils" else TWO
    for whole in (False, True):
        if whole:
            monkeypatch.setattr(FrozenParts, "once", lambda *_, **__: nullcontext())
        torch.manual_seed(1)
        model = stack(kind)

        def loss(number: int, model: nn.Module = model) -> Tensor:
            return loss_of(model, modules_batch(seed=number))

        probes, controller = trained(model, components, loss, lambda number: modules_batch(seed=number))
        found.append(probes)
        assert all(probe is not None and probe.floor > 0 for probe in probes)
        if not whole:
            parts = dict(model.named_modules())
            holds = controller.frozen._holds
            seen = {(part, reading): holds.get((parts[part], reading)) for part, reading in FOUND[kind]}
            assert seen == FOUND[kind]
    assert found[0] == found[1]


def test_the_trainer_spares_the_layers_below_in_both_passes(tmp_path: Path) -> None:
    model, _ = upper_half("llava")
    calls = counted(first_layer(model))
    trainer = CoMMITTrainer(
        model=model,
        args=arguments(tmp_path, max_steps=4, remove_unused_columns=False),
        train_dataset=rows(),
        data_collator=collate,
        commit=EACH_STEP,
    )
    trainer.train()
    controller = trainer.commit_callback.controller
    assert controller is not None and (len(controller.trace), controller.skipped) == (3, 1)  # the first rate is 0
    assert len(calls) == 4 + 4 + 3
    assert not first_layer(model)._forward_hooks


def test_the_floor_is_read_at_times_and_where_it_is_near() -> None:
    model = stack("plain")
    controller = CoMMITController(model, CoMMITConfig(floor_every=2, interval=1, first_probe=0), TWO)
    optimizer = SGD(component_groups(model, TWO, 1e-3))
    for number in range(5):
        loss_of(model, modules_batch(seed=number)).backward()
        controller.before_step(modules_batch(seed=number))
        optimizer.step()
        controller.after_step()
    floors = [probe.floor for probe in controller.trace]
    assert floors[0] == floors[1] != floors[2] == floors[3] != floors[4]
    assert controller.state_dict()["floor"] == floors[4] and controller.state_dict()["floor_age"] == 1
    other = CoMMITController(model, None, TWO)
    assert other._floor_is_old((1.0, 1.0))
    other.load_state_dict(controller.state_dict())
    assert (other.floor, other.floor_age) == (floors[4], 1)
    other.floor = 1e-6
    assert other._floor_is_old((1.0, 9e-5)) and not other._floor_is_old((1.0, 2e-4))
    half = CoMMITController(stack("plain").bfloat16(), None, TWO)
    half.floor = 1e-6
    assert half._floor_is_old((1.0, 1.0))
