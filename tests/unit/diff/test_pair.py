"""Which two models are compared, and what is refused in one sentence before anything is opened."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from armillary.diff.config import DiffConfig
from armillary.diff.pair import Origin, Pair, Side, origin_of
from armillary.errors import ArmillaryError, UsageError
from armillary.models import tiny

CONFIG = DiffConfig(base="x")


def adapter(folder: Path, base: str | None) -> str:
    """A small adapter that names this base."""
    folder.mkdir()
    path = "base_model.model.model.layers.0.mlp.down_proj"
    factors = {f"{path}.lora_A.weight": torch.ones(2, 48), f"{path}.lora_B.weight": torch.ones(32, 2)}
    save_file(factors, folder / "adapter_model.safetensors")
    settings = {"peft_type": "LORA", "r": 2, "target_modules": ["down_proj"], "base_model_name_or_path": base}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return str(folder)


def test_an_adapter_and_its_base_are_one_copy(tmp_path: Path) -> None:
    pair = Pair(None, origin_of(adapter(tmp_path / "a", "tiny-llama"), CONFIG), CONFIG)
    assert pair.is_adapter and pair.origins["base"].name == "tiny-llama"
    base, after = pair.open("base"), pair.open("after")
    assert base.model is after.model and base.identity == tiny().identity != after.identity


@pytest.mark.parametrize(
    ("stated", "words"), [("gone/away", "is an adapter of gone/away, which can't"), (None, "names no base")]
)
def test_a_base_that_is_not_there_may_be_given(stated: str | None, words: str, tmp_path: Path) -> None:
    after = origin_of(adapter(tmp_path / "a", stated), CONFIG)
    with pytest.raises(UsageError, match=words):
        Pair(None, after, CONFIG)
    assert Pair(origin_of("tiny-llama", CONFIG), after, CONFIG).open("after").adapted_from is not None


def test_an_adapter_on_a_base_that_was_given_open_leaves_it_as_it_was(tmp_path: Path) -> None:
    ready = tiny()
    own = Pair(None, origin_of(adapter(tmp_path / "a", "tiny-llama"), CONFIG), CONFIG)
    pair = Pair(Origin(name="mine", ready=ready), own.origins["after"], CONFIG)
    ids = torch.tensor([[1, 2, 3]])

    def logits(side: Side) -> list[torch.Tensor]:
        return [one.open(side).model(ids).logits for one in (own, pair)]

    with torch.inference_mode():
        before = ready.model(ids).logits
        assert pair.open("base") is ready and pair.open("after").model is ready.model
        assert torch.equal(*logits("base")) and torch.equal(*logits("after"))
        changed = pair.open("after").model(ids).logits
        pair.free()
        assert torch.equal(ready.model(ids).logits, before) and not torch.equal(changed, before)


def test_what_makes_no_pair(tmp_path: Path) -> None:
    whole, on_top = origin_of("tiny-llama", CONFIG), origin_of(adapter(tmp_path / "a", "tiny-llama"), CONFIG)
    for base, after, words in ((None, whole, "give the model that it is"), (on_top, whole, "give it after the model")):
        with pytest.raises(ArmillaryError, match=words):
            Pair(base, after, CONFIG)
    with pytest.raises(ArmillaryError, match="another base"):
        Pair(origin_of("tiny-gpt2", CONFIG), on_top, CONFIG).open("after")
