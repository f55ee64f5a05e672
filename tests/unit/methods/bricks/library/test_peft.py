"""In and out through PEFT's folders: exactly, or refused by name."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from peft import AutoPeftModelForCausalLM, EvaConfig, IA3Config, LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.config import CordaConfig
from safetensors.torch import load_file, save_file

from armillary.errors import StorageError, UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.library.peft import brick_from_adapter, read_adapter, stated_base, write_adapter
from armillary.methods.bricks.merging.adapters import merge
from armillary.methods.bricks.payloads import Index, LowRank, Partition
from armillary.models import LoadedModel, load, tiny
from armillary.models.adapters.stated_base import same_model

from ..bricks_toy import KINDS, logits, lora_brick

# Raised inside PEFT: advice to its users, and a property of transformers that it still asks for.
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("UserWarning", "FutureWarning")]


def saved(folder: Path, kind: str = "llama", **settings: Any) -> tuple[Path, Any]:
    """A folder that PEFT wrote, with random factors, and the model that wrote it."""
    config = LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": r".*(q_proj|down_proj)", **settings})
    torch.manual_seed(0)
    model = get_peft_model(tiny(kind).model, config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_" in name:
                value.copy_(torch.randn_like(value) * 0.1)
    model.save_pretrained(folder)
    return folder, model.eval()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_rslora": True},
        {"rank_pattern": {"down_proj": 2, "layers.0.self_attn.q_proj": 3}, "alpha_pattern": {"q_proj": 5}},
        {"use_rslora": True, "rank_pattern": {"down_proj": 2}, "alpha_pattern": {"layers.1.mlp.down_proj": 9}},
    ],
    ids=["plain", "rslora", "patterns", "rslora patterns"],
)
def test_a_lora_is_read_with_its_exact_scale(tmp_path: Path, settings: dict[str, Any]) -> None:
    folder, model = saved(tmp_path / "adapter", **settings)
    result = read_adapter(folder)
    assert len(result.factors) == 4
    for path in result.factors:
        expected = model.base_model.model.get_submodule(path).get_delta_weight("default")
        torch.testing.assert_close(result.delta(path), expected, rtol=1e-6, atol=1e-7)
    loaded = tiny()
    with mounted(loaded, [brick_from_adapter(folder, loaded)]), torch.no_grad():
        inside = logits(loaded)
        expected = model(**loaded.tokenizer("The capital of France is Paris and the sky is blue", return_tensors="pt"))
    torch.testing.assert_close(inside, expected.logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"bias": "all"}, "bias='all'"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_bias": True}, "lora_bias=True"),
        ({"init_lora_weights": "pissa"}, "began from pissa"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_more_than_a_lora_is_refused_by_name(tmp_path: Path, settings: dict[str, Any], named: str) -> None:
    folder, _ = saved(tmp_path / "adapter", **settings)
    with pytest.raises(UsageError, match=named):
        read_adapter(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "orthogonal"},
        {"init_lora_weights": False},
        {"init_lora_weights": "eva", "eva_config": EvaConfig()},
        {"corda_config": CordaConfig()},
        {"loftq_config": {"loftq_bits": 4}},
        {"target_modules": ["lm_head", "down_proj"]},
        {"target_modules": ["lm_head"], "r": 3, "use_rslora": True},
        {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj", "down_proj"], "layers_to_transform": 1, "layers_pattern": ["x", "model.layers"]},
        {"exclude_modules": ["up_proj"], "target_modules": ["up_proj", "down_proj"]},
        {"lora_alpha": 0.5},
        {"rank_pattern": {"^model.layers.1.mlp.down_proj": 1}, "alpha_pattern": {"^model.layers.[0-9].mlp.*": 3.5}},
        {"init_lora_weights": "mica"},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_what_is_accepted_is_what_peft_computes(tmp_path: Path, settings: dict[str, Any], kind: str) -> None:
    if kind == "gpt2":
        names = {
            "down_proj": "c_proj",
            "up_proj": "c_fc",
            "q_proj": "c_attn",
            "model.layers": "transformer.h",
            ".self_attn": ".attn",
        }
        text = json.dumps({key: value for key, value in settings.items() if not key.endswith("config")})
        for name, theirs in names.items():
            text = text.replace(name, theirs)
        settings = {**{"target_modules": ["c_attn", "c_proj"]}, **settings, **json.loads(text)}
    untied = {"settings": {"tie_word_embeddings": False}}
    folder, model = saved(tmp_path / "adapter", kind, **settings)
    loaded = tiny(kind, **(untied if kind == "llama" else {}))
    ids = loaded.tokenizer("The capital of France is Paris and the sky is blue", return_tensors="pt")
    brick = brick_from_adapter(folder, loaded)
    if kind == "gpt2" and "lm_head" in str(settings["target_modules"]):  # tied: PEFT changes the head alone
        with pytest.raises(UsageError, match="shares its weight"), mounted(loaded, [brick]):
            pass
    else:
        with mounted(loaded, [brick]), torch.no_grad():
            expected = model(**ids).logits
            torch.testing.assert_close(loaded.model(**ids).logits, expected, rtol=1e-5, atol=1e-5)
    write_adapter(brick, tmp_path / "out")
    again = PeftModel.from_pretrained(tiny(kind).model, tmp_path / "out").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**ids).logits, model(**ids).logits, rtol=1e-5, atol=1e-5)


MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"lora_alpha": None}, "lora_alpha must be a number; got None"),
    ({"lora_alpha": "eight"}, "lora_alpha must be a number; got 'eight'"),
    ({"lora_alpha": float("nan")}, "lora_alpha must be a number"),
    ({"lora_alpha": [16]}, "lora_alpha must be a number"),
    ({"r": "4"}, "r must be a whole number"),
    ({"r": None}, "r must be a whole number"),
    ({"r": 0}, "r must be a whole number"),
    ({"r": 4.0}, "r must be a whole number"),
    ({"r": True}, "r must be a whole number"),
    ({"r": 16}, r"\[4, \d+\] and \[\d+, 4\], but its configuration gives them the rank 16"),
    ({"r": "absent"}, "gives them the rank 8"),
    ({"rank_pattern": {"down_proj": 2}}, "gives them the rank 2"),
    ({"rank_pattern": {"down_proj": "4"}}, "rank_pattern must be an object of patterns and ranks"),
    ({"rank_pattern": [4]}, "rank_pattern must be"),
    ({"alpha_pattern": ["q_proj"]}, "alpha_pattern must be an object of patterns and numbers"),
    ({"alpha_pattern": {"q_proj(": 3}}, "alpha_pattern must be"),
    ({"alpha_pattern": {"q_proj": None}}, "alpha_pattern must be"),
    ({"use_rslora": "yes"}, "use_rslora must be true or false"),
    ({"target_modules": ["q_proj"]}, "down_proj, which its target_modules .* leave out"),
    ({"target_modules": "absent"}, "down_proj, which its target_modules"),
    ({"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [0]}, "layers.1.* or layers_to_transform"),
    ({"target_modules": ["q_proj", "down_proj"], "layers_to_transform": 1}, "layers.0.* or layers_to_transform"),
    ({"target_modules": ["q_proj", "down_proj"], "layers_to_transform": [0, 1], "layers_pattern": "h"}, "leave out"),
    ({"layers_to_transform": "0"}, "layers_to_transform must be a list of layers' numbers"),
    ({"layers_pattern": 1}, "layers_pattern must be a list of names"),
    ({"exclude_modules": ["q_proj"]}, "q_proj, which its target_modules .or exclude_modules"),
    ({"exclude_modules": r".*down_proj"}, "down_proj, which its target_modules"),
    ({"exclude_modules": 3}, "exclude_modules must be a list of module names"),
    ({"target_modules": r".*(q_proj|down_proj"}, "target_modules must be"),
    ({"target_modules": {"q_proj": 1}}, "target_modules must be"),
    ({"base_model_name_or_path": ["x"]}, "base_model_name_or_path must be a name"),
    ({"revision": 3}, "revision must be a name"),
    ({"peft_type": "absent"}, "adapter of kind None"),
    ({"init_lora_weights": "pissa_niter_4"}, "began from pissa_niter_4"),
    ({"init_lora_weights": "olora"}, "began from olora"),
    ({"init_lora_weights": "loftq"}, "began from loftq"),
    ({"init_lora_weights": "of the future"}, "began from of the future, which .* or is not known"),
    ({"init_lora_weights": {"x": 1}}, "began from"),
]


@pytest.mark.parametrize(("change", "sentence"), MALFORMED, ids=str)
def test_malformed_settings_are_one_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    folder, _ = saved(tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text()) | change
    config = {name: value for name, value in config.items() if value != "absent"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=sentence):
        read_adapter(folder)


@given(
    name=st.sampled_from(["r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "init_lora_weights",
                          "use_rslora", "peft_type", "base_model_name_or_path", "bias", "modules_to_save"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
        max_leaves=3,
    ),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_setting_of_any_type_is_a_trace(adapter_once: Path, name: str, value: Any) -> None:
    config = json.loads((adapter_once / "adapter_config.json").read_text())
    folder = adapter_once.parent / "changed"
    folder.mkdir(exist_ok=True)
    shutil.copy(adapter_once / "adapter_model.safetensors", folder)
    (folder / "adapter_config.json").write_text(json.dumps({**config, name: value}))
    with contextlib.suppress(UsageError):
        read_adapter(folder)


@pytest.fixture(scope="module")
def adapter_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("once") / "adapter")[0]


def test_all_linear_leaves_out_the_head_as_peft_does(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path / "adapter", target_modules=["lm_head", "down_proj"])
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "target_modules": "all-linear"}))
    with pytest.raises(UsageError, match="factors of lm_head, which its target_modules"):
        read_adapter(folder, tiny())


def test_the_bases_own_weights_beside_the_factors_are_let_through_only_unchanged(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path / "adapter", target_modules=["lm_head"])
    name = "base_model.model.lm_head.base_layer.weight"
    held = load_file(folder / "adapter_model.safetensors")
    assert name in held
    with pytest.raises(UsageError, match="a weight of its base"):
        read_adapter(folder)
    assert read_adapter(folder, tiny()).factors.keys() == {"lm_head"}
    for other in (held[name] * 1.01, held[name][:-1]):
        save_file({**held, name: other.contiguous()}, folder / "adapter_model.safetensors")
        with pytest.raises(UsageError, match="differs from"):
            read_adapter(folder, tiny())


def named_base(folder: Path, base: str | None, revision: str | None = None) -> Path:
    """An adapter that says that it was trained on this base."""
    saved(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    config |= {"base_model_name_or_path": base, "revision": revision}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


def cached_at_the_hub(cache: Path, name: str, commit: str, source: Path) -> Path:
    """A model in the hub's cache, as if it had been fetched."""
    repository = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(source, repository / "snapshots" / commit)
    (repository / "refs").mkdir(exist_ok=True)
    (repository / "refs" / "main").write_text(commit)
    return repository / "snapshots" / commit


def test_a_stated_base_is_compared_with_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, seed in (("base", 0), ("other", 1)):
        made = tiny(seed=seed)
        made.model.save_pretrained(name)
        made.tokenizer.save_pretrained(name)
    shutil.copytree("base", "copy")
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    snapshot = cached_at_the_hub(cache, "org/base", "a" * 40, tmp_path / "base")
    cached_at_the_hub(cache, "org/other", "b" * 40, tmp_path / "other")
    cases: list[tuple[str | None, str | None, str, str]] = [
        ("base", None, "base", "same"),
        (str(tmp_path / "base"), None, "./base/", "same"),
        ("copy", None, "base", "same"),
        ("other", None, "base", "different"),
        ("org/base", None, "base", "same"),
        ("org/base", "a" * 40, str(snapshot), "same"),
        ("org/other", None, "base", "different"),
        ("org/unseen", None, "base", "not verifiable"),
        ("gone/folder/of/old", None, "base", "not verifiable"),
        ("~nobody/model", None, "base", "not verifiable"),
        ("org/" + 300 * "a", None, "base", "not verifiable"),
        ("a\0b", None, "base", "not verifiable"),
        (None, None, "base", "not verifiable"),
        ("", None, "base", "not verifiable"),
    ]
    for number, (stated, revision, model, verdict) in enumerate(cases):
        folder, loaded = named_base(tmp_path / f"a{number}", stated, revision), load(model)
        if verdict == "different":
            with pytest.raises(UsageError, match=f"was trained on {stated}, which is not"):
                brick_from_adapter(folder, loaded)
        brick = brick_from_adapter(folder, loaded, allow_different_base=True)
        base = stated_base(brick)
        assert base is not None and (base.verdict, base.name) == (verdict, stated or ""), (stated, model)
        assert ("not verifiable" in base.words) == (verdict == "not verifiable")
    assert same_model("org/a", "", "org/b") == "different" and same_model("org/A", "", "org/a") == "same"
    assert same_model("org/a", "v2", "org/a") == "not verifiable"


def test_adapters_that_name_different_bases_merge_only_if_asked_for(tmp_path: Path) -> None:
    loaded = tiny()
    names = {"x": "tiny-llama", "y": "org/unseen", "z": "org/unseen", "w": None}
    bricks = {n: brick_from_adapter(named_base(tmp_path / n, base), loaded) for n, base in names.items()}
    for together in ("yz", "y", "yzw", "xw"):
        assert merge([bricks[name] for name in together]).report.different_base is None
    for together in ("xy", "yx", "zwx"):
        with pytest.raises(UsageError, match="was trained on org/unseen: base not verifiable, the brick 'x' on"):
            merge([bricks[name] for name in together])
        report = merge([bricks[name] for name in together], allow_different_base=True).report
        assert report.different_base is not None and "org/unseen" in report.different_base


@pytest.mark.parametrize("at_the_hub", [False, True])
def test_auto_peft_model_opens_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_the_hub: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny().model.save_pretrained("base")
    tiny().tokenizer.save_pretrained("base")
    name = "base"
    if at_the_hub:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        cached_at_the_hub(tmp_path / "hub", "org/base", "a" * 40, tmp_path / "base")
        name = "org/base"
    loaded = load("base")
    loaded = LoadedModel(loaded.model, loaded.tokenizer, loaded.anatomy, name, "as fetched")
    brick = lora_brick(loaded, 0)
    write_adapter(brick, "out")
    config = json.loads(Path("out/adapter_config.json").read_text())
    stated = (config["base_model_name_or_path"], config["revision"])
    assert stated == (("org/base", "a" * 40) if at_the_hub else (str(tmp_path / "base"), None))
    monkeypatch.chdir("/")
    cache = {"cache_dir": tmp_path / "hub"} if at_the_hub else {}
    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True, **cache).eval()
    with mounted(loaded, [brick]):
        inside = logits(loaded)
    with torch.no_grad():
        theirs = model(**loaded.tokenizer("The capital of France is Paris and the sky is blue", return_tensors="pt"))
    torch.testing.assert_close(theirs.logits, inside, rtol=1e-5, atol=1e-5)


def test_other_kinds_settings_and_tensors_are_refused_by_name(tmp_path: Path) -> None:
    model = get_peft_model(tiny().model, IA3Config(target_modules=["down_proj"], feedforward_modules=["down_proj"]))
    model.save_pretrained(tmp_path / "ia3")
    with pytest.raises(UsageError, match="kind IA3"):
        read_adapter(tmp_path / "ia3")
    folder, _ = saved(tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "from_the_future": 3}))
    with pytest.raises(UsageError, match="from_the_future=3"):
        read_adapter(folder)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    weights = load_file(folder / "adapter_model.safetensors")
    broken = {name: value.clone() for name, value in weights.items()}
    broken[next(name for name in broken if "lora_B" in name)][0, 0] = torch.nan
    save_file(broken, folder / "adapter_model.safetensors")
    with pytest.raises(UsageError, match="holds numbers that are not finite"):
        read_adapter(folder)
    save_file({**weights, "base_model.model.lm_head.weight": torch.ones(2)}, folder / "adapter_model.safetensors")
    with pytest.raises(UsageError, match=r"holds base_model\.model\.lm_head\.weight"):
        read_adapter(folder)
    (folder / "adapter_model.safetensors").unlink()
    torch.save({}, folder / "adapter_model.bin")
    with pytest.raises(StorageError, match="pickled"):
        read_adapter(folder)
    with pytest.raises(StorageError, match=r"no adapter_config\.json"):
        read_adapter(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_low_rank_brick_leaves_as_a_lora(tmp_path: Path, kind: str) -> None:
    loaded = tiny(kind)
    brick = lora_brick(loaded, 3, rank=3)
    with mounted(loaded, [brick]):
        inside = logits(loaded)
    write_adapter(brick, tmp_path / "out")
    model = PeftModel.from_pretrained(tiny(kind).model, tmp_path / "out").eval()
    with torch.no_grad():
        theirs = model(**loaded.tokenizer("The capital of France is Paris and the sky is blue", return_tensors="pt"))
    torch.testing.assert_close(theirs.logits, inside, rtol=1e-4, atol=2e-5)
    assert Brick.of(loaded, read_adapter(tmp_path / "out"), name=brick.name).id == brick.id


def test_an_edit_leaves_as_a_lora_of_rank_one_on_its_full_path(tmp_path: Path) -> None:
    loaded, path = tiny(), "model.layers.1.mlp.down_proj"
    generator = torch.Generator().manual_seed(0)
    u_M, residual_D = torch.randn(48, generator=generator), torch.randn(32, generator=generator)
    edit = Brick.of(loaded, LowRank({path: (u_M[None], residual_D[:, None])}), name="edit", kind="knowledge")
    write_adapter(edit, tmp_path / "edit")
    config = json.loads((tmp_path / "edit" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (1, 1, [path])
    edited = tiny()
    weight = edited.model.get_submodule(path).weight
    with torch.no_grad():
        weight += torch.outer(residual_D, u_M)
    wrapped = PeftModel.from_pretrained(tiny().model, tmp_path / "edit")
    merged_weight = wrapped.merge_and_unload().get_submodule(path).weight
    assert float((merged_weight - weight).abs().max()) <= 1e-6


def test_unlike_ranks_survive(tmp_path: Path) -> None:
    loaded = tiny()
    paths = ["model.layers.0.mlp.up_proj", "model.layers.1.mlp.up_proj", "model.layers.1.self_attn.o_proj"]
    parts = [lora_brick(loaded, seed, rank=seed + 1, paths=[path]) for seed, path in enumerate(paths)]
    joint = LowRank({path: part.payload.factors[path] for path, part in zip(paths, parts, strict=True)})
    write_adapter(Brick.of(loaded, joint, name="unlike"), tmp_path / "out")
    model = PeftModel.from_pretrained(tiny().model, tmp_path / "out")
    for path in paths:
        delta = model.base_model.model.get_submodule(path).get_delta_weight("default")
        torch.testing.assert_close(delta, joint.delta(path), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("op", ["mask", "keep"])
def test_a_mask_leaves_as_ia3_bit_equal(tmp_path: Path, kind: str, op: str) -> None:
    loaded = tiny(kind)
    payload = Index({0: np.array([0, 3, 17]), 1: np.arange(4, 48)})
    brick = Brick.of(loaded, payload, name="mask", op=op)  # type: ignore[arg-type]
    with mounted(loaded, [brick]):
        inside = logits(loaded)
    write_adapter(brick, tmp_path / "out")
    model = PeftModel.from_pretrained(tiny(kind).model, tmp_path / "out").eval()
    with torch.no_grad():
        theirs = model(**loaded.tokenizer("The capital of France is Paris and the sky is blue", return_tensors="pt"))
    assert torch.equal(theirs.logits, inside) and not torch.equal(logits(loaded), inside)


def test_what_peft_has_no_form_for_is_refused_and_nothing_is_overwritten(tmp_path: Path) -> None:
    loaded = tiny()
    for brick in (
        Brick.of(loaded, Partition(np.tile(np.arange(48) % 4, (2, 1)), 4), name="split"),
        Brick.of(loaded, Index({0: np.array([1])}), name="seen", op="read"),
    ):
        with pytest.raises(UsageError, match="no form as an adapter"):
            write_adapter(brick, tmp_path / "out")
    write_adapter(lora_brick(loaded, 0), tmp_path / "out")
    with pytest.raises(StorageError, match="exists already"):
        write_adapter(lora_brick(loaded, 1), tmp_path / "out")
