"""An adapter's folder as a model: PEFT's own logits to the last bit, switched, merged, or refused in a sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from armillary.errors import ArmillaryError, ModelError, StorageError, UsageError
from armillary.models import LoadedModel, adapter_base, load, loading, open_adapter, tiny

from .conftest import save

# Raised inside PEFT: advice to its users, and a property of transformers that it still asks for.
pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("UserWarning", "FutureWarning")]

Trained = Callable[..., Path]


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    """Maker of an adapter's folder that names the base beside it."""

    def make(kind: str = "llama", base: str | None = None, **settings: Any) -> Path:
        folder = tmp_path / f"adapter-{kind}"
        if base is None:
            base = str(save(tiny(kind), tmp_path / f"base-{kind}"))
        config = LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": r".*(q_proj|down_proj)", **settings})
        model = get_peft_model(tiny(kind).model, config)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, value in model.named_parameters():
                if "lora_" in name:
                    value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
        model.peft_config["default"].base_model_name_or_path = base
        model.save_pretrained(folder)
        return folder

    return make


def logits_of(loaded: LoadedModel) -> Tensor:
    ids = loaded.tokenizer("Paris lives in the city of", return_tensors="pt").input_ids
    with torch.no_grad():
        return loaded.model(ids).logits


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "float32": ("float32", "llama", {}),
    "bfloat16": ("bfloat16", "llama", {}),
    "float64": ("float64", "qwen3", {"target_modules": "all-linear"}),
    "rslora": ("float32", "llama", {"use_rslora": True, "rank_pattern": {"down_proj": 2}}),
    "head": ("float32", "llama", {"target_modules": ["lm_head", "v_proj"]}),
    "conv1d": ("bfloat16", "gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_logits_are_pefts_own_bit_for_bit(case: str, trained: Trained) -> None:
    dtype, kind, settings = CASES[case]
    folder = trained(kind, **settings)
    switched = open_adapter(folder, dtype=dtype)
    base = load(folder.parent / f"base-{kind}", dtype=dtype)
    plain = logits_of(base)
    theirs = PeftModel.from_pretrained(base.model, folder).eval()
    ids = base.tokenizer("Paris lives in the city of", return_tensors="pt").input_ids
    with torch.no_grad():
        with theirs.disable_adapter():
            assert torch.equal(logits_of(switched.off()), theirs(ids).logits)
        assert torch.equal(logits_of(switched.on()), theirs(ids).logits)
        assert torch.equal(logits_of(switched.off()), plain)
        merged = load(folder, dtype=dtype)
        assert not torch.equal(logits_of(merged), plain)
        if case != "head":  # PEFT adds to the embedding what is meant for the head that shares it
            assert torch.equal(logits_of(merged), theirs.merge_and_unload()(ids).logits)
        else:
            torch.testing.assert_close(logits_of(merged), logits_of(switched.on()), atol=1e-4, rtol=1e-4)


def test_one_copy_is_two_models(trained: Trained) -> None:
    switched = open_adapter(trained())
    base, adapted = switched.off(), switched.on()
    assert base.model is adapted.model
    assert base.identity == tiny().identity != adapted.identity
    assert base.fingerprint != adapted.fingerprint and adapted.facts()["fingerprint"] == adapted.fingerprint
    assert switched.stated.verdict == "same"
    with switched.switched(False):
        assert torch.equal(logits_of(base), logits_of(tiny()))
    assert not torch.equal(logits_of(adapted), logits_of(tiny()))


def test_columns_of_an_adapted_head(trained: Trained) -> None:
    adapted = open_adapter(trained(target_modules=["lm_head"])).on()
    hidden = torch.randn(2, adapted.anatomy.hidden_size)
    some = torch.tensor([3, 5])
    torch.testing.assert_close(adapted.anatomy.logits(hidden, some), adapted.anatomy.logits(hidden)[..., some])


def test_a_merged_adapter_is_a_model_like_any_other(trained: Trained, tmp_path: Path) -> None:
    folder = trained(target_modules=["lm_head", "down_proj"])
    merged = load(folder)
    assert merged.name == str(folder) and "merged" in merged.source
    again = load(save(merged, tmp_path / "whole"))
    assert torch.equal(logits_of(again), logits_of(merged))
    assert again.fingerprint == merged.fingerprint and not again.anatomy.tied


def test_the_base_may_be_named_by_the_caller(trained: Trained, tmp_path: Path) -> None:
    folder = trained(base="gone/away")
    with pytest.raises(ModelError, match="is an adapter of gone/away, which can't be opened"):
        load(folder)
    switched = open_adapter(folder, base="tiny-llama")
    assert switched.stated.verdict == "not verifiable"
    assert adapter_base(folder) == "gone/away" and adapter_base(save(tiny(), tmp_path / "whole")) is None
    assert adapter_base("tiny-llama") is None


def refused(kind: type[ArmillaryError], opening: Callable[[], object]) -> str:
    with pytest.raises(kind) as caught:
        opening()
    text = str(caught.value)
    assert type(caught.value) is kind and "\n" not in text and text.endswith(".")
    return text


def test_an_adapter_of_another_base(trained: Trained, tmp_path: Path) -> None:
    folder = trained()
    other = save(tiny(seed=3), tmp_path / "other")
    assert "is an adapter of another base: it was trained on" in refused(
        UsageError, lambda: open_adapter(folder, base=other)
    )
    assert "which tiny-gpt2 does not have: it is an adapter of another base (it names " in refused(
        UsageError, lambda: open_adapter(folder, base="tiny-gpt2")
    )
    wide = save(tiny("llama", hidden=64), tmp_path / "wide")
    assert "as a matrix of [32, 48], but" in refused(UsageError, lambda: open_adapter(folder, base=wide))
    assert "is a whole model, not an adapter" in refused(UsageError, lambda: open_adapter("tiny-llama"))


def test_a_revision_of_a_folder_is_refused(tmp_path: Path) -> None:
    folder = save(tiny(), tmp_path / "model")
    assert "has no revisions" in refused(UsageError, lambda: load(folder, revision="v1"))
    assert load("tiny-llama", revision="v1").identity == tiny().identity


def test_what_is_no_lora_or_broken(trained: Trained) -> None:
    folder = trained()
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())

    def with_setting(**settings: object) -> str:
        path.write_text(json.dumps({**config, **settings}))
        return refused(UsageError, lambda: load(folder))

    assert "use_dora=True" in with_setting(use_dora=True)
    assert "an adapter of kind IA3" in with_setting(peft_type="IA3")
    assert "names no base model" in with_setting(base_model_name_or_path=None)
    path.write_text(json.dumps({**config, "base_model_name_or_path": str(folder)}))
    assert "names another adapter as its base" in refused(ModelError, lambda: load(folder))
    path.write_text(json.dumps(config))
    weights = load_file(folder / "adapter_model.safetensors")
    first = sorted(weights)[0]
    save_file({**weights, first: weights[first] * torch.nan}, folder / "adapter_model.safetensors")
    assert "holds numbers that are not finite" in refused(UsageError, lambda: load(folder))
    (folder / "adapter_model.safetensors").unlink()
    assert "holds no adapter_model.safetensors" in refused(StorageError, lambda: load(folder))


def test_an_adapter_of_the_hub(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, calls = trained(), []

    def fetched(hub_id: str, *, online: bool, revision: str | None = None) -> Path:
        calls.append((hub_id, revision))
        return Path(shutil.copytree(folder, folder.parent / f"hub{len(calls)}"))

    monkeypatch.setattr(loading, "reachable", lambda: True)
    monkeypatch.setattr(loading, "hub_folder", fetched)
    assert torch.equal(logits_of(load("owner/lora@v2", revision="other")), logits_of(load(folder)))
    assert open_adapter("owner/lora", revision="v1").on().name == "owner/lora"
    assert calls == [("owner/lora", "v2"), ("owner/lora", "v1")]
