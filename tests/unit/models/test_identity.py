"""A model is its tensors, its configuration and its tokenizer: whatever changes a number changes the identity."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import CTRLTokenizer

from armillary.models import KINDS, LoadedModel, gguf_file, load, tiny
from armillary.models.image_text import ImageTextModel, tiny_image_text_model
from armillary.models.loaded import tokenizer_digest
from armillary.runs.run import Job, Outcome
from armillary.runs.settings import OneModelSettings

from .conftest import gguf_twin, save, write_gguf

Saved = Callable[[str], Path]


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file of a folder in place."""
    path = folder / name
    data = json.loads(path.read_text()) if path.exists() else {}
    change(data)
    path.write_text(json.dumps(data))


def setting(name: str, value: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder, "config.json", lambda data: data.update({name: value}))


def tokenizer_setting(name: str, value: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder, "tokenizer_config.json", lambda data: data.update({name: value}))


def tokens(name: str, value: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder, "tokenizer.json", lambda data: data.update({name: value}))


def generation(name: str, value: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder, "generation_config.json", lambda data: data.update({name: value}))


_BOS_FIRST = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<bos>": {"id": "<bos>", "ids": [1], "tokens": ["<bos>"]}},
}
CHANGES: dict[str, Callable[[Path], None]] = {
    "rope": setting("rope_parameters", {"rope_theta": 100.0, "rope_type": "default"}),
    "position scaling": setting("rope_parameters", {"rope_theta": 10000.0, "rope_type": "linear", "factor": 2.0}),
    "norm": setting("rms_norm_eps", 1e-3),
    "activation": setting("hidden_act", "gelu"),
    "positions": setting("max_position_embeddings", 64),
    "end token": setting("eos_token_id", 5),
    "normaliser": tokens("normalizer", {"type": "Lowercase"}),
    "pre-tokeniser": tokens("pre_tokenizer", {"type": "Whitespace"}),
    "post-processor": tokens("post_processor", _BOS_FIRST),
    "special token": tokenizer_setting("eos_token", "<pad>"),
    "padding side": tokenizer_setting("padding_side", "left"),
    "special tokens in a text": tokenizer_setting("split_special_tokens", True),
    "chat template": lambda folder: (folder / "chat_template.jinja").write_text("{{ messages }}") and None,
    "sampling": generation("temperature", 0.5),
    "end tokens of generation": generation("eos_token_id", [2, 7]),
}  # fmt: skip
HARMLESS: dict[str, Callable[[Path], None]] = {
    "path": setting("_name_or_path", "elsewhere"),
    "version": setting("transformers_version", "4.0.0"),
    "class": setting("architectures", ["Else"]),
    "cache": setting("use_cache", False),
    "labels": setting("id2label", {"0": "A"}),
    "number": setting("rope_parameters", {"rope_type": "default", "rope_theta": 10000}),
    "default left out": lambda folder: edit(folder, "config.json", lambda data: data.pop("mlp_bias")),
    "order": lambda folder: edit(folder, "tokenizer.json", lambda data: data.update(model=data.pop("model"))),
    "truncation of the last call": tokens(
        "truncation", {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_number_is_another_model_of_equal_weights(change: str, saved: Saved) -> None:
    folder = saved("llama")
    before = load(folder)
    CHANGES[change](folder)
    after = load(folder)
    assert after.fingerprint == before.fingerprint and after.identity != before.identity
    assert sum(after.identity_parts[part] != before.identity_parts[part] for part in before.identity_parts) >= 1


@pytest.mark.parametrize("change", HARMLESS)
def test_what_no_number_depends_on_is_the_same_model(change: str, saved: Saved) -> None:
    folder = saved("llama")
    HARMLESS[change](folder)
    assert load(folder).identity == tiny().identity


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_in_another_place_is_the_same_model(kind: str, tmp_path: Path) -> None:
    first = load(save(tiny(kind), tmp_path / "a"))
    assert first.identity == load(save(first, tmp_path / "b")).identity == tiny(kind).identity
    assert first.facts()["identity"] == first.identity and "converter" not in first.facts()


def test_one_changed_weight_or_saved_buffer_is_another_model() -> None:
    made, changed, buffered = tiny(), tiny(), tiny()
    with torch.no_grad():
        next(changed.model.parameters())[3, 5] += 1e-6
    buffered.model.register_buffer("extra", torch.ones(2))
    assert len({made.identity, changed.identity, buffered.identity}) == 3


def test_a_call_of_the_tokenizer_changes_nothing() -> None:
    tokenizer = tiny().tokenizer
    before = tokenizer_digest(tokenizer)
    tokenizer(["a b c", "d"], padding=True, truncation=True, max_length=2)
    assert tokenizer_digest(tokenizer) == before


def test_a_tokenizer_without_a_fast_part_is_read_from_its_files(tmp_path: Path) -> None:
    for number, merges in enumerate(("a b", "b c", "a b")):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "vocab.json").write_text(json.dumps({"a": 0, "b</w>": 1, "c</w>": 2, "<unk>": 3}))
        (folder / "merges.txt").write_text(f"#version\n{merges}</w>\n")
    digests = [tokenizer_digest(CTRLTokenizer.from_pretrained(tmp_path / str(number))) for number in range(3)]
    assert digests[0] == digests[2] != digests[1]


def test_the_converter_of_a_gguf_file_belongs_to_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(gguf_twin(), tmp_path / "a.gguf")
    first, folder = load(path), gguf_file.converted(path)
    assert first.facts()["converter"] == gguf_file.converter_version()
    monkeypatch.setattr(gguf_file, "CONVERTER", gguf_file.CONVERTER + 1)
    assert gguf_file.converted(path) != folder
    assert load(path).identity != first.identity


def test_the_processor_belongs_to_an_image_text_model() -> None:
    made, other, templated = (tiny_image_text_model() for _ in range(3))
    other.processor.image_processor.image_mean = [0.5, 0.5, 0.5]  # type: ignore[attr-defined]
    templated.processor.chat_template = "{{ messages }}"
    identities = {model.identity for model in (made, other, templated)}
    assert len(identities) == 3 and made.facts()["identity"] == made.identity == tiny_image_text_model().identity
    assert isinstance(made, ImageTextModel) and not isinstance(made, LoadedModel)


@pytest.mark.parametrize(
    "kind", ["PreTrainedTokenizerFast", "Qwen2Tokenizer", "LlamaTokenizerFast", "GPT2Tokenizer", "GemmaTokenizer"]
)
@pytest.mark.parametrize("change", [None, "normaliser", "pre-tokeniser", "post-processor"])
def test_the_tokenizer_that_opens_gives_the_tokens_of_its_file(kind: str, change: str | None, saved: Saved) -> None:
    """transformers builds some types anew from vocabulary and merges alone."""
    folder = saved("llama")
    tokenizer_setting("tokenizer_class", kind)(folder)
    if change is not None:
        CHANGES[change](folder)
    opened, truth = load(folder).tokenizer, Tokenizer.from_file(str(folder / "tokenizer.json"))
    for text in ("Hello WORLD I'll 12345", " two  spaces\n\n", "naïve cafe\u0301", "日本"):
        assert opened(text).input_ids == truth.encode(text).ids


class _Settings(OneModelSettings):
    command = "checkup"


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_on_an_edited_folder_is_another_run(change: str, saved: Saved, tmp_path: Path) -> None:
    runs: list[str] = []

    def work(run: Any) -> Outcome:
        run.parts.json("part", lambda: runs.append(run.model.identity))
        return Outcome(title="Run")

    folder = saved("llama")
    job = Job(settings=_Settings, work=work)
    settings = _Settings(model=str(folder))
    for _ in range(2):
        record = job.run(settings, tmp_path / "out")
    CHANGES[change](folder)
    assert len(runs) == 1
    changed = job.run(settings, tmp_path / "out")
    assert len(set(runs)) == 2 and changed.models["model"]["identity"] == runs[1]
    assert changed.models["model"]["fingerprint"] == record.models["model"]["fingerprint"]
