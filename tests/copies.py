"""Copies of a model by what people do to models, for tests that must find what stayed the same."""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from armillary.models import LoadedModel
from armillary.models.anatomy import find_anatomy
from armillary.models.feed_forward import feed_forward, weight_OI


def changed(loaded: LoadedModel, change: Callable[[PreTrainedModel], object], name: str = "copy") -> LoadedModel:
    """A copy whose model went through ``change``."""
    model = copy.deepcopy(loaded.model)
    with torch.no_grad():
        change(model)
    return replace(loaded, model=model.eval(), anatomy=find_anatomy(model), name=name)


def permuted(loaded: LoadedModel, layers: Sequence[int] | None = None) -> LoadedModel:
    """The same function: neurons in another order, and of gated blocks each up row scaled against its down column."""
    made = changed(loaded, lambda model: None, "permuted")
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in range(made.anatomy.num_layers) if layers is None else layers:
            parts = feed_forward(made, layer)
            order = torch.randperm(parts.width, generator=generator)
            scale = 0.5 + torch.rand(parts.width, generator=generator) if parts.is_gated else torch.ones(parts.width)
            scale[::3] *= -1 if parts.is_gated else 1
            for read in parts.reads:
                weight_OI(read).copy_(weight_OI(read)[order].clone())
                if read.bias is not None:
                    read.bias.copy_(read.bias[order].clone())
            # Of a gated block the second read is linear: what it gains its column of the write loses.
            weight_OI(parts.reads[-1]).mul_(scale[:, None])
            weight_OI(parts.write).copy_(weight_OI(parts.write)[:, order].clone() / scale)
    return made


def rounded_to_bfloat16(loaded: LoadedModel) -> LoadedModel:
    """What a bfloat16 file holds, opened in float32."""
    return changed(loaded, lambda model: model.bfloat16().float(), "bf16")


def pruned(loaded: LoadedModel, share: float) -> LoadedModel:
    """The smallest weights of each matrix set to 0."""

    def prune(model: PreTrainedModel) -> None:
        for weight in model.parameters():
            if weight.dim() >= 2:
                least = weight.abs().flatten().kthvalue(int(share * weight.numel())).values
                weight[weight.abs() <= least] = 0

    return changed(loaded, prune, f"pruned {share:g}")


def without_layer(loaded: LoadedModel, dropped: int) -> LoadedModel:
    """A Llama without one of its layers."""

    def drop(model: PreTrainedModel) -> None:
        layers = [layer for index, layer in enumerate(model.model.layers) if index != dropped]
        for index, layer in enumerate(layers):
            layer.self_attn.layer_idx = index
        model.model.layers = nn.ModuleList(layers)
        model.config.num_hidden_layers = len(layers)

    return changed(loaded, drop, "shallower")


def trained(loaded: LoadedModel, *, steps: int, rate: float, seed: int = 0) -> LoadedModel:
    """Trained on noisy counting: the ids of each row go up by one, from anywhere."""

    @torch.enable_grad()
    def train(model: PreTrainedModel) -> None:
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        for _ in range(steps):
            start = torch.randint(3, 1200, (16, 1), generator=generator)
            ids = start + torch.arange(12) + torch.randint(2, (16, 12), generator=generator)
            model(input_ids=ids, labels=ids).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return changed(loaded, train, "trained")


def with_tokens(loaded: LoadedModel, words: list[str], *, rows: int = 0) -> LoadedModel:
    """The model with tokens added, and as many rows as its tokenizer and ``rows`` more."""
    tokenizer, model = copy.deepcopy(loaded.tokenizer), copy.deepcopy(loaded.model)
    tokenizer.add_special_tokens({"additional_special_tokens": words})
    model.resize_token_embeddings(len(tokenizer) + rows, mean_resizing=False)
    return replace(loaded, model=model, tokenizer=tokenizer, anatomy=find_anatomy(model), name="grown")


def with_tokens_exchanged(loaded: LoadedModel, first: str = "ĠParis", second: str = "ĠLondon") -> LoadedModel:
    """The ids of two tokens exchanged in the tokenizer alone: as many tokens, the same strings."""
    content = json.loads(loaded.tokenizer.backend_tokenizer.to_str())
    vocabulary = content["model"]["vocab"]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), bos_token="<bos>")
    return replace(loaded, tokenizer=tokenizer, name="other")
