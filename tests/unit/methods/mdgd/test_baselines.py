"""Other ways of keeping old skills: neutral at weight 0, exact in their formulas, scoped to the language model."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from armillary.errors import UsageError
from armillary.methods.mdgd.baselines import (
    BASELINES,
    DistillationMixin,
    L2SPMixin,
    interpolate_,
    keep_patch_,
    language_lora,
    orthogonal_subspace,
    trainable_weights,
)
from armillary.methods.mdgd.config import MDGDSettings
from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision

from .mdgd_toy import run, weights


class L2SP(L2SPMixin, Trainer):
    pass


class Distillation(DistillationMixin, Trainer):
    pass


def old_questions() -> list[dict[str, torch.Tensor]]:
    return [tiny_vision().batch(2, seed=seed) for seed in (70, 71)]


def test_at_weight_zero_they_are_plain_fine_tuning(tmp_path: Path) -> None:
    plain = weights(run(tmp_path / "a", trainer=Trainer))
    assert torch.equal(plain, weights(run(tmp_path / "b", trainer=L2SP, extra={"weight": 0.0})))
    still = {"weight": 0.0, "replay": old_questions()}
    assert torch.equal(plain, weights(run(tmp_path / "c", trainer=Distillation, extra=still)))


def test_l2_sp_pulls_back_to_where_it_began(tmp_path: Path) -> None:
    start = weights(run(tmp_path / "0", trainer=Trainer, max_steps=1, learning_rate=0.0))
    sgd: dict[str, Any] = {"optim": "sgd", "learning_rate": 0.05, "weight_decay": 0.0, "max_grad_norm": 0.0}
    one, two = (run(tmp_path / f"{n}", trainer=Trainer, max_steps=n, **sgd) for n in (1, 2))
    pulled = run(tmp_path / "p", trainer=L2SP, max_steps=2, extra={"weight": 0.5}, **sgd)
    # The first step has nothing to pull; the second is the plain one less rate times weight times the first.
    expected = weights(two) - 0.05 * 0.5 * (weights(one) - start)
    torch.testing.assert_close(weights(pulled), expected, rtol=1e-5, atol=1e-6)


def test_distillation_keeps_the_old_answers(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"max_steps": 10, "learning_rate": 5e-3}
    kept = run(tmp_path / "a", trainer=Distillation, extra={"weight": 20.0, "replay": old_questions()}, **sizes)
    free = run(tmp_path / "b", trainer=Distillation, extra={"weight": 0.0, "replay": old_questions()}, **sizes)
    told = [[line["distillation"] for line in t.state.log_history if "distillation" in line] for t in (kept, free)]
    assert told[0][0] == pytest.approx(0, abs=1e-6) and told[0][-1] < 0.5 * told[1][-1]


def test_interpolation_by_share() -> None:
    model, other = tiny_vision().model, tiny_vision(seed=1).model
    before, after = trainable_weights(other), trainable_weights(model)
    interpolate_(model, before, 1.0)
    assert all(torch.equal(p, after[name]) for name, p in model.named_parameters())
    interpolate_(model, before, 0.25)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter, 0.75 * before[name] + 0.25 * after[name])
    interpolate_(model, before, 0.0)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    with pytest.raises(UsageError, match="between 0 and 1"):
        interpolate_(model, before, 2)
    with pytest.raises(UsageError, match="which the model has not"):
        interpolate_(model, {"nothing": torch.zeros(1)})


def test_a_patch_keeps_the_largest_changes() -> None:
    model, other = tiny_vision().model, tiny_vision(seed=1).model
    before, after = trainable_weights(other), trainable_weights(model)
    assert keep_patch_(model, before, ratio=0.1) == pytest.approx(0.1, abs=0.01)
    for name, parameter in model.named_parameters():
        changed = (parameter != before[name]).reshape(-1)
        change = (after[name] - before[name]).abs().reshape(-1)
        assert torch.equal(parameter.reshape(-1)[changed], after[name].reshape(-1)[changed])
        assert change[changed].min() >= change[~changed].max()
    name = "lm_head.weight"
    weighed = tiny_vision().model
    sensitivity = torch.zeros_like(before[name])
    sensitivity[0] = 1
    keep_patch_(weighed, {name: before[name]}, {name: sensitivity}, ratio=1 / 128)
    assert (weighed.get_parameter(name) != before[name]).any(1).nonzero().reshape(-1).tolist() == [0]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # of transformers, raised inside PEFT
@pytest.mark.parametrize("kind", VISION_KINDS)
def test_adapters_touch_the_language_model_alone(kind: str) -> None:
    peft = pytest.importorskip("peft")
    for settings_of in (language_lora, orthogonal_subspace):
        toy = tiny_vision(kind)
        model = peft.get_peft_model(toy.model, settings_of(toy.model))
        moving = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        assert moving and {toy.anatomy.component(name) for name in moving} == {"language_model"}
        layers = {name.split("layers.")[1].split(".")[0] for name in moving}
        assert layers == {"0", "1"}
        assert model(**toy.batch(1)).loss.isfinite()


def test_arms_are_settings() -> None:
    for name in BASELINES:
        MDGDSettings(**BASELINES[name]).resolve()
    assert MDGDSettings(**{**BASELINES["align_only"], "visual_align_weight": 0.1}).align_weight == 0.1


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="0 or more"):
        run(tmp_path, trainer=L2SP, extra={"weight": -1.0})
    with pytest.raises(UsageError, match="at least one replay batch"):
        run(tmp_path, trainer=Distillation, extra={"replay": []})
