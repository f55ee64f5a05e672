"""An image-text model put together from a tower and a language model, as transformers keeps it."""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import AddedToken, Tokenizer
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedTokenizerFast

from armillary.errors import ModelError, UsageError
from armillary.models import LoadedModel, find_anatomy, tiny
from armillary.models.image_text import (
    assemble_image_text_model,
    scale_connector,
    smooth_images,
    untrained_token,
    with_image_token,
)
from armillary.models.vision import find_vision_anatomy, text_before_images

from .onnx_bytes import tiny_tower

_TEXT = "<image>Paris lives in the city of"


def assembled(text: LoadedModel | str, seed: int = 0) -> tuple[Any, Any]:
    torch.manual_seed(3)
    return assemble_image_text_model(text, image_size=12, connector_seed=seed, tower=tiny_tower(), vision_layers=2)


def images(count: int = 2) -> list[Image.Image]:
    drawn = np.random.default_rng(0).integers(0, 256, (count, 20, 30, 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in drawn]


def inputs(processor: Any, count: int = 2) -> Any:
    return processor(images=images(count), text=[_TEXT] * count, return_tensors="pt")


def with_spares(same: bool = True) -> LoadedModel:
    """A tiny model with three reserved tokens, of which the last two have the same row."""
    made = tiny(vocabulary=len(tiny().tokenizer) + 3)
    tokenizer = copy.deepcopy(made.tokenizer)
    names = [AddedToken(f"<unused{i}>", special=True, normalized=False) for i in range(3)]
    tokenizer.add_tokens(names, special_tokens=True)
    if same:
        with torch.no_grad():
            made.model.get_input_embeddings().weight[-1] = 1.00001 * made.model.get_input_embeddings().weight[-2]
    return LoadedModel(made.model, tokenizer, made.anatomy, "spares", "test")


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma3", "gpt_neox"])
def test_without_an_image_it_is_the_language_model(kind: str) -> None:
    text = tiny(kind)
    model, processor = assembled(text)
    ids = text.tokenizer("Paris lives in the city of", return_tensors="pt").input_ids
    assert torch.equal(processor.tokenizer(_TEXT.removeprefix("<image>"), return_tensors="pt").input_ids, ids)
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, text.model(input_ids=ids).logits
    torch.testing.assert_close(ours[..., : theirs.shape[-1]], theirs, atol=1e-6, rtol=0)


def test_the_image_stands_in_the_text_and_matters() -> None:
    model, processor = assembled(tiny())
    batch = inputs(processor)
    anatomy = find_vision_anatomy(model)
    assert batch["pixel_values"].shape == (2, 3, 12, 12)
    assert (batch["input_ids"] == anatomy.image_token_id).sum(1).tolist() == [9, 9]
    assert model.config.image_seq_length == 9
    assert len(text_before_images(batch["input_ids"], anatomy.image_token_id)) == 1
    with torch.no_grad():
        logits = model(**batch).logits[:, -1]
    assert (logits[0] - logits[1]).abs().max() > 0.1
    new = model.generate(**batch, max_new_tokens=3, min_new_tokens=3, do_sample=False)
    assert new.shape == (2, batch["input_ids"].shape[1] + 3)


def test_the_connector_reads_the_state_before_the_norm_without_the_class_token() -> None:
    model, _ = assembled(tiny())
    torch.manual_seed(3)
    tower, seen = tiny_tower(), smooth_images(3, 12, seed=4)
    read: list[torch.Tensor] = []
    model.model.multi_modal_projector.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    with torch.no_grad():
        model.get_image_features(seen)
        expected = tower(seen, output_hidden_states=True).hidden_states[2][:, 1:]
    torch.testing.assert_close(read[0], expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["llama", "gemma3"])
def test_image_embeddings_are_as_large_as_those_of_the_text(kind: str) -> None:
    model, _ = assembled(tiny(kind))
    rows = torch.arange(model.get_input_embeddings().num_embeddings)
    with torch.no_grad():
        words = model.get_input_embeddings()(rows)
        same, other = (
            torch.stack(list(model.get_image_features(smooth_images(32, 12, seed=seed)).pooler_output))
            for seed in (0, 9)
        )
    target = words.square().mean().sqrt()
    assert same.square().mean().sqrt() == pytest.approx(target.item(), rel=1e-4)
    assert other.square().mean().sqrt() == pytest.approx(target.item(), rel=0.2)


def test_the_seed_decides_the_connector_only_and_the_global_generator_is_left_alone() -> None:
    text, tower = tiny(), tiny_tower()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    made = [
        assemble_image_text_model(text, image_size=12, connector_seed=seed, tower=tower, vision_layers=2)[0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.random.get_rng_state(), state)
    first, again, other = (model.state_dict() for model in made)
    assert all(torch.equal(first[name], again[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    assert differing == {f"model.multi_modal_projector.linear_{i}.weight" for i in (1, 2)}
    scale_connector(made[2], 0)
    assert all(torch.equal(values, first[name]) for name, values in made[2].state_dict().items())


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_opens_with_the_auto_classes_and_gives_the_same(tmp_path: Path, tied: bool) -> None:
    model, processor = assembled(tiny(settings={"tie_word_embeddings": tied}))
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    opened, loading = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    batch, reread = inputs(processor), inputs(again)
    assert all(torch.equal(batch[name], reread[name]) for name in batch)
    with torch.no_grad():
        assert torch.equal(opened(**reread).logits, model(**batch).logits)
    assert (opened.lm_head.weight is opened.get_input_embeddings().weight) == tied


def test_a_loaded_model_stays_as_it_was() -> None:
    text = tiny(settings={"tie_word_embeddings": True})
    before, rows = copy.deepcopy(text.model.state_dict()), text.anatomy.vocabulary_size
    model, processor = assembled(text)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(values, before[name]) for name, values in text.model.state_dict().items())
    assert len(text.tokenizer) == text.model.config.vocab_size == rows
    assert len(processor.tokenizer) == model.config.text_config.vocab_size == rows + 1


def test_a_name_will_do() -> None:
    model, _ = assembled("tiny-llama")
    assert model.config.image_token_id == len(tiny().tokenizer)


def test_a_new_row_is_the_mean_of_the_others() -> None:
    text = tiny()
    rows = text.anatomy.vocabulary_size
    _, token = with_image_token(text.model, text.tokenizer)
    assert token == rows
    for matrix in (text.model.get_input_embeddings(), text.model.get_output_embeddings()):
        assert matrix.weight.shape[0] == rows + 1
        torch.testing.assert_close(matrix.weight[-1], matrix.weight[:-1].mean(dim=0))
    assert find_anatomy(text.model).vocabulary_size == rows + 1


def test_a_row_beyond_the_tokenizer_is_used() -> None:
    text = tiny(vocabulary=len(tiny().tokenizer) + 5)
    tokenizer, token = with_image_token(text.model, text.tokenizer)
    assert token == len(text.tokenizer) == tokenizer.encode("<image>")[0]
    assert text.model.get_input_embeddings().num_embeddings == len(text.tokenizer) + 5
    again, same = with_image_token(text.model, tokenizer)
    assert same == token and len(again) == len(tokenizer)


def test_an_id_in_use_is_not_taken_twice() -> None:
    text = tiny(vocabulary=len(tiny().tokenizer) + 50)
    content = json.loads(text.tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {token: id + 7 * (id >= 300) for token, id in vocabulary.items()}
    holes = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), eos_token="<eos>")
    with pytest.raises(ModelError, match=r"leaves ids out, so <image> would get the id of '.+'"):
        with_image_token(text.model, holes)


def test_a_token_that_was_never_trained_is_renamed() -> None:
    text = with_spares()
    size = len(text.tokenizer)
    tokenizer, token = with_image_token(text.model, text.tokenizer)
    assert token == size - 1 and len(tokenizer) == size == text.model.get_input_embeddings().num_embeddings
    assert tokenizer.encode(_TEXT) == [token, *text.tokenizer.encode(_TEXT.removeprefix("<image>"))]
    assert tokenizer.encode("<unused1>") == [size - 2] and len(tokenizer.encode("<unused2>")) > 1
    assert text.tokenizer.encode("<unused2>") == [size - 1]
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == ("<pad>", "<bos>", "<eos>")
    assert tokenizer.name_or_path == text.tokenizer.name_or_path
    model, processor = assembled(text)
    assert model.config.image_token_id == token and inputs(processor)["input_ids"][0, :9].tolist() == [token] * 9


def test_trained_tokens_and_those_of_a_chat_template_are_left_alone() -> None:
    distinct, spare = with_spares(same=False), with_spares()
    assert untrained_token(distinct.model.get_input_embeddings().weight, distinct.tokenizer) is None
    weight = spare.model.get_input_embeddings().weight
    assert untrained_token(weight, spare.tokenizer) == len(weight) - 1
    spare.tokenizer.chat_template = "{{ '<unused2>' }}"
    assert untrained_token(weight, spare.tokenizer) is None


def test_language_models_that_llava_cannot_hold_are_refused() -> None:
    with pytest.raises(ModelError, match="tiny-gemma2 has a soft cap, a factor or a bias behind its head"):
        assembled(tiny("gemma2"))
    with pytest.raises(ModelError, match="tiny-gpt2 has a tied embedding under a name of its own"):
        assembled(tiny("gpt2"))


def test_an_image_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="image size 13 is no multiple of the patch size 4"):
        assemble_image_text_model(tiny(), image_size=13, tower=tiny_tower(), vision_layers=2)


@pytest.mark.weights
def test_the_real_parts_make_a_model() -> None:
    model, processor = assemble_image_text_model("smollm2-135m-instruct")
    assert (model.config.image_token_id, model.config.text_config.vocab_size) == (16, 49152)
    batch = processor(images=images(), text=["<image>This is"] * 2, return_tensors="pt")
    assert (batch["input_ids"] == 16).sum(dim=1).tolist() == [16, 16]
    with torch.no_grad():
        logits = model(**batch).logits[:, -1]
    assert (logits[0] - logits[1]).abs().max() > 0.1
