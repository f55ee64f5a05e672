"""Folders and files that are no whole model: each is refused in one sentence that is true, none opens as another."""

# ruff: noqa: E501  (tables with one broken folder a line)

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, PeftConfig, PeftModel, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from armillary.errors import ArmillaryError, DownloadError, ModelError, UsageError
from armillary.models import load, loading, tiny
from armillary.models.image_text import TINY, open_image_text_model
from armillary.models.quiet import quiet

from .conftest import save

Saved = Callable[[str], Path]
Spoil = Callable[[Path], object]
ADAPTER = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"


def sentence_of(name: object, kind: type[ArmillaryError] = ModelError) -> str:
    """The one sentence that ``load`` refuses with."""
    with pytest.raises(ArmillaryError) as caught:
        load(name)  # type: ignore[arg-type]
    text = str(caught.value)
    assert type(caught.value) is kind, text
    assert "\n" not in text and text.endswith((".", "?")) and "Traceback" not in text and len(text) < 500
    return text


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def settings(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        data = json.loads((folder / "config.json").read_text())
        change(data)
        (folder / "config.json").write_text(json.dumps(data))

    return spoil


def only(*names: str, content: bytes = b"x") -> Spoil:
    """The folder holds a config.json and files of these names (a slash makes folders), and no safetensors."""

    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        write(*names, content=content)(folder)

    return spoil


def bare(*names: str, content: bytes = b"x") -> Spoil:
    """The folder holds files of these names alone."""

    def spoil(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()
        write(*names, content=content)(folder)

    return spoil


def write(*names: str, content: bytes = b"x") -> Spoil:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)

    return spoil


def sharded(change: Callable[[Path], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        tiny().model.save_pretrained(folder, max_shard_size="100KB")
        change(folder)

    return spoil


def shard(folder: Path) -> Path:
    return sorted(folder.glob("model-*-of-*.safetensors"))[-1]


def first_in_index(folder: Path) -> None:
    index = folder / "model.safetensors.index.json"
    data = json.loads(index.read_text())
    data["weight_map"]["model.norm.weight"] = min(data["weight_map"].values())
    index.write_text(json.dumps(data))


def lora(folder: Path) -> None:
    (folder / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "r": 2, "base_model_name_or_path": "some/base"}'
    )
    save_file({ADAPTER: torch.zeros(2, 48)}, folder / "adapter_model.safetensors")


BIAS = "model.layers.0.self_attn.q_proj.bias"
BROKEN: dict[str, tuple[Spoil, str]] = {
    # adapters
    "an adapter beside config.json": (lambda f: (lora(f), (f / "model.safetensors").unlink()), "is an adapter of some/base, which can't be opened"),
    "an adapter alone": (lambda f: (bare("x")(f), lora(f)), "is an adapter of some/base, which can't be opened"),
    "an adapter and a whole model": (lora, "holds a whole model and an adapter, so it is not sure which"),
    "an adapter's weights alone": (bare("adapter_model.safetensors"), "the weights of an adapter but no adapter_config.json"),
    # output of training
    "checkpoints": (bare("checkpoint-9/config.json", "checkpoint-100/config.json", "runs/x"), "give the newest, {f}/checkpoint-100."),
    "checkpoints beside config.json": (only("checkpoint-9/model.safetensors"), "give the newest, {f}/checkpoint-9."),
    "fsdp": (only("pytorch_model_fsdp_0/__0_0.distcp", "training_args.bin", "optimizer_0/x"), "only a sharded checkpoint of FSDP"),
    "deepspeed": (only("global_step5/mp_rank_00_model_states.pt", "latest", "zero_to_fp32.py"), "only a checkpoint of DeepSpeed"),
    "deepspeed's inner folder": (bare("mp_rank_00_model_states.pt", "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"), "DeepSpeed"),
    "trainer's state": (only("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "trainer_state.json"), "only the state of a training run"),
    "pickled": (only("pytorch_model-00001-of-00002.bin", "training_args.bin"), "only pickled weights (pytorch_model-00001-of-00002.bin)"),
    "original": (only("consolidated.00.pth", "params.json"), "in its maker's own format (consolidated)"),
    "consolidated": (bare("consolidated.safetensors", "params.json"), "in its maker's own format (consolidated)"),
    # other programs
    "onnx": (only("onnx/model.onnx"), "in the format of ONNX"),
    "openvino": (only("openvino_model.xml", "openvino_model.bin"), "in the format of OpenVINO"),
    "core ml": (only("model.mlpackage"), "in the format of Core ML"),
    "tensorflow": (only("tf_model.h5"), "in the format of TensorFlow"),
    "flax": (only("flax_model.msgpack"), "in the format of Flax"),
    "mlx": (settings(lambda c: c.update(quantization={"group_size": 64, "bits": 4})), "is quantised by MLX"),
    "diffusers": (bare("model_index.json", "unet/config.json"), "is a pipeline of diffusers"),
    "sentence-transformers": (write("modules.json", "1_Pooling/config.json"), "is a model of sentence-transformers"),
    "tokenizer": (lambda f: [(f / name).unlink() for name in ("config.json", "model.safetensors")], "holds a tokenizer but no model"),
    "thresholds": (bare("brick.json", "brick.safetensors", content=b'{"payload": {"type": "thresholds"}}'), "sparsified(armillary.load(BASE), '{f}')"),
    "the run that made thresholds": (bare("record.json", "brick/brick.json", content=b'{"payload": {"type": "thresholds"}}'), "sparsified(armillary.load(BASE), '{f}/brick')"),
    "a partition": (bare("brick.json", "brick.safetensors", content=b'{"payload": {"type": "partition"}}'), "holds a part of a model (a brick)"),
    "the run that made an edit": (bare("record.json", "brick/brick.json", "brick/adapter_config.json"), "give the adapter that was made, {f}/brick."),
    "a brick that is none": (bare("brick.json"), "brick.json can't be read"),
    "gguf": (bare("mmproj-a.gguf", "model-Q4.GGUF"), "give the file {f}/model-Q4.GGUF."),
    "hub cache": (bare("refs/main", "snapshots/abc"), "give {f}/snapshots/abc."),
    "nothing": (bare(), "has no config.json, so it is not a model's folder"),
    # half of a model
    "no configuration": (lambda f: (f / "config.json").unlink(), "has weights (model.safetensors) but no config.json"),
    "no weights": (only(), "has a config.json but no weights"),
    "a variant": (lambda f: (f / "model.safetensors").rename(f / "model.fp16.safetensors"), "has model.fp16.safetensors where model.safetensors"),
    "a shard that is not there": (sharded(lambda f: shard(f).unlink()), "which model.safetensors.index.json names"),
    "no index": (sharded(lambda f: (f / "model.safetensors.index.json").unlink()), "but no model.safetensors.index.json"),
    "an index that is no index": (sharded(write("model.safetensors.index.json", content=b"[]")), "can't be read as the index"),
    "an index that is wrong": (sharded(first_in_index), "lacks model.norm.weight, which model.safetensors.index.json looks for"),
    "an index that points elsewhere": (sharded(write("model.safetensors.index.json", content=b'{"weight_map": {"a": "../b.safetensors"}}')), "names other files than"),
    "an index and a whole file": (sharded(lambda f: shutil.copy(shard(f), f / "model.safetensors")), "not sure which is meant"),
    "a shard cut short": (sharded(lambda f: shard(f).write_bytes(shard(f).read_bytes()[:-9])), "is cut short or damaged"),
    "no bytes": (write("model.safetensors", content=b""), "is cut short or damaged"),
    "lfs": (write("model.safetensors", content=b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"), "a pointer of Git LFS"),
    "a header that lies": (write("model.safetensors", content=struct.pack("<Q", 2**40) + b"{}"), "is cut short or damaged"),
    "a link to nothing": (lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors").symlink_to(f / "blob")), "is a link to a file that is not there"),
    "a folder for weights": (lambda f: ((f / "model.safetensors").unlink(), (f / "model.safetensors").mkdir()), "is cut short or damaged"),
    "a configuration cut short": (write("config.json", content=b'{"model_type": "lla'), "is not a valid JSON file"),
    "a configuration that is a list": (write("config.json", content=b"[1]"), "holds no JSON object"),
    "a configuration in UTF-16": (write("config.json", content='{"model_type": "flurb"}'.encode("utf-16")), "is not a valid JSON file"),
    "an unknown type": (settings(lambda c: c.update(model_type="flurb")), "model type `flurb`"),
    "an impossible width": (settings(lambda c: c.update(num_attention_heads=0)), "can't be opened"),
    "a type for another thing": (settings(lambda c: c.update(model_type="vit")), "is a model of type vit, which is no causal language model"),
    "a width that does not divide": (settings(lambda c: c.update(hidden_size=33)), "hidden size (33) is not a multiple of"),
    "an unknown activation": (settings(lambda c: c.update(hidden_act="sulu")), "the name 'sulu' is not known"),
    "a quantisation without settings": (settings(lambda c: c.update(quantization_config="gptq")), "is quantised (gptq)"),
    "text for a number": (settings(lambda c: c.update(hidden_size="many")), "can't be opened"),
    # tensors that don't agree with the configuration
    "a missing tensor": (weights(lambda t: t.pop("model.norm.weight")), "lacks 1 of its weights (model.norm.weight)"),
    "a missing head": (weights(lambda t: t.pop("lm_head.weight")), "lacks 1 of its weights (lm_head.weight)"),
    "a tensor too many": (weights(lambda t: t.update({BIAS: torch.ones(32)})), f"has no place for ({BIAS}, 1 in all)"),
    "layers too many": (settings(lambda c: c.update(num_hidden_layers=1)), "has no place for (model.layers.1."),
    "layers too few": (settings(lambda c: c.update(num_hidden_layers=3)), "lacks 9 of its weights"),
    "another width": (settings(lambda c: c.update(intermediate_size=40)), "model.layers.0.mlp.down_proj.weight is [32, 48] where [32, 40] is expected"),
    "a classifier's head": (lambda f: (settings(lambda c: c.update(architectures=["LlamaForSequenceClassification"]))(f), weights(lambda t: t.update({"score.weight": torch.ones(2, 32)}))(f)), "was saved as LlamaForSequenceClassification, whose head (score.weight)"),
    "layers of an adapter": (weights(lambda t: t.update({"model.layers.0.mlp.down_proj.lora_A.default.weight": torch.ones(2, 48)})), "lora_A"),
    "scales of packed weights": (weights(lambda t: t.update({"model.layers.0.mlp.down_proj.weight_scale": torch.ones(1)})), "weight_scale"),
    "packed weights": (weights(lambda t: t.update({"lm_head.weight": t["lm_head.weight"].char()})), "packed weights (lm_head.weight of I8)"),
    "rotary tables of another base": (weights(lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.arange(4.0)})), "rotary frequencies"),
    **{
        method: (settings(lambda c, method=method: c.update(quantization_config={"quant_method": method, "bits": 4, **({"load_in_4bit": True} if method == "bitsandbytes" else {})})), f"is quantised ({method})")
        for method in ("gptq", "awq", "bitsandbytes", "compressed-tensors", "aqlm", "hqq", "new-method")
    },
    "no tokenizer": (lambda f: [path.unlink() for path in f.glob("token*")], "has no tokenizer; write it into the folder"),
    "a tokenizer cut short": (write("tokenizer.json", content=b'{"version"'), "can't be opened"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_folder_that_is_no_whole_model(kind: str, saved: Saved) -> None:
    folder = saved("llama")
    spoil, words = BROKEN[kind]
    spoil(folder)
    text = sentence_of(folder)
    assert words.replace("{f}", str(folder)) in text


SOUND: dict[str, Spoil] = {
    "shards": sharded(lambda f: None),
    "an index of the one file": write(
        "model.safetensors.index.json", content=b'{"weight_map": {"model.norm.weight": "model.safetensors"}}'
    ),
    "the maker's own format beside it": write("consolidated.safetensors", "params.json"),
    "other formats beside it": write("onnx/model.onnx", "tf_model.h5", "pytorch_model.bin", "model.fp16.safetensors"),
    "a training run beside it": write("training_args.bin", "optimizer.pt", "checkpoint-5/config.json"),
    "old tables": weights(
        lambda t: t.update({
            "model.layers.0.self_attn.rotary_emb.inv_freq": (1 / 10000 ** (torch.arange(0, 8, 2) / 8)).bfloat16(),
            "model.layers.0.attention.masked_bias": torch.tensor(-1e9),
            "model.layers.0.attention.bias": torch.ones(1, 1, 8, 8, dtype=torch.bool),
        })
    ),
    "tied by name": settings(lambda c: c.update(tie_word_embeddings=True)),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOUND)
def test_what_stands_beside_a_whole_model_does_not_matter(kind: str, saved: Saved) -> None:
    folder = saved("llama")
    SOUND[kind](folder)
    assert load(folder).identity == tiny().identity


def test_a_head_beside_the_model_is_named(saved: Saved) -> None:
    folder = saved("llama")
    weights(lambda t: t.update({"v_head.summary.weight": torch.ones(1, 32)}))(folder)
    assert load(folder).facts()["unread"] == "v_head.summary.weight" and "unread" not in tiny().facts()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma3", "opt"])
@pytest.mark.parametrize("tied", [True, False])
def test_ties_are_those_of_the_files(kind: str, tied: bool, saved: Saved) -> None:
    """Whatever ``tie_word_embeddings`` says: a head of its own is opened, and the setting follows."""
    folder = saved(kind)
    settings(lambda c: c.update(tie_word_embeddings=tied))(folder)
    head = torch.randn(load(folder).anatomy.embedding.weight.shape) if tied else None
    if head is not None:
        weights(lambda t: t.update({"lm_head.weight": head}))(folder)
        opened = load(folder)
        assert torch.equal(opened.anatomy.head.weight, head)  # type: ignore[arg-type]
        assert not opened.anatomy.tied and opened.model.config.tie_word_embeddings is False
        again = load(save(opened, folder.with_name("again")))
        assert again.identity == opened.identity
    elif kind == "llama":
        assert load(folder).model.config.tie_word_embeddings is False
    else:
        assert "lacks 1 of its weights (lm_head.weight)" in sentence_of(folder)


# Names


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a home of its own and no hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(loading, "reachable", lambda: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


@pytest.mark.parametrize(
    "name", ["tiny-llama", "smollm2-135m-instruct", "owner/model", "my model", "a.gguf.d", "größe"]
)
def test_a_folder_that_is_there_goes_before_every_other_meaning(name: str, here: Path) -> None:
    mine = tiny(seed=7)
    save(mine, here / name)
    for form in (name, f"{name}/", f"./{name}", f"~/{name}", Path(name), str(here / name)):
        assert load(form).identity == mine.identity


def test_a_folder_of_a_built_in_name_that_holds_no_model_is_refused(here: Path) -> None:
    (here / "tiny-llama").mkdir()
    assert "(a folder goes before the built-in name tiny-llama)." in sentence_of("tiny-llama")
    with pytest.raises(ModelError, match=r"has no config\.json"):
        (here / TINY).mkdir()
        open_image_text_model(TINY)


@pytest.mark.parametrize(
    "name",
    [
        "tiny-llama/", "~/nothing", "~nobody-of-this-name/x", "a" * 300, "x/" * 3000, "a\0b", " ", "owner/model/", "owner//model",
        "https://huggingface.co/owner/model", "C:\\models\\x", "a.GGUF", "a.safetensors", "/dev/null", Path("tiny-llama"),
        Path("smollm2-135m-instruct"), Path("owner/model"), "../..//", "model\n", "hf://owner/model",
    ],
)  # fmt: skip
def test_names_that_name_nothing(name: str | Path, here: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load(name)
    assert str(caught.value).endswith((".", "?")) and "Traceback" not in str(caught.value)


def test_a_file_of_a_model_names_its_folder(saved: Saved) -> None:
    folder = saved("llama")
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert f"give its folder, {folder} instead." in sentence_of(folder / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission(saved: Saved) -> None:
    folder = saved("llama")
    folder.chmod(0)
    assert "can't be" in sentence_of(folder)
    folder.chmod(0o700)


# The hub's cache


def cached(here: Path, name: str = "someone/tiny", ref: str = "main") -> Path:
    place = here / "hub" / f"models--{name.replace('/', '--')}"
    snapshot = place / "snapshots" / ("0123456789" * 4)
    (place / "refs").mkdir(parents=True)
    (place / "refs" / ref).write_text(snapshot.name)
    return save(tiny(), snapshot)


def test_a_cached_hub_id_opens_without_the_hub(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached(here)
    monkeypatch.setattr(
        "huggingface_hub.file_download.http_backoff", lambda *_, **__: pytest.fail("asked the hub"), raising=False
    )
    assert load("someone/tiny").identity == tiny().identity


def test_a_part_of_a_model_in_the_cache_is_told(here: Path) -> None:
    snapshot = cached(here)
    (snapshot / "model.safetensors").unlink()
    text = sentence_of("someone/tiny", DownloadError)
    assert "someone/tiny is not whole in the hub's cache, and the model hub can't be reached" in text
    assert "has a config.json but no weights" in text


def test_another_revision_in_the_cache_is_told(here: Path) -> None:
    snapshot = cached(here, ref="v1")
    assert (
        f"without its main revision, and the model hub can't be reached; give the folder {snapshot}."
        in sentence_of("someone/tiny", DownloadError)
    )


def test_what_is_not_in_the_cache_is_a_download_error(here: Path) -> None:
    assert "the model hub can't be reached" in sentence_of("someone/else", DownloadError)


# Ready models


def adapted(model: PreTrainedModel, config: PeftConfig) -> PeftModel:
    with quiet():  # PEFT asks for what transformers warns about
        return get_peft_model(model, config)  # type: ignore[return-value]


@pytest.mark.parametrize("state", ["fresh", "merged", "disabled", "injected", "transformers", "of another kind"])
def test_an_adapter_that_is_not_merged_is_refused_with_the_cure(state: str) -> None:
    made = tiny()
    config = LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False)
    if state == "transformers":
        made.model.add_adapter(config)
        model = made.model
    else:
        if state == "of another kind":
            config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"])
        wrapped = adapted(made.model, config)
        if state == "merged":
            wrapped.merge_adapter()
        if state == "disabled":
            wrapped.disable_adapter_layers()
        if state == "fresh":
            assert "merge_and_unload()" in sentence_of((wrapped, made.tokenizer), UsageError)
        model = wrapped.get_base_model()
    text = sentence_of((model, made.tokenizer))
    assert "holds an adapter that is not merged into it" in text and "merge_and_unload()" in text


def test_a_merged_and_unloaded_model_is_taken() -> None:
    made, plain = tiny(), tiny()
    wrapped = adapted(made.model, LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False))
    assert load((wrapped.merge_and_unload(), made.tokenizer)).fingerprint != plain.fingerprint
    again = adapted(plain.model, LoraConfig(r=2, target_modules=["down_proj"], init_lora_weights=False))
    assert load((again.unload(), plain.tokenizer)).fingerprint == tiny().fingerprint


def test_other_wrappers_are_refused() -> None:
    made = tiny()
    prompts = adapted(made.model, PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"))
    assert "PeftModelForCausalLM" in sentence_of((prompts, made.tokenizer), UsageError)
    assert "give the transformers model in it" in sentence_of(
        (torch.nn.DataParallel(tiny().model), made.tokenizer), UsageError
    )
    assert "not in memory" in sentence_of((tiny().model.to("meta"), made.tokenizer))
