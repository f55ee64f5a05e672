"""The trainer: neutral settings are the stock trainer, accumulation is exact, and every kind of model works."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Trainer

from armillary.errors import ModelError, UsageError
from armillary.methods.mdgd.baselines import language_lora
from armillary.methods.mdgd.core import decouple
from armillary.methods.mdgd.masking import MaskedAdamW
from armillary.methods.mdgd.trainer import MDGDTrainer
from armillary.models.tiny_models import tiny
from armillary.models.tiny_vision_models import VISION_KINDS, tiny_vision

from ...training.two_processes import run_two
from .mdgd_toy import ToyImages, arguments, collated, logged, make, mixed_rows, padded, run, weights
from .two_trainers import both_arms

NOTHING: dict[str, Any] = {"projection": "none", "visual_align_weight": 0.0, "freeze_vision": False}
ALL: dict[str, Any] = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}


def test_neutral_settings_are_the_stock_trainer_bit_for_bit(tmp_path: Path) -> None:
    stock = run(tmp_path / "a", trainer=Trainer, freeze_vision=False)
    ours = run(tmp_path / "b", **NOTHING)
    assert torch.equal(weights(stock), weights(ours))


def test_the_first_step_from_the_pre_trained_weights_is_plain(tmp_path: Path) -> None:
    for reference in ("copy", "cache"):
        arm = run(tmp_path / f"paper-{reference}", preset="paper", reference=reference, max_steps=1)
        plain = run(tmp_path / f"plain-{reference}", projection="none", visual_align_weight=0.0, max_steps=1)
        assert torch.equal(weights(plain), weights(arm))
        assert logged(arm, "visual_drift") == [0.0] and logged(arm, "gradient_removed") == [0.0]


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_every_kind_of_model(kind: str, tmp_path: Path) -> None:
    plain = run(tmp_path / "a", kind=kind, projection="none", visual_align_weight=0.0)
    trainer = run(tmp_path / "b", kind=kind, preset="paper")
    drift, removed = logged(trainer, "visual_drift"), logged(trainer, "gradient_removed")
    assert drift[0] == 0 < drift[2] and removed[0] == 0 < removed[2]
    assert not torch.equal(weights(plain), weights(trainer))
    start = tiny_vision(kind).model
    for (name, new), old in zip(trainer.model.named_parameters(), start.parameters(), strict=True):
        if trainer.anatomy.component(name) == "vision_tower":
            assert torch.equal(new, old)


@pytest.mark.parametrize("preset", ["paper", "recommended"])
def test_micro_batches_equal_one_batch(preset: str, tmp_path: Path) -> None:
    """Rows without an image among them: the drift is a mean over image tokens, whichever micro-batch holds them."""
    results = []
    for size in (8, 2):
        sizes: dict[str, Any] = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size}
        sizes |= {"max_steps": 3, "optim": "sgd", "learning_rate": 0.05}
        trainer = make(tmp_path / str(size), preset=preset, data=mixed_rows(), **sizes)
        trainer.data_collator = padded
        trainer.train()
        drifts = logged(trainer, "visual_drift") if preset == "paper" else [0.0]
        results.append((weights(trainer), torch.tensor(drifts)))
    for batched, whole in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(batched, whole, rtol=1e-4, atol=2e-6)


def test_projecting_each_micro_batch_would_be_seen(tmp_path: Path) -> None:
    """The mistake that the test above guards against, on the same gradients."""
    trainer = run(tmp_path, preset="paper", max_steps=2, learning_rate=1e-2)
    parts = [collated(ToyImages(tiny_vision(), 8).rows[i : i + 2]) for i in range(0, 8, 2)]
    each = [trainer.gradients(trainer.model, part) for part in parts]
    parameters = trainer.trainable()

    def mean(which: int) -> list[Tensor]:
        return [torch.stack([pair[which].get(p, torch.zeros_like(p)) for pair in each]).mean(0) for p in parameters]

    right, _ = decouple(mean(0), mean(1))
    singly = [decouple([g.get(p) for p in parameters], [v.get(p) for p in parameters])[0] for g, v in each]
    wrong = [torch.stack([part[i] for part in singly]).mean(0) for i in range(len(parameters))]
    apart = max(float((a - b).abs().max()) for a, b in zip(right, wrong, strict=True))
    assert apart > 1e-3


def test_references_agree(tmp_path: Path) -> None:
    copied, cached = (run(tmp_path / kind, reference=kind, preset="paper") for kind in ("copy", "cache"))
    torch.testing.assert_close(weights(copied), weights(cached), rtol=1e-4, atol=1e-5)
    assert logged(copied, "visual_drift")[-1] == pytest.approx(logged(cached, "visual_drift")[-1], rel=1e-3)


def test_alignment_lowers_the_drift_and_projection_changes_the_training(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"max_steps": 12, "optim": "sgd", "learning_rate": 0.1, **ALL}
    common: dict[str, Any] = {"reference": "copy", **sizes}
    free = run(tmp_path / "a", projection="full", projection_direction="random", visual_align_weight=0.0, **common)
    full = run(tmp_path / "b", projection="full", visual_align_weight=0.0, **common)
    aligned = run(tmp_path / "c", projection="conflict", visual_align_weight=10.0, **common)
    drifts = {
        name: logged(t, "visual_drift")[-1] for name, t in (("free", free), ("full", full), ("aligned", aligned))
    }
    assert drifts["aligned"] < 0.7 * drifts["free"]
    assert not torch.equal(weights(full), weights(free))
    assert logged(free, "loss")[-1] < 0.9 * logged(free, "loss")[0]


def test_a_mask_keeps_all_but_its_share_bit_for_bit(tmp_path: Path) -> None:
    start = tiny_vision().model
    moved = {}
    for score in ("decoupled_magnitude", "task_magnitude", "ratio", "random"):
        trainer = run(tmp_path / score, mask_ratio=0.1, mask_score=score, mask_batches=2, reference="cache")
        optimiser = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        assert isinstance(optimiser, MaskedAdamW)
        kept, changes = [], 0
        for new, old in zip(trainer.model.parameters(), start.parameters(), strict=True):
            changed = new != old
            changes += int(changed.sum())
            if not new.requires_grad:
                assert not bool(changed.any())
                continue
            allowed = torch.zeros_like(new, dtype=torch.bool).reshape(-1)
            allowed[optimiser.index(new)] = True
            assert not bool((changed.reshape(-1) & ~allowed).any())
            assert int(allowed.sum()) == -(-new.numel() // 10)
            kept.append(allowed)
        moved[score] = torch.cat(kept)
        assert changes > 100
    names = list(moved)
    assert all(not torch.equal(moved[a], moved[b]) for i, a in enumerate(names) for b in names[:i])


class DenselyMasked(MDGDTrainer):
    """Both gradients whole until the backward pass is over, and masked gradients as large as their tensors."""

    edits_on_arrival = False

    def edit_gradients(self, model: Any, second: Any) -> None:
        optimiser = self._masked
        assert optimiser is not None
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(optimiser, "take", lambda parameter: None)
            super().edit_gradients(model, second)
        for parameter in self.trainable():
            if parameter.grad is not None:
                kept = torch.zeros(parameter.numel(), dtype=torch.bool)
                kept[optimiser.index(parameter)] = True
                parameter.grad *= kept.reshape(parameter.shape)

    def _clip_grad_norm(self, model: Any) -> Any:
        return Trainer._clip_grad_norm(self, model)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        return Trainer._get_grad_norm(self, model, grad_norm=grad_norm)


@pytest.mark.parametrize("scope", ["tensor", "row"])
def test_entries_taken_tensor_by_tensor_train_as_masked_gradients_do(scope: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "reference": "copy",
        "preset": "paper",
        "projection_scope": scope,
        "mask_ratio": 0.2,
        "mask_batches": 2,
        "max_grad_norm": 0.05,
    }
    compact = run(tmp_path / "a", **changes)
    dense = run(tmp_path / "b", trainer=DenselyMasked, **changes)
    assert not torch.equal(weights(compact), weights(make(tmp_path / "c")))
    torch.testing.assert_close(weights(compact), weights(dense), rtol=0, atol=1e-7)
    for name in ("grad_norm", "gradient_cosine", "gradient_removed", "gradient_conflicting"):
        assert logged(compact, name) == pytest.approx(logged(dense, name), rel=1e-5)


def test_after_a_step_the_optimiser_has_the_kept_entries_and_no_gradient_is_left(tmp_path: Path) -> None:
    trainer = make(tmp_path, preset="paper", reference="copy", mask_ratio=0.2, mask_batches=1, max_steps=1)
    states: list[tuple[int, int]] = []
    step = trainer.training_step

    def counting(*args: Any) -> Any:
        loss = step(*args)
        if trainer.accelerator.sync_gradients:
            gradients = sum(p.grad.numel() for p in trainer.trainable() if p.grad is not None)
            states.append((gradients, len(trainer._second)))
        return loss

    trainer.training_step = counting
    trainer.train()
    assert states == [(0, 0)]


def test_choosing_a_mask_leaves_weights_and_random_state(tmp_path: Path) -> None:
    trainer = make(tmp_path, mask_ratio=0.2, mask_batches=2)
    before, state = weights(trainer), torch.get_rng_state()
    trainer.create_optimizer()
    assert torch.equal(weights(trainer), before)
    assert torch.equal(torch.get_rng_state(), state)


def test_activation_checkpointing_trains_the_same(tmp_path: Path) -> None:
    saving = {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False}}
    frugal, plain = run(tmp_path / "a", preset="paper", **saving), run(tmp_path / "b", preset="paper")
    torch.testing.assert_close(weights(frugal), weights(plain), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reference", ["copy", "cache"])
def test_in_bfloat16_rounding_is_no_drift(reference: str, tmp_path: Path) -> None:
    trainer = run(tmp_path, preset="paper", reference=reference, bf16=True, learning_rate=1e-2)
    drift = logged(trainer, "visual_drift")
    assert drift[0] == 0 < drift[2]


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, raised inside PEFT
def test_an_adapter_is_its_own_reference(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    model = tiny_vision().model
    trainer = run(tmp_path, preset="paper", model=peft.get_peft_model(model, language_lora(model)), learning_rate=1e-2)
    drift = logged(trainer, "visual_drift")
    assert drift[0] == 0 < drift[2]
    assert type(trainer._reference).__name__ == "AdapterReference"


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    results = run_two(tmp_path, Path(__file__).with_name("two_trainers.py"))
    for name, alone in both_arms(tmp_path / "alone", 4).items():
        assert torch.equal(results[0][name], results[1][name])
        torch.testing.assert_close(results[0][name], alone, rtol=1e-4, atol=2e-5)


def test_a_batch_without_images_is_a_plain_step(tmp_path: Path) -> None:
    data = ToyImages(tiny_vision(), 8, images=False)
    ours = run(tmp_path / "a", data=data)
    plain = run(tmp_path / "b", data=data, projection="none", visual_align_weight=0.0)
    assert torch.equal(weights(ours), weights(plain))
    assert logged(ours, "visual_drift") == []


@pytest.mark.parametrize("kind", VISION_KINDS)
def test_a_cut_image_is_told_with_both_numbers(kind: str, tmp_path: Path) -> None:
    data = ToyImages(tiny_vision(kind))
    image = tiny_vision(kind).anatomy.image_token_id
    for row in data.rows:
        row["input_ids"][row["input_ids"] == image] = torch.tensor([image] * (_images(row, image) - 1) + [7])
    there = 2 * _images(data.rows[0], image)
    with pytest.raises(UsageError, match=rf"the batch has {there} image tokens for {there + 2} image features; give"):
        run(tmp_path, kind=kind, data=data)


def _images(row: dict[str, Tensor], image: int) -> int:
    return int((row["input_ids"] == image).sum())


def test_what_gradients_outside_training_note_is_not_logged(tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.note("visual_drift", 1.0)
    trainer.gradients(trainer.model, collated(ToyImages(tiny_vision()).rows[:2]))
    assert trainer._noted == {"visual_drift": [(1.0, 1.0)]}


def test_mostly_text_is_said_once(tmp_path: Path) -> None:
    data = ToyImages(tiny_vision(), 8, images=False)
    with pytest.warns(UserWarning, match=r"only 0 of the first 64 rows"):
        run(tmp_path, data=data, max_steps=9, **ALL)


def test_a_stalled_task_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("armillary.methods.mdgd.trainer.STALLED_AFTER", 1.0)
    with pytest.warns(UserWarning, match="visual_align_weight=1 may hold it back"):
        run(tmp_path, max_steps=10, learning_rate=1e-9, gradient_accumulation_steps=1)


def test_own_columns_do_not_reach_the_model(tmp_path: Path) -> None:
    toy = tiny_vision()
    rows = ToyImages(toy, 8).rows
    own = [toy.anatomy.image_mask(row["input_ids"]) for row in rows]
    marked = [{**row, "image_key": torch.tensor([n]), "image_token_mask": own[n]} for n, row in enumerate(rows)]
    by_key = run(tmp_path / "a", data=marked, reference="cache", preset="paper")
    by_pixels = run(tmp_path / "b", reference="cache", preset="paper")
    assert torch.equal(weights(by_key), weights(by_pixels))
    first = marked[0]["image_token_mask"].clone()
    first[0, 0] = False
    fewer = run(tmp_path / "c", data=[{**row, "image_token_mask": first} for row in marked], preset="paper")
    assert not torch.equal(weights(fewer), weights(by_pixels))


def test_projecting_the_update_makes_adams_step_orthogonal(tmp_path: Path) -> None:
    common: dict[str, Any] = {"projection": "full", "visual_align_weight": 0.0, "max_steps": 2, "max_grad_norm": 0.0}
    cosines = {}
    for of in ("gradient", "update"):
        trainer = make(tmp_path / of, projection_of=of, weight_decay=0.0, **{k: v for k, v in common.items()})
        seen: dict[str, Any] = {"visual": {}}
        whole, single = trainer.edit_gradients, trainer.edit_gradient

        def catching(model: Any, second: Any, seen: Any = seen, edit: Any = whole, trainer: Any = trainer) -> None:
            seen["visual"] |= {p: v.clone() for p, v in second.items()}
            seen["before"] = {p: p.detach().clone() for p in trainer.trainable()}
            edit(model, second)

        def catching_one(number: int, p: Any, second: Any, seen: Any = seen, edit: Any = single) -> None:
            if second is not None:
                seen["visual"][p] = second.clone()
            edit(number, p, second)

        trainer.edit_gradients, trainer.edit_gradient = catching, catching_one
        trainer.train()
        pairs = [((p.detach() - seen["before"][p]).double(), v.double()) for p, v in seen["visual"].items()]
        cosines[of] = max(
            abs(float((u * v).sum() / (u.norm() * v.norm()).clamp_min(1e-30))) for u, v in pairs if float(v.norm()) > 0
        )
    assert cosines["update"] < 1e-3 < cosines["gradient"]


def test_bad_set_ups_are_one_sentence(tmp_path: Path) -> None:
    for changes, words in (
        ({"projection": "half"}, "full, conflict, none"),
        ({"preset": "best"}, "'paper' or 'recommended'"),
        ({"mask_ratio": 0.0}, "share, above 0"),
        ({"mask_ratio": 10}, "share, above 0"),
        ({"visual_align_weight": -1.0}, "0 or more"),
        ({"drift_tolerance": -1.0}, "0 or more"),
        ({"mask_batches": 0}, "1 or more"),
        ({"mask_ratio": 0.1, "projection_of": "update"}, "moves every entry"),
    ):
        with pytest.raises(UsageError, match=words):
            arguments(tmp_path, **changes)
    for changes, words in (
        ({"visual_layers": "5"}, "numbers from 0 to 1"),
        ({"visual_layers": "first"}, "numbers from 0 to 1"),
        ({"log_erank_steps": 2}, "needs rank_batch"),
        ({"projection_of": "update", "preset": "paper"}, "would also remove the alignment"),
    ):
        with pytest.raises(UsageError, match=words):
            make(tmp_path, **changes)
    with pytest.raises(UsageError, match="needs the AdamW"):
        run(tmp_path, mask_ratio=0.1, optim="sgd")
    with pytest.raises(UsageError, match="needs a PEFT model"):
        run(tmp_path, reference="adapter")
    with pytest.raises(ModelError, match="is a text model"):
        MDGDTrainer(model=tiny("llama").model, args=arguments(tmp_path))
    with pytest.raises(UsageError, match="model_init"):
        MDGDTrainer(model_init=lambda: tiny_vision().model, args=arguments(tmp_path), data_collator=collated)
