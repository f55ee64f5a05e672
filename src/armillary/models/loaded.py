"""A model that is ready to be looked into, with what is known of it."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from armillary.models.anatomy import Anatomy


def fingerprint_of(model: nn.Module) -> str:
    """Sixteen hex digits of sha256 over name, shape, dtype and bytes of every parameter, one after the other."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}\n".encode())
        values = parameter.detach().cpu().contiguous().reshape(-1)
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


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

    @cached_property
    def fingerprint(self) -> str:
        """``fingerprint_of`` the model. Kept after the first use: a model trained further needs a new LoadedModel."""
        return fingerprint_of(self.model)

    @cached_property
    def known_ids(self) -> frozenset[int]:
        """Ids that have a string in the tokenizer and a row in embedding and head: what is drawn, scored and ranked.

        A vocabulary has three sizes. Matrices are often padded beyond the tokenizer, a tokenizer may have tokens that
        the matrices lack or leave ids out, and the two matrices may differ.
        """
        rows = min(self.anatomy.embedding.num_embeddings, self.anatomy.vocabulary_size)
        named = {*self.tokenizer.get_vocab().values(), *self.tokenizer.added_tokens_decoder}
        return frozenset(token for token in named if 0 <= token < rows)

    @cached_property
    def token_ids(self) -> tuple[int, ...]:
        """``known_ids``, ascending."""
        return tuple(sorted(self.known_ids))

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

    @property
    def device(self) -> torch.device:
        """Where inputs have to be."""
        return self.anatomy.embedding.weight.device

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
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "layers": self.anatomy.num_layers,
            "hidden": self.anatomy.hidden_size,
            "vocabulary": self.anatomy.vocabulary_size,
            "architecture": type(self.model).__name__,
            "dtype": str(self.dtype).removeprefix("torch."),
        }
