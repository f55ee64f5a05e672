"""The task's gradient held back at image tokens: what makes image states alone gets none; the drift's flows."""

from pathlib import Path
from typing import Any

import pytest
import torch

from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision

from .mdgd_toy import ToyImages, collated, make, run, weights

TEXT: dict[str, Any] = {"projection": "none", "visual_align_weight": 0.0, "task_gradient": "text"}


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_what_makes_images_alone_gets_none_and_the_rest_its_own(kind: str, tmp_path: Path) -> None:
    trainer = make(tmp_path, kind=kind, **TEXT)
    batch = collated(trainer.train_dataset.rows[:2])
    names = {parameter: name for name, parameter in trainer.model.named_parameters()}
    task, drift = trainer.gradients(trainer.model, dict(batch))
    assert not drift
    sizes = {names[parameter]: float(gradient.abs().max()) for parameter, gradient in task.items()}
    parts = {name: trainer.anatomy.component(name) for name in sizes}
    assert all(size == 0 for name, size in sizes.items() if parts[name] == "connector")
    assert any(size > 0 for name, size in sizes.items() if parts[name] == "language_model")
    handles = sum(len(module._forward_hooks) for module in trainer.anatomy.language_model.modules())
    assert handles == 0, "the hooks are gone"


def test_the_drift_s_gradient_is_not_held_back(tmp_path: Path) -> None:
    given: dict[str, Any] = {"projection": "full", "visual_align_weight": 1.0, "learning_rate": 1e-2}
    moved = run(tmp_path / "a", **given)
    batch = collated(moved.train_dataset.rows[:2])
    _, free = moved.gradients(moved.model, dict(batch))
    moved.settings.task_gradient = "text"
    task, held = moved.gradients(moved.model, dict(batch))
    assert free and all(torch.equal(free[parameter], held[parameter]) for parameter in free)
    connector = [p for name, p in moved.model.named_parameters() if moved.anatomy.component(name) == "connector"]
    assert any(held[parameter].any() for parameter in connector)
    assert not any(task[parameter].any() for parameter in connector if parameter in task)


def test_text_alone_is_trained_as_ever(tmp_path: Path) -> None:
    rows = ToyImages(tiny_vision(), images=False)
    plain = run(tmp_path / "a", data=rows, **{**TEXT, "task_gradient": "all"})
    text = run(tmp_path / "b", data=rows, **TEXT)
    assert torch.equal(weights(plain), weights(text))
