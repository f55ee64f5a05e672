"""The step with two gradients: the stock trainer bit for bit without an edit, and exact second gradients with one."""

import copy
import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from armillary.errors import UsageError
from armillary.models.tiny_models import tiny
from armillary.training.second_gradient import Gradients, SecondGradientMixin, _refuse_unsupported

from .two_processes import run_two


class Rows(Dataset[dict[str, Tensor]]):
    """Random sentences with answers of unequal lengths, so that the mean over tokens is not a mean of means."""

    def __init__(self, count: int = 12) -> None:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(3, 200, (count, 9), generator=generator)
        self.rows = []
        for number, row in enumerate(ids):
            labels = row.clone()
            labels[: 2 + number % 5] = -100
            self.rows.append({"input_ids": row, "labels": labels})

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.rows[index]


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    return TrainingArguments(
        **{
            "output_dir": str(folder),
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 2,
            "max_steps": 3,
            "learning_rate": 1e-3,
            "weight_decay": 0.1,
            "logging_steps": 1,
            "save_strategy": "no",
            "disable_tqdm": True,
            "use_cpu": True,
            "dataloader_pin_memory": False,
            **changes,
        }
    )


def trained(kind: type[Trainer], folder: Path, **changes: Any) -> Trainer:
    gc.freeze()  # the stock trainer collects garbage when it begins, which is long with libraries loaded
    trainer = kind(model=tiny("llama").model, args=arguments(folder, **changes), train_dataset=Rows())
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trainer


class Enlarged(SecondGradientMixin, Trainer):
    """An edit that makes the gradients a thousand times as long."""

    def edit_gradients(self, model: nn.Module, second: Gradients) -> None:
        for parameter in self.trainable():
            if parameter.grad is not None:
                parameter.grad.mul_(1000)


def test_gradients_are_edited_before_they_are_clipped(tmp_path: Path) -> None:
    """Clipped to a norm of 1 behind the edit, one step of SGD is as long as the rate."""
    settings = {
        "optim": "sgd",
        "max_steps": 1,
        "max_grad_norm": 1.0,
        "weight_decay": 0.0,
        "lr_scheduler_type": "constant",
    }
    enlarged, before = trained(Enlarged, tmp_path, **settings), tiny("llama").model
    begun = torch.cat([parameter.detach().reshape(-1) for parameter in before.parameters()])
    assert float((weights(enlarged) - begun).norm()) == pytest.approx(1e-3, rel=1e-3)
    assert enlarged.state.log_history[0]["grad_norm"] > 100


def weights(trainer: Trainer) -> Tensor:
    model = trainer.model
    assert isinstance(model, PreTrainedModel)
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


class Plain(SecondGradientMixin, Trainer):
    pass


class LogitsShrunk(SecondGradientMixin, Trainer):
    """Second loss: mean square of the logits of one half of the rows; kept for the test, nothing edited."""

    def second_items(self, inputs: dict[str, Any]) -> int | None:
        return int((inputs["input_ids"][:, 0] % 2 == 0).sum())

    def second_loss(self, model: nn.Module, inputs: dict[str, Any], outputs: Any, seen: Any) -> Tensor | None:
        even = inputs["input_ids"][:, 0] % 2 == 0
        return outputs.logits[even].square().mean() if bool(even.any()) else None

    def edit_gradients(self, model: nn.Module, second: Gradients) -> None:
        self.kept = getattr(self, "kept", [])
        self.kept.append([second.get(p) for p in self.trainable()])
        self.task = [None if p.grad is None else p.grad.clone() for p in self.trainable()]


class Doubled(LogitsShrunk):
    """The second gradient put in the place of the task's, so that it decides the training."""

    def edit_gradients(self, model: nn.Module, second: Gradients) -> None:
        for parameter in self.trainable():
            parameter.grad = second.get(parameter, torch.zeros_like(parameter)).clone()


@pytest.mark.parametrize("kind", [Plain, LogitsShrunk])
def test_without_an_edit_it_is_the_stock_trainer_bit_for_bit(kind: type[Trainer], tmp_path: Path) -> None:
    stock, ours = trained(Trainer, tmp_path / "a"), trained(kind, tmp_path / "b")
    assert torch.equal(weights(stock), weights(ours))
    for name in ("loss", "grad_norm"):
        told = [[line[name] for line in t.state.log_history if name in line] for t in (stock, ours)]
        assert told[0] == told[1] and len(told[0]) == 3
    assert not torch.equal(weights(stock), torch.cat([p.reshape(-1) for p in tiny("llama").model.parameters()]))


@pytest.mark.parametrize(("batch", "steps"), [(12, 1), (3, 4), (2, 6)])
def test_the_second_gradient_is_that_of_the_whole_batch(batch: int, steps: int, tmp_path: Path) -> None:
    """Micro-batches have unequal numbers of even rows; the gradient is that of the mean over all of them."""
    model = tiny("llama").model
    ids = torch.stack([row["input_ids"] for row in Rows()])
    even = ids[:, 0] % 2 == 0
    assert 0 < int(even.sum()) < 12
    model(input_ids=ids).logits[even].square().mean().backward()
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": steps, "max_steps": 1}
    trainer = trained(LogitsShrunk, tmp_path, **sizes)
    assert isinstance(trainer, LogitsShrunk)
    for parameter, second in zip(model.parameters(), trainer.kept[0], strict=True):
        torch.testing.assert_close(second, parameter.grad, rtol=1e-4, atol=1e-6)


def test_an_edit_decides_the_training(tmp_path: Path) -> None:
    assert not torch.equal(weights(trained(Doubled, tmp_path / "a")), weights(trained(Plain, tmp_path / "b")))


def test_parameters_that_one_loss_does_not_use(tmp_path: Path) -> None:
    class FirstLayer(LogitsShrunk):
        def second_items(self, inputs: dict[str, Any]) -> int | None:
            return None

        def second_loss(self, model: nn.Module, inputs: dict[str, Any], outputs: Any, seen: Any) -> Tensor | None:
            return self.network.get_input_embeddings().weight.square().mean()  # type: ignore[operator]

    trainer = trained(FirstLayer, tmp_path, max_steps=1)
    assert isinstance(trainer, FirstLayer)
    there = [second is not None for second in trainer.kept[0]]
    assert sum(there) == 1 and all(gradient is not None for gradient in trainer.task)
    embedding = tiny("llama").model.get_input_embeddings().weight
    torch.testing.assert_close(trainer.kept[0][there.index(True)], 2 * embedding / embedding.numel())


def test_activation_checkpointing_gives_the_same_gradients(tmp_path: Path) -> None:
    plain = trained(LogitsShrunk, tmp_path / "a", max_steps=1)
    saving = {"activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": False}}
    frugal = trained(LogitsShrunk, tmp_path / "b", max_steps=1, **saving)
    assert isinstance(plain, LogitsShrunk) and isinstance(frugal, LogitsShrunk)
    for a, b in zip(plain.kept[0], frugal.kept[0], strict=True):
        torch.testing.assert_close(a, b)


def test_noted_numbers_are_means_since_the_last_line(tmp_path: Path) -> None:
    class Noting(Plain):
        def edit_gradients(self, model: nn.Module, second: Gradients) -> None:
            self.note("counted", torch.tensor(float(self.state.global_step)))

    history = trained(Noting, tmp_path, max_steps=4, logging_steps=2).state.log_history
    assert [line["counted"] for line in history if "counted" in line] == [0.5, 2.5]


def test_what_can_not_be_done_is_refused_in_one_sentence(tmp_path: Path) -> None:
    for changes, words in (
        ({"optim": "galore_adamw_layerwise", "optim_target_modules": ["q_proj"]}, "optimiser galore"),
        ({"torch_compile": True}, "torch_compile"),
        ({"activation_checkpointing_kwargs": {"use_reentrant": True}}, "reentrant activation checkpointing"),
    ):
        with pytest.raises(UsageError, match=words):
            Plain(model=tiny("llama").model, args=arguments(tmp_path, **changes), train_dataset=Rows())
    given = arguments(tmp_path)
    given.fp16 = True  # refused by the library itself where there is no such device
    with pytest.raises(UsageError, match="fp16; use bf16"):
        Plain(model=tiny("llama").model, args=given, train_dataset=Rows())
    trainer = Plain(model=tiny("llama").model, args=arguments(tmp_path), train_dataset=Rows())
    for name, words in (("is_fsdp_enabled", "FSDP"), ("is_deepspeed_enabled", "DeepSpeed")):
        setattr(trainer, name, True)
        with pytest.raises(UsageError, match=f"with {words}; use bf16"):
            _refuse_unsupported(trainer)
        setattr(trainer, name, False)
    _refuse_unsupported(trainer)
    args = arguments(tmp_path)
    model = copy.deepcopy(tiny("llama").model).requires_grad_(False)
    model.lm_head.weight.requires_grad_(True)

    class Detached(Plain):
        def second_loss(self, model: nn.Module, inputs: dict[str, Any], outputs: Any, seen: Any) -> Tensor | None:
            return outputs.logits.detach().mean()

    with pytest.raises(UsageError, match="second loss has no gradient"):
        Detached(model=model, args=args, train_dataset=Rows()).train()


@pytest.mark.slow
def test_two_processes_equal_the_stock_trainer_and_one_process(tmp_path: Path) -> None:
    results = run_two(tmp_path, Path(__file__).with_name("two_processes.py"))
    for mine in results:
        assert torch.equal(mine["stock"], mine["plain"])
        assert torch.equal(mine["stock"], results[0]["stock"])
        for ours, other in zip(mine["second"], results[0]["second"], strict=True):
            assert torch.equal(ours, other)
    whole = {"per_device_train_batch_size": 12, "gradient_accumulation_steps": 1, "max_steps": 1}
    single = trained(LogitsShrunk, tmp_path / "one", **whole)
    assert isinstance(single, LogitsShrunk)
    for together, alone in zip(results[0]["second"], single.kept[0], strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)
