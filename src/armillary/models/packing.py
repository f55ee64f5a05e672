"""Weights packed into 8 or 4 bits as a model is opened, by bitsandbytes or torchao where one is installed."""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, TorchAoConfig

from armillary.errors import ModelError, UsageError

BITS = ("int8", "int4")


def packing(how: str, device: torch.device | None) -> tuple[Any, str]:
    """What transformers is given to pack linear layers, and by what, in words.

    bitsandbytes is taken on a CUDA device and torchao elsewhere, where both are installed: LLM.int8() or 4-bit
    NormalFloat, and rounding of each weight's groups. UsageError for another word, or where neither is installed.
    """
    if how not in BITS:
        raise UsageError(f"quantize {how!r} is not known; it is one of {', '.join(BITS)}.")
    known = {package: _version(package) for package in ("bitsandbytes", "torchao")}
    first = "torchao" if device is not None and device.type != "cuda" else "bitsandbytes"
    chosen = next((package for package in (first, *known) if known[package]), None)
    if chosen is None:
        raise UsageError(
            "--quantize needs the package bitsandbytes or torchao, and neither is installed: "
            "pip install 'armillary[quantize]'."
        )
    words = f"{how} by {chosen} {known[chosen]}"
    if chosen == "bitsandbytes":
        if how == "int8":
            return BitsAndBytesConfig(load_in_8bit=True), words
        return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4"), words
    quantization = import_module("torchao.quantization")
    if how == "int8":
        return TorchAoConfig(quantization.Int8WeightOnlyConfig()), words
    # Groups of 16 divide the widths of all models we know; this form needs no kernel of its own and runs anywhere.
    groups = import_module("torchao.quantization.granularity").PerGroup(16)
    four_bits = getattr(torch, "int4")  # noqa: B009  (torch's stubs lack it)
    return TorchAoConfig(quantization.IntxWeightOnlyConfig(weight_dtype=four_bits, granularity=groups)), words


def packed_layers(model: nn.Module, how: str) -> str:
    """How many of the linear layers were packed, in words. ModelError where none was: widths may forbid it."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    packed = sum(type(module.weight) is not nn.Parameter for module in layers)
    if not packed:
        raise ModelError(
            f"no linear layer of the model can be packed as {how}; their widths don't divide into groups."
        )
    return f"{packed} of {len(layers)} linear layers as {how}"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
