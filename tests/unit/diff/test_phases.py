"""Adapters on one copy of their base, and models of different tokens: what a diff compares of each."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from armillary.diff.config import DiffConfig
from armillary.diff.drift import measure as drift
from armillary.diff.evidence import Evidence
from armillary.diff.pair import Origin, Pair, origin_of
from armillary.diff.phases import Phases, same_tokens
from armillary.diff.plan import plan
from armillary.diff.prompts import evenly, packaged_prompts, packaged_texts
from armillary.models import LoadedModel, tiny
from armillary.runs.parts import Parts

CONFIG = DiffConfig(base="a", after="b", budget="10m", most_prompts=5, answer_tokens=4, most_texts=4)


def phased(pair: Pair, config: DiffConfig = CONFIG) -> Evidence:
    """What all phases leave."""
    prompts, texts = packaged_prompts(), packaged_texts()
    questions = [prompt for prompt in prompts if prompt.choices is not None]
    sizes = plan(config, parameters=1, layers=2, prompts=len(prompts), texts=len(texts), text_tokens=20, questions=4)
    evidence = Evidence(
        config=config,
        sizes=sizes,
        pair=pair,
        parts=Parts(None, "x"),
        prompts=evenly(prompts, sizes.prompts),
        texts=evenly(texts, sizes.texts),
        questions=evenly(questions, sizes.questions),
    )
    phases = Phases(evidence)
    phases.base()
    phases.after()
    return phases.base_again()


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A LoRA of rank 2 on two matrices of a tiny model's folder, which it names as its base."""
    base = tiny("llama")
    base.model.save_pretrained(tmp_path / "base")
    base.tokenizer.save_pretrained(tmp_path / "base")
    folder = tmp_path / "adapter"
    folder.mkdir()
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for layer in range(2):
        module = f"base_model.model.model.layers.{layer}.mlp.down_proj"
        tensors[f"{module}.lora_A.weight"] = torch.randn((2, 48), generator=generator)
        tensors[f"{module}.lora_B.weight"] = torch.randn((32, 2), generator=generator)
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["down_proj"]}
    settings["base_model_name_or_path"] = str(tmp_path / "base")
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def test_an_adapter_and_its_base_are_one_copy_switched(adapter: Path) -> None:
    config = replace(CONFIG, base=str(adapter), after=None)
    origin = origin_of(str(adapter), config)
    identity = origin.identity
    pair = Pair(None, origin, config)
    assert pair.is_adapter and pair.origins["base"].name.endswith("base")
    assert pair.open("base").model is pair.open("after").model
    evidence = phased(pair, config)
    result = drift(evidence)
    assert np.mean(result.directions[0].lower) > 0.01 and np.mean(result.directions[1].lower) > 0.01
    assert result.again is not None and np.abs(result.again.lower).max() < 1e-4
    # Its identity is that of the factors and of the base.
    (Path(pair.origins["base"].name) / "generation_config.json").write_text("{}")
    assert origin_of(str(adapter), config).identity != identity
    named = Pair(Origin(name=pair.origins["base"].name), origin, CONFIG)
    assert named.is_adapter and named.open("after").model is named.open("base").model


def of_bytes(model: LoadedModel) -> LoadedModel:
    """The same model with a tokenizer of single bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([], trainer)
    own = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")
    return LoadedModel(model.model, own, model.anatomy, "bytes", "")


def test_of_different_tokens_texts_and_answers_are_still_compared() -> None:
    words, bytes_ = tiny("llama"), of_bytes(tiny("llama", seed=1))
    pair = Pair(Origin(name="words", ready=words), Origin(name="bytes", ready=bytes_), CONFIG)
    evidence = phased(pair)
    assert not evidence.same_tokens
    assert evidence.text_nats("base").shape == evidence.text_nats("after").shape == (4,)
    read, author = evidence.crossed["after", "base", "sampled"], evidence.replies["base", "sampled"]
    assert read.lengths.tolist() == [len(text.encode()) for text in author.texts]
    assert np.isfinite(read.logprob).all() and np.isnan(read.estimate).all()
    result = drift(evidence)
    assert not result.same_tokens and np.isfinite(result.window) and result.texts == []


def test_tokens_are_the_same_where_no_id_means_two_things() -> None:
    words = [f"w{index}" for index in range(100)]
    assert same_tokens(words, [*words, "<added>"]) and same_tokens([*words[:-1], None], words)
    assert not same_tokens(words, [*words[:50], *words[49:-1]])
    assert not same_tokens([*words[:50], *[None] * 50], [*[None] * 50, *words[50:]])
