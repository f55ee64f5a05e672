"""A partition with a linear router as an ordinary Mixtral folder, which transformers opens without this package.

Mixtral weighs experts by a softmax over the chosen ones; router rows made tiny keep their order and bring every weight
near 1 / k, which k times the down matrices undo. So the folder computes unit gates up to a small, measurable error.
Legend: E experts, S neurons of an expert, D hidden size.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, MixtralConfig, PreTrainedModel

from armillary.errors import ModelError, UsageError
from armillary.files import whole_folder
from armillary.methods.bricks.experts.router import Router, expert_neurons
from armillary.methods.bricks.payloads import Partition, sites_of
from armillary.models import LoadedModel
from armillary.models.feed_forward import FfnFunction, bias_O, ffn_functions, weight_OI
from armillary.models.quiet import quiet

LIKE = ("llama", "mistral")
"""Bases whose blocks are Mixtral's but for the FFN."""

FACTOR = 1e-4
"""What router rows are multiplied by. In bfloat16 logits so close may tie; float32 keeps their order."""

_SAME = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "hidden_act", "max_position_embeddings", "initializer_range", "rms_norm_eps", "pad_token_id", "bos_token_id",
    "eos_token_id", "sliding_window", "attention_dropout", "rope_parameters",
)  # fmt: skip


def mixtral_model(
    loaded: LoadedModel, partition: Partition, router: Router, k: int, *, factor: float = FACTOR
) -> PreTrainedModel:
    """A Mixtral of the base's type whose logits are those of ``routed(loaded, partition, router, k=k)`` nearly.

    UsageError for a router that is not linear or has an intercept (fit with ``intercept=False``), experts of unequal
    size, or a k outside 1 to E; ModelError for a base that is not like Llama or has biases Mixtral lacks.
    """
    _check(loaded, partition, router, k)
    functions = ffn_functions(loaded)
    assert router.first_LED is not None
    if any(bias_O(matrix) is not None for function in functions for matrix in function.parts.matrices.values()):
        raise ModelError(f"the FFNs of {loaded.name} have biases, which Mixtral's experts lack.")
    layers = [
        {"gate.weight": router.first_LED[layer] * factor, **_experts(function, partition, k)}
        for layer, function in enumerate(functions)
    ]
    size = partition.labels_LM.shape[1] // partition.experts
    mixtral = as_mixtral(loaded, layers, experts=partition.experts, k=k, size=size)
    mixtral.generation_config = loaded.model.generation_config
    return mixtral


def as_mixtral(
    loaded: LoadedModel, layers: Sequence[Mapping[str, Tensor]], *, experts: int, k: int, size: int
) -> PreTrainedModel:
    """A Mixtral that is the model but for its FFNs, on the CPU.

    ``layers`` hold the router and the experts of ``size`` neurons by their names inside Mixtral's block. ModelError
    where another part of the model has no counterpart there.
    """
    config = loaded.model.config
    same = {name: getattr(config, name) for name in _SAME if hasattr(config, name)}
    same["tie_word_embeddings"] = loaded.anatomy.tied  # a configuration may say otherwise than the model is
    wanted = MixtralConfig(**same, intermediate_size=size, num_local_experts=experts, num_experts_per_tok=k)
    with torch.random.fork_rng(devices=[]):  # the random start is overwritten
        mixtral: PreTrainedModel = AutoModelForCausalLM.from_config(wanted, dtype=loaded.dtype)
    state = {name: value for name, value in loaded.model.state_dict().items() if ".mlp." not in name}
    for layer, block in enumerate(layers):
        state |= {f"model.layers.{layer}.mlp.{name}": value for name, value in block.items()}
    missing = mixtral.load_state_dict(state, strict=False)
    if names := [*missing.missing_keys, *missing.unexpected_keys]:
        raise ModelError(f"{loaded.name} is not Mixtral but for its FFNs: {names[0]} has no counterpart there.")
    mixtral.eval()
    return mixtral


def write_mixtral(loaded: LoadedModel, partition: Partition, router: Router, k: int, out: Path | str) -> Path:
    """A new folder with ``mixtral_model`` and the tokenizer, opened again and compared; whole or not there.

    StorageError where ``out`` exists, ModelError where the folder opens as another model.
    """
    mixtral = mixtral_model(loaded, partition, router, k)
    with whole_folder(out) as folder:
        mixtral.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        with quiet():
            again = AutoModelForCausalLM.from_pretrained(folder, dtype=loaded.dtype).state_dict()
        if differing := [n for n, value in mixtral.state_dict().items() if not torch.equal(value, again[n])]:
            raise ModelError(f"the Mixtral of {loaded.name} opens with another {differing[0]} than was written.")
    return Path(out)


def _experts(function: FfnFunction, partition: Partition, k: int) -> dict[str, Tensor]:
    groups = [torch.from_numpy(chosen) for chosen in expert_neurons(partition, function.parts.layer)]
    reads = [weight_OI(read).detach().cpu() for read in function.reads]
    write_DM = weight_OI(function.parts.write).detach().cpu()
    return {
        "experts.gate_up_proj": torch.stack([torch.cat([read[chosen] for read in reads]) for chosen in groups]),
        "experts.down_proj": torch.stack([write_DM[:, chosen] * k for chosen in groups]),
    }


def refuse_unlike(loaded: LoadedModel, experts: int) -> None:
    """ModelError for a base that is not like Mixtral, UsageError where its neurons can't be split into equal parts."""
    kind, width = str(loaded.model.config.model_type), loaded.anatomy.intermediate_size
    if kind not in LIKE:
        raise ModelError(f"{loaded.name} is of type {kind}; Mixtral can stand in for {' or '.join(LIKE)} only.")
    if width % experts:
        raise UsageError(f"Mixtral's experts have one size; {experts} experts do not divide {width} neurons.")


def _check(loaded: LoadedModel, partition: Partition, router: Router, k: int) -> None:
    refuse_unlike(loaded, partition.experts)
    sites_of(loaded, partition)
    if not 1 <= k <= partition.experts:
        raise UsageError(f"k must be 1 to {partition.experts}, the number of experts; got {k}.")
    if router.kind not in ("ridge", "centroid") or router.bias_LE is not None:
        raise UsageError(
            f"Mixtral's router is linear without an intercept; got a router of kind {router.kind}"
            f"{' with an intercept: fit it with intercept=False' if router.bias_LE is not None else ''}."
        )
