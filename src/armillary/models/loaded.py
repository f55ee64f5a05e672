"""A model that is ready to be looked into, with what is known of it."""

import hashlib
import inspect
import json
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from armillary.errors import ModelError
from armillary.files import digest_of
from armillary.models.anatomy import Anatomy


def fingerprint_of(model: nn.Module) -> str:
    """Sixteen hex digits of sha256 over name, shape, dtype and bytes of every parameter, one after the other."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}\n".encode())
        for values in _stored(model, name, parameter):
            flat = values.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _stored(model: nn.Module, name: str, parameter: Tensor) -> list[Tensor]:
    """The tensors that hold a parameter: itself; of a packed one, codes and scales; of one that accelerate keeps
    elsewhere, what lies there."""
    if parameter.is_meta:
        path, _, own = name.rpartition(".")
        hook = getattr(model.get_submodule(path), "_hf_hook", None)
        if getattr(hook, "weights_map", None) is None:
            raise ModelError(f"the weight {name} is not in memory (on the meta device), so the model can't be told.")
        return [cast(Any, hook).weights_map[own]]
    if hasattr(parameter, "__tensor_flatten__"):
        names = cast(Any, parameter).__tensor_flatten__()[0]
        return [part for inner in names for part in _stored(model, name, getattr(parameter, inner))]
    scales = [getattr(getattr(parameter, "quant_state", None), "absmax", None), getattr(parameter, "SCB", None)]
    return [parameter, *(scale for scale in scales if scale is not None)]


# Equal tensors are not yet the same model: rope, norms and masks are read from the configuration, prompts from the
# tokenizer. What follows has every setting but those that no number depends on.

_NO_MATTER = frozenset({
    "_name_or_path", "name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures", "auto_map",
    "id2label", "label2id", "problem_type", "use_cache", "return_dict", "output_attentions", "output_hidden_states",
    "output_router_logits", "tie_word_embeddings", "initializer_range", "init_std", "_from_model_config",
})  # fmt: skip


def meaningful_settings(value: Any) -> Any:
    """Settings that matter, however deep. None is left out: what a newer transformers adds is None until it is set."""
    if isinstance(value, dict):
        return {
            str(key): meaningful_settings(item)
            for key, item in value.items()
            if item is not None and str(key) not in _NO_MATTER
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [
            meaningful_settings(item)
            for item in (value if isinstance(value, (list, tuple)) else sorted(value, key=str))
        ]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1e4 and 10000 are one setting
    return value if isinstance(value, (str, int, float)) else str(value)


def joined_digest(parts: object) -> str:
    """Sixteen hex digits of plain data, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def configuration_digest(model: PreTrainedModel) -> str:
    """Sixteen hex digits of what a model computes with its tensors, and of how it generates.

    That is its class (of a model with code of its own, that code), its configuration, its buffers that are saved and
    its generation settings. Names, paths, versions and what only training from nothing needs are left out.
    """
    kind, generation = type(model), getattr(model, "generation_config", None)
    code = ""
    if not kind.__module__.startswith("transformers."):
        with suppress(OSError, TypeError):  # typed in at a prompt
            code = inspect.getsource(sys.modules[kind.__module__])
    saved = model.state_dict(keep_vars=True)  # buffers that are not in it come from the configuration
    buffers = hashlib.sha256()
    for name, values in model.named_buffers():
        if name in saved:
            buffers.update(f"{name} {tuple(values.shape)} {values.dtype}\n".encode())
            buffers.update(values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return joined_digest({
        "class": kind.__name__,
        "code": code,
        "settings": meaningful_settings(model.config.to_dict()),
        "generation": {} if generation is None else meaningful_settings(generation.to_dict()),
        "buffers": buffers.hexdigest(),
    })  # fmt: skip


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Sixteen hex digits of how text becomes tokens and back.

    That is the normaliser, pre-tokeniser, vocabulary, post-processor, added and special tokens, the padding side and
    the chat template; the file it came from, and the padding of the last call, don't count.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            ways: Any = digest_of(folder)
    else:
        # The tokenizers library keeps the truncation and padding of the last call in the tokenizer.
        ways = {k: v for k, v in json.loads(backend.to_str()).items() if k not in ("truncation", "padding")}
    return joined_digest([
        type(tokenizer).__name__, ways, tokenizer.padding_side, tokenizer.chat_template,
        meaningful_settings({name: str(token) for name, token in tokenizer.special_tokens_map.items()}),
        *(["split_special_tokens"] if getattr(tokenizer, "split_special_tokens", False) else []),
    ])  # fmt: skip


def processor_digest(processor: ProcessorMixin) -> str:
    """Sixteen hex digits of how text and images become inputs: tokenizer, image processor and chat template."""
    tokenizer = tokenizer_digest(getattr(processor, "tokenizer"))  # noqa: B009  (not every processor declares it)
    template = getattr(processor, "chat_template", None)
    return joined_digest([type(processor).__name__, tokenizer, meaningful_settings(processor.to_dict()), template])


def known_ids(tokenizer: PreTrainedTokenizerBase, rows: int) -> frozenset[int]:
    """Ids of the tokens that have one of so many rows."""
    named = {*tokenizer.get_vocab().values(), *tokenizer.added_tokens_decoder}
    return frozenset(token for token in named if 0 <= token < rows)


@dataclass(frozen=True)
class LoadedModel:
    """Model, tokenizer and anatomy; the model is in eval mode, ``requires_grad`` as it was loaded."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    anatomy: Anatomy
    name: str
    """What the user asked for: "smollm2-135m-instruct"."""

    source: str
    """How it was obtained, in words."""

    converter: str = ""
    """What wrote the tensors that were opened, with versions, where they were made from a file of another format."""

    unread: tuple[str, ...] = ()
    """Heads of another kind (a classifier's, a value head) that lie in the files and are not opened."""

    adapted_from: "tuple[LoadedModel, str] | None" = None
    """The base in the same memory and the digest of the adapter, where one is switched on and off over it."""

    def __post_init__(self) -> None:
        """Whatever is computed goes through the anatomy: with that of another model it would be of that one's weights.

        Raises:
            ModelError: the anatomy's modules are not the model's.
        """
        if all(module is not self.anatomy.base for module in self.model.modules()):
            raise ModelError(
                f"the anatomy given with {self.name} is of another model, whose weights would be computed with; give "
                "find_anatomy(model)."
            )

    @cached_property
    def fingerprint(self) -> str:
        """``fingerprint_of`` the model, the adapter included that is switched over it. Kept after the first use: a
        model trained further needs a new LoadedModel."""
        if self.adapted_from is not None:
            return joined_digest([self.adapted_from[0].fingerprint, self.adapted_from[1]])
        return fingerprint_of(self.model)

    @cached_property
    def known_ids(self) -> frozenset[int]:
        """Ids that have a string in the tokenizer and a row in embedding and head: what is drawn, scored and ranked.

        A vocabulary has three sizes. Matrices are often padded beyond the tokenizer, a tokenizer may have tokens that
        the matrices lack or leave ids out, and the two matrices may differ.
        """
        return known_ids(self.tokenizer, min(self.anatomy.embedding.num_embeddings, self.anatomy.vocabulary_size))

    @cached_property
    def token_ids(self) -> tuple[int, ...]:
        """``known_ids``, ascending."""
        return tuple(sorted(self.known_ids))

    @cached_property
    def spelled(self) -> tuple[str, ...]:
        """The tokenizer's own string of each of ``token_ids``."""
        return tuple(map(str, self.tokenizer.convert_ids_to_tokens(list(self.token_ids))))

    @cached_property
    def nameless_ids(self) -> tuple[int, ...]:
        """Rows of the head that are no token: their probability is 0."""
        return tuple(token for token in range(self.anatomy.vocabulary_size) if token not in self.known_ids)

    def masked(self, logits: Float[Tensor, "*batch v"]) -> Float[Tensor, "*batch v"]:
        """The logits, minus infinity where a row of the head is no token: in place, but for gradients."""
        if not self.nameless_ids:
            return logits
        ids = torch.tensor(self.nameless_ids, device=logits.device)
        return (logits.index_fill if logits.requires_grad else logits.index_fill_)(-1, ids, -torch.inf)

    @cached_property
    def identity_parts(self) -> dict[str, str]:
        """Digests of what makes the model this one: tensors, configuration, tokenizer, converter (where there is one).

        Kept after the first use, as ``fingerprint`` is.
        """
        configuration, tokenizer = configuration_digest(self.model), tokenizer_digest(self.tokenizer)
        parts = {"tensors": self.fingerprint, "configuration": configuration, "tokenizer": tokenizer}
        return {**parts, **({"converter": self.converter} if self.converter else {})}

    @cached_property
    def identity(self) -> str:
        """Sixteen hex digits of ``identity_parts``: two models are one where it is equal."""
        return joined_digest(self.identity_parts)

    @property
    def device(self) -> torch.device:
        """Where inputs have to be."""
        weight = self.anatomy.embedding.weight
        # What accelerate keeps out of memory comes to this device for each call.
        if weight.is_meta:
            return torch.device(cast(Any, self.anatomy.embedding)._hf_hook.execution_device)
        return weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return self.anatomy.embedding.weight.dtype

    @property
    def max_positions(self) -> int | None:
        """Tokens of a sequence at most; None where the model's configuration names no limit."""
        limit: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return limit

    def facts(self) -> dict[str, str | int | float]:
        """Plain data for a record: what the model is and where it came from."""
        return {
            "name": self.name,
            "source": self.source,
            "fingerprint": self.fingerprint,
            "identity": self.identity,
            **({"converter": self.converter} if self.converter else {}),
            **({"unread": ", ".join(self.unread)} if self.unread else {}),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "layers": self.anatomy.num_layers,
            "hidden": self.anatomy.hidden_size,
            "vocabulary": self.anatomy.vocabulary_size,
            "architecture": type(self.model).__name__,
            "dtype": str(self.dtype).removeprefix("torch."),
        }
