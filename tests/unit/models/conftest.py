"""Tiny models on disk, in the forms a user may have them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter, quantize

from armillary.models import LoadedModel, tiny

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


@pytest.fixture(autouse=True)
def own_cache(cache_at: Path) -> None:
    """Every test here has a cache of its own."""


def save(loaded: LoadedModel, folder: Path) -> Path:
    """A folder as ``save_pretrained`` writes it."""
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], Path]:
    """Maker of a folder with a tiny model of a kind."""
    return lambda kind: save(tiny(kind), tmp_path / kind)


def gguf_twin(seed: int = 0) -> LoadedModel:
    """A tiny model of which a GGUF file can be written; transformers takes heads of Qwen3 to be 128 wide there."""
    return tiny("qwen3", seed=seed, settings={"head_dim": 128})


def write_gguf(
    loaded: LoadedModel,
    path: Path,
    more: Callable[[GGUFWriter], object] = lambda _: None,
    packed: Mapping[str, GGMLQuantizationType] | None = None,
) -> Path:
    """A GGUF file of a tiny Qwen3 or Llama model, tokenizer included, and whatever ``more`` adds; float32 but for the
    tensors that ``packed`` names, in the file's own names."""
    config, tokenizer = loaded.model.config, loaded.tokenizer
    out = GGUFWriter(path, config.model_type)
    out.add_context_length(config.max_position_embeddings)
    out.add_embedding_length(config.hidden_size)
    out.add_block_count(config.num_hidden_layers)
    out.add_feed_forward_length(config.intermediate_size)
    out.add_head_count(config.num_attention_heads)
    out.add_head_count_kv(config.num_key_value_heads)
    out.add_key_length(config.head_dim)
    out.add_value_length(config.head_dim)
    out.add_layer_norm_rms_eps(config.rms_norm_eps)
    out.add_rope_freq_base(config.rope_parameters["rope_theta"])
    out.add_vocab_size(config.vocab_size)
    backend = tokenizer.backend_tokenizer
    described = json.loads(backend.to_str())["model"]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(sorted(described["vocab"], key=described["vocab"].__getitem__))
    out.add_token_types([3 if i < 3 else 1 for i in range(len(described["vocab"]))])
    out.add_token_merges([" ".join(pair) for pair in described["merges"]])
    out.add_pad_token_id(0)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_add_bos_token(False)
    for name, tensor in loaded.model.state_dict().items():
        values, kind = np.ascontiguousarray(tensor.numpy()), (packed or {}).get(gguf_name(name))
        out.add_tensor(gguf_name(name), values if kind is None else quantize(values, kind), raw_dtype=kind)
    more(out)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return path


def gguf_name(name: str) -> str:
    """What a GGUF file calls a tensor."""
    fixed = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in fixed:
        return fixed[name]
    _, _, layer, *rest = name.removesuffix(".weight").split(".")
    return f"blk.{layer}.{_NAMES['.'.join(rest)]}.weight"
