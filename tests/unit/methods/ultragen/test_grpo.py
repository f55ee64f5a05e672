"""TRL's own GRPO trainer learns from the rewards as they are."""

from pathlib import Path

import pytest
import torch

from armillary.attributes.attribute_set import AttributeSet
from armillary.attributes.kinds.catalogue import Catalogue
from armillary.methods.ultragen.rewards import reward_fn
from armillary.methods.ultragen.training_data import as_prompt, attributes_json
from armillary.models import tiny
from armillary.models.quiet import quiet

pytest.importorskip("trl", exc_type=ImportError)


def test_grpo_takes_the_reward_function(tmp_path: Path) -> None:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    loaded = tiny()
    kind = Catalogue.default().kind("letter_count")
    chosen = AttributeSet(
        attributes=tuple(kind.attribute({"letter": letter, "rel": ">=", "k": 2}) for letter in "aeio"), id="letters"
    )
    row = {"prompt": as_prompt("go", chat=False), "attributes": attributes_json(chosen)}
    before = {name: weight.clone() for name, weight in loaded.model.state_dict().items()}
    seen: list[float] = []

    def watched(prompts: list[str], completions: list[str], attributes: list[str], **columns: object) -> list[float]:
        seen.extend(rewards := reward_fn(prompts, completions, attributes, **columns))
        return rewards

    with quiet():
        arguments = GRPOConfig(
            str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_completion_length=12, max_steps=1,
            learning_rate=1e-2, bf16=False, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        trainer = GRPOTrainer(
            loaded.model, watched, args=arguments, train_dataset=Dataset.from_list([row] * 4),
            processing_class=loaded.tokenizer,
        )  # fmt: skip
        trainer.train()
    assert len(seen) == 4
    assert len(set(seen)) > 1  # else there is nothing to learn from
    assert all(0 <= reward <= 1 for reward in seen)
    after = loaded.model.state_dict()
    assert any(not torch.equal(weight, after[name]) for name, weight in before.items())
