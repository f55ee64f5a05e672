"""TRL's trainers on an adapter of the given model: preferences among its logged chains, and rewards by lookup."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.trainer_callback import PrinterCallback

from armillary.extras import optional
from armillary.models.loaded import LoadedModel
from armillary.models.quiet import quiet
from reproductions.ocean.online import CHAINS
from reproductions.ocean.real.questions import LoggedAnswer
from reproductions.ocean.scale import REAL_RATES, RealScale


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


@dataclass(frozen=True)
class Training:
    """What TRL's trainers share: whose tokenizer, how much, and which seed."""

    loaded: LoadedModel
    scale: RealScale
    seed: int

    def prefer(self, model: PreTrainedModel, logged: Sequence[LoggedAnswer]) -> None:
        """DPO against the model with its adapter off; trained in place."""
        rows = preference_rows(logged)
        if not rows:  # of a tiny model that says nothing true
            rows = [{"prompt": logged[0].prompt, "chosen": logged[0].text, "rejected": logged[-1].text}]
        own = {
            "beta": 0.1,  # the paper's of DPO, and of TRL
            "per_device_train_batch_size": max(1, self.scale.batch // 4),  # pairs: as many chains as other arms
            "max_length": None, "precompute_ref_log_probs": True,
        }  # fmt: skip
        self._train(model, "DPO", self.scale.steps, rows, own)

    def reward(self, model: PreTrainedModel, prompts: Sequence[str], worth: Callable[[str, str], float]) -> None:
        """GRPO on chains that the model draws in training, ``CHAINS`` of a prompt; trained in place.

        ``worth``: of a prompt and what was drawn behind it.
        """

        def rewards(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
            return [worth(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]

        own: dict[str, Any] = {
            "num_generations": CHAINS, "temperature": 1.0, "max_completion_length": self.scale.new_tokens,
            "beta": 0.0,  # as in the small world
        }  # fmt: skip
        rows = [{"prompt": prompt} for prompt in dict.fromkeys(prompts)]
        self._train(model, "GRPO", self.scale.reward_steps, rows, own, reward_funcs=rewards)

    def _train(
        self,
        model: PreTrainedModel,
        method: str,
        steps: int,
        rows: list[dict[str, str]],
        settings: dict[str, Any],
        **more: object,
    ) -> None:
        datasets, trl = optional("datasets", "trl"), optional("trl", "trl")
        torch.manual_seed(self.seed)
        with tempfile.TemporaryDirectory() as folder, quiet():
            common = {"per_device_train_batch_size": self.scale.batch // 2} | settings
            args = getattr(trl, f"{method}Config")(
                output_dir=folder, max_steps=steps, seed=self.seed, learning_rate=REAL_RATES[method.lower()],
                use_cpu=self.loaded.device.type == "cpu", bf16=False, report_to=[], disable_tqdm=True,
                save_strategy="no", logging_steps=20, dataloader_pin_memory=False, gradient_checkpointing=False,
                **common,
            )  # fmt: skip
            trainer = getattr(trl, f"{method}Trainer")(
                model=model,
                args=args,
                train_dataset=datasets.Dataset.from_list(rows),
                processing_class=self.loaded.tokenizer,
                **more,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()
