"""A Llama-like model with experts as a stock Mixtral model, so that it can be saved and opened anywhere.

Legend: E experts, M neurons, D hidden size.
"""

from typing import cast

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, MistralConfig, MixtralConfig, MixtralForCausalLM

from armillary.errors import ModelError
from armillary.methods.bricks.grown import reopened
from armillary.methods.bricks.mixture import Mixture, mixtures
from armillary.models import LoadedModel

_SHARED = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",  # Mixtral's default is not Llama's
    "rope_parameters",
    "tie_word_embeddings",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
)


@torch.no_grad()
def to_mixtral(loaded: LoadedModel) -> LoadedModel:
    """A Mixtral model with the same logits, up to rounding, from a Llama-like one whose every layer is upcycled.

    ModelError for another architecture, layers without experts, experts that differ in number or width between
    layers, gates of 1 or closed experts: a Mixtral has none of these.
    """
    config = loaded.model.config
    found = list(mixtures(loaded.model).values())
    if not isinstance(config, LlamaConfig | MistralConfig) or getattr(config, "attention_bias", False):
        raise ModelError(f"{loaded.name} is no Llama or Mistral without attention biases, so it is no Mixtral either.")
    shapes = {(len(one.experts), one.top_k, *_matrices(one.experts[0])[2].shape) for one in found}
    if len(found) != config.num_hidden_layers or len(shapes) != 1:
        raise ModelError(f"{loaded.name} needs the same experts in each of its {config.num_hidden_layers} layers.")
    if any(one.unit_gates or not bool(one.opening_E.isfinite().all()) for one in found):
        raise ModelError(f"{loaded.name} has gates of 1 or closed experts, which Mixtral does not have.")
    shared = {name: getattr(config, name) for name in _SHARED if hasattr(config, name)}
    wanted = MixtralConfig(
        **shared,
        sliding_window=getattr(config, "sliding_window", None),
        num_local_experts=len(found[0].experts),
        num_experts_per_tok=found[0].top_k,
    )
    with torch.random.fork_rng(devices=[]):  # the random start is overwritten
        target = MixtralForCausalLM(wanted)
    state = {name: value for name, value in loaded.model.state_dict().items() if ".mlp." not in name}
    for layer, mixture in enumerate(found):
        state |= {f"model.layers.{layer}.mlp.{name}": value for name, value in _experts(mixture).items()}
    target.load_state_dict(state)
    nn.Module.to(target, device=loaded.device, dtype=loaded.dtype).eval()
    return reopened(loaded, target, f"{loaded.source}; as Mixtral")


def _experts(mixture: Mixture) -> dict[str, Tensor]:
    parts = [_matrices(expert) for expert in mixture.experts]
    return {
        "gate.weight": torch.stack(tuple(mixture.router_rows)),
        "experts.gate_up_proj": torch.stack([torch.cat([gate, up]) for gate, up, _ in parts]),
        "experts.down_proj": torch.stack([down for _, _, down in parts]),
    }


def _matrices(expert: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
    """Gate, up and down of a Llama block; ModelError where there is none or a bias."""
    names = ("gate_proj", "up_proj", "down_proj")
    found = [getattr(expert, name, None) for name in names]
    if any(not isinstance(one, nn.Linear) or one.bias is not None for one in found):
        raise ModelError("the experts are not gate, up and down without biases, as Mixtral's are.")
    gate, up, down = (cast(nn.Linear, one).weight for one in found)
    return gate, up, down
