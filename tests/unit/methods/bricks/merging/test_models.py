"""Whole models merged on disk against the same sums in memory; nothing half written, no source touched."""

import hashlib
import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from armillary.errors import ModelError, NumericError, StorageError, UsageError
from armillary.methods.bricks.merging import streaming, weight_folder
from armillary.methods.bricks.merging.models import merge_models
from armillary.models import load, tiny
from armillary.models.quiet import quiet


def write(folder: Path, seed: int, kind: str = "llama", dtype: torch.dtype = torch.float32, **settings: Any) -> Path:
    """A model that started from seed 0 and moved a little; seed 0 itself did not."""
    made = tiny(kind, **settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in made.model.parameters():
            if seed:
                value.add_(torch.randn(value.shape, generator=generator) * 0.05)
    made.model.to(dtype)
    with quiet():
        made.model.save_pretrained(folder)
    made.tokenizer.save_pretrained(folder)
    return folder


def read(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder."""
    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


def hashes(folder: Path) -> dict[str, str]:
    """What a folder holds."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture
def models(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / f"m{seed}", seed) for seed in range(4)]


def relative(tensors: Tensor, exact: Tensor) -> float:
    return float((tensors.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize("block", [1000, streaming.BLOCK])
def test_sums_are_those_of_the_whole_tensors(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr("armillary.methods.bricks.merging.streaming.BLOCK", block)
    weights = [0.5, -1.0, 2.0]
    result = merge_models(models[0], models[1:], tmp_path / "out", "task_arithmetic", weights=weights, scale=0.4)
    base, ends, tensors = read(models[0]), [read(one) for one in models[1:]], read(tmp_path / "out")
    assert tensors.keys() == base.keys() and result.tensors == len(base)
    for name, start in base.items():
        delta = sum(w * (end[name].double() - start.double()) for w, end in zip(weights, ends, strict=True))
        torch.testing.assert_close(tensors[name].double(), start.double() + 0.4 * delta, rtol=0, atol=1e-6)
    assert 0 < result.error < 1e-5
    record = json.loads((tmp_path / "out" / "armillary_merge.json").read_text())
    assert record["error"] == result.error and record["rule"]["method"] == "task_arithmetic"


@pytest.mark.parametrize("method", ["average", "ties_global", "ties_tensor", "ties_peft", "dare", "dare_ties"])
def test_merging_a_model_with_itself_is_itself(models: list[Path], tmp_path: Path, method: str) -> None:
    scale = 1 / 3 if method == "dare" else 1.0
    merge_models(models[0], [models[1]] * 3, tmp_path / "out", method, density=1.0, scale=scale)
    for name, value in read(models[1]).items():
        torch.testing.assert_close(read(tmp_path / "out")[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["ties_global", "ties_tensor"])
def test_ties_trims_over_the_model_or_by_tensor(models: list[Path], tmp_path: Path, method: str) -> None:
    merge_models(models[0], [models[1]], tmp_path / "out", method, density=0.2)
    base, end, tensors = read(models[0]), read(models[1]), read(tmp_path / "out")
    shares = {name: float((tensors[name] != base[name]).double().mean()) for name in base}
    sizes = {name: value.numel() for name, value in base.items()}
    kept = sum(shares[name] * sizes[name] for name in base) / sum(sizes.values())
    assert kept == pytest.approx(0.2, abs=2e-3)
    moved = torch.cat([(end[name].double() - base[name].double()).abs().flatten() for name in base])
    bound = float(moved.sort(descending=True).values[int(0.2 * len(moved)) - 1])
    for name in base:
        expected = (end[name].double() - base[name].double()).abs() >= bound
        same = float(((tensors[name] != base[name]) == expected).double().mean())
        assert (same > 0.999) if method == "ties_global" else (abs(shares[name] - 0.2) < 0.02)


def test_the_result_opens_as_a_model_in_shards(models: list[Path], tmp_path: Path) -> None:
    result = merge_models(models[0], models[1:], tmp_path / "out", shard_bytes=60_000)
    out = tmp_path / "out"
    files = sorted(out.glob("model-*-of-*.safetensors"))
    assert len(files) > 3 and not (out / "model.safetensors").exists()
    single = max(value.numel() * 4 for value in read(models[0]).values())
    assert all(sum(v.numel() * 4 for v in load_file(file).values()) <= max(60_000, single) for file in files)
    loaded = load(out)
    merge_models(models[0], models[1:], tmp_path / "whole")
    whole = read(tmp_path / "whole")
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, whole[name])
    assert loaded.tokenizer.get_vocab() == tiny().tokenizer.get_vocab()
    assert result.bytes == sum(v.numel() * 4 for v in whole.values())


def test_low_precision_is_merged_in_float64_and_the_rounding_told(tmp_path: Path) -> None:
    models = [write(tmp_path / f"m{seed}", seed, dtype=torch.bfloat16) for seed in range(3)]
    result = merge_models(models[0], models[1:], tmp_path / "out")
    base, ends, tensors = read(models[0]), [read(one) for one in models[1:]], read(tmp_path / "out")
    for name, start in base.items():
        exact = start.double() + sum(end[name].double() - start.double() for end in ends) / 2
        assert tensors[name].dtype == torch.bfloat16 and torch.equal(tensors[name], exact.bfloat16())
    assert 1e-4 < result.error < 0.2


def test_a_tied_head_is_merged_once(tmp_path: Path) -> None:
    tie = {"settings": {"tie_word_embeddings": True}}
    models = [write(tmp_path / f"m{seed}", seed, **tie) for seed in range(3)]
    # A folder that stores the tied head a second time, as some tools do.
    held = read(models[1])
    save_file(
        {**held, "lm_head.weight": held["model.embed_tokens.weight"].clone()},
        models[1] / "model.safetensors",
        metadata={"format": "pt"},
    )
    result = merge_models(models[0], models[1:], tmp_path / "out")
    tensors = read(tmp_path / "out")
    assert "lm_head.weight" not in tensors and result.tensors == len(tensors)
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.lm_head.weight is model.model.embed_tokens.weight


ROTARY = 1 / 10000 ** (torch.arange(0, 8, 2) / 8)  # as the configuration gives it

FORMS: dict[str, tuple[dict[str, bool], Callable[[dict[str, Tensor]], dict[str, Tensor]]]] = {
    "untied": ({}, lambda held: held),
    "tied by the configuration, with a head of its own": ({"tie_word_embeddings": True}, lambda held: held),
    "tied, without a head": ({"tie_word_embeddings": True}, lambda held: without(held, "lm_head")),
    "tied, with a copy": ({"tie_word_embeddings": True}, lambda held: {**held, "lm_head.weight": held[EMBEDDING] + 0}),
    "tied, only the head stored": (
        {"tie_word_embeddings": True},
        lambda held: without({**held, "lm_head.weight": held[EMBEDDING]}, "embed"),
    ),
    "without prefix": ({}, lambda held: {name.removeprefix("model."): value for name, value in held.items()}),
    "in 16 bits": ({}, lambda held: {name: value.bfloat16() for name, value in held.items()}),
    "with tensors that nothing reads": (
        {},
        lambda held: {**held, "score.weight": torch.ones(2, 32), "model.layers.0.rotary_emb.inv_freq": ROTARY},
    ),
}
EMBEDDING = "model.embed_tokens.weight"


def without(held: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    return {name: value for name, value in held.items() if part not in name}


def in_form(folder: Path, form: str, seed: int, sharded: bool = False) -> Path:
    """A model stored in one of the forms that folders are met in."""
    changed, stored = FORMS[form]
    write(folder, seed)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changed}))
    held = stored(read(folder))
    parts = [dict(list(held.items())[:5]), dict(list(held.items())[5:])] if sharded else [held]
    names = ["model-1.safetensors", "model-2.safetensors"] if sharded else ["model.safetensors"]
    (folder / "model.safetensors").unlink()
    for name, part in zip(names, parts, strict=True):
        save_file(part, folder / name, metadata={"format": "pt"})
    if sharded:
        index = {name: file for file, part in zip(names, parts, strict=True) for name in part}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return folder


@pytest.mark.parametrize("seed", range(12))
def test_the_merge_of_folders_is_that_of_the_models_they_open_as(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    forms = [draw.choice(list(FORMS)) for _ in range(3)]
    folders = [in_form(tmp_path / str(n), form, n, sharded=draw.random() < 0.3) for n, form in enumerate(forms)]
    result = merge_models(folders[0], folders[1:], tmp_path / "out")
    base, first, second, merged = (load(folder).model.state_dict() for folder in (*folders, tmp_path / "out"))
    for name, start in base.items():
        expected = start + ((first[name] - start) + (second[name] - start)) / 2
        tolerance = 2e-2 if forms[0] == "in 16 bits" else 1e-6
        torch.testing.assert_close(merged[name], expected, rtol=0, atol=tolerance, msg=f"{forms}: {name}")
    heads = {form.startswith("tied, ") for form in forms}
    assert load(tmp_path / "out").model.config.tie_word_embeddings == (heads == {True})
    strays = {"score.weight", "model.layers.0.rotary_emb.inv_freq"}
    some = {form == "with tensors that nothing reads" for form in forms} == {True, False}
    assert set(result.left_out) == (strays if some else set())


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: configured(folder, quantization_config={"quant_method": "gptq", "bits": 4}), "by gptq"),
        (lambda folder: configured(folder, quantization_config=["gptq"]), "a method of its own"),
        (lambda folder: configured(folder, compression_config="x"), "a method of its own"),
        (lambda folder: configured(folder, quantization_config={"quant_method": "fp8"}), "by fp8"),
        (lambda folder: (folder / "quantize_config.json").write_text("{}"), "a method of its own"),
        (lambda folder: stored_as(folder, torch.int8), "as I8, which is quantised"),
        (lambda folder: stored_as(folder, torch.float8_e4m3fn), "as F8_E4M3, which is quantised"),
        (lambda folder: (folder / "adapter_config.json").write_text("{}"), "a whole model and an adapter"),
        (lambda folder: configured(folder, vocab_size=99), "does not fit its config"),
        (lambda folder: configured(folder, model_type="none-such"), "can't be opened"),
        (lambda folder: configured(folder, num_hidden_layers=3), "lacks 9 of its weights"),
        (lambda folder: keep_only(folder, lambda name: "lm_head" not in name), "lacks 1 of its weights"),
    ],
)
@pytest.mark.parametrize("place", [0, 2])
def test_what_is_no_whole_plain_model_is_refused(tmp_path: Path, spoil: Any, sentence: str, place: int) -> None:
    folders = [write(tmp_path / str(number), number) for number in range(3)]
    spoil(folders[place])
    with pytest.raises(ModelError, match=sentence):
        merge_models(folders[0], folders[1:], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def configured(folder: Path, **changed: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changed}))


def stored_as(folder: Path, dtype: torch.dtype) -> None:
    held = read(folder)
    held["model.layers.0.mlp.up_proj.weight"] = held["model.layers.0.mlp.up_proj.weight"].to(dtype)
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})


def keep_only(folder: Path, wanted: Callable[[str], bool]) -> None:
    held = {name: value for name, value in read(folder).items() if wanted(name)}
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})


def test_settings_that_differ_are_named(tmp_path: Path) -> None:
    folders = [write(tmp_path / str(number), number) for number in range(3)]
    configured(folders[2], rms_norm_eps=1e-3, use_cache=False, eos_token_id=3)
    (folders[1] / "chat_template.jinja").write_text("{{ messages[0].content }}")
    settings = merge_models(folders[0], folders[1:], tmp_path / "out").settings
    assert [name.split(" (")[0] for name in settings] == ["tokenizer", "rms_norm_eps of 2"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_interrupted_merge_leaves_nothing(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: Any
) -> None:
    before = [hashes(one) for one in models]
    there = sorted(path.name for path in tmp_path.iterdir())
    seen: list[str] = []

    def failing(tensors: Any, file: Path, metadata: Any) -> None:
        if seen:
            raise stop
        seen.append(file.name)
        save_file(tensors, file, metadata)

    monkeypatch.setattr(weight_folder, "save_file", failing)
    with pytest.raises((KeyboardInterrupt, StorageError)):
        merge_models(models[0], models[1:], tmp_path / "out", shard_bytes=60_000)
    assert len(seen) == 1 and sorted(path.name for path in tmp_path.iterdir()) == there
    assert [hashes(one) for one in models] == before


def test_only_one_shard_is_held_at_a_time(models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_tensors: list[int] = []
    at_save: list[int] = []
    original: Callable[..., Tensor] = weight_folder.WeightFolder.tensor

    def counted(self: Any, name: str) -> Tensor:
        read_tensors.append(1)
        return original(self, name)

    def saving(tensors: Any, file: Path, metadata: Any) -> None:
        at_save.append(len(read_tensors))
        save_file(tensors, file, metadata)

    monkeypatch.setattr(weight_folder.WeightFolder, "tensor", counted)
    monkeypatch.setattr(weight_folder, "save_file", saving)
    merge_models(models[0], models[1:], tmp_path / "out", shard_bytes=60_000)
    # Reading goes on between the shards: none is read before the one ahead of it is written.
    assert len(at_save) > 3 and at_save[0] < len(read_tensors) / 2
    assert all(earlier < later for earlier, later in pairwise(at_save))


def test_models_that_do_not_fit_are_refused_by_the_first_difference(models: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    cases: list[tuple[Path, str]] = [
        (
            write(tmp_path / "wide", 1, intermediate=64),
            r"first difference is model\.layers\.0\.mlp\.down_proj\.weight",
        ),
        (write(tmp_path / "deep", 1, layers=3), r"model\.layers\.2\.\S+, which \S+ lacks"),
        (write(tmp_path / "other", 1, kind="qwen3"), "architectures are qwen3 and llama"),
    ]
    retold = write(tmp_path / "retold", 1)
    held = json.loads((retold / "tokenizer.json").read_text())
    first, second = list(held["model"]["vocab"])[300:302]
    vocabulary = held["model"]["vocab"]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    (retold / "tokenizer.json").write_text(json.dumps(held))
    for model, sentence in [*cases, (retold, "tokenizer transplant")]:
        with pytest.raises(UsageError, match=sentence):
            merge_models(models[0], [models[1], model], out)
    assert not out.exists()


def test_bad_numbers_folders_and_settings_are_refused(models: list[Path], tmp_path: Path) -> None:
    held = read(models[2])
    held["model.layers.1.mlp.up_proj.weight"][3, 4] = torch.inf
    save_file(held, models[2] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NumericError, match=r"model\.layers\.1\.mlp\.up_proj\.weight of .*m2 holds"):
        merge_models(models[0], models[1:], tmp_path / "out")
    with pytest.raises(UsageError, match="may not sum to zero"):
        merge_models(models[0], models[1:3], tmp_path / "out", weights=[1.0, -1.0])
    with pytest.raises(UsageError, match="finite weights"):
        merge_models(models[0], [], tmp_path / "out")
    with pytest.raises(ModelError, match="there is no folder"):
        merge_models(models[0], [tmp_path / "nowhere"], tmp_path / "out")
    (models[1] / "model.safetensors").unlink()
    torch.save({}, models[1] / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled"):
        merge_models(models[0], [models[1]], tmp_path / "out")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="exists already"):
        merge_models(models[0], [models[3]], tmp_path / "taken")
    assert not (tmp_path / "out").exists()


def test_infinities_that_all_models_share_stay(models: list[Path], tmp_path: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    for folder in models:
        held = read(folder)
        held[name][3, 4] = -torch.inf
        save_file(held, folder / "model.safetensors", metadata={"format": "pt"})
    for method in ("average", "dare"):
        result = merge_models(models[0], models[1:], tmp_path / method, method)
        merged = read(tmp_path / method)[name]
        assert merged[3, 4] == -torch.inf and int((~merged.isfinite()).sum()) == 1
        assert result.error is not None and 0 < result.error < 10
    held = read(models[2])
    for value, holder in ((1.0, models[0]), (torch.nan, models[2])):
        held[name][3, 4] = value
        save_file(held, models[2] / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(NumericError, match=f"{name} of {holder} holds numbers that are not finite"):
            merge_models(models[0], models[1:], tmp_path / "never")


def test_an_index_may_not_point_elsewhere(models: list[Path], tmp_path: Path) -> None:
    index = {"weight_map": {"a": "../../elsewhere.safetensors"}}
    (models[1] / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="names other files than safetensors in the same folder"):
        merge_models(models[0], [models[1]], tmp_path / "out")
