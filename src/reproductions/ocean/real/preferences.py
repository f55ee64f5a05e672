"""TRL's trainers on an adapter of the given model: preferences among its logged chains, and rewards by lookup."""

import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel
from transformers.trainer_callback import PrinterCallback

from armillary.extras import optional
from armillary.models.quiet import quiet
from reproductions.ocean.online import CHAINS
from reproductions.ocean.real.questions import LoggedAnswer
from reproductions.ocean.scale import REAL_RATES

if TYPE_CHECKING:
    from reproductions.ocean.real.given_model import RealContext


def preference_rows(logged: Sequence[LoggedAnswer]) -> list[dict[str, str]]:
    """Each right chain of a question with a wrong one of the same, as TRL's columns prompt, chosen and rejected."""
    sides: dict[str, tuple[list[str], list[str]]] = {}
    for one in logged:
        sides.setdefault(one.prompt, ([], []))[0 if one.right else 1].append(one.text)
    return [
        {"prompt": prompt, "chosen": right, "rejected": wrong}
        for prompt, sides_of in sides.items()
        for right, wrong in zip(*sides_of, strict=False)
    ]


def preferred(model: PreTrainedModel, context: "RealContext") -> None:
    """DPO against the model with its adapter off; trained in place."""
    rows = preference_rows(context.logged_chains)
    if not rows:  # of a tiny model that says nothing true
        first, last = context.logged_chains[0], context.logged_chains[-1]
        rows = [{"prompt": first.prompt, "chosen": first.text, "rejected": last.text}]
    own = {
        "beta": 0.1,  # the paper's of DPO, and of TRL
        "per_device_train_batch_size": max(1, context.scale.batch // 4),  # pairs: as many chains a step as other arms
        "max_length": None, "precompute_ref_log_probs": True,
    }  # fmt: skip
    _trained(model, context, "DPO", context.scale.steps, rows, own)


def rewarded(model: PreTrainedModel, context: "RealContext") -> None:
    """GRPO on chains that the model draws in training, ``CHAINS`` of a question; trained in place."""
    asked = dict(zip(context.prompts(0), context.questions[0], strict=True))

    def reward(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        return [context.validity(asked[prompt], text) for prompt, text in zip(prompts, completions, strict=True)]

    own: dict[str, Any] = {
        "num_generations": CHAINS, "temperature": 1.0, "max_completion_length": context.scale.new_tokens,
        "beta": 0.0,  # as in the small world
    }  # fmt: skip
    rows = [{"prompt": prompt} for prompt in asked]
    _trained(model, context, "GRPO", context.scale.reward_steps, rows, own, reward_funcs=reward)


def _trained(
    model: PreTrainedModel,
    context: "RealContext",
    method: str,
    steps: int,
    rows: list[dict[str, str]],
    settings: dict[str, Any],
    **more: object,
) -> None:
    datasets, trl = optional("datasets", "trl"), optional("trl", "trl")
    scale = context.scale
    torch.manual_seed(context.seed)
    with tempfile.TemporaryDirectory() as folder, quiet():
        common = {"per_device_train_batch_size": scale.batch // 2} | settings
        args = getattr(trl, f"{method}Config")(
            output_dir=folder, max_steps=steps, seed=context.seed,
            learning_rate=REAL_RATES[method.lower()], use_cpu=context.loaded.device.type == "cpu", bf16=False,
            report_to=[], disable_tqdm=True, save_strategy="no", logging_steps=20, dataloader_pin_memory=False,
            gradient_checkpointing=False, **common,
        )  # fmt: skip
        trainer = getattr(trl, f"{method}Trainer")(
            model=model,
            args=args,
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=context.loaded.tokenizer,
            **more,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
