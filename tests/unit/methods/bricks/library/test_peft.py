"""In and out through PEFT's folders: exactly, or refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from armillary.errors import StorageError, UsageError
from armillary.methods.bricks.brick import Brick
from armillary.methods.bricks.library.mounting import mounted
from armillary.methods.bricks.library.peft import brick_from_adapter, read_adapter, write_adapter
from armillary.methods.bricks.payloads import Index, LowRank, Partition
from armillary.models import tiny

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
