"""The arms that CoMMIT is compared with do what their names say."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from armillary.errors import UsageError
from armillary.methods.commit import BalanceProbe
from armillary.methods.commit.baselines import (
    CoordinateDescent,
    FixedMultipliers,
    constant,
    feature_cd,
    fixed_ratio,
    language_cd,
    mean_multipliers,
)
from armillary.models.tiny_vision_models import tiny_vision
from armillary.training.components import ComponentTrainer, RatesLog

NAMES = ("feature_encoder", "llm")


class Movement(TrainerCallback):
    """Which components moved in each step."""

    def __init__(self) -> None:
        self.steps: list[set[str]] = []
        self._old: list[torch.Tensor] = []

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._old = [p.detach().clone() for group in kwargs["optimizer"].param_groups for p in group["params"]]

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        pairs = [(group["name"], p) for group in kwargs["optimizer"].param_groups for p in group["params"]]
        together = zip(pairs, self._old, strict=True)
        self.steps.append({name for (name, now), old in together if not torch.equal(now, old)})


def trained(
    folder: Path, baseline: TrainerCallback | None, steps: int = 6
) -> tuple[ComponentTrainer, Movement, RatesLog]:
    tiny, movement = tiny_vision("llava"), Movement()
    batch = tiny.batch(4)
    data = [{name: value[row] for name, value in batch.items()} for row in range(4)]
    fixed: dict[str, Any] = {"disable_tqdm": True, "use_cpu": True, "save_strategy": "no", "weight_decay": 0.1}
    args = TrainingArguments(output_dir=str(folder), max_steps=steps, lr_scheduler_type="constant", **fixed)
    callbacks = [movement] if baseline is None else [baseline, movement]
    trainer = ComponentTrainer(
        model=tiny.model,
        args=args,
        train_dataset=data,
        callbacks=callbacks,
        learning_rates=dict.fromkeys(NAMES, 1e-3),
    )
    trainer.train()
    log = next(callback for callback in trainer.callback_handler.callbacks if isinstance(callback, RatesLog))
    return trainer, movement, log


def test_constant_is_no_change_at_all(tmp_path: Path) -> None:
    (one, *_), (other, movement, _) = trained(tmp_path, None), trained(tmp_path, constant())
    pairs = zip(one.model.parameters(), other.model.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    assert movement.steps == [set(NAMES)] * 6


@pytest.mark.parametrize(("baseline", "first"), [(feature_cd, 0), (language_cd, 1)])
def test_coordinate_descent_moves_one_at_a_time(tmp_path: Path, baseline: Any, first: int) -> None:
    _, movement, _ = trained(tmp_path, baseline(block=2))
    one, other = {NAMES[first]}, {NAMES[1 - first]}
    assert movement.steps == [one, one, other, other, one, one]
    assert baseline().block == 50


def test_a_fixed_ratio_holds_from_the_first_step(tmp_path: Path) -> None:
    _, _, log = trained(tmp_path, fixed_ratio(8.0))
    assert log.steps == [{"learning_rate/feature_encoder": pytest.approx(8e-3), "learning_rate/llm": 1e-3}] * 6


def probe(step: int, *multipliers: float) -> BalanceProbe:
    return BalanceProbe(step=step, changes=(1.0, 1.0), log_kappa=0.0, multipliers=multipliers, tokens=1)


def test_the_matched_budget_is_the_mean_over_steps(tmp_path: Path) -> None:
    trace = [probe(1, 3.0, 1.0), probe(3, 5.0, 0.5)]
    held = [(1.0, 1.0), (1.0, 1.0), (3.0, 1.0), (3.0, 1.0), (5.0, 0.5), (5.0, 0.5)]
    expected = {name: sum(value[place] for value in held) / 6 for place, name in enumerate(NAMES)}
    assert mean_multipliers(trace, NAMES, 6) == pytest.approx(expected)
    assert mean_multipliers([], NAMES, 6) == dict.fromkeys(NAMES, 1.0)
    _, _, log = trained(tmp_path, FixedMultipliers(mean_multipliers(trace, NAMES, 6)))
    assert log.steps[0] == {f"learning_rate/{name}": pytest.approx(1e-3 * value) for name, value in expected.items()}
    with pytest.raises(UsageError, match="last probe was at step 3"):
        mean_multipliers(trace, NAMES, 3)


def test_rivals_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="finite and 0 or more"):
        FixedMultipliers({"llm": -1.0})
    with pytest.raises(UsageError, match="blocks of 1 or more"):
        CoordinateDescent(block=0)
    with pytest.raises(UsageError, match="coordinate descent is over vision, text"):
        trained(tmp_path, CoordinateDescent(("vision", "text")))
