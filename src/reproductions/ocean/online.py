"""Online arms by TRL: chains sampled at each step and rewarded by exact lookup."""

import importlib.util
import tempfile
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase
from transformers.trainer_callback import PrinterCallback

from armillary.extras import optional
from reproductions.ocean.scale import RATES
from reproductions.ocean.world import World

CHAINS = 4
"""Sampled for a question: as many as one can be compared with in a batch of 24."""


def has_trl() -> bool:
    """Whether these arms can be run here."""
    return all(importlib.util.find_spec(name) for name in ("trl", "datasets"))


def aligned_online(model: LlamaForCausalLM, world: World, name: str, seed: int) -> None:
    """GRPO or RLOO of TRL from the base policy on; the reward is 1 for a chain that lookup calls true, half for a
    share.

    The model is trained in place.
    """
    datasets, trl = optional("datasets", "trl"), optional("trl", "trl")
    scale = world.scale
    question_of = {question.prompt: question for question in world.split[0]}
    rows = datasets.Dataset.from_list([{"prompt": prompt} for prompt in question_of])

    def reward(prompts: list[str], completions: list[str], **columns: object) -> list[float]:
        judged = [
            world.judge(question_of[prompt], f"{completion} <end>")
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        return [(one.validity + one.right) / 2 for one in judged]

    kind, config = (trl.GRPOTrainer, trl.GRPOConfig) if name == "grpo" else (trl.RLOOTrainer, trl.RLOOConfig)
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {
            "output_dir": folder, "max_steps": scale.reward_steps, "num_generations": CHAINS, "seed": seed,
            "per_device_train_batch_size": scale.align_batch, "learning_rate": RATES[name], "temperature": 1.0,
            "max_completion_length": 48, "use_cpu": True, "bf16": False, "report_to": [], "disable_tqdm": True,
            "save_strategy": "no", "logging_steps": 50, "dataloader_pin_memory": False,
            "gradient_checkpointing": False,
            "beta": 0.0,  # no reference: RLOO of TRL would open one by its name, which these models have not
        }  # fmt: skip
        tokenizer: PreTrainedTokenizerBase = world.tokenizer
        torch.manual_seed(seed)
        trainer = kind(
            model=model, reward_funcs=reward, args=config(**settings), train_dataset=rows, processing_class=tokenizer
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
