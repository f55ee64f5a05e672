"""Packed weights: by whichever package is there, or one sentence; and models of which a part lies elsewhere."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload
from torch import nn

from armillary.errors import ModelError, UsageError
from armillary.models import LoadedModel, load, open_adapter, packing, tiny
from armillary.models.feed_forward import weight_OI

from .conftest import save


def installed(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    monkeypatch.setattr(packing, "_version", lambda package: "1.0" if package in packages else None)


def test_without_a_package_it_is_said_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    for opening in (load, open_adapter):
        with pytest.raises(UsageError, match=r"needs the package bitsandbytes or torchao, and neither is installed"):
            opening("tiny-llama", quantize="int8")
    with pytest.raises(UsageError, match="quantize 'int3' is not known; it is one of int8, int4"):
        load("tiny-llama", quantize="int3")


def test_bitsandbytes_on_cuda_is_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "bitsandbytes")
    eight, words = packing.packing("int8", torch.device("cuda"))
    assert eight.load_in_8bit and words == "int8 by bitsandbytes 1.0"
    four, _ = packing.packing("int4", None)
    assert four.load_in_4bit and four.bnb_4bit_quant_type == "nf4"


def test_that_nothing_was_packed_is_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(ModelError, match="no linear layer of the model can be packed as int4 by x"):
        packing.packed_layers(model, "int4 by x")

    class Codes(nn.Parameter):
        pass

    model[1].weight = Codes(torch.zeros(2, 2))
    with pytest.raises(ModelError, match="they are packed; open the model without quantize"):
        weight_OI(model[1])
    assert packing.packed_layers(model, "int4 by x") == "1 of 2 linear layers as int4 by x"


def test_a_packed_folder_is_not_packed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, "bitsandbytes")
    with pytest.raises(UsageError, match="this one is open already"):
        load((tiny().model, tiny().tokenizer), quantize="int8")


def test_device_auto_gives_the_model(tmp_path: Path) -> None:
    folder = save(tiny(), tmp_path / "model")
    assert load(folder, device="auto").identity == load(folder).identity == load("tiny-llama", device="auto").identity


def test_weights_that_lie_elsewhere_are_told_and_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = tiny()
    ids = made.tokenizer("Paris lives in", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = made.model(ids).logits
    cpu_offload(made.model, execution_device=torch.device("cpu"))
    assert made.model.lm_head.weight.is_meta
    away = LoadedModel(made.model, made.tokenizer, made.anatomy, "away", "offloaded")
    assert away.fingerprint == tiny().fingerprint and away.device == torch.device("cpu")
    with torch.no_grad():
        assert torch.equal(made.model(ids).logits, expected)
