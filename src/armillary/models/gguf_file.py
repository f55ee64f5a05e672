"""GGUF files, unpacked once to float32 safetensors: packed weights can't be trained and are slower."""

import math
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from tokenizers import pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    modeling_gguf_pytorch_utils as gguf_tensors,
)
from transformers.integrations.gguf import gguf_tokenizer_mapping as gguf_tokens

from armillary.errors import ModelError
from armillary.fetch import cache
from armillary.files import no_space, sha256_of
from armillary.models.gguf_reader import QuickReader, quick
from armillary.models.quiet import quiet, reason, refuse_gaps, refuse_unread
from armillary.progress import counted

CONVERTER = 3
"""Raised with every change here that gives other tensors, settings or tokens; 2 reads rope_freqs, 3 parts
digits first where the file says so."""


def converter_version() -> str:
    """What a conversion depends on beside the file: our part, and the libraries that unpack tensors and tokenizer."""
    return f"converter {CONVERTER}, transformers {version('transformers')}, gguf {version('gguf')}"


def converted(path: Path) -> Path:
    """The folder with the model of a ``.gguf`` file, converted at first use and then taken from the cache.

    The cache goes by the file's sha256, so a renamed file is known and a changed one is not mixed up, and by
    ``converter_version``: another version reads the file anew.
    ModelError where the file is not GGUF, is cut short, or holds an architecture that transformers can't read.
    """
    folder = cache.slot(f"gguf-{sha256_of(path)[:32]}", converter_version())
    if cache.intact(folder):
        return folder
    parameters = count_parameters(path)

    def make(result: Path, _scratch: Path) -> None:
        with counted(f"convert {path.name}", CONVERT_STEPS) as steps:
            convert(path, result, steps.advance)

    return cache.build(folder, make, needed=4 * parameters + 100_000_000)


def count_parameters(path: Path) -> int:
    """Number of weights in a GGUF file; reading them all up shows that the file is whole."""
    return sum(int(tensor.n_elements) for tensor in _reader(path).tensors)


def _reader(path: Path) -> GGUFReader:
    """The file's header and tensors. ModelError where it is not GGUF, is cut short, or is a part of a model."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ModelError(f"{path} is not a GGUF file (it does not begin with the letters GGUF).")
    try:
        reader = QuickReader(path)
        kind, architecture = (_field(reader, f"general.{name}") for name in ("type", "architecture"))
        parts = int(_field(reader, "split.count") or 1)
    except Exception as error:  # the reader meets a short file with whatever its parsing runs into
        raise ModelError(f"{path} is cut short or damaged ({reason(error)}); fetch the file again.") from error
    if parts > 1:
        raise ModelError(f"{path} is one of {parts} parts of a model; join them with llama-gguf-split --merge.")
    if architecture == "clip" or kind == "mmproj":
        raise ModelError(f"{path} is the part of a model that reads images (mmproj); give the file of its text model.")
    if kind not in (None, "model") or not len(reader.tensors):
        raise ModelError(f"{path} holds no model but {kind if kind not in (None, 'model') else 'a vocabulary'}.")
    return reader


def _field(reader: GGUFReader, name: str) -> Any:
    field = reader.fields.get(name)
    return None if field is None else field.contents()


CONVERT_STEPS = 3


def convert(path: Path, folder: Path, step: Callable[[], None]) -> None:
    """Writes config, float32 safetensors and the fast tokenizer of a GGUF file into ``folder``.

    ``step`` is called ``CONVERT_STEPS`` times. ModelError where transformers can't read the file.
    """
    try:
        with quiet(), quick():
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
            step()
            opened: Any = AutoModelForCausalLM.from_pretrained(
                path.parent,
                gguf_file=path.name,
                dtype=torch.float32,
                quantization_config=GgufConfig(dequantize=True),
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # told by refuse_gaps in our words
            )
            refuse_gaps(opened[1], path.name)
            refuse_unread(opened[1], path.name)
            reader = _reader(path)
            _set_split(tokenizer, reader, path.name)
            _set_positions(opened[0], reader, path.name)
            _refuse_unlike(opened[0], reader, path.name)
            step()
            opened[0].save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            step()
    except ModelError:
        raise
    except Exception as error:
        if no_space(error):
            raise cache.storage_error(error, folder) from error
        raise ModelError(f"transformers can't read {path.name} ({reason(error)}).") from error


# How a text is split before merges. Where transformers knows no rule by the file's name for it, it takes GPT-2's.

_LIKE_GPT2 = {
    None, "default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "jina-es", "jina-de", "trillion", "granite-docling",
}  # fmt: skip
_DIGITS_FIRST = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
"""GPT-2's once every digit stands alone: white space in front of one is split otherwise."""


def _set_split(tokenizer: PreTrainedTokenizerBase, reader: GGUFReader, label: str) -> None:
    """The file's way to split; ModelError where neither transformers nor this module has a rule for it."""
    model, split = (_field(reader, f"tokenizer.ggml.{name}") for name in ("model", "pre"))
    if model != "gpt2" or split in {*_LIKE_GPT2, *gguf_tokens.GGUF_PRE_TOKENIZER_SPLITS}:
        return
    if split not in _DIGITS_FIRST:
        raise ModelError(
            f"{label} splits texts in the way {split!r}, which transformers has no rule for, so its tokens would be "
            "others; give the folder that it was made from."
        )
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)


# What transformers passes over in a file: tensors that it has no name for, and most keys. Each gives other numbers.

_KEYS = {
    "final_logit_softcapping": "final_logit_softcapping",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "attention.sliding_window": "sliding_window",
    "attention.scale": "attention_multiplier",
    "logit_scale": "logit_scale",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "attention.clamp_kqv": "clip_qkv",
    "expert_used_count": "num_experts_per_tok",
}
"""Keys of a file that change what the model computes, with the setting that they are in transformers."""


def _set_positions(model: PreTrainedModel, reader: GGUFReader, label: str) -> None:
    """Scaling of positions as the file has it, in the settings of the model, which is opened anew from them.

    The frequency of pair i is ``theta**(-2 i / d) / (factor * rope_freqs[i])``. ModelError where the file scales
    otherwise, or where the opened model's table would be another one.
    """
    prefix, config = f"{_field(reader, 'general.architecture')}.rope.", model.config.get_text_config()
    keys = ("freq_base", "dimension_count", "scaling.factor", "scale_linear", "scaling.type")
    base, width, factor, older, kind = (_field(reader, f"{prefix}{key}") for key in keys)
    factor = 1.0 if kind == "none" else float(factor or older or 1)
    tables = [tensor for tensor in reader.tensors if tensor.name.startswith("rope_f")]
    stored = {table.name: torch.tensor(table.data).float() for table in tables}
    divisors = stored.pop("rope_freqs.weight", torch.ones(1)) * factor
    rope: Any = getattr(config, "rope_parameters", None) or {}
    rope = rope.get("full_attention", rope)  # the layers that llama.cpp scales where others are local
    rotary = [module for name, module in model.named_modules() if name.endswith("rotary_emb")]
    known = kind in (None, "none", "linear") and not stored
    if known and bool((divisors == 1).all()) and not (rotary and "rope_theta" in rope):
        return
    if not known or not rotary or "rope_theta" not in rope:
        raise ModelError(
            f"{label} scales its positions ({kind or 'by tensors'}) in a way that is not read from GGUF; give the "
            "folder that it was made from."
        )
    name = next(name for name, _ in rotary[0].named_buffers() if name in ("inv_freq", "full_attention_inv_freq"))
    pairs = int(width or 2 * len(getattr(rotary[0], name))) // 2
    if len(divisors) not in (1, pairs):
        raise ModelError(f"{label} has {len(divisors)} factors of positions (rope_freqs) for {pairs} frequencies.")
    rope["rope_theta"] = float(base or rope["rope_theta"])
    if len(divisors) > 1:
        # The one kind of transformers that takes a factor for each pair; of itself it would stretch attention too.
        each = [float(value) for value in divisors]
        rope |= {"rope_type": "longrope", "short_factor": each, "long_factor": each, "factor": 1.0}
        rope |= {"attention_factor": 1.0, "original_max_position_embeddings": config.max_position_embeddings}
    elif factor != 1:
        rope |= {"rope_type": "linear", "factor": factor}
    expected = rope["rope_theta"] ** (-torch.arange(pairs).double() / pairs) / divisors
    table = getattr(type(rotary[0])(config=config), name).double()
    if table.shape != expected.shape or not torch.allclose(table, expected, rtol=1e-5, atol=0):
        raise ModelError(f"{label} turns its positions by other frequencies than transformers gives the opened model.")


def _refuse_unlike(model: PreTrainedModel, reader: GGUFReader, label: str) -> None:
    """Takes over settings that transformers passed over; ModelError for tensors and settings without a place there."""
    prefix, config = f"{_field(reader, 'general.architecture')}.", model.config.get_text_config()
    for key, setting in _KEYS.items():
        value = _field(reader, f"{prefix}{key}")
        own = getattr(config, setting, None)
        same = isinstance(own, float) and math.isclose(value or 0, own, rel_tol=1e-5)
        if value in (None, 0, own) or same or (own is None and key.endswith("scale") and value == 1):
            continue
        if not hasattr(config, setting):
            raise ModelError(
                f"{label} says {key} = {value}, which transformers has no setting for in {config.model_type}."
            )
        setattr(config, setting, value)
    opened = {id(values): values.numel() for values in model.state_dict(keep_vars=True).values()}
    # Elements decide, not names: transformers splits, joins and renames tensors. Left out are tables of positions, and
    # a block behind the last layer, which guesses several tokens at once.
    left_out = re.compile(rf"rope_f|.*rot_embd|blk\.{config.num_hidden_layers}\.")
    stored = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors if not left_out.match(tensor.name)}
    if sum(stored.values()) > sum(opened.values()):
        names: Any = gguf_tensors  # has no types
        processor = names.TENSOR_PROCESSORS.get(prefix[:-1], names.TensorProcessor)(config={})
        known = names.get_gguf_hf_weights_map(model, processor)
        unread = [name for name in stored if name not in known] or ["output.weight"]
        if unread != ["output.weight"] or not model.config.tie_word_embeddings:  # the embedding, written twice
            raise ModelError(f"{label} holds {unread[0]}, which transformers has no place for in {config.model_type}.")
