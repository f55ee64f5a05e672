"""Every way to name a model, and every way to get it wrong in one sentence."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from armillary.errors import ArmillaryError, DownloadError, ModelError, UsageError
from armillary.models import KINDS, hub, load, loading, tiny

from .conftest import save

Saved = Callable[[str], Path]


def sentence_of(name: object, kind: type[ArmillaryError] = ModelError, **options: object) -> str:
    """The sentence that ``load`` refuses with."""
    with pytest.raises(kind) as caught:
        load(name, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert type(caught.value) is kind and "\n" not in text and len(text) < 400 and text.endswith((".", "?"))
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder(kind: str, saved: Saved, capfd: pytest.CaptureFixture[str]) -> None:
    folder = saved(kind)
    capfd.readouterr()
    found, truth = load(folder), tiny(kind)
    assert capfd.readouterr().err == ""
    assert found.fingerprint == truth.fingerprint
    ids = truth.tokenizer("Paris lives in", return_tensors="pt").input_ids
    assert torch.equal(found.model(ids).logits, truth.model(ids).logits)
    assert not found.model.training and found.name == str(folder) and found.source == f"folder {kind}"
    assert load(str(folder)).fingerprint == truth.fingerprint


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-gpt_neox", "tiny-gpt-neox"])
def test_a_tiny_model_by_name(name: str) -> None:
    found = load(name)
    assert found.name == name
    assert found.fingerprint == tiny(name.removeprefix("tiny-").replace("-", "_")).fingerprint


def test_a_ready_pair_is_used_as_it_is() -> None:
    made = tiny("opt")
    made.model.to(torch.bfloat16).train()
    made.model.requires_grad_(False)
    found = load((made.model, made.tokenizer))
    assert found.model is made.model and found.tokenizer is made.tokenizer
    assert found.dtype == torch.bfloat16 and not found.model.training
    assert not any(parameter.requires_grad for parameter in found.model.parameters())
    assert found.name == "OPTForCausalLM" and found.source == "given ready from Python"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_the_dtype(dtype: str, saved: Saved) -> None:
    wanted = getattr(torch, dtype)
    assert load(saved("llama"), dtype=dtype).dtype == load("tiny-llama", dtype=dtype).dtype == wanted


def test_the_device() -> None:
    assert load("tiny-llama", device="cpu").device.type == "cpu"
    assert "device 'tpu' is not on this machine; it has " in sentence_of("tiny-llama", UsageError, device="tpu")
    assert "'meta' is not on this machine" in sentence_of("tiny-llama", UsageError, device="meta")


def test_the_first_device_that_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["armillary.models.loading"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert module._device(None) == torch.device("mps")  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert module._device(None) == torch.device("cuda")  # type: ignore[attr-defined]


def test_arguments_of_the_wrong_kind() -> None:
    assert "dtype 'int4' is not known; it is one of float32, " in sentence_of("tiny-llama", UsageError, dtype="int4")
    assert "not int" in sentence_of(3, UsageError)
    made = tiny()
    assert "(LlamaForCausalLM, str)" in sentence_of((made.model, "tokenizer"), UsageError)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smollm2-135m", "no model is named 'smollm2-135m'; did you mean smollm2-135m-instruct?"),
        ("SmolLM", "did you mean smollm2-135m-instruct?"),
        ("tiny-lama", "did you mean tiny-llama or"),
        ("zzz", "give a packaged name (smollm2-135m-instruct, gemma-3-270m), a folder, a .gguf file or a hub id"),
        ("./nowhere/here", "there is no folder './nowhere/here'"),
        ("nowhere.gguf", "there is no file 'nowhere.gguf'"),
        (Path("nowhere"), "there is no folder 'nowhere'"),
        ("", "no model is named ''"),
    ],
)
def test_unknown_names_are_refused_at_once(name: str | Path, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "reachable", lambda: pytest.fail("asked the hub"))
    assert words in sentence_of(name)


def test_no_network_is_said_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "is_offline_mode", lambda: False)
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    start = time.monotonic()
    text = sentence_of("google/gemma-3-270m", DownloadError)
    assert "the model hub can't be reached" in text and "did you mean gemma-3-270m" in text
    assert time.monotonic() - start < 5


def test_offline_mode_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.constants, "is_offline_mode", lambda: True)
    monkeypatch.setattr(hub, "get_session", lambda: pytest.fail("asked"))
    assert not hub.reachable()


def test_what_the_hub_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise RepositoryNotFoundError("404", response=Mock())

    monkeypatch.setattr(loading, "reachable", lambda: True)
    monkeypatch.setattr(hub, "snapshot_download", unknown)
    assert "some/model is no folder here and not on the model hub; give" in sentence_of("some/model")


def test_the_hub_is_asked_for_safetensors_once_and_then_there_is_a_folder(
    monkeypatch: pytest.MonkeyPatch, saved: Saved
) -> None:
    calls: list[dict[str, object]] = []

    def download(hub_id: str, **options: object) -> str:
        calls.append({"id": hub_id, **options})
        return str(saved("llama"))

    monkeypatch.setattr(loading, "reachable", lambda: True)
    monkeypatch.setattr(hub, "snapshot_download", download)
    opened = load("owner/model")
    assert opened.source == "model hub, owner/model" and opened.identity == tiny().identity
    [call] = calls
    assert call["id"] == "owner/model" and call["local_files_only"] is False
    assert not [pattern for pattern in call["allow_patterns"] if "bin" in pattern]  # type: ignore[attr-defined]


def change(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder


def test_folders_that_hold_no_model(tmp_path: Path, saved: Saved) -> None:
    assert "has no config.json, so it is not a model's folder; give a folder that" in sentence_of(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    assert f"give the file {tmp_path / 'model.gguf'}" in sentence_of(tmp_path)
    change(tmp_path, "adapter_config.json", "{}")
    assert "is an adapter of kind None" in sentence_of(tmp_path, UsageError)
    folder = saved("llama")
    (folder / "model.safetensors").unlink()
    assert "has a config.json but no weights" in sentence_of(folder)
    assert "the only files read are .gguf" in sentence_of(folder / "config.json")


def test_pickled_weights_are_not_read(saved: Saved) -> None:
    folder = saved("llama")
    (folder / "model.safetensors").unlink()
    torch.save(tiny().model.state_dict(), folder / "pytorch_model.bin")
    text = sentence_of(folder)
    assert "only safetensors are read" in text and "save_pretrained" in text


def test_a_broken_configuration(saved: Saved) -> None:
    folder = saved("llama")
    assert "is not a valid JSON file" in sentence_of(change(folder, "config.json", '{"model_type": "lla'))
    assert "model type `flurb`" in sentence_of(change(folder, "config.json", '{"model_type": "flurb"}'))
    assert "can't be opened" in sentence_of(change(folder, "config.json", "{}"))


def test_weights_that_are_cut_short(saved: Saved) -> None:
    path = saved("llama") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    assert f"{path} is cut short or damaged (" in sentence_of(path.parent)


@pytest.mark.parametrize("missing", [True, False])
def test_weights_with_a_gap_or_of_another_shape(saved: Saved, missing: bool) -> None:
    path, name = saved("llama") / "model.safetensors", "model.layers.0.mlp.down_proj.weight"
    weights = load_file(path)
    cut = weights.pop(name)[:, :20].contiguous()
    save_file(weights if missing else {**weights, name: cut}, path, metadata={"format": "pt"})
    text = sentence_of(path.parent)
    assert name in text and ("lacks 1 of its weights" if missing else "is [32, 20] where [32, 48] is expected") in text


def test_a_folder_without_a_tokenizer(saved: Saved) -> None:
    folder = saved("llama")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "has no tokenizer; write it into the folder" in sentence_of(folder)


def test_remote_code_is_not_run(saved: Saved) -> None:
    folder = saved("llama")
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    change(folder, "config.json", json.dumps({**config, "model_type": "own-kind", "auto_map": auto}))
    change(folder, "own.py", "raise SystemExit('ran')\n")
    assert "needs code written by its author, which runs only if you say trust_remote_code" in sentence_of(folder)


def test_encoder_decoders_are_refused_by_name(tmp_path: Path) -> None:
    t5 = T5Config(d_model=8, d_ff=8, num_layers=1, num_heads=2, d_kv=4, vocab_size=20)
    T5ForConditionalGeneration(t5).save_pretrained(tmp_path / "t5")
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    bart = BartConfig(d_model=8, encoder_layers=1, decoder_layers=1, vocab_size=20, **heads)
    BartForConditionalGeneration(bart).save_pretrained(tmp_path / "bart")
    for name in ("t5", "bart"):
        assert f"{tmp_path / name} is an encoder-decoder model" in sentence_of(tmp_path / name)


def test_out_of_memory_is_one_sentence(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    folder = saved("llama")
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", full)
    assert "does not fit into this machine's memory" in sentence_of(folder)


def test_a_copy_in_another_place_is_the_same_model(tmp_path: Path) -> None:
    first, second = save(tiny(), tmp_path / "a"), save(tiny(), tmp_path / "b")
    assert load(first).fingerprint == load(second).fingerprint != load(save(tiny(seed=1), tmp_path / "c")).fingerprint
