"""Kappa in half precision is that of float32, or the probe says that it is below the floor."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.optim import AdamW

from armillary.methods.commit import CoMMITConfig, CoMMITController, CoMMITTrainer
from armillary.methods.commit.reading import nudged, rounding, without_autocast
from armillary.models.tiny_vision_models import tiny_vision
from armillary.training.components import component_groups, vision_components

from .commit_toy import TWO, Modules
from .test_trainer import arguments, collate, rows

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT

SET_UPS = [(1e-7, 1e-5), (1e-5, 1e-5), (2e-7, 2e-4), (1e-4, 1e-4), (1e-3, 1e-3), (1e-3, 1e-5)]
"""Rates of encoder and language model."""


def probed(
    rates: tuple[float, float],
    *,
    autocast: bool = False,
    dtype: torch.dtype = torch.float32,
    kind: str = "llava",
    steps: int = 12,
) -> CoMMITController:
    tiny = tiny_vision(kind)
    model = tiny.model.to(dtype)  # type: ignore[arg-type]
    parts = vision_components(model)
    optimizer = AdamW(component_groups(model, parts, dict(zip(("feature_encoder", "llm"), rates, strict=True))))
    config = CoMMITConfig(gamma=0.0, interval=2, first_probe=2, warn_after=1000)
    controller = CoMMITController(model, config, parts)
    for seed in range(steps):
        batch = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in tiny.batch(4, seed=seed).items()
        }
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            optimizer.zero_grad()
            model(**batch).loss.backward()
            controller.before_step(batch)
            optimizer.step()
            controller.after_step()
    return controller


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("rates", SET_UPS)
def test_under_autocast_kappa_is_what_it_is(rates: tuple[float, float]) -> None:
    exact, mixed = probed(rates), probed(rates, autocast=True)
    assert len(mixed.trace) == len(exact.trace) == 5 and mixed.below_floor == 0
    assert mean(mixed.log_kappas) == pytest.approx(mean(exact.log_kappas), abs=0.15)
    assert all(0 < probe.floor < 1e-11 for probe in mixed.trace)


@pytest.mark.parametrize("kind", ["llava", "qwen2_vl"])
@pytest.mark.parametrize("rates", [*SET_UPS, (3e-3, 3e-3)])
def test_with_half_weights_it_is_near_or_below_the_floor(rates: tuple[float, float], kind: str) -> None:
    exact, half = probed(rates, kind=kind), probed(rates, dtype=torch.bfloat16, kind=kind)
    assert len(half.trace) + half.below_floor == 5 and half.skipped == 0
    if max(rates) < 1e-3:
        assert not half.trace
    for probe in half.trace:
        assert probe.log_kappa == pytest.approx(mean(exact.log_kappas), abs=1.2)
        assert probe.floor > 1e-6


def test_steps_too_small_for_float32_are_below_its_floor_too() -> None:
    controller = probed((1e-9, 1e-9))
    assert not controller.trace and controller.below_floor + controller.skipped == 5 and controller.below_floor


def test_what_is_below_the_floor_is_told_and_kept() -> None:
    controller = CoMMITController(Modules(), CoMMITConfig(warn_after=2), TWO)
    controller._learn(5, (1e-6, 1e-3), 1e-6, 8)
    with pytest.warns(UserWarning, match=r"2 probes of CoMMIT were below the floor: .*rounding \(1e-06\)"):
        controller._learn(6, (1e-6, 1e-3), 1e-6, 8)
    assert controller.ema is None and controller.multipliers == {"feature_encoder": 1.0, "llm": 1.0}
    state = controller.state_dict()
    assert state["below_floor"] == 2
    other = CoMMITController(Modules(), None, TWO)
    other.load_state_dict(state)
    assert other.below_floor == 2
    del state["below_floor"]  # a checkpoint from before the floor was known
    other.load_state_dict(state)
    assert other.below_floor == 0
    half = CoMMITController(Modules().bfloat16(), None, TWO)
    probe = half._learn(5, (3e-6, 1e-3), 1e-6, 8)
    assert probe is not None and probe.changes == pytest.approx((2e-6, 1e-3 - 1e-6)) and probe.floor == 1e-6


def test_rounding_is_that_of_the_coarsest_part() -> None:
    assert rounding(Modules()) == torch.finfo(torch.float32).eps
    assert rounding(Modules().double()) == torch.finfo(torch.float64).eps
    mixed = Modules()
    mixed.encoder.bfloat16()  # type: ignore[union-attr]
    assert rounding(mixed) == torch.finfo(torch.bfloat16).eps
    quantised = Modules()
    quantised.codes = nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)
    assert rounding(quantised) == torch.finfo(torch.bfloat16).eps
    fast = tiny_vision().model
    fast.config._attn_implementation = "flash_attention_2"  # as if it were installed: its kernels know no float32
    assert rounding(fast) == torch.finfo(torch.bfloat16).eps


def test_a_nudge_and_a_way_round_autocast_leave_no_trace() -> None:
    tiny = tiny_vision()
    batch, model = tiny.batch(2), tiny.model
    before = model(**batch).logits
    with pytest.raises(ZeroDivisionError), nudged(model, 1e-3):
        assert not torch.equal(model(**batch).logits, before)
        raise ZeroDivisionError
    other = Modules().bfloat16()  # which names no embedding
    features = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(0)).bfloat16()
    plain = other.eval()(features)
    with nudged(other, rounding(other)):
        assert not torch.equal(other(features), plain)
    text: Any = tiny_vision().model.model.language_model.bfloat16()
    embeds = {"inputs_embeds": torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0)).bfloat16()}
    plain = text(**embeds)[0]
    with nudged(text, rounding(text)):
        assert not torch.equal(text(**embeds)[0], plain)
    assert torch.equal(text(**embeds)[0], plain)
    wrapped = vars(model)["forward"] = lambda **inputs: None
    vars(model)["_original_forward"] = type(model).forward.__get__(model)
    with pytest.raises(ZeroDivisionError), without_autocast(model):
        assert torch.equal(model(**batch).logits, before)
        raise ZeroDivisionError
    assert vars(model)["forward"] is wrapped


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
def test_a_probe_makes_no_products_from_fewer_bits_than_its_weights_have(precision: str) -> None:
    kernels = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul, torch.backends.cudnn.conv)
    torch.set_float32_matmul_precision(precision)
    try:
        before = [kernel.fp32_precision for kernel in kernels]
        with without_autocast(Modules()):
            assert {kernel.fp32_precision for kernel in kernels} == {"ieee"}
        assert [kernel.fp32_precision for kernel in kernels] == before
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "LoRA"])
def test_the_trainer_in_bf16_reads_the_balance_of_float32(adapter: bool, tmp_path: Path) -> None:
    kappas = []
    for bf16 in (False, True):
        model: Any = tiny_vision("llava").model
        if adapter:
            torch.manual_seed(0)
            lora = LoraConfig(r=2, target_modules=r".*language_model.*\.(q|v)_proj")
            model = get_peft_model(model, lora)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(parameter.requires_grad or "multi_modal_projector" in name)
        trainer = CoMMITTrainer(
            model=model,
            args=arguments(tmp_path, max_steps=6, bf16=bf16, remove_unused_columns=False),
            train_dataset=rows(),
            data_collator=collate,
            learning_rates={"feature_encoder": 1e-7, "llm": 1e-4},
            commit=CoMMITConfig(gamma=0.0, interval=2, first_probe=2, aux_weight=0.01),
        )
        trainer.train()
        controller = trainer.commit_callback.controller
        assert controller is not None and controller.below_floor == controller.skipped == 0
        kappas.append(controller.log_kappas)
        assert bf16 == ("_original_forward" in vars(trainer.model))
    assert kappas[1] == pytest.approx(kappas[0], abs=0.5) and min(kappas[0]) > 5


def test_the_regulariser_of_micro_batches_is_that_of_the_whole(tmp_path: Path) -> None:
    """Weighed by answer tokens, as the loss is: answers of one, two, four and three tokens."""
    data = rows()[:4]
    for row, kept in zip(data, (1, 2, 3, 3), strict=True):
        row["labels"][:-kept] = -100
    ends = []
    for size, accumulation, weight in ((4, 1, 0.5), (2, 2, 0.5), (1, 4, 0.5), (4, 1, 0.0)):
        trainer = CoMMITTrainer(
            model=tiny_vision("llava").model,
            args=arguments(
                tmp_path, max_steps=4, per_device_train_batch_size=size, gradient_accumulation_steps=accumulation,
                optim="sgd", learning_rate=0.05, remove_unused_columns=False, warmup_steps=0,
            ),
            train_dataset=data,
            data_collator=collate,
            # No probe counts, since each would be of another micro-batch; the snapshot is taken all the same.
            commit=CoMMITConfig(aux_weight=weight, aux_cap=1e6, interval=1, first_probe=0, least_change=1e9),
        )  # fmt: skip
        trainer.train()
        ends.append(torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()]))
    for batched in ends[1:3]:
        torch.testing.assert_close(batched, ends[0], rtol=1e-4, atol=1e-6)
    assert float((ends[3] - ends[0]).abs().max()) > 1e-4


def test_warnings_are_given_once() -> None:
    controller = CoMMITController(Modules(), CoMMITConfig(warn_after=1), TWO)
    with pytest.warns(UserWarning, match="below the floor"):
        controller._learn(5, (1e-6, 1e-3), 1e-3, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        controller._learn(6, (1e-6, 1e-3), 1e-3, 8)
