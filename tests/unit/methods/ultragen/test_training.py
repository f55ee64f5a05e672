"""Both stages on TRL's trainers: their losses are the equations', a killed training ends with the same weights."""

import shutil
from pathlib import Path

import pytest
import torch

from armillary.errors import UsageError
from armillary.methods.ultragen.config import PreferenceConfig, ReconstructionConfig
from armillary.methods.ultragen.core import preference_loss, reconstruction_loss, token_log_probabilities
from armillary.models import LoadedModel, tiny
from armillary.models.quiet import quiet
from armillary.training.checkpoints import last_checkpoint

datasets = pytest.importorskip("datasets", exc_type=ImportError)
pytest.importorskip("trl", exc_type=ImportError)

PROMPTS = ["the sky is\n\n", "name a colour of the sea\n\n", "two cities\n\n"]
TEXTS = ["blue and grey", "the sea is green", "Paris and Rome"]
WORSE = ["a dog", "red", "bread bread"]
ROWS = {"prompt": PROMPTS, "completion": TEXTS}
PAIRS = {"prompt": PROMPTS, "chosen": TEXTS, "rejected": WORSE}


def as_read(loaded: LoadedModel, prompt: str, text: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids ``[1, t]`` of prompt, text and end, and which of them are the text's."""
    before, after = (loaded.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (prompt, text))
    ids = torch.tensor([[*before, *after, loaded.tokenizer.eos_token_id]])
    return ids, torch.arange(ids.shape[1])[None] >= len(before)


def test_the_first_loss_of_reconstruction_is_equation_1() -> None:
    from armillary.methods.ultragen.training import reconstruct

    loaded = tiny()
    total, tokens = 0.0, 0
    for prompt, text in zip(PROMPTS, TEXTS, strict=True):
        ids, completion = as_read(loaded, prompt, text)
        logits = loaded.model(input_ids=ids).logits.detach()
        count = int(completion.sum())
        total, tokens = total + count * float(reconstruction_loss(logits, ids, completion)), tokens + count
    config = ReconstructionConfig(batch_size=3, accumulation=1, max_steps=1, lora_rank=None)
    stage = reconstruct(loaded, datasets.Dataset.from_dict(ROWS), config)
    assert stage.losses[0] == pytest.approx(total / tokens, abs=1e-5)
    assert (stage.rows, stage.left_out) == (3, 0)


def test_the_losses_of_preferences_are_equation_3() -> None:
    from armillary.methods.ultragen.training import prefer

    def logp(model: LoadedModel, prompt: str, text: str) -> float:
        ids, completion = as_read(model, prompt, text)
        every = token_log_probabilities(model.model(input_ids=ids).logits.detach(), ids)
        return float((every * completion[:, 1:]).sum())

    pairs = datasets.Dataset.from_dict(PAIRS)
    config = PreferenceConfig(batch_size=3, accumulation=1, max_steps=1, lora_rank=None, learning_rate=1e-3)
    stage = prefer(tiny(), pairs, config)
    assert stage.losses == [pytest.approx(0.693147, abs=1e-5)]  # at its first step the model is its own reference
    tuned, before = stage.loaded, tiny()
    columns = [
        torch.tensor([logp(model, prompt, text) for prompt, text in zip(PROMPTS, texts, strict=True)])
        for model, texts in ((tuned, TEXTS), (tuned, WORSE), (before, TEXTS), (before, WORSE))
    ]
    with quiet():
        from trl import DPOConfig, DPOTrainer

        arguments = DPOConfig(
            "unused", per_device_eval_batch_size=3, bf16=False, use_cpu=True, max_length=None, report_to=[]
        )
        trainer = DPOTrainer(
            tuned.model, before.model, arguments, train_dataset=pairs, eval_dataset=pairs,
            processing_class=tuned.tokenizer,
        )  # fmt: skip
        loss = float(preference_loss(*columns, beta=0.1))
        assert loss < 0.6931
        assert trainer.evaluate()["eval_loss"] == pytest.approx(loss, abs=1e-5)


def test_what_chosen_responses_lose_is_counted_on_the_same_responses() -> None:
    """Lines of the log are of different rows: their likelihoods differ by tens of nats where nothing was learned."""
    from armillary.methods.ultragen.training import prefer

    pairs = datasets.Dataset.from_dict({**PAIRS, "chosen": ["blue", "the sea is green in the north", "two"]})
    config = PreferenceConfig(batch_size=1, accumulation=1, max_steps=3, lora_rank=None, learning_rate=1e-9)
    stage = prefer(tiny(), pairs, config)
    chosen = [line["logps/chosen"] for line in stage.log if "logps/chosen" in line]
    assert max(chosen) - min(chosen) > 1 and stage.chosen_fall == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize("rank", [None, 2])
def test_a_killed_training_ends_with_the_same_weights(tmp_path: Path, rank: int | None) -> None:
    from armillary.methods.ultragen.training import reconstruct

    rows = datasets.Dataset.from_dict({name: values * 4 for name, values in ROWS.items()})
    config = ReconstructionConfig(accumulation=2, max_steps=5, lora_rank=rank, learning_rate=1e-2, save_steps=2)
    whole = reconstruct(tiny(), rows, config, checkpoints=tmp_path / "whole")
    killed = tmp_path / "killed"
    reconstruct(tiny(), rows, config, checkpoints=killed)
    shutil.rmtree(killed / "checkpoint-5")
    (killed / "checkpoint-4" / "trainer_state.json").rename(tmp_path / "kept")  # as a kill while it is written
    assert last_checkpoint(killed) is None
    (tmp_path / "kept").rename(killed / "checkpoint-4" / "trainer_state.json")
    again = reconstruct(tiny(), rows, config, checkpoints=killed)
    start = tiny().model.state_dict()
    for name, weight in whole.loaded.model.state_dict().items():
        assert torch.equal(weight, again.loaded.model.state_dict()[name]), name
    assert any(not torch.equal(weight, start[name]) for name, weight in whole.loaded.model.state_dict().items())
    assert "forward" not in whole.loaded.model.__dict__
    assert whole.loaded.fingerprint != tiny().fingerprint


def test_rows_that_are_too_long_are_left_out_and_counted() -> None:
    from armillary.methods.ultragen.training import reconstruct

    rows = datasets.Dataset.from_dict({"prompt": PROMPTS, "completion": [*TEXTS[:2], "red " * 100]})
    config = ReconstructionConfig(max_steps=1, max_tokens=60, lora_rank=None)
    stage = reconstruct(tiny(), rows, config)
    assert (stage.rows, stage.left_out) == (2, 1)
    with pytest.raises(UsageError, match="no row has at most 8 tokens"):
        reconstruct(tiny(), rows, ReconstructionConfig(max_tokens=8))
    with pytest.raises(UsageError, match="no column 'completion'"):
        reconstruct(tiny(), datasets.Dataset.from_dict(PAIRS))
